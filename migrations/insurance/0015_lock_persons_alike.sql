-- Drafts and erasures of a person take a lock, which is a hash of the personal identity number. Its key
-- is here, where all processes find the same one, and where nobody finds it who sees no more than the
-- locks. New, so the release before this one goes on working.
create table insurance.person_lock_key (
    singleton boolean primary key default true check (singleton),
    -- Random, but for twelve of 256 bits.
    key bytea not null default uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
);
insert into insurance.person_lock_key default values;
grant select on insurance.person_lock_key to insurance_service;
