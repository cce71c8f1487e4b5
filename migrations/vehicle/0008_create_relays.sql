-- Who publishes the events elsewhere, and how far it was when it last said so. That is for the lag:
-- where a relay goes on is said by the last event of its stream.
create table vehicle_events.relays (
    relay text primary key,
    stream text,
    position bigint not null default 0,
    -- One process at a time holds the lease; each holder has another fence.
    fence bigint not null default 0,
    leased_until timestamptz not null default '-infinity',
    updated_at timestamptz not null default clock_timestamp()
);
insert into vehicle_events.relays (relay) values ('nats');
grant select, update (stream, position, fence, leased_until, updated_at)
    on vehicle_events.relays to vehicle_service;
