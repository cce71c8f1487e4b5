-- Locks neither readers nor writers out.
alter table insurance.insurances validate constraint status_is_known;
alter table insurance.insurances validate constraint version_starts_at_one;
alter table insurance.insurances validate constraint days_are_not_reversed;
alter table insurance.insurances validate constraint days_are_plausible;
alter table insurance.insurances validate constraint cancellation_is_the_end;
alter table insurance.insurances validate constraint only_the_ended_are_erased;
