-- Vehicles 0 to :vehicles - 1. `benchmarks/kit/data.py` computes the same ones. As if from before the
-- log, so that none is told.
alter table vehicle.vehicles disable trigger tell_the_change;
insert into vehicle.vehicles (registration_number, make, model, model_year)
select
    chr(65 + (code / 676000)::integer) || chr(65 + (code / 26000 % 26)::integer)
    || chr(65 + (code / 1000 % 26)::integer) || lpad((code % 1000)::text, 3, '0'),
    (array['Volvo', 'Toyota', 'Ford', 'Kia', 'Saab', 'Polestar', 'Volkswagen'])[1 + vehicle % 7],
    'Model ' || vehicle % 97,
    1990 + vehicle % 36
from (
    -- Neighbours in time are no neighbours in the index.
    select vehicle, vehicle::bigint * 7654321 % 17576000 as code
    from generate_series(0, :vehicles - 1) as vehicle
) as numbered;
alter table vehicle.vehicles enable always trigger tell_the_change;
