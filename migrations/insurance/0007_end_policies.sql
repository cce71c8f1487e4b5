-- Policies that dates have ended, and who writes that down.
set local lock_timeout = '2s';

-- What one process does at a time. Its lease ends by the clock; the fence is the number of the
-- lease, which rises with each holder, so that one that was overtaken can be told from the next.
create table insurance.workers (
    worker text primary key,
    fence bigint not null default 0,
    leased_until timestamptz not null default '-infinity'
);
insert into insurance.workers (worker) values ('expiry');
grant select, update (fence, leased_until) on insurance.workers to insurance_service;

-- By the day on which a policy ends. A cancellation may come before the first day, which is then
-- the first one without cover.
create index policies_by_end
    on insurance.insurances (least(valid_until, cancelled_on), insurance_id)
    where status in ('active', 'suspended') and least(valid_until, cancelled_on) is not null;
drop index insurance.policies_to_end;
