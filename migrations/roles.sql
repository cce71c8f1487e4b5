-- The four roles of the two services. Run once in each database by an administrator, before the
-- first `migrate`; running it again changes nothing. Passwords are set apart from this file:
--   alter role vehicle_service login password '…';
-- <service>_migrator owns the service's schemas. <service>_service has the rights that the
-- migrations grant it one by one, so those to create that PostgreSQL gives to everybody are taken
-- away.
begin;
-- Two of these at once must not change the same rights.
select pg_advisory_xact_lock(5081, 5082);

do $$
declare
    name text;
begin
    foreach name in array array[
        'vehicle_migrator', 'vehicle_service', 'insurance_migrator', 'insurance_service'
    ] loop
        if not exists (select from pg_roles where rolname = name) then
            begin
                execute format('create role %I', name);
            exception when duplicate_object or unique_violation then
                null; -- Roles belong to the whole server: a run in another database was faster.
            end;
        end if;
        execute format('grant connect on database %I to %I', current_database(), name);
    end loop;
    execute format(
        'grant create on database %I to vehicle_migrator, insurance_migrator', current_database()
    );
    execute format('revoke temporary on database %I from public', current_database());
    if to_regnamespace('public') is not null then
        revoke create on schema public from public;
    end if;
end
$$;
commit;
