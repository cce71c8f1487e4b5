-- The events of a request in the order of their writing, so that a page of them costs as much as any
-- other. By the hash of its id, which takes half the room; the reader compares the id, too. The index
-- of the release before this one, events_by_correlation, goes with a later one.
set local lock_timeout = '2s';

create index events_of_a_request
    on insurance_events.events (hashtextextended(correlation_id, 0), sequence)
    where correlation_id <> 'none';
