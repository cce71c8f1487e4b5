-- The log of what has changed: append-only, written in the transaction of the change. The crate
-- `event-log` writes and reads it. New tables only, so the release before this one goes on working.
create schema insurance_events;

-- Order of writing. It has gaps, and commits come out of order: no reader pages by it.
create sequence insurance_events.sequences;

create table insurance_events.events (
    event_id uuid primary key,              -- UUIDv7 of the writer; never used as an order
    sequence bigint not null,               -- set by take_a_sequence, whatever the writer says
    aggregate_type text not null
        constraint aggregate_type_is_known check (aggregate_type in ('policy', 'price')),
    aggregate_id text not null
        constraint aggregate_id_is_short check (length(aggregate_id) between 1 and 64),
    version bigint not null constraint version_starts_at_one check (version >= 1),
    event_type text not null
        constraint event_type_is_named
        check (length(event_type) <= 64 and event_type ~ '^[a-z_]+\.[a-z_]+\.v[1-9][0-9]*$'),
    occurred_at timestamptz not null,       -- set by take_a_sequence, too
    actor text not null constraint actor_is_short check (length(actor) between 1 and 100),
    correlation_id text not null
        constraint correlation_id_is_short check (length(correlation_id) between 1 and 128),
    causation_id uuid,
    traceparent text constraint traceparent_is_short check (length(traceparent) <= 55),
    -- `json`, not `jsonb`: the text stays byte for byte what was hashed.
    data json not null constraint data_is_small check (octet_length(data::text) <= 16384),
    constraint one_event_per_version unique (aggregate_type, aggregate_id, version)
);
create index events_by_correlation on insurance_events.events (correlation_id)
    where correlation_id <> 'none';

-- Whoever has drawn a sequence must be visible in every snapshot as long as it runs: first the
-- transaction's id, then the number. An identity column would draw the number first.
create function insurance_events.take_a_sequence() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    perform pg_current_xact_id();
    new.sequence := nextval('insurance_events.sequences');
    new.occurred_at := clock_timestamp();
    return new;
end
$$;
create trigger take_a_sequence before insert on insurance_events.events
for each row execute function insurance_events.take_a_sequence();

-- Committed, but without a place in the log yet. A row lives for milliseconds.
create table insurance_events.unplaced (
    sequence bigint primary key,
    event_id uuid not null
) with (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);

create function insurance_events.await_a_place() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    insert into insurance_events.unplaced (sequence, event_id) values (new.sequence, new.event_id);
    return null;
end
$$;
create trigger await_a_place after insert on insurance_events.events
for each row execute function insurance_events.await_a_place();

-- The order that every reader sees: dense, append-only, never visible out of order. No foreign key
-- to events: its check locks rows, for which the owner would need the right to update them.
create table insurance_events.log (
    position bigint primary key constraint position_starts_at_one check (position >= 1),
    event_id uuid not null unique,
    event_type text not null,               -- copies: the audit filters by them in this order
    actor text not null,
    leaf_hash bytea not null constraint leaf_hash_is_sha256 check (length(leaf_hash) = 32),
    placed_at timestamptz not null          -- one for each batch, never below the batch before
);
create index log_by_type on insurance_events.log (event_type, position);
create index log_by_actor on insurance_events.log (actor, position);

-- One row. Whoever holds its lock places events; a lost process loses it with its connection.
create table insurance_events.head (
    singleton boolean primary key default true check (singleton),
    log_id uuid not null default gen_random_uuid(),
    position bigint not null default 0,
    placed_at timestamptz not null default clock_timestamp(),
    edge bytea not null default ''          -- right edge of the Merkle tree: a hash per 1-bit of position
);
insert into insurance_events.head default values;

-- Complete subtrees: a tile of level 0 is 256 leaves, one of level l + 1 the roots of 256 tiles of level l.
create table insurance_events.event_tiles (
    level smallint not null constraint level_is_known check (level between 0 and 7),
    tile bigint not null constraint tile_starts_at_zero check (tile >= 0),
    root bytea not null constraint root_is_sha256 check (length(root) = 32),
    hashes bytea not null constraint tile_is_complete check (length(hashes) = 256 * 32),
    primary key (level, tile)
);
-- Out of line and not packed: hashes do not shrink, and roots are read without them.
alter table insurance_events.event_tiles alter column hashes set storage external;

create table insurance_events.checkpoints (
    position bigint primary key constraint position_starts_at_one check (position >= 1),
    root bytea not null constraint root_is_sha256 check (length(root) = 32),
    note text not null,                     -- C2SP tlog-checkpoint, signed with Ed25519
    signed_at timestamptz not null default clock_timestamp()
);

-- Counts for the statistics, kept in the transaction that places.
create table insurance_events.hours (
    hour timestamptz not null,              -- of placed_at
    event_type text not null,
    actor text not null,
    events bigint not null,
    primary key (hour, event_type, actor)
);

-- Append-only, for the owner too.
create function insurance_events.refuse() returns trigger language plpgsql as $$
begin
    raise exception 'the event log is append-only' using errcode = 'restrict_violation';
end
$$;
do $$
declare
    name text;
begin
    foreach name in array array['events', 'log', 'event_tiles', 'checkpoints'] loop
        execute format('create trigger append_only before update or delete on insurance_events.%I
            for each row execute function insurance_events.refuse()', name);
        execute format('create trigger never_truncated before truncate on insurance_events.%I
            for each statement execute function insurance_events.refuse()', name);
        execute format('revoke update, delete, truncate on insurance_events.%I from current_user', name);
    end loop;
end
$$;

-- `always`: also where session_replication_role is replica, as in the apply worker of a logical
-- replication. The readiness warns of a trigger that is not armed.
alter table insurance_events.events
    enable always trigger take_a_sequence, enable always trigger await_a_place,
    enable always trigger append_only, enable always trigger never_truncated;
alter table insurance_events.log
    enable always trigger append_only, enable always trigger never_truncated;
alter table insurance_events.event_tiles
    enable always trigger append_only, enable always trigger never_truncated;
alter table insurance_events.checkpoints
    enable always trigger append_only, enable always trigger never_truncated;

grant usage on schema insurance_events to insurance_service;
-- Read only: the trigger draws from it as the owner.
grant select on sequence insurance_events.sequences to insurance_service;
grant select, insert on insurance_events.events, insurance_events.log, insurance_events.event_tiles,
    insurance_events.checkpoints to insurance_service;
grant select, delete on insurance_events.unplaced to insurance_service;
grant select, update (position, placed_at, edge) on insurance_events.head to insurance_service;
grant select, insert, update (events) on insurance_events.hours to insurance_service;
