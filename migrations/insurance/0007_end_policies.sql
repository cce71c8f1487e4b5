-- Who writes down what dates have ended.

-- What one process does at a time. Its lease ends by the clock; the fence is the number of the
-- lease, which rises with each holder, so that one that was overtaken can be told from the next.
create table insurance.workers (
    worker text primary key,
    fence bigint not null default 0,
    leased_until timestamptz not null default '-infinity'
);
insert into insurance.workers (worker) values ('expiry');
grant select, update (fence, leased_until) on insurance.workers to insurance_service;
