-- A copy of Vehicle's cars, kept by following its feed. New tables only, so the release before this
-- one goes on working.
create schema insurance_replica;

-- Where each follower of a feed is. The copy that is read stays as it is while another one is filled
-- beside it, and one transaction turns from the one to the other.
create table insurance_replica.consumers (
    consumer text primary key,
    -- What was applied last.
    log_id uuid,                            -- of the feed's log; versions of two are never compared
    event_id uuid,                          -- null: from the beginning of the log
    position bigint not null default 0,
    source_position bigint not null default 0,  -- the last one of the log, as it was last seen
    -- What was begun, written before its effect, so that a crash shows.
    page_until bigint,                      -- the last position that the page in hand may hold
    attempts smallint not null default 0,   -- how often it was begun and not ended
    -- The copy that is read.
    generation bigint not null default 0,   -- 0: there is none yet
    copy_log_id uuid,                       -- the log whose versions it has
    caught_up_at timestamptz,               -- it had all that was in the log at this moment
    -- The copy that is being filled.
    generations bigint not null default 0,  -- how many were begun, this one included
    filling bigint,                         -- its generation; null: none
    filling_since timestamptz,
    snapshot_at text,                       -- the last car that was copied; null: all are
    filled bigint not null default 0,       -- cars that were copied
    -- What an operator has said. A snapshot is over when it has become the copy that is read.
    mode text not null default 'snapshot'
        constraint mode_is_known check (mode in ('follow', 'paused', 'snapshot')),
    mode_by text, mode_reason text, mode_owner text, mode_since timestamptz,
    last_error text,                        -- its kind; null while all is well
    last_error_at timestamptz,
    updated_at timestamptz not null default now(),
    constraint a_filled_copy_is_the_newest check (filling = generations)
);
insert into insurance_replica.consumers (consumer) values ('vehicle_replica');

create table insurance_replica.vehicles (
    generation bigint not null,
    registration_number text not null
        constraint registration_number_is_canonical check (registration_number ~ '^[A-ZÅÄÖ0-9]{2,7}$'),
    make text,
    model text,
    model_year smallint,
    deleted_at timestamptz,                 -- a tombstone: it keeps older versions out
    version bigint not null,                -- Vehicle's; an older one never wins
    position bigint,                        -- of the event; null: it came with the snapshot
    loaded_at timestamptz not null default clock_timestamp(),
    primary key (generation, registration_number)
);
-- Not by `loaded_at`, which every change of a row would then write into the index.
create index tombstones_by_age on insurance_replica.vehicles (deleted_at)
    where deleted_at is not null;

-- Events that could not be applied. A later event of the same car closes them: each carries the
-- whole state.
create table insurance_replica.dead_letters (
    dead_letter_id uuid primary key,
    consumer text not null references insurance_replica.consumers,
    event_id uuid not null,                 -- what could not be read has the id that the feed gave
    position bigint not null,
    registration_number text,               -- null: it could not be read
    reason text not null
        constraint reason_is_known check (reason in ('unreadable', 'contract', 'effect', 'crash')),
    detail text not null constraint detail_is_short check (length(detail) <= 500),
    event bytea not null constraint event_is_small check (length(event) <= 65536),
    attempts smallint not null default 0,
    status text not null default 'parked'
        constraint status_is_known check (status in ('parked', 'retrying', 'resolved', 'discarded')),
    parked_at timestamptz not null default clock_timestamp(),
    next_try_at timestamptz,
    closed_at timestamptz,
    closed_by text,
    note text constraint note_is_short check (length(note) <= 500),
    constraint only_a_closed_one_has_an_end
    check ((status in ('resolved', 'discarded')) = (closed_at is not null)),
    unique (consumer, event_id)
);
create index dead_letters_open on insurance_replica.dead_letters
    (consumer, registration_number, position) where status in ('parked', 'retrying');
create index dead_letters_by_end on insurance_replica.dead_letters (closed_at)
    where closed_at is not null;

-- Looks at the past of a feed that an operator has asked for.
create table insurance_replica.replays (
    replay_id uuid primary key,
    consumer text not null references insurance_replica.consumers,
    mode text not null constraint mode_is_known check (mode in ('dry_run', 'rebuild')),
    status text not null default 'pending'
        constraint status_is_known check (
            status in ('pending', 'running', 'cancelling', 'completed', 'failed', 'cancelled')
        ),
    from_position bigint,                   -- the window of a dry run; a rebuild begins with a snapshot
    until_position bigint,
    types text[],
    subject text,
    generation bigint,                      -- the copy that a rebuild fills
    log_id uuid,
    event_id uuid,                          -- read up to here
    position bigint not null default 0,
    expected bigint not null default 0,
    seen bigint not null default 0,
    equal bigint not null default 0,
    newer bigint not null default 0,
    differences jsonb not null default '{}',
    failure text,
    requested_by text not null,
    owner text,
    reason text not null,
    created_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    ended_at timestamptz,
    constraint only_a_dry_run_has_a_window check (
        (mode = 'dry_run') = (from_position is not null and until_position is not null)
    ),
    constraint window_is_not_empty check (until_position >= from_position),
    constraint only_an_ended_one_has_an_end
    check ((status in ('completed', 'failed', 'cancelled')) = (ended_at is not null))
);
create unique index one_replay_at_a_time on insurance_replica.replays (consumer)
    where status in ('pending', 'running', 'cancelling');

-- Answers of Vehicle that were compared with the copy, counted by hour.
create table insurance_replica.comparisons (
    bucket timestamptz not null,
    outcome text not null
        constraint outcome_is_known check (
            outcome in (
                'equal', 'replica_behind', 'replica_ahead', 'only_live', 'only_replica', 'different'
            )
        ),
    samples bigint not null,
    primary key (bucket, outcome)
);
-- The newest ones that differed: which fields, never what is in them.
create table insurance_replica.differences (
    difference_id bigint generated always as identity primary key,
    seen_at timestamptz not null default clock_timestamp(),
    outcome text not null
        constraint outcome_is_known check (
            outcome in ('replica_behind', 'replica_ahead', 'only_live', 'only_replica', 'different')
        ),
    fields text[] not null default '{}'
);

insert into insurance.workers (worker) values ('vehicle_replica'), ('replays');

grant usage on schema insurance_replica to insurance_service;
grant select, update on insurance_replica.consumers to insurance_service;
grant select, insert, update on insurance_replica.replays to insurance_service;
grant select, insert, update, delete
    on insurance_replica.vehicles, insurance_replica.dead_letters, insurance_replica.comparisons
    to insurance_service;
grant select, insert, delete on insurance_replica.differences to insurance_service;
