-- Logs that this one goes on from. Each ended when events were lost, by a restore or a failover;
-- `new-log` writes it, as the owner.
create table vehicle_events.former_logs (
    log_id uuid primary key,
    position bigint not null,               -- of the last event that is left of it
    because text not null constraint because_is_short check (length(because) between 1 and 200),
    ended_at timestamptz not null default clock_timestamp()
);
create trigger append_only before update or delete on vehicle_events.former_logs
    for each row execute function vehicle_events.refuse();
create trigger never_truncated before truncate on vehicle_events.former_logs
    for each statement execute function vehicle_events.refuse();
alter table vehicle_events.former_logs
    enable always trigger append_only, enable always trigger never_truncated;
revoke update, delete, truncate on vehicle_events.former_logs from current_user;
grant select on vehicle_events.former_logs to vehicle_service;
