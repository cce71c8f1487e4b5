-- Sample vehicles. May run any number of times.
insert into vehicle.vehicles (registration_number, make, model, model_year) values
    ('ABC123', 'Volvo', 'XC60', 2021),
    ('GHI789', 'Ford', 'F-150', 2020),
    ('DEF456', 'Toyota', 'RAV4', 2022)
on conflict do nothing;
