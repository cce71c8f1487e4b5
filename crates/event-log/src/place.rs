//! One batch of the sequencer: a transaction that gives events their places.

use sqlx::{FromRow, PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::{
    Event, EventLog, Timestamp,
    floor::Candidate,
    sequencer::Error,
    stored::event_columns,
    tile::{self, Tile},
    tree::{Edge, Hash},
};

/// Most events of a batch.
const BATCH: i64 = 500;

/// What a batch did, once it is committed.
#[derive(Debug)]
pub(crate) struct Placed {
    /// How many events got a place.
    pub(crate) events: u64,
    /// How many of them were below the floor, which should never be.
    pub(crate) below_floor: u64,
    /// The last position of the log.
    pub(crate) position: i64,
    /// From which sequence on events may still wait.
    pub(crate) waits_from: i64,
    /// The oldest transaction that was running when the batch began.
    pub(crate) oldest_running: i64,
    /// To which sequence the floor may rise later.
    pub(crate) candidate: Candidate,
}

impl Placed {
    /// Whether there may be more to place at once.
    pub(crate) fn is_full(&self) -> bool {
        self.waits_from < i64::MAX
    }
}

#[derive(FromRow)]
struct Head {
    position: i64,
    edge: Vec<u8>,
    placed_at: Timestamp,
    oldest_running: i64,
    transaction: i64,
}

struct Waiting {
    sequence: i64,
    event: Event,
}

/// A row of `unplaced`, whose event may be missing.
struct Row {
    sequence: i64,
    event: Option<Event>,
}

impl FromRow<'_, PgRow> for Row {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let there: bool = row.try_get("there")?;
        Ok(Self {
            sequence: row.try_get("sequence")?,
            event: there.then(|| Event::from_row(row)).transpose()?,
        })
    }
}

/// Gives events from a sequence on their places, in the transaction of this connection, which has
/// done nothing yet. `None`: another one is at it.
pub(crate) async fn place(
    log: &EventLog,
    connection: &mut PgConnection,
    from: i64,
    floor: i64,
) -> Result<Option<Placed>, Error> {
    // Before the lock, with which this transaction takes its id: see `floor`.
    let last_drawn = log.sql("select last_value from event_log.sequences");
    let last_drawn = sqlx::query_scalar(last_drawn)
        .fetch_one(&mut *connection)
        .await?;
    let Some(head) = lock(log, connection).await? else {
        return Ok(None);
    };
    let size = u64::try_from(head.position).unwrap_or_default();
    let edge = Edge::read(size, &head.edge).ok_or(Error::Edge(head.position))?;
    let mut waiting = waiting(log, connection, from, head.placed_at).await?;
    for (waiting, position) in waiting.iter_mut().zip(head.position + 1..) {
        waiting.event.position = position;
    }
    if !waiting.is_empty() {
        write(log, connection, edge, &waiting).await?;
    }
    let below_floor = waiting.iter().filter(|it| it.sequence < floor);
    let count = waiting.len() as u64;
    Ok(Some(Placed {
        events: count,
        below_floor: below_floor.count() as u64,
        position: head.position + tile::signed(count),
        waits_from: match waiting.last() {
            Some(last) if tile::signed(count) == BATCH => last.sequence,
            _ => i64::MAX,
        },
        oldest_running: head.oldest_running,
        candidate: Candidate {
            sequence: last_drawn,
            transaction: head.transaction,
        },
    }))
}

/// Whoever holds this lock places. It makes positions dense, and a lost process loses it.
async fn lock(log: &EventLog, connection: &mut PgConnection) -> sqlx::Result<Option<Head>> {
    let lock = log.sql(
        "select position, edge,
             greatest(clock_timestamp(), placed_at) as placed_at,
             pg_snapshot_xmin(pg_current_snapshot())::text::bigint as oldest_running,
             pg_current_xact_id()::text::bigint as transaction
         from event_log.head for update skip locked",
    );
    sqlx::query_as(lock).fetch_optional(connection).await
}

/// Committed events without a place, in the order of their sequences, all of one snapshot. A
/// version is written only after the one before it was committed, so it has a higher sequence and
/// is never seen without it.
async fn waiting(
    log: &EventLog,
    connection: &mut PgConnection,
    from: i64,
    placed_at: Timestamp,
) -> Result<Vec<Waiting>, Error> {
    let select = log.sql(concat!(
        "select waiting.sequence, events.event_id is not null as there, ",
        event_columns!(),
        " from (
             select sequence, event_id, 0::bigint as position, $2::timestamptz as placed_at
             from event_log.unplaced where sequence >= $1 order by sequence limit $3
         ) waiting left join lateral (
             select * from event_log.events where event_id = waiting.event_id limit 1
         ) events on true
         order by waiting.sequence"
    ));
    let query = sqlx::query_as(select)
        .bind(from)
        .bind(placed_at)
        .bind(BATCH);
    let rows: Vec<Row> = query.fetch_all(connection).await?;
    let waiting = rows.into_iter().map(|Row { sequence, event }| {
        let event = event.ok_or(Error::Missing(sequence))?;
        Ok(Waiting { sequence, event })
    });
    waiting.collect()
}

async fn write(
    log: &EventLog,
    connection: &mut PgConnection,
    mut edge: Edge,
    waiting: &[Waiting],
) -> sqlx::Result<()> {
    let leaves: Vec<Hash> = waiting.iter().map(|it| it.event.leaf_hash()).collect();
    let size = edge.size();
    for leaf in &leaves {
        edge.push(*leaf);
    }
    insert_places(log, connection, &edge, (waiting, &leaves)).await?;
    let tiles = tile::complete(log, connection, size, leaves).await?;
    insert_tiles(log, connection, &tiles).await
}

/// Gives the events their places, counts them for the statistics and moves the head to the last one,
/// in one statement: readers wait for each way to the server and back.
async fn insert_places(
    log: &EventLog,
    connection: &mut PgConnection,
    edge: &Edge,
    (waiting, leaves): (&[Waiting], &[Hash]),
) -> sqlx::Result<()> {
    let events = || waiting.iter().map(|it| &it.event);
    let positions: Vec<i64> = events().map(|it| it.position).collect();
    let ids: Vec<Uuid> = events().map(|it| it.event_id).collect();
    let types: Vec<&str> = events().map(|it| it.event_type.as_str()).collect();
    let actors: Vec<&str> = events().map(|it| it.actor.as_str()).collect();
    let leaves: Vec<&[u8]> = leaves.iter().map(Hash::as_slice).collect();
    let sequences: Vec<i64> = waiting.iter().map(|it| it.sequence).collect();
    let insert = log.sql(
        "with batch as (
             select * from unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::bytea[])
                 as batch (position, event_id, event_type, actor, leaf_hash)
         ), places as (
             insert into event_log.log (position, event_id, event_type, actor, leaf_hash, placed_at)
             select position, event_id, event_type, actor, leaf_hash, $6::timestamptz from batch
         ), counts as (
             insert into event_log.hours as hours (hour, event_type, actor, events)
             select date_trunc('hour', $6::timestamptz, 'UTC'), event_type, actor, count(*)
             from batch group by event_type, actor
             on conflict (hour, event_type, actor)
                 do update set events = hours.events + excluded.events
         ), taken as (
             delete from event_log.unplaced where sequence = any($7)
         )
         update event_log.head set position = $8, edge = $9, placed_at = $6::timestamptz",
    );
    let insert = sqlx::query(insert).bind(positions).bind(ids).bind(types);
    let insert = insert.bind(actors).bind(leaves);
    let insert = insert.bind(events().next().map(|it| it.placed_at));
    let insert = insert.bind(sequences).bind(tile::signed(edge.size()));
    let insert = insert.bind(edge.bytes());
    insert.execute(connection).await.map(drop)
}

async fn insert_tiles(
    log: &EventLog,
    connection: &mut PgConnection,
    tiles: &[Tile],
) -> sqlx::Result<()> {
    let insert =
        "insert into event_log.event_tiles (level, tile, root, hashes) values ($1, $2, $3, $4)";
    for tile in tiles {
        let insert = sqlx::query(log.sql(insert))
            .bind(tile.level())
            .bind(tile.index());
        let insert = insert
            .bind(tile.root().to_vec())
            .bind(tile.children.concat());
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}
