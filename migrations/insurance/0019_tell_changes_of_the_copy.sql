-- Which vehicles of the copy that is read have changed, so that processes may keep in memory what
-- they have read of it. Triggers tell it, so that the release before this one does as well.
-- Shorter than a look-up waits.
set local lock_timeout = '400ms';

create table insurance_replica.changes (
    change bigint generated always as identity primary key,
    state uuid not null unique,             -- of the copy, after it
    registration_numbers text[] not null,
    changed_at timestamptz not null default clock_timestamp()
);
grant select, insert, delete on insurance_replica.changes to insurance_service;

alter table insurance_replica.consumers
    -- Another one as soon as the copy that is read has another vehicle, or is another copy.
    add column state uuid not null default gen_random_uuid();

-- The lock of the consumer's row has changes come one after the other. Where those that are kept do
-- not lead to the present state, whoever has kept vehicles of an earlier one begins anew.
create function insurance_replica.tell_changes() returns trigger
language plpgsql set search_path = '' as $$
declare
    is_read bigint;
    numbers text[];
    next_state uuid := gen_random_uuid();
    last bigint;
begin
    select generation into is_read from insurance_replica.consumers
    where consumer = 'vehicle_replica' for update;
    if tg_op = 'UPDATE' then
        numbers := array(
            select registration_number from rows_before where generation = is_read
            union select registration_number from rows_after where generation = is_read
        );
    elsif tg_op = 'INSERT' then
        numbers := array(select registration_number from rows_after where generation = is_read);
    elsif tg_op = 'DELETE' then
        -- A tombstone that is swept changes no answer.
        numbers := array(
            select registration_number from rows_before
            where generation = is_read and deleted_at is null
        );
    end if;
    if numbers = '{}' then
        return null;
    end if;
    update insurance_replica.consumers set state = next_state where consumer = 'vehicle_replica';
    -- More than the consumer changes at once, or all of them.
    if numbers is null or cardinality(numbers) > 1000 then
        delete from insurance_replica.changes;
        return null;
    end if;
    insert into insurance_replica.changes (state, registration_numbers)
    values (next_state, numbers) returning change into last;
    delete from insurance_replica.changes where change <= last - 256;
    return null;
end
$$;
create trigger tell_insertions after insert on insurance_replica.vehicles
    referencing new table as rows_after
    for each statement execute function insurance_replica.tell_changes();
create trigger tell_updates after update on insurance_replica.vehicles
    referencing old table as rows_before new table as rows_after
    for each statement execute function insurance_replica.tell_changes();
create trigger tell_deletions after delete on insurance_replica.vehicles
    referencing old table as rows_before
    for each statement execute function insurance_replica.tell_changes();
create trigger tell_truncation after truncate on insurance_replica.vehicles
    for each statement execute function insurance_replica.tell_changes();

create function insurance_replica.tell_another_copy() returns trigger
language plpgsql set search_path = '' as $$
begin
    delete from insurance_replica.changes;
    new.state := gen_random_uuid();
    return new;
end
$$;
create trigger tell_another_copy before update on insurance_replica.consumers
    for each row when (old.generation <> new.generation)
    execute function insurance_replica.tell_another_copy();
