//! Recomputes the whole log from its events and says where it first differs from what is stored and
//! from checkpoints.

mod beside;
mod checkpoints;
mod tiles;

use std::{collections::BTreeSet, fmt};

use futures_util::TryStreamExt;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use self::{beside::Hours, checkpoints::Checkpoints, tiles::Tiles};
use crate::{
    Event, EventLog, Timestamp, checkpoint::PublicKey, lineage::Lineage, stored::event_columns,
    tile::signed, tree::Edge,
};

/// Events that are read at once, each while the server is busy with the next ones.
const PAGE: i64 = 10_000;
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
    /// How many of those were given.
    pub given: u64,
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
        let lineage = Lineage::read(self, connection, head.log_id).await?;
        let mut verification = Verification {
            log: self,
            edge: Edge::empty(),
            tiles: Tiles::default(),
            checkpoints: Checkpoints::of(lineage),
            last: None,
            hours: Hours::new(),
        };
        let fault = match verification.run(connection, exported, key).await {
            Ok(()) => None,
            Err(Stop::Fault(fault)) => Some(fault),
            Err(Stop::Database(error)) => return Err(error),
        };
        let found = verification.checkpoints;
        Ok(Report {
            log_id: head.log_id,
            events: verification.edge.size(),
            checkpoints: found.agreed,
            given: found.given,
            fault,
            lost: found.lost,
            lost_logs: found.lost_logs,
            needs_another_id: found.needs_another_id,
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
    /// The tree over the events that are good.
    edge: Edge,
    tiles: Tiles,
    checkpoints: Checkpoints,
    last: Option<Timestamp>,
    hours: Hours,
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
        let log = self.log;
        for note in exported {
            self.checkpoints.expect_exported(note, key)?;
        }
        self.checkpoints.expect_stored(log, connection, key).await?;
        loop {
            let before = self.edge.size();
            let page = self.page(connection).await;
            // A tile that is wrong was completed before the event that is.
            self.tiles.compare(log, connection).await?;
            page?;
            if self.edge.size() == before {
                break;
            }
        }
        beside::compare_head(log, connection, &self.edge).await?;
        let size = self.edge.size();
        self.checkpoints.end(size)?;
        beside::find_lost(log, connection, size).await?;
        beside::compare_counts(log, connection, (&self.hours, size)).await
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
        self.tiles.push(hash, self.edge.size());
        self.checkpoints.compare(&self.edge, event.placed_at)
    }
}
