-- What an event may be is checked in the trigger that each event goes through anyway. PostgreSQL
-- prepares the checks of a table for each statement, which was a fifth of what a write costs it, and
-- a trigger's once a session. The release before this one goes on working.
set local lock_timeout = '2s';

create or replace function vehicle_events.take_a_sequence() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if new.aggregate_type <> 'vehicle'
        or length(new.aggregate_id) not between 1 and 64
        or new.version < 1
        or length(new.event_type) > 64
        or new.event_type !~ '^[a-z_]+\.[a-z_]+\.v[1-9][0-9]*$'
        or length(new.actor) not between 1 and 100
        or length(new.correlation_id) not between 1 and 128
        or length(new.traceparent) > 55
        or octet_length(new.data::text) > 16384
    then
        raise exception 'a value is none that an event may have'
        using errcode = 'check_violation', constraint = 'event_is_well_formed';
    end if;
    perform pg_current_xact_id();
    new.sequence := nextval('vehicle_events.sequences');
    new.occurred_at := clock_timestamp();
    return new;
end
$$;
alter table vehicle_events.events
    drop constraint aggregate_type_is_known,
    drop constraint aggregate_id_is_short,
    drop constraint version_starts_at_one,
    drop constraint event_type_is_named,
    drop constraint actor_is_short,
    drop constraint correlation_id_is_short,
    drop constraint traceparent_is_short,
    drop constraint data_is_small;
