-- Every change of a vehicle is told in the log, whoever makes it: the service, a job of the legacy
-- system, a logical replication, a person. The release before this one only reads, and goes on.
set local lock_timeout = '2s';

-- Who changes a vehicle, and because of what, is in settings of the transaction, which the service
-- makes. Without them it is the role that has logged in.
create function vehicle.tell(kind text, id uuid, plate text, row_version bigint, state json) returns void
language sql security definer set search_path = '' as $$
    insert into vehicle_events.events
        (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id,
         causation_id, traceparent, data)
    values (
        coalesce(id, gen_random_uuid()), 'vehicle', plate, row_version, kind,
        coalesce(nullif(current_setting('threadpilot.actor', true), ''), 'database/' || session_user),
        coalesce(nullif(current_setting('threadpilot.correlation_id', true), ''), 'none'),
        nullif(current_setting('threadpilot.causation_id', true), '')::uuid,
        nullif(current_setting('threadpilot.traceparent', true), ''),
        state)
$$;
revoke execute on function vehicle.tell from public;

-- A version is drawn only while nobody else can be deleting or inserting the plate. Otherwise an
-- insert could draw its version, then wait for a delete that draws a higher one, and whoever follows
-- the events would take the vehicle for deleted for ever. For the same reason a plate that goes is
-- told here, at its row: one statement may delete a plate and insert it again, and whatever comes
-- later draws a higher version. There are 1,024 locks and not one for each plate: a statement over
-- 100,000 rows would fill the lock table of the server. A plate that comes shares its lock, so that
-- inserts wait for no inserts; one that goes has it alone.
--
-- A plate that changes is one that goes and one that comes. The id of the transaction's settings is
-- that of one event; statements over many rows leave it out.
create or replace function vehicle.raise_version() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    goes int := hashtext(old.registration_number) & 1023;
    comes int := hashtext(new.registration_number) & 1023;
    renamed boolean := tg_op = 'UPDATE' and new.registration_number <> old.registration_number;
    id uuid;
begin
    if tg_op = 'INSERT' then
        perform pg_advisory_xact_lock_shared(5083, comes);
    elsif tg_op = 'DELETE' then
        perform pg_advisory_xact_lock(5083, goes);
        id := nullif(current_setting('threadpilot.event_id', true), '');
    elsif renamed then
        perform pg_advisory_xact_lock(5083, least(goes, comes));
        perform pg_advisory_xact_lock(5083, greatest(goes, comes));
    else
        new.version := old.version;
        if new is not distinct from old then
            return new;
        end if;
    end if;
    if tg_op = 'DELETE' or renamed then
        perform vehicle.tell(
            'vehicle.deregistered.v1', id, old.registration_number, nextval('vehicle.versions'), 'null');
    end if;
    if tg_op = 'DELETE' then
        return old;
    end if;
    new.version := nextval('vehicle.versions');     -- never the writer's
    return new;
end
$$;
create or replace trigger raise_version before insert or update or delete on vehicle.vehicles
for each row execute function vehicle.raise_version();

-- An event carries the whole vehicle, so that any one can be applied alone. A change that changes
-- nothing has kept its version.
create function vehicle.tell_the_change() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if tg_op = 'INSERT' or new.version <> old.version then
        perform vehicle.tell(
            case when tg_op = 'INSERT' or new.registration_number <> old.registration_number
                then 'vehicle.registered.v1' else 'vehicle.changed.v1' end,
            nullif(current_setting('threadpilot.event_id', true), '')::uuid,
            new.registration_number, new.version,
            json_build_object(
                'registrationNumber', new.registration_number, 'make', new.make,
                'model', new.model, 'modelYear', new.model_year, 'version', new.version));
    end if;
    return null;
end
$$;
create trigger tell_the_change after insert or update on vehicle.vehicles
for each row execute function vehicle.tell_the_change();

-- A truncation has no rows to tell of.
create function vehicle.refuse_truncate() returns trigger language plpgsql as $$
begin
    raise exception 'vehicles are not truncated: use delete' using errcode = 'restrict_violation';
end
$$;
create trigger never_truncated before truncate on vehicle.vehicles
for each statement execute function vehicle.refuse_truncate();

-- `always`: also where session_replication_role is replica, as in the apply worker of a logical
-- replication from the legacy system.
alter table vehicle.vehicles
    enable always trigger raise_version, enable always trigger tell_the_change,
    enable always trigger never_truncated;

-- A registration number stays; only `tell` writes events.
grant insert, update (make, model, model_year), delete on vehicle.vehicles to vehicle_service;
revoke insert on vehicle_events.events from vehicle_service;

-- A default is drawn with the rights of whoever inserts, and the trigger draws another one. Last,
-- because it keeps readers out until the end of this transaction.
alter table vehicle.vehicles alter column version drop default;
