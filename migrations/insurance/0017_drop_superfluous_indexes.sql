-- Each has a successor: policies_of_a_person and events_of_a_request. The release before this one goes
-- on working, more slowly: its profile looks at the table as well, and where it asks for the events of
-- a request by the old index, it walks along the log.
set local lock_timeout = '2s';

drop index insurance.insurances_of_a_person;
drop index insurance_events.events_by_correlation;
