-- The four roles of the two services. Run once in each database by an administrator, before the
-- first `migrate`; running it again changes nothing. Passwords are set apart from this file:
--   alter role vehicle_service login password '…';
-- <service>_migrator owns the service's schema. <service>_service may only read it.
begin;
-- Roles belong to the whole server: two of these at once must not both create them.
select pg_advisory_xact_lock(5081, 5082);

do $$
declare
    name text;
begin
    foreach name in array array[
        'vehicle_migrator', 'vehicle_service', 'insurance_migrator', 'insurance_service'
    ] loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I', name);
        end if;
        execute format('grant connect on database %I to %I', current_database(), name);
    end loop;
    execute format(
        'grant create on database %I to vehicle_migrator, insurance_migrator', current_database()
    );
end
$$;
commit;
