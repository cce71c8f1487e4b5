"""What the consumer of Vehicle's events does, kept in its own transactions, and what may not be in it."""

from kit.replica import DIFFERENCES

# `offered` are the states of vehicles that the consumer tells the copy, whether they are newer than its own or not,
# `effects` those that the copy took, and `steps` where each transaction has gone on.
JOURNAL = """create table offered (transaction xid8 default pg_current_xact_id(), generation bigint, position bigint);
create table effects (
    number bigint generated always as identity, generation bigint, registration_number text, version bigint
);
create table steps (
    number bigint generated always as identity, transaction xid8 default pg_current_xact_id(),
    began bigint, ended bigint
);
create table lost_logs (log_id uuid);
create function note_offer() returns trigger language plpgsql security definer as $$
begin
    insert into public.offered (generation, position) values (new.generation, new.position);
    return new;
end
$$;
create trigger note_offer before insert on insurance_replica.vehicles
for each row when (new.position is not null) execute function note_offer();
create function note_effect() returns trigger language plpgsql security definer as $$
begin
    insert into public.effects (generation, registration_number, version)
    values (new.generation, new.registration_number, new.version);
    return null;
end
$$;
create trigger note_effect after insert or update on insurance_replica.vehicles
for each row execute function note_effect();
create function note_step() returns trigger language plpgsql security definer as $$
begin
    if new.log_id is distinct from old.log_id then
        insert into public.lost_logs values (old.log_id);
    else
        insert into public.steps (began, ended) values (old.position, new.position);
    end if;
    return null;
end
$$;
create trigger note_step after update on insurance_replica.consumers
for each row when (old.log_id is not null and (new.position, new.log_id) is distinct from (old.position, old.log_id))
execute function note_step()"""
QUIET = """select not exists (select from vehicle_events.unplaced)
        and position = (select position from vehicle_events.head) and filling is null and mode = 'follow'
        and not exists (select from insurance_replica.dead_letters where status in ('parked', 'retrying'))
    from insurance_replica.consumers"""
# Also those that are closed, as by a later event of the vehicle.
LETTERS = "select count(*) from insurance_replica.dead_letters"
# Each is to find nothing.
CHECKS = {
    "differences between copy and source": DIFFERENCES,
    "events told to a copy twice": """select count(*) from (
        select from offered group by generation, position having count(*) > 1) as twice""",
    "positions gone over twice": """select coalesce(sum(greatest(0, least(ended, coalesce(reached, began)) - began)), 0) from (
        select began, ended, max(ended) over (order by number rows between unbounded preceding and 1 preceding) as reached
        from steps) as gone""",
    "events told without their checkpoint": """select count(*) from offered
        where not exists (select from steps where steps.transaction = offered.transaction and position > began and position <= ended)
            and position not in (select position from insurance_replica.dead_letters)""",
    "effects after a later one": """select count(*) from (
        select version < lag(version) over (partition by generation, registration_number order by number) as is_older
        from effects) as steps where is_older""",
    "steps back of the checkpoint": "select count(*) from steps where ended < began",
    "logs that were given up": "select count(*) from lost_logs",
    "open dead letters": "select count(*) from insurance_replica.dead_letters where status in ('parked', 'retrying')",
}
