-- A replay tells how many events it could not read. It looks at all events of its window.
alter table insurance_replica.replays
    add column failed bigint not null default 0,
    drop column types,
    drop column subject,
    drop column owner;
