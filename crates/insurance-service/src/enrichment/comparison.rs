//! Compares a few of Vehicle's answers with the copy, so that somebody knows whether the copy is to
//! be trusted before answers rest on it.
//!
//! A change that is on its way makes the two differ without a fault, so a difference counts only
//! where a second look finds it, too.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use contracts::{RegistrationNumber, Source, Vehicle};
use futures_util::future::BoxFuture;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};
use service_database::{Database, Error};
use service_defaults::{
    chain,
    process::tasks::{OnEnd, Tasks},
};
use sqlx::PgConnection;
use tokio::{
    sync::{Mutex, mpsc},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use vehicle_client::{BreakerPhase, Lookup, VehicleClient};

use super::copy::CONSUMER;

/// One of so many live answers is compared.
const ONE_OF: u64 = 100;
/// Time between two comparisons: at most 5 a second.
const PACE: Duration = Duration::from_millis(200);
/// Most answers that wait; more are not compared.
const QUEUE: usize = 5;
/// Time between an answer and the second look. A copy at the end of a quiet log knows nothing newer
/// than the last question to Vehicle but one, each of which waits for 2 s.
const SECOND_LOOK: Duration = Duration::from_secs(6);
/// How long counting may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Takes samples of Vehicle's answers. Clones share them.
#[derive(Clone)]
pub(crate) struct Comparison(Arc<Samples>);

struct Samples {
    live_answers: AtomicU64,
    queue: mpsc::Sender<Sample>,
}

/// An answer of Vehicle.
struct Sample {
    number: RegistrationNumber,
    vehicle: Option<Arc<Vehicle>>,
    /// No change before this was too late for the answer.
    asked: Instant,
    answered: Instant,
}

impl Comparison {
    /// Compares in a task of this process until it stops.
    pub(crate) fn spawn(database: &Database, tasks: &Tasks, meter: &Meter) -> Self {
        let (queue, samples) = mpsc::channel(QUEUE);
        let samples = Arc::new(Mutex::new(samples));
        let comparisons = meter
            .u64_counter("replica.comparisons")
            .with_description("Answers of Vehicle that were compared with the copy, by outcome")
            .build();
        for outcome in Difference::NAMES {
            comparisons.add(0, &[KeyValue::new("outcome", outcome)]);
        }
        let worker = Worker {
            database: database.clone(),
            comparisons,
        };
        tasks.spawn("replica_comparison", OnEnd::Restart, move |told| {
            let (worker, samples) = (worker.clone(), samples.clone());
            async move {
                let mut samples = samples.lock().await;
                told.run_until_cancelled(worker.run(&mut samples)).await;
            }
        });
        Self(Arc::new(Samples {
            live_answers: AtomicU64::new(0),
            queue,
        }))
    }

    /// Takes a share of the answers that calls brought for this request. Nobody waits for it.
    pub(crate) fn offer(
        &self,
        lookups: &HashMap<RegistrationNumber, Lookup>,
        asked: Instant,
        vehicles: &VehicleClient,
    ) {
        for (number, lookup) in lookups {
            let vehicle = match lookup {
                Lookup::Found {
                    vehicle,
                    source: Source::Live | Source::Batch,
                    ..
                } => Some(vehicle.clone()),
                Lookup::NotFound {
                    source: Source::Live | Source::Batch,
                } => None,
                _ => continue,
            };
            let before = self.0.live_answers.fetch_add(1, Ordering::Relaxed);
            // What a Vehicle in trouble says is no measure.
            if before.is_multiple_of(ONE_OF)
                && vehicles.guard_state().breaker.phase == BreakerPhase::Closed
            {
                let sample = Sample {
                    number: number.clone(),
                    vehicle,
                    asked,
                    answered: Instant::now(),
                };
                // Where the queue is full, this one is not compared.
                let _ = self.0.queue.try_send(sample);
            }
        }
    }
}

#[derive(Clone)]
struct Worker {
    database: Database,
    comparisons: Counter<u64>,
}

impl Worker {
    async fn run(&self, samples: &mut mpsc::Receiver<Sample>) {
        let mut pace = pace();
        loop {
            let Some(sample) = next(&mut pace, samples).await else {
                // No service is left that asks.
                return std::future::pending().await;
            };
            if let Err(error) = self.compare(&sample).await {
                let error = chain(&error);
                tracing::debug!(error, "an answer of Vehicle was not compared with the copy");
            }
        }
    }

    async fn compare(&self, sample: &Sample) -> Result<(), Error> {
        let mut difference = self.look(sample).await?;
        if difference.is_some_and(Difference::is_one) {
            sleep_until(sample.answered + SECOND_LOOK).await;
            difference = self.look(sample).await?;
        }
        // Without a copy there is nothing to compare.
        let Some(difference) = difference else {
            return Ok(());
        };
        let counted = self.database.transaction(LIMIT, &difference, count);
        counted.await?;
        let outcome = KeyValue::new("outcome", difference.name());
        self.comparisons.add(1, &[outcome]);
        Ok(())
    }

    async fn look(&self, sample: &Sample) -> Result<Option<Difference>, Error> {
        let question = Question {
            number: sample.number.clone(),
            since_asked: sample.asked.elapsed().as_secs_f64(),
            since_answered: sample.answered.elapsed().as_secs_f64(),
        };
        let read = self.database.read(question, |connection, question| {
            Box::pin(look(connection, question))
        });
        let copied = read.await?;
        Ok(copied.map(|copied| Difference::between(sample.vehicle.as_deref(), &copied)))
    }
}

fn pace() -> Interval {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// The next one, in its time.
async fn next<T>(pace: &mut Interval, samples: &mut mpsc::Receiver<T>) -> Option<T> {
    pace.tick().await;
    samples.recv().await
}

/// How a live answer and the copy differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    None,
    /// The copy has not followed Vehicle up to the answer.
    Behind,
    /// The copy has a change that may have come after the answer.
    Ahead,
    OnlyLive,
    OnlyReplica,
    /// By make, model and model year.
    Fields([bool; 3]),
}

impl Difference {
    const NAMES: [&str; 6] = [
        "equal",
        "replica_behind",
        "replica_ahead",
        "only_live",
        "only_replica",
        "different",
    ];

    fn between(live: Option<&Vehicle>, copied: &Row) -> Self {
        let replica = copied.is_known.then_some(copied);
        let fields = match (live, replica) {
            (None, None) => [false; 3],
            (Some(live), Some(copied)) => [
                live.make != copied.make,
                live.model != copied.model,
                live.model_year != copied.model_year,
            ],
            _ => [true; 3],
        };
        match (live, replica) {
            _ if fields == [false; 3] => Self::None,
            _ if copied.is_behind => Self::Behind,
            _ if copied.is_ahead => Self::Ahead,
            (Some(_), None) => Self::OnlyLive,
            (None, Some(_)) => Self::OnlyReplica,
            _ => Self::Fields(fields),
        }
    }

    fn name(self) -> &'static str {
        Self::NAMES[match self {
            Self::None => 0,
            Self::Behind => 1,
            Self::Ahead => 2,
            Self::OnlyLive => 3,
            Self::OnlyReplica => 4,
            Self::Fields(_) => 5,
        }]
    }

    fn is_one(self) -> bool {
        self != Self::None
    }

    /// Whether the copy is wrong, so far as can be told.
    fn is_fault(self) -> bool {
        matches!(self, Self::OnlyLive | Self::OnlyReplica | Self::Fields(_))
    }

    /// The names of the members that differ.
    fn fields(self) -> Vec<String> {
        let Self::Fields(differ) = self else {
            return Vec::new();
        };
        let named = ["make", "model", "modelYear"].into_iter().zip(differ);
        let differing = named.filter(|(_, differs)| *differs);
        differing.map(|(name, _)| name.to_owned()).collect()
    }
}

struct Question {
    number: RegistrationNumber,
    since_asked: f64,
    since_answered: f64,
}

/// What the copy says now.
struct Row {
    is_known: bool,
    make: Option<String>,
    model: Option<String>,
    model_year: Option<i16>,
    is_behind: bool,
    is_ahead: bool,
}

/// Nothing where there is no copy. Times are the database's: how long ago, by its clock. A second
/// more for what came after the question, because the statement itself takes its time.
async fn look(connection: &mut PgConnection, question: &Question) -> sqlx::Result<Option<Row>> {
    sqlx::query_as!(
        Row,
        r#"select version is not null and deleted_at is null as "is_known!", make, model, model_year,
             caught_up_at < clock_timestamp() - make_interval(secs => $3)
                 or exists (
                     select from insurance_replica.dead_letters as letter
                     where letter.consumer = $1 and superseded_at is null
                         and closed_by is distinct from 'worker/vehicle_replica'
                         and coalesce(letter.registration_number = $2, true)
                 ) as "is_behind!",
             coalesce(loaded_at > clock_timestamp() - make_interval(secs => $4::float8 + 1), false) as "is_ahead!"
         from insurance_replica.consumers as consumer
         left join insurance_replica.vehicles as vehicle
             on vehicle.generation = consumer.generation and vehicle.registration_number = $2
         where consumer = $1 and caught_up_at is not null"#,
        CONSUMER,
        question.number.as_str(),
        question.since_answered,
        question.since_asked
    )
    .fetch_optional(connection)
    .await
}

/// Adds one to the count of this hour; the newest 20 faults are kept by the names of their members.
fn count<'a>(
    connection: &'a mut PgConnection,
    difference: &'a Difference,
) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        sqlx::query!(
            "with old as (
                 delete from insurance_replica.comparisons where bucket < now() - interval '7 days'
             )
             insert into insurance_replica.comparisons (bucket, outcome, samples)
             values (date_trunc('hour', now()), $1, 1)
             on conflict (bucket, outcome) do update set samples = comparisons.samples + 1",
            difference.name()
        )
        .execute(&mut *connection)
        .await?;
        if difference.is_fault() {
            sqlx::query!(
                "with old as (
                     delete from insurance_replica.differences
                     where difference_id <= (
                         select difference_id from insurance_replica.differences
                         order by difference_id desc offset 19 limit 1
                     )
                 )
                 insert into insurance_replica.differences (outcome, fields) values ($1, $2)",
                difference.name(),
                &difference.fields()
            )
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        sync::mpsc,
        time::{Instant, advance},
    };

    use super::{next, pace};

    #[tokio::test(start_paused = true)]
    async fn five_answers_a_second_are_compared_at_most_also_after_a_rest() {
        let (queue, mut samples) = mpsc::channel(20);
        for sample in 0..20 {
            queue.try_send(sample).unwrap();
        }
        let mut pace = pace();
        for rest in [0, 10] {
            advance(Duration::from_secs(rest)).await;
            let began = Instant::now();
            for _ in 0..6 {
                next(&mut pace, &mut samples).await;
            }
            assert!(began.elapsed() >= Duration::from_secs(1));
        }
    }
}
