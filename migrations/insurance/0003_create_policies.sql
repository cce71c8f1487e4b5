-- Policies that change: status, dates, the days that they cover, a price list with periods, and no
-- change without its event. Only adds, so the release before this one goes on working. The defaults
-- are constants, which rewrite no row.
set local lock_timeout = '2s';

alter table insurance.insurances
    -- What was decided last. What it is today is said by the dates as well.
    add column status text not null default 'active',
    add column version bigint not null default 1,
    add column valid_from date not null default '2020-01-01',
    add column valid_until date,                -- the first day without cover
    add column cancelled_on date,               -- from this day on it is cancelled
    alter column personal_identity_number drop not null;    -- null: the person was erased
-- Validated by a step of its own, which locks nobody out.
alter table insurance.insurances
    add constraint status_is_known
    check (status in ('draft', 'active', 'suspended', 'cancelled', 'expired')) not valid,
    add constraint version_starts_at_one check (version >= 1) not valid,
    add constraint days_are_not_reversed check (valid_until >= valid_from) not valid,
    -- Those that the service's type can hold: not `infinity`, not 9999-12-31.
    add constraint days_are_plausible check (
        valid_from between '1900-01-01' and '2199-12-31'
        and valid_until between '1900-01-01' and '2199-12-31'
        and cancelled_on between '1900-01-01' and '2199-12-31'
    ) not valid,
    -- A cancelled draft keeps the days that it was drafted for.
    add constraint cancellation_is_the_end check (
        cancelled_on is null or status = 'cancelled'
        or valid_until is not distinct from greatest(cancelled_on, valid_from)
    ) not valid,
    add constraint only_the_ended_are_erased check (
        personal_identity_number is not null or status in ('draft', 'cancelled', 'expired')
    ) not valid;

-- Equality in an exclusion constraint, as a span of one point: btree_gist is not everywhere.
create type insurance.text_span as range (subtype = text, collation = "C");

-- The days of a policy with the car and the cost of each: the profile, the list by car and the
-- rule against two covers at a time read these. A draft has none.
create table insurance.covers (
    insurance_id bigint not null references insurance.insurances,
    car text
        constraint registration_number_is_canonical check (car ~ '^[A-ZÅÄÖ0-9]{2,7}$'),
    cover daterange not null
        constraint cover_is_half_open check (not isempty(cover) and not lower_inf(cover)),
    monthly_cost numeric not null
        constraint monthly_cost_is_money
        check (monthly_cost between 0 and 9999999999.99 and scale(trim_scale(monthly_cost)) <= 2),
    -- Came with days on which another policy covers the car: marked, not refused.
    overlapping boolean not null default false,
    primary key (insurance_id, cover) include (car, monthly_cost),
    constraint one_period_at_a_time
    exclude using gist (int8range(insurance_id, insurance_id, '[]') with =, cover with &&),
    -- Past days too: a cancelled policy keeps those that it covered.
    constraint one_cover_at_a_time
    exclude using gist (insurance.text_span(car, car, '[]') with =, cover with &&)
    where (car is not null and not overlapping)
);
create index covers_by_car on insurance.covers (car, insurance_id) where car is not null;

-- The first event and the cover of a row that was there before, or that came by SQL.
create function insurance.import_policy(policy insurance.insurances) returns void
language plpgsql security definer set search_path = '' as $$
declare
    -- `least` leaves nulls out.
    until date := least(policy.valid_until, policy.cancelled_on);
    ended boolean := policy.status in ('cancelled', 'expired');
    days daterange := daterange(
        policy.valid_from, case when until > policy.valid_from then until
            when until is not null then policy.valid_from end
    );
    marked boolean := false;
begin
    if ended and until > (now() at time zone 'Europe/Stockholm')::date then
        raise exception 'policy % has ended, but its end is still to come', policy.insurance_id
        using errcode = 'check_violation';
    end if;
    -- Which days it covered is unknown where it has ended without an end.
    if policy.status <> 'draft' and not isempty(days) and not (ended and until is null) then
        -- By `is true`, the covers of the car are looked at, and not those of everybody.
        marked := exists (
            select from insurance.covers
            where car = policy.car_registration_number and (cover && days) is true
        );
        -- Waits for the end of a transaction that covers the car on the same days.
        insert into insurance.covers (insurance_id, car, cover, monthly_cost, overlapping)
        values (
            policy.insurance_id, policy.car_registration_number, days, policy.monthly_cost, marked
        )
        on conflict on constraint one_cover_at_a_time do nothing;
        if not found then
            marked := true;
            insert into insurance.covers (insurance_id, car, cover, monthly_cost, overlapping)
            values (
                policy.insurance_id, policy.car_registration_number, days, policy.monthly_cost, true
            );
        end if;
    end if;
    insert into insurance_events.events
        (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, data)
    values (
        gen_random_uuid(), 'policy', policy.insurance_id::text, policy.version,
        'policy.imported.v1', 'database/' || session_user, 'none',
        json_build_object(
            'insuranceId', policy.insurance_id, 'product', policy.product, 'status', policy.status,
            'validFrom', policy.valid_from, 'validUntil', policy.valid_until,
            'cancelledOn', policy.cancelled_on, 'monthlyCost', policy.monthly_cost,
            'carRegistrationNumber', policy.car_registration_number, 'coverOverlaps', marked
        )
    );
end
$$;
revoke execute on function insurance.import_policy from public;

-- All rows without an event, 1,000 in a transaction. May be stopped and called again.
create procedure insurance.import_policies() language plpgsql as $$
declare
    page bigint[];
    policy insurance.insurances;
    latest bigint;
begin
    loop
        page := array(
            select insurance_id from insurance.insurances
            where insurance_id > latest or latest is null order by insurance_id limit 1000
        );
        exit when cardinality(page) = 0;
        foreach latest in array page loop
            -- As it is now: it may have changed or gone since the page was read.
            select * into policy from insurance.insurances
            where insurance_id = latest for no key update;
            if found and not exists (
                select from insurance_events.events
                where aggregate_type = 'policy' and aggregate_id = policy.insurance_id::text
                    and version <= policy.version
                    and event_type in ('policy.imported.v1', 'policy.drafted.v1')
            ) then
                perform insurance.import_policy(policy);
            end if;
        end loop;
        commit;
    end loop;
    if exists (select from insurance.covers where overlapping) then
        raise warning 'policies that cover a car on days that another one covers (at most 100): %', (
            select string_agg(insurance_id::text, ', ' order by insurance_id)
            from (
                select insurance_id from insurance.covers where overlapping
                order by insurance_id limit 100
            ) as found
        );
    end if;
end
$$;
revoke execute on procedure insurance.import_policies from public;

-- No change of a policy without its event, whoever writes. Deferred: row and event may come in
-- either order.
create function insurance.demand_an_event() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    id text := coalesce(new.insurance_id, old.insurance_id);
    due bigint := coalesce(old.version + 1, new.version);
begin
    -- An erasure is no event: the log never knew the number.
    if tg_op = 'UPDATE' and new.personal_identity_number is null
        and to_jsonb(new) - 'personal_identity_number' = to_jsonb(old) - 'personal_identity_number'
    then
        return null;
    end if;
    if tg_op = 'UPDATE' and (
        new.insurance_id <> old.insurance_id
        or new.personal_identity_number <> old.personal_identity_number
        or new.personal_identity_number is not null and old.personal_identity_number is null
    ) then
        raise exception 'a policy keeps its number and its person'
        using errcode = 'integrity_constraint_violation';
    end if;
    if tg_op = 'INSERT' and exists (
        select from insurance_events.events
        where aggregate_type = 'policy' and aggregate_id = id and event_type = 'policy.removed.v1'
    ) then
        raise exception 'policy % was removed: its number is not given again', id
        using errcode = 'integrity_constraint_violation';
    end if;
    if tg_op <> 'DELETE' and new.version <> due or not exists (
        select from insurance_events.events
        where aggregate_type = 'policy' and aggregate_id = id and version = due
            and (event_type = 'policy.removed.v1') = (tg_op = 'DELETE')
    ) then
        if tg_op <> 'INSERT' then
            raise exception 'a policy changed without an event'
            using errcode = 'integrity_constraint_violation';
        end if;
        perform insurance.import_policy(new);
    end if;
    return null;
end
$$;
revoke execute on function insurance.demand_an_event from public;
create constraint trigger demand_an_event after insert or update or delete on insurance.insurances
deferrable initially deferred for each row execute function insurance.demand_an_event();

-- A truncation has no rows whose events could be demanded.
create function insurance.refuse_truncate() returns trigger language plpgsql as $$
begin
    raise exception 'policies are not truncated: use delete' using errcode = 'restrict_violation';
end
$$;
create trigger never_truncated before truncate on insurance.insurances
for each statement execute function insurance.refuse_truncate();
create trigger never_truncated before truncate on insurance.covers
for each statement execute function insurance.refuse_truncate();

-- `always`: also for the apply worker of a logical replication.
alter table insurance.insurances
    enable always trigger demand_an_event, enable always trigger never_truncated;
alter table insurance.covers enable always trigger never_truncated;

-- What a product costs from a day on, until its next price begins. Rows are only added.
create table insurance.prices (
    product text not null references insurance.products,
    valid_from date not null
        constraint day_is_plausible check (valid_from between '1900-01-01' and '2199-12-31'),
    monthly_cost numeric not null
        constraint monthly_cost_is_money
        check (monthly_cost between 0 and 9999999999.99 and scale(trim_scale(monthly_cost)) <= 2),
    version bigint not null constraint version_starts_at_one check (version >= 1),
    primary key (product, valid_from),
    unique (product, version)
);

-- The price list so far is the first price of each product.
create procedure insurance.set_first_prices() language sql as $$
    with first as (
        insert into insurance.prices (product, valid_from, monthly_cost, version)
        select product, '2020-01-01', monthly_cost, 1 from insurance.products
        on conflict do nothing
        returning product, valid_from, monthly_cost, version
    )
    insert into insurance_events.events
        (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, data)
    select
        gen_random_uuid(), 'price', product, version, 'price.set.v1',
        'database/' || session_user, 'none',
        json_build_object('product', product, 'validFrom', valid_from, 'monthlyCost', monthly_cost)
    from first
$$;
revoke execute on procedure insurance.set_first_prices from public;
call insurance.set_first_prices();

-- What was answered to a request with an `Idempotency-Key`.
create table insurance.idempotency_keys (
    caller text not null,       -- a client: two keys of a rotation share it, two clients never meet
    key text not null constraint key_is_short check (length(key) between 16 and 64),
    fingerprint bytea not null
        constraint fingerprint_is_hmac_sha256 check (length(fingerprint) = 32),
    status smallint,            -- null only inside the transaction that claims the key
    headers json,
    body bytea,
    subject text,               -- 'policy/1000005': an erasure finds the answer by it
    created_at timestamptz not null default now(),
    primary key (caller, key)
);
create index idempotency_keys_by_age on insurance.idempotency_keys (created_at);
create index idempotency_keys_by_subject on insurance.idempotency_keys (subject);

-- Column by column: numbers and persons of policies are given once, and an answer keeps its key.
grant insert (
    personal_identity_number, product, status, valid_from, valid_until, monthly_cost,
    car_registration_number
), update (
    personal_identity_number, product, status, version, valid_from, valid_until, cancelled_on,
    monthly_cost, car_registration_number
) on insurance.insurances to insurance_service;
-- `overlapping` too: a marked cover that is cut is written anew, and stays marked.
grant select, insert, delete on insurance.covers to insurance_service;
grant select, insert on insurance.prices to insurance_service;
grant select, insert (caller, key, fingerprint), delete,
    update (fingerprint, status, headers, body, subject, created_at)
    on insurance.idempotency_keys to insurance_service;
