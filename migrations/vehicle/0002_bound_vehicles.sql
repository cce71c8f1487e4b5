-- What a caller of the service may rely on: no control characters in a text, a plausible year.
-- New and changed rows only: reading the table would keep it locked meanwhile.
set local lock_timeout = '2s';

alter table vehicle.vehicles
    drop constraint make_is_named,
    drop constraint model_is_named,
    drop constraint model_year_is_plausible,
    add constraint make_is_named
    check (length(make) between 1 and 100 and make !~ '[\u0001-\u001f\u007f-\u009f]') not valid,
    add constraint model_is_named
    check (length(model) between 1 and 100 and model !~ '[\u0001-\u001f\u007f-\u009f]') not valid,
    add constraint model_year_is_plausible check (model_year between 1885 and 2100) not valid;
