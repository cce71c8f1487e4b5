//! Recomputes the whole log from its events and says where it first differs from what is stored and
//! from checkpoints.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, mem,
};

use futures_util::TryStreamExt;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::{
    Event, EventLog, Timestamp,
    checkpoint::{Checkpoint, PublicKey},
    lineage::{Lineage, log_id},
    stored::event_columns,
    tile::signed,
    tree::{Edge, Hash},
};

/// Events that are read at once, each while the server is busy with the next ones.
const PAGE: i64 = 10_000;
const NOT_SIGNED: &str = "the stored checkpoint of this size is not what was signed";
/// Leaves of a tile.
const WIDTH: usize = 256;
/// In microseconds.
const HOUR: i64 = 3_600_000_000;

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which log.
    pub log_id: Uuid,
    /// How many events are as they were hashed, from the first on.
    pub events: u64,
    /// How many checkpoints these events agree with, those that were given among them.
    pub checkpoints: u64,
    /// The first that was changed.
    pub fault: Option<Fault>,
    /// From where on events that were signed are missing, as after a restore. Others may have been
    /// placed there since.
    pub lost: Option<Fault>,
    /// Logs that are not known here: they went on from this one and were lost with their events.
    pub lost_logs: BTreeSet<Uuid>,
    /// Whether what is lost was given to readers under the log's present id.
    pub needs_another_id: bool,
}

impl Report {
    /// Whether everything is there and as it was.
    pub fn is_whole(&self) -> bool {
        self.fault.is_none() && self.lost.is_none()
    }
}

/// Something that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("position {position}: {what}")]
pub struct Fault {
    /// The first bad position. Where all hashes were made anew, the first that may be bad.
    pub position: u64,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            log_id,
            events,
            checkpoints,
            fault,
            lost,
            ..
        } = self;
        writeln!(
            f,
            "log {log_id}: {events} events and {checkpoints} checkpoints are as they were"
        )?;
        match (fault, lost) {
            (None, None) => writeln!(f, "the log is whole"),
            (None, Some(lost)) => writeln!(f, "the log is SHORTER than it was: {lost}"),
            (Some(fault), _) => writeln!(f, "the log is DIFFERENT from what it was: {fault}"),
        }
    }
}

impl EventLog {
    /// Verifies the log, in one transaction that sees one moment, against what is stored and the
    /// notes of checkpoints that were exported. Signatures are verified where the public key is known.
    pub async fn verify(
        &self,
        connection: &mut PgConnection,
        exported: &[String],
        key: Option<&PublicKey>,
    ) -> sqlx::Result<Report> {
        let moment = "set transaction isolation level repeatable read, read only";
        sqlx::raw_sql(moment).execute(&mut *connection).await?;
        let head = self.head(connection).await?;
        let mut verification = Verification {
            log: self,
            lineage: Lineage::read(self, connection, head.log_id).await?,
            edge: Edge::empty(),
            levels: Vec::new(),
            tiles: Tiles::default(),
            checkpoints: BTreeMap::new(),
            agreed: 0,
            covered: 0,
            last: None,
            hours: BTreeMap::new(),
            end: head.position.unsigned_abs(),
            lost: None,
            lost_logs: BTreeSet::new(),
            needs_another_id: false,
        };
        let fault = match verification.run(connection, exported, key).await {
            Ok(()) => None,
            Err(Stop::Fault(fault)) => Some(fault),
            Err(Stop::Database(error)) => return Err(error),
        };
        Ok(Report {
            log_id: head.log_id,
            events: verification.edge.size(),
            checkpoints: verification.agreed,
            fault,
            lost: verification.lost,
            lost_logs: verification.lost_logs,
            needs_another_id: verification.needs_another_id,
        })
    }
}

/// Why a verification went no further.
enum Stop {
    Fault(Fault),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

fn fault<T>(position: u64, what: impl Into<String>) -> Result<T, Stop> {
    let what = what.into();
    Err(Stop::Fault(Fault { position, what }))
}

struct Verification<'a> {
    log: &'a EventLog,
    lineage: Lineage,
    /// The tree over the events that are good.
    edge: Edge,
    /// The children of the tile at the right edge, for each level.
    levels: Vec<Vec<Hash>>,
    /// Tiles that are complete and not compared yet.
    tiles: Tiles,
    /// What checkpoints tell, by size.
    checkpoints: BTreeMap<u64, Vec<Expected>>,
    agreed: u64,
    /// The size of the last checkpoint that agreed.
    covered: u64,
    last: Option<Timestamp>,
    /// How many events were placed in an hour, by type and actor.
    hours: BTreeMap<(Timestamp, String, String), i64>,
    /// The last position, as `head` says.
    end: u64,
    lost: Option<Fault>,
    lost_logs: BTreeSet<Uuid>,
    needs_another_id: bool,
}

/// Who has kept a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The database, which loses it with the events.
    Stored,
    /// Somebody else; it is of the log as it is named now.
    Exported,
    /// Somebody else; it is of a log that this one goes on from.
    ExportedBefore,
}

/// What a checkpoint tells of the log as it was with a size.
struct Expected {
    root: Hash,
    signed_at: Option<Timestamp>,
    source: Source,
}

/// What tiles have to be, in the order in which they were completed.
#[derive(Default)]
struct Tiles {
    levels: Vec<i16>,
    indexes: Vec<i64>,
    hashes: Vec<Vec<u8>>,
    roots: Vec<Vec<u8>>,
    /// The last position of each.
    positions: Vec<u64>,
}

#[derive(FromRow)]
struct Placed {
    #[sqlx(flatten)]
    event: Event,
    copied_type: String,
    copied_actor: String,
    leaf_hash: Vec<u8>,
}

impl Verification<'_> {
    async fn run(
        &mut self,
        connection: &mut PgConnection,
        exported: &[String],
        key: Option<&PublicKey>,
    ) -> Result<(), Stop> {
        for note in exported {
            self.expect_exported(note, key)?;
        }
        self.expect_stored(connection, key).await?;
        loop {
            let before = self.edge.size();
            let page = self.page(connection).await;
            // A tile that is wrong was completed before the event that is.
            self.compare_tiles(connection).await?;
            page?;
            if self.edge.size() == before {
                break;
            }
        }
        self.end(connection).await
    }

    fn expect_exported(&mut self, note: &str, key: Option<&PublicKey>) -> Result<(), Stop> {
        let Ok((told, signed)) = Checkpoint::told(note, key) else {
            return fault(1, "a checkpoint that was given cannot be read");
        };
        let Checkpoint { origin, size, .. } = &told;
        match (self.lineage.largest_of(origin), log_id(origin)) {
            (Some(left), _) if *size > left => {
                let what = format!(
                    "the log goes on from {origin}, whose events from here to {size} were lost"
                );
                self.lose(Source::ExportedBefore, left + 1, what);
            }
            (Some(u64::MAX), _) => self.expect(&told, Source::Exported),
            (Some(_), _) => self.expect(&told, Source::ExportedBefore),
            // The key signs for no other database.
            (None, Some(id)) if signed => {
                self.lost_logs.insert(id);
                let what = format!(
                    "the log {origin}, which went on from here or from before, was lost with its \
                     events up to {size}"
                );
                self.lose(Source::Exported, self.end + 1, what);
            }
            (None, _) => {
                return fault(1, format!("the checkpoint is of another log, {origin}"));
            }
        }
        Ok(())
    }

    fn expect(&mut self, told: &Checkpoint, source: Source) {
        let expected = Expected {
            root: told.root,
            signed_at: told.signed_at,
            source,
        };
        self.checkpoints
            .entry(told.size)
            .or_default()
            .push(expected);
    }

    /// Events from a position on are missing, as a checkpoint says.
    fn lose(&mut self, source: Source, position: u64, what: String) {
        self.needs_another_id |= source == Source::Exported;
        let _ = self.lost.get_or_insert(Fault { position, what });
    }

    async fn expect_stored(
        &mut self,
        connection: &mut PgConnection,
        key: Option<&PublicKey>,
    ) -> Result<(), Stop> {
        let select = "select position, root, note from event_log.checkpoints order by position";
        let stored: Vec<(i64, Vec<u8>, String)> = sqlx::query_as(self.log.sql(select))
            .fetch_all(connection)
            .await?;
        let mut signed = false;
        for (position, root, note) in stored {
            let size = position.unsigned_abs();
            let Ok((told, by_key)) = Checkpoint::told(&note, key) else {
                return fault(size, NOT_SIGNED);
            };
            // Before the key signed anything there was another one, or none is known here.
            if signed && !by_key {
                return fault(size, "the stored checkpoint of this size is not signed");
            }
            signed = by_key;
            if told.size != size || told.root.as_slice() != root {
                return fault(size, NOT_SIGNED);
            }
            match self.lineage.largest_of(&told.origin) {
                Some(left) if size <= left => self.expect(&told, Source::Stored),
                _ => return fault(size, "the stored checkpoint of this size is of another log"),
            }
        }
        Ok(())
    }

    async fn page(&mut self, connection: &mut PgConnection) -> Result<(), Stop> {
        let select = self.log.sql(concat!(
            "select ",
            event_columns!(),
            ", log.event_type as copied_type, log.actor as copied_actor, leaf_hash
             from (
                 select * from event_log.log where position > $1 order by position limit $2
             ) log join lateral (
                 select * from event_log.events where event_id = log.event_id limit 1
             ) events on true order by position"
        ));
        let query = sqlx::query_as(select)
            .bind(signed(self.edge.size()))
            .bind(PAGE);
        let mut page = query.fetch(connection);
        while let Some(placed) = page.try_next().await? {
            self.take(placed)?;
        }
        Ok(())
    }

    fn take(&mut self, placed: Placed) -> Result<(), Stop> {
        let (event, position) = (&placed.event, self.edge.size() + 1);
        if event.position.unsigned_abs() != position {
            return fault(position, "the event or its place is missing");
        }
        let hash = event.leaf_hash();
        if placed.leaf_hash != hash {
            return fault(position, "the event is not the one that was hashed");
        }
        if placed.copied_type != event.event_type || placed.copied_actor != event.actor {
            return fault(
                position,
                "the place names another type or actor than the event",
            );
        }
        if self.last > Some(event.placed_at) {
            return fault(position, "the event was placed before the one before it");
        }
        self.last = Some(event.placed_at);
        let hour = Timestamp(event.placed_at.0.div_euclid(HOUR) * HOUR);
        let counted = (hour, placed.copied_type, placed.copied_actor);
        *self.hours.entry(counted).or_default() += 1;
        self.edge.push(hash);
        self.complete_tiles(hash);
        self.compare_checkpoints(event.occurred_at)
    }

    /// With those of the size that the tree has now, the last event of which occurred at this moment.
    fn compare_checkpoints(&mut self, occurred_at: Timestamp) -> Result<(), Stop> {
        let (size, first) = (self.edge.size(), self.covered + 1);
        let Some(all) = self.checkpoints.remove(&size) else {
            return Ok(());
        };
        let root = self.edge.root();
        for expected in all {
            // What was signed cannot hold an event that did not exist yet.
            let is_later = expected.signed_at.is_some_and(|it| it < occurred_at);
            if expected.root == root {
                self.agreed += 1;
                self.covered = size;
            } else if expected.source != Source::Stored && is_later {
                let what = format!(
                    "the events from here to {size}, which a checkpoint of that size covers, were \
                     lost, and others were placed there since"
                );
                self.lose(expected.source, first, what);
            } else {
                let what = format!(
                    "the checkpoint of the size {size} has another root: events from here to {size} were changed, with all hashes made anew"
                );
                return fault(first, what);
            }
        }
        Ok(())
    }

    fn complete_tiles(&mut self, mut hash: Hash) {
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::with_capacity(WIDTH));
            }
            let children = &mut self.levels[level];
            children.push(hash);
            if children.len() < WIDTH {
                return;
            }
            self.tiles.hashes.push(children.concat());
            let mut tile = Edge::empty();
            for child in children.drain(..) {
                tile.push(child);
            }
            hash = tile.root();
            let size = self.edge.size();
            let index = (size >> (8 * (level + 1))) - 1;
            self.tiles.roots.push(hash.to_vec());
            self.tiles.indexes.push(signed(index));
            self.tiles
                .levels
                .push(i16::try_from(level).unwrap_or(i16::MAX));
            self.tiles.positions.push(size);
        }
    }

    async fn compare_tiles(&mut self, connection: &mut PgConnection) -> Result<(), Stop> {
        let tiles = mem::take(&mut self.tiles);
        let select =
            "select number - 1 from unnest($1::smallint[], $2::bigint[], $3::bytea[], $4::bytea[])
                with ordinality as due (level, tile, hashes, root, number)
            where not exists (select from event_log.event_tiles stored
                where (stored.level, stored.tile, stored.hashes, stored.root)
                    = (due.level, due.tile, due.hashes, due.root))
            order by number limit 1";
        let query = sqlx::query_scalar(self.log.sql(select));
        let query = query.bind(&tiles.levels).bind(&tiles.indexes);
        let query = query.bind(&tiles.hashes).bind(&tiles.roots);
        let wrong: Option<i64> = query.fetch_optional(connection).await?;
        let Some(wrong) = wrong.and_then(|it| usize::try_from(it).ok()) else {
            return Ok(());
        };
        let (level, index) = (tiles.levels[wrong], tiles.indexes[wrong]);
        let what = format!("the tile {index} of level {level} is missing or was changed");
        fault(tiles.positions[wrong], what)
    }

    /// What can only be said once all events were looked at.
    async fn end(&mut self, connection: &mut PgConnection) -> Result<(), Stop> {
        let size = self.edge.size();
        let select = "select position, edge from event_log.head";
        let (position, edge): (i64, Vec<u8>) = sqlx::query_as(self.log.sql(select))
            .fetch_one(&mut *connection)
            .await?;
        if position.unsigned_abs() != size || edge != self.edge.bytes() {
            let what = format!("the log ends here, and `head` says that it ends at {position}");
            return fault(size + 1, what);
        }
        for (longer, all) in mem::take(&mut self.checkpoints) {
            let what = format!("the log ends before its checkpoint of the size {longer}");
            if all.iter().any(|it| it.source == Source::Stored) {
                return fault(size + 1, what);
            }
            self.lose(Source::Exported, size + 1, what);
        }
        self.find_lost(connection).await?;
        self.compare_counts(connection).await
    }

    /// An event that neither has a place nor waits for one. Every place from the first on has led to
    /// an event of its own, so to count them is enough, and quicker than to look for each one's place.
    async fn find_lost(&self, connection: &mut PgConnection) -> Result<(), Stop> {
        let select = "select exists (select from event_log.log where position < 1)";
        let outside: bool = sqlx::query_scalar(self.log.sql(select))
            .fetch_one(&mut *connection)
            .await?;
        if outside {
            return fault(1, "there are places before the first one");
        }
        let select = "select (select count(*) from event_log.events) > $1 + (
                select count(distinct event_id) from event_log.unplaced
                join event_log.events using (event_id)
                where not exists (select from event_log.log where event_id = unplaced.event_id))";
        let is_lost: bool = sqlx::query_scalar(self.log.sql(select))
            .bind(signed(self.edge.size()))
            .fetch_one(&mut *connection)
            .await?;
        if !is_lost {
            return Ok(());
        }
        let select = "select event_id from event_log.events events
            where not exists (select from event_log.log where event_id = events.event_id)
                and not exists (select from event_log.unplaced where event_id = events.event_id)
            limit 1";
        let id: Uuid = sqlx::query_scalar(self.log.sql(select))
            .fetch_one(connection)
            .await?;
        let what = format!("the event {id} has no place and waits for none");
        fault(self.edge.size() + 1, what)
    }

    /// What statistics are made of.
    async fn compare_counts(&self, connection: &mut PgConnection) -> Result<(), Stop> {
        let select = "select hour, event_type, actor, events from event_log.hours";
        let hours: Vec<(Timestamp, String, String, i64)> = sqlx::query_as(self.log.sql(select))
            .fetch_all(connection)
            .await?;
        let hours: BTreeMap<_, _> = hours
            .into_iter()
            .map(|(hour, event_type, actor, events)| ((hour, event_type, actor), events))
            .collect();
        if hours != self.hours {
            let what = "the counts in `hours` are not those of the log";
            return fault(self.edge.size() + 1, what);
        }
        Ok(())
    }
}
