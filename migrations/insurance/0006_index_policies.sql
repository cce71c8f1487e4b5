-- Not `concurrently`: readers go on, and the release before this one writes nothing. A build that is
-- stopped leaves nothing behind, and migrators that wait for this one hold it up in no way.
set local lock_timeout = '2s';

-- Answers the profile, with the covers' primary key, without a look at the table. The index of the
-- release before this one, insurances_of_a_person, goes with a later one.
create index policies_of_a_person
    on insurance.insurances (personal_identity_number, insurance_id)
    include (product, status, valid_from, valid_until);
create index policies_by_status on insurance.insurances (status, insurance_id);
-- By the day on which a policy ends. A cancellation may come before the first day, which is then
-- the first one without cover.
create index policies_by_end
    on insurance.insurances (least(valid_until, cancelled_on), insurance_id)
    where status in ('active', 'suspended') and least(valid_until, cancelled_on) is not null;
