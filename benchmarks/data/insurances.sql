-- Persons 0 to :persons - 1 with 1 to 8 policies each, all cars for one half of them and none for the
-- other. `benchmarks/kit/data.py` computes the same ones.
insert into insurance.products (product, monthly_cost) values
    ('pet', 10), ('personal_health', 20), ('car', 30)
on conflict do nothing;

-- Without a look at the price list for each row, and without an event for each.
set session_replication_role = replica;
alter table insurance.insurances disable trigger demand_an_event;

insert into insurance.insurances
    (insurance_id, personal_identity_number, product, monthly_cost, car_registration_number)
select
    1000000 + person * 8 + policy,
    '19' || lpad((person::bigint * 7919 % 10000000000)::text, 10, '0'),
    case when person % 16 < 8 then 'car' when policy % 2 = 0 then 'pet' else 'personal_health' end,
    10 + (person * 8 + policy) % 90 + 0.5,
    case
        when person % 16 < 8 then
            chr(65 + (code / 676000)::integer) || chr(65 + (code / 26000 % 26)::integer)
            || chr(65 + (code / 1000 % 26)::integer) || lpad((code % 1000)::text, 3, '0')
    end
from (
    select person, policy, (person * 8 + policy)::bigint * 31337 % :vehicles * 7654321 % 17576000 as code
    from
        generate_series(0, :persons - 1) as person,
        generate_series(0, person % 8) as policy
) as numbered;

alter table insurance.insurances enable always trigger demand_an_event;

-- Several policies may have the same car.
insert into insurance.covers (insurance_id, car, cover, monthly_cost, overlapping)
select insurance_id, car_registration_number, daterange(valid_from, valid_until), monthly_cost, true
from insurance.insurances;

-- The copy of the insured cars, as the one that Insurance keeps when it has followed Vehicle so far.
insert into insurance_replica.vehicles
    (generation, registration_number, make, model, model_year, version)
select 1, registration_number, make, model, model_year, version
from vehicle.vehicles
where registration_number in (select car from insurance.covers);
-- Up to date for longer than a benchmark takes, and nobody follows.
update insurance_replica.consumers
set generation = 1, generations = 1, mode = 'paused', caught_up_at = now() + interval '1 year';
