-- no-transaction
create index concurrently if not exists policies_to_end on insurance.insurances (valid_until)
where status in ('active', 'suspended') and valid_until is not null;
