//! Signs a checkpoint every so often, and none of a log that does not extend the one before.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::metrics::{Gauge, Meter};
use service_database::Database;
use service_defaults::{
    chain,
    tasks::{OnEnd, Tasks},
    telemetry::AUDIT,
};
use sqlx::{FromRow, PgConnection};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    EventLog, Timestamp,
    checkpoint::{Checkpoint, SigningKey},
    lineage::Lineage,
    sequencer::Error,
    tile::signed,
    tree::{Edge, Hash, verify_consistency},
};

/// A checkpoint is due after so many events,
const EVENTS: i64 = 1_000;
/// or so long after the one before, where there are any.
const PERIOD: Duration = Duration::from_mins(1);
/// Between a look at whether one is due and the next.
const PAUSE: Duration = Duration::from_secs(1);
/// How long signing may take.
const LIMIT: Duration = Duration::from_secs(5);

/// What one step of the signer did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    /// There is a new checkpoint: this note.
    Note(String),
    /// There was nothing new.
    Nothing,
    /// Another process was at it: nothing was looked at.
    Busy,
    /// The log does not extend the checkpoint of this size, or its end is not what was placed.
    Refused(u64),
}

/// The signer of one process.
pub struct Signer {
    log: EventLog,
    database: Database,
    key: Arc<SigningKey>,
    /// The last checkpoint that this process knows, whatever the table says now.
    last: Option<(u64, Hash)>,
    refused: Arc<AtomicBool>,
    refusing: Gauge<u64>,
    age: Gauge<f64>,
}

impl EventLog {
    /// Runs a signer in this process until it stops. The flag says whether it refuses to sign.
    pub fn spawn_signer(
        &self,
        key: SigningKey,
        database: &Database,
        tasks: &Tasks,
        meter: &Meter,
    ) -> Arc<AtomicBool> {
        let signer = Signer::new(self.clone(), database.clone(), key, meter);
        let refused = signer.refused();
        tasks.spawn("signer", OnEnd::Restart, move |told| {
            let signer = signer.again();
            async move {
                told.run_until_cancelled(signer.run()).await;
            }
        });
        refused
    }
}

impl Signer {
    /// It takes one connection at a time.
    pub fn new(log: EventLog, database: Database, key: SigningKey, meter: &Meter) -> Self {
        let age = meter
            .f64_gauge("event_log.checkpoint.age")
            .with_unit("s")
            .with_description(
                "How long events have waited to be covered by a checkpoint; 0 where all are",
            )
            .build();
        let refusing = meter
            .u64_gauge("event_log.checkpoint.refused")
            .with_description("1 where the log does not extend its last checkpoint, else 0")
            .build();
        refusing.record(0, &[]);
        Self {
            log,
            database,
            key: key.into(),
            last: None,
            refused: Arc::default(),
            refusing,
            age,
        }
    }

    /// Whether it refuses to sign, from now on.
    pub fn refused(&self) -> Arc<AtomicBool> {
        self.refused.clone()
    }

    fn again(&self) -> Self {
        Self {
            log: self.log.clone(),
            database: self.database.clone(),
            key: self.key.clone(),
            last: self.last,
            refused: self.refused.clone(),
            refusing: self.refusing.clone(),
            age: self.age.clone(),
        }
    }

    /// Signs for as long as it is polled.
    pub async fn run(mut self) -> Infallible {
        let mut covered = Instant::now();
        loop {
            let position = *self.log.0.position.borrow();
            let new = position - self.last.map_or(0, |(size, _)| signed(size));
            if new <= 0 {
                covered = Instant::now();
            }
            self.age.record(covered.elapsed().as_secs_f64(), &[]);
            // Events that were covered are gone: there is a refusal to tell of.
            let shrunk = new < 0;
            let due = shrunk || new >= EVENTS || new > 0 && covered.elapsed() >= PERIOD;
            let last = self.last;
            let pause = if due { self.sign().await } else { PAUSE };
            if self.last != last {
                covered = Instant::now();
            }
            sleep(pause).await;
        }
    }

    /// Signs, says so, and tells when to look again.
    async fn sign(&mut self) -> Duration {
        match self.step().await {
            Ok(Signed::Note(note)) => {
                tracing::info!(target: AUDIT, note, "a checkpoint of the event log");
                PAUSE
            }
            Ok(Signed::Nothing | Signed::Busy) => PAUSE,
            Ok(Signed::Refused(size)) => {
                tracing::error!(
                    size,
                    "the event log does not extend its checkpoint of this size: nothing is signed"
                );
                PERIOD
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "no checkpoint was signed");
                PERIOD
            }
        }
    }

    /// Signs a checkpoint of the log as it is, where it has new events.
    pub async fn step(&mut self) -> Result<Signed, Error> {
        let arguments = (self.log.clone(), self.key.clone(), self.last);
        let signed =
            self.database
                .transaction(LIMIT, &arguments, |connection, (log, key, last)| {
                    Box::pin(sign(log, connection, key, *last))
                });
        let (signed, last) = match signed.await {
            Err(Error::Edge(position)) => (Signed::Refused(position.unsigned_abs()), None),
            done => done?,
        };
        self.last = last.or(self.last);
        if signed != Signed::Busy {
            let refused = matches!(signed, Signed::Refused(_));
            self.refused.store(refused, Ordering::Relaxed);
            self.refusing.record(refused.into(), &[]);
        }
        Ok(signed)
    }
}

#[derive(FromRow)]
struct Head {
    log_id: Uuid,
    position: i64,
    edge: Vec<u8>,
    now: Timestamp,
}

impl Head {
    /// No event up to its position has a place that is later than its moment, also where the clock
    /// was set back.
    async fn read(log: &EventLog, connection: &mut PgConnection) -> sqlx::Result<Self> {
        let select = "select log_id, position, edge, greatest(clock_timestamp(), placed_at) as now
             from event_log.head";
        sqlx::query_as(log.sql(select)).fetch_one(connection).await
    }

    /// Of the log as it ends here; `None` where that is not what was placed.
    fn checkpoint(&self, key: &SigningKey) -> Option<Checkpoint> {
        let size = self.position.unsigned_abs();
        let end = (size, Edge::read(size, &self.edge)?.root());
        Some(Checkpoint::new(key.name(), self.log_id, end, self.now))
    }
}

/// A checkpoint in the table.
#[derive(FromRow)]
struct Stored {
    position: i64,
    root: Vec<u8>,
    note: String,
}

/// What was done, and the last checkpoint that is known now.
type Outcome = (Signed, Option<(u64, Hash)>);

/// Signs the first checkpoint of a new log, where it has events. The last one of the log before
/// stays where it has the same size.
pub(crate) async fn sign_first(
    log: &EventLog,
    connection: &mut PgConnection,
    key: &SigningKey,
) -> sqlx::Result<Option<String>> {
    match Head::read(log, connection).await?.checkpoint(key) {
        Some(first) if first.size > 0 => store(log, connection, key, &first).await.map(Some),
        _ => Ok(None),
    }
}

/// Events are placed meanwhile: what is signed and what it is compared with stays as it is. So the
/// last checkpoint is read before the head, which is never shorter then.
async fn sign(
    log: &EventLog,
    connection: &mut PgConnection,
    key: &SigningKey,
    known: Option<(u64, Hash)>,
) -> Result<Outcome, Error> {
    if !lock(log, connection).await? {
        return Ok((Signed::Busy, None));
    }
    let stored = match last_stored(log, connection, key).await? {
        Ok(stored) => stored,
        Err(size) => return Ok((Signed::Refused(size), None)),
    };
    let head = Head::read(log, connection).await?;
    let checkpoint = head.checkpoint(key).ok_or(Error::Edge(head.position))?;
    if let Some(stored) = &stored {
        let lineage = Lineage::read(log, connection, head.log_id).await?;
        if lineage.largest_of(&stored.origin) < Some(stored.size) {
            return Ok((Signed::Refused(stored.size), None));
        }
    }
    let stored = stored.map(|it| (it.size, it.root));
    let now = (checkpoint.size, checkpoint.root);
    let other = known.filter(|known| stored != Some(*known));
    for before in [other, stored].into_iter().flatten() {
        if !extends(log, connection, before, now).await? {
            return Ok((Signed::Refused(before.0), None));
        }
    }
    if now.0 == 0 || stored.is_some_and(|(last, _)| last == now.0) {
        return Ok((Signed::Nothing, stored));
    }
    let note = store(log, connection, key, &checkpoint).await?;
    Ok((Signed::Note(note), Some(now)))
}

/// Whoever holds this lock signs. The sequencer's would keep it from its work meanwhile.
async fn lock(log: &EventLog, connection: &mut PgConnection) -> sqlx::Result<bool> {
    let lock = "select pg_try_advisory_xact_lock(5084, hashtext('event_log.checkpoints'))";
    sqlx::query_scalar(log.sql(lock))
        .fetch_one(connection)
        .await
}

/// Signs a checkpoint, and stores it where there is none of its size.
async fn store(
    log: &EventLog,
    connection: &mut PgConnection,
    key: &SigningKey,
    checkpoint: &Checkpoint,
) -> sqlx::Result<String> {
    let note = key.sign(checkpoint);
    let insert = log.sql(
        "insert into event_log.checkpoints (position, root, note) values ($1, $2, $3)
         on conflict do nothing",
    );
    let insert = sqlx::query(insert).bind(signed(checkpoint.size));
    let insert = insert.bind(checkpoint.root.to_vec()).bind(&note);
    insert.execute(connection).await?;
    Ok(note)
}

/// The last checkpoint in the table, or its size where it is not what was signed.
///
/// One without a signature of the key is believed only where none has any, that is, before a new
/// key has signed anything. On top of one that has, somebody has planted it.
async fn last_stored(
    log: &EventLog,
    connection: &mut PgConnection,
    key: &SigningKey,
) -> sqlx::Result<Result<Option<Checkpoint>, u64>> {
    let (select, public) = (
        "select position, root, note from event_log.checkpoints order by position desc limit 1",
        key.public(),
    );
    let last: Option<Stored> = sqlx::query_as(log.sql(select))
        .fetch_optional(&mut *connection)
        .await?;
    let Some(last) = last else {
        return Ok(Ok(None));
    };
    let size = last.position.unsigned_abs();
    let told = match public.open(&last.note) {
        Ok(Some(told)) => Some(told),
        Ok(None) => {
            let notes = log.sql("select note from event_log.checkpoints");
            let notes: Vec<String> = sqlx::query_scalar(notes).fetch_all(connection).await?;
            if notes.iter().any(|note| public.open(note) != Ok(None)) {
                return Ok(Err(size));
            }
            Checkpoint::read(&last.note)
        }
        Err(_) => None,
    };
    let same = told.filter(|told| {
        told.origin.starts_with(key.name())
            && told.size == size
            && told.root.as_slice() == last.root
    });
    Ok(same.map(Some).ok_or(size))
}

/// Whether the log, as its rows are now, begins with the tree of a checkpoint.
async fn extends(
    log: &EventLog,
    connection: &mut PgConnection,
    before: (u64, Hash),
    now: (u64, Hash),
) -> sqlx::Result<bool> {
    match log.consistency(connection, before.0, now.0).await {
        Ok(Some(proof)) => Ok(verify_consistency(before, now, &proof)),
        // The log is shorter, or rows are missing.
        Ok(None) | Err(sqlx::Error::RowNotFound) => Ok(false),
        Err(error) => Err(error),
    }
}
