-- no-transaction
create index concurrently if not exists policies_by_status
on insurance.insurances (status, insurance_id);
