-- no-transaction
-- Answers the profile, with the covers' primary key, without a look at the table. The index of the
-- release before this one, insurances_of_a_person, goes with a later one.
create index concurrently if not exists policies_of_a_person
on insurance.insurances (personal_identity_number, insurance_id)
include (product, status, valid_from, valid_until);
