-- It has a successor: events_of_a_request. The release before this one goes on working; where it asks
-- for the events of a request by the old index, it walks along the log.
set local lock_timeout = '2s';

drop index vehicle_events.events_by_correlation;
