-- Looks at the rows that were there before the bounds, without locking readers or writers out.
-- A row that breaks one stops no release: it stays as it is until somebody changes it, and the
-- service's callers hold it to the same bounds.
do $$
declare
    bound text;
begin
    foreach bound in array array['make_is_named', 'model_is_named', 'model_year_is_plausible'] loop
        begin
            execute format('alter table vehicle.vehicles validate constraint %I', bound);
        exception when check_violation then
            raise warning 'vehicle.vehicles has rows that break %: mend them and validate it', bound;
        end;
    end loop;
end
$$;
