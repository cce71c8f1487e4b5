-- Price list, sample persons and their policies. May run any number of times.
insert into insurance.products (product, monthly_cost) values
    ('pet', 10), ('personal_health', 20), ('car', 30)
on conflict do nothing;
call insurance.set_first_prices();

insert into insurance.insurances
    (insurance_id, personal_identity_number, product, monthly_cost, car_registration_number)
values
    (1000000, '199001011234', 'car', 30, 'ABC123'),
    (1000001, '199001011234', 'pet', 10, null),
    (1000002, '198505155678', 'personal_health', 20, null),
    (1000003, '198505155678', 'car', 30, 'DEF456'),
    (1000004, '200310209876', 'pet', 10, null)
on conflict do nothing;

-- New policies are numbered after those that are there, and never with the number of a deleted one.
select setval('insurance.insurances_insurance_id_seq', policies.newest)
from
    insurance.insurances_insurance_id_seq as numbers,
    (select max(insurance_id) as newest from insurance.insurances) as policies
where numbers.last_value < policies.newest;
