-- Not `concurrently`: readers go on, and the release before this one writes nothing. A build that is
-- stopped leaves nothing behind, and migrators that wait for this one hold it up in no way.
set local lock_timeout = '2s';

-- Answers the profile, with the covers' primary key, without a look at the table. The index of the
-- release before this one, insurances_of_a_person, goes with a later one.
create index policies_of_a_person
    on insurance.insurances (personal_identity_number, insurance_id)
    include (product, status, valid_from, valid_until);
create index policies_by_status on insurance.insurances (status, insurance_id);
create index policies_to_end on insurance.insurances (valid_until)
    where status in ('active', 'suspended') and valid_until is not null;
