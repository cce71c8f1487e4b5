-- Versions of rows, across all of them: a vehicle that is deleted and inserted again must not get
-- a version that it had before.
create sequence vehicle.versions;

-- Vehicles by registration number. The checks keep what the service's types promise.
create table vehicle.vehicles (
    registration_number text primary key
        constraint registration_number_is_canonical
        check (registration_number ~ '^[A-ZÅÄÖ0-9]{2,7}$'),
    make text constraint make_is_named check (length(make) between 1 and 100),
    model text constraint model_is_named check (length(model) between 1 and 100),
    model_year smallint constraint model_year_is_plausible check (model_year between 1886 and 2200),
    -- Rises with every change; the service's entity tags are made from it.
    version bigint not null default nextval('vehicle.versions')
);

create function vehicle.raise_version() returns trigger
language plpgsql as $$
begin
    new.version := nextval('vehicle.versions');
    return new;
end
$$;

create trigger raise_version before update on vehicle.vehicles
for each row execute function vehicle.raise_version();

grant usage on schema vehicle to vehicle_service;
grant select on vehicle.vehicles, vehicle._sqlx_migrations to vehicle_service;
