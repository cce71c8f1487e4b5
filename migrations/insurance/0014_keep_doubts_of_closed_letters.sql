-- An operator who closes a dead letter does not give the copy what it lacks: until a later event of
-- the car, or a new copy, it is not told as up to date.
alter table insurance_replica.dead_letters
    add column superseded_at timestamptz;   -- the copy has had what the letter told, or later, since then
create index dead_letters_lacking on insurance_replica.dead_letters (consumer, registration_number)
    where superseded_at is null and closed_by is distinct from 'worker/vehicle_replica';
