-- Logs that this one goes on from. Each ended when events were lost, by a restore or a failover;
-- `new-log` writes it, as the owner.
create table insurance_events.former_logs (
    log_id uuid primary key,
    position bigint not null,               -- of the last event that is left of it
    because text not null constraint because_is_short check (length(because) between 1 and 200),
    ended_at timestamptz not null default clock_timestamp()
);
grant select on insurance_events.former_logs to insurance_service;
