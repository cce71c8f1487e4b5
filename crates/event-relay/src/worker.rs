use std::{convert::Infallible, sync::Arc, time::Duration};

use contracts::CloudEvent;
use event_log::{EventLog, Head, Wanted};
use futures_util::future::BoxFuture;
use opentelemetry::metrics::Meter;
use service_database::Database;
use service_defaults::{
    chain,
    tasks::{OnEnd, Tasks},
};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::{
    error::Error,
    instruments::{Instruments, NAME, State},
    message::Place,
    settings::{RelaySettings, stream_name},
    stream::{Broker, Opened},
};

/// Most events that are on their way to the broker at once. Their data are 1 MiB at most, as those of
/// every page.
const IN_FLIGHT: u16 = 128;
/// How long a statement about the lease may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How often the lease is renewed or looked at, and an idle log is compared with the stream's end. The
/// lease outlasts three of these.
const PAUSE: Duration = Duration::from_secs(4);
/// After a failure; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The relay of one process.
pub struct Relay {
    log: EventLog,
    database: Database,
    settings: RelaySettings,
    /// The `source` of the events.
    source: Arc<str>,
    /// Of the lease that this process has or had.
    fence: Option<i64>,
    renewed: Instant,
    pause: Duration,
    failing: bool,
    instruments: Instruments,
}

impl Relay {
    /// It takes one connection at a time, to the database and to the broker.
    pub fn new(
        log: EventLog,
        database: Database,
        settings: RelaySettings,
        source: &str,
        meter: &Meter,
    ) -> Self {
        Self {
            log,
            database,
            settings,
            source: source.into(),
            fence: None,
            renewed: Instant::now(),
            pause: FIRST_PAUSE,
            failing: false,
            instruments: Instruments::new(meter),
        }
    }

    /// Runs a relay in this process until it stops, where a broker is set.
    pub fn spawn(
        settings: &RelaySettings,
        source: String,
        (log, database): (&EventLog, &Database),
        (tasks, meter): (&Tasks, &Meter),
    ) {
        if !settings.nats.is_set() {
            return;
        }
        let (log, database) = (log.clone(), database.clone());
        let (settings, meter) = (settings.clone(), meter.clone());
        tasks.spawn("relay", OnEnd::Restart, move |told| {
            let (log, database) = (log.clone(), database.clone());
            let mut relay = Self::new(log, database, settings.clone(), &source, &meter);
            async move {
                told.run_until_cancelled(relay.run()).await;
                relay.give_back().await;
            }
        });
    }

    /// Publishes events for as long as it is polled. Dropped at any time, it leaves nothing that the
    /// next one does not put right.
    pub async fn run(&mut self) -> Infallible {
        loop {
            let Err(error) = Box::pin(self.hold_and_publish()).await else {
                self.instruments.is(State::Standby);
                sleep(PAUSE).await;
                continue;
            };
            // The pause is longer where nothing was published since the last error.
            if error.is_passing() && self.pause == FIRST_PAUSE {
                tracing::debug!(error = chain(&error), "the relay looks at the stream anew");
            } else {
                self.failed(&error);
            }
            // Another process may reach the broker.
            self.give_back().await;
            self.observe_lag().await;
            sleep(self.pause.mul_f64(rand::random_range(0.5..1.0))).await;
            self.pause = LONGEST_PAUSE.min(self.pause * 2);
        }
    }

    fn failed(&mut self, error: &Error) {
        self.instruments.failed();
        self.instruments.is(if error.is_refusal() {
            State::Refused
        } else {
            State::Waiting
        });
        if !self.failing {
            tracing::error!(
                error = chain(error),
                "events are not published to the broker"
            );
        }
        self.failing = true;
    }

    /// All that was waiting is published, or the next page of it.
    fn succeeded(&mut self) {
        if self.failing {
            tracing::info!("events are published to the broker again");
        }
        self.failing = false;
        self.pause = FIRST_PAUSE;
        self.instruments.is(State::Publishing);
    }

    /// Publishes for as long as this process has the lease; returns where another one has it.
    async fn hold_and_publish(&mut self) -> Result<(), Error> {
        if !self.renew().await? {
            self.observe_lag().await;
            return Ok(());
        }
        let broker = Broker::connect(&self.settings.nats, self.log.service()).await?;
        let asked = self.log.clone();
        let read = self.database.read((asked,), |connection, (log,)| {
            Box::pin(async move {
                Ok((
                    log.head(connection).await?,
                    log.former_ids(connection).await?,
                ))
            })
        });
        let (Head { log_id, .. }, former): (Head, Vec<Uuid>) = read.await?;
        let replicas = self.settings.replicas;
        let open = broker.open(self.log.service(), log_id, &former, replicas);
        let mut opened = open.await?;
        // At once: the row may still be of another stream, or of this one before it was emptied.
        let position = opened.last.map_or(0, |(position, _)| position);
        self.note(&opened.name, position).await?;
        loop {
            let page = self.next(log_id, &opened).await?;
            let events = page.events.len() as u64;
            broker.publish(&mut opened, page.events).await?;
            self.succeeded();
            let position = opened.last.map_or(0, |(position, _)| position);
            self.instruments.published(events);
            self.instruments.lags((page.end - position).max(0));
            if self.renewed.elapsed() >= PAUSE {
                if !self.renew().await? || !broker.is_whole(&opened).await? {
                    return Err(Error::Changed);
                }
                self.note(&opened.name, position).await?;
            }
            if events == 0 {
                let more = self.log.placed_after(position);
                // Also where nothing comes it is seen that the log is still the one in the stream.
                let _ = timeout(PAUSE, more).await;
            }
        }
    }

    /// The events after the stream's last one, which has to be in the log where it says.
    async fn next(&self, log_id: Uuid, opened: &Opened) -> Result<Page, Error> {
        let asked = (self.log.clone(), opened.last);
        let read = self.database.read(asked, |connection, (log, last)| {
            Box::pin(read_page(connection, log, *last))
        });
        let read = read.await?;
        if read.head.log_id != log_id {
            return Err(Error::Changed);
        }
        if !read.follows {
            return Err(Error::Diverged(opened.name.clone()));
        }
        let events = read.events.into_iter().map(|event| {
            let place = (event.position, event.event_id);
            Ok((place, event.into_cloud_event(&self.source)?))
        });
        Ok(Page {
            events: events
                .collect::<Result<_, _>>()
                .map_err(Error::Unreadable)?,
            end: read.head.position,
        })
    }

    async fn renew(&mut self) -> Result<bool, Error> {
        let asked = (self.log.clone(), self.fence);
        self.fence = self.database.transaction(LIMIT, &asked, lease).await?;
        self.renewed = Instant::now();
        Ok(self.fence.is_some())
    }

    async fn note(&self, stream: &str, position: i64) -> Result<(), Error> {
        let Some(fence) = self.fence else {
            return Ok(());
        };
        let noted = (self.log.clone(), fence, stream.to_owned(), position);
        self.database.transaction(LIMIT, &noted, note).await
    }

    /// Lets another process take over at once. Without it, the lease ends by the clock.
    async fn give_back(&mut self) {
        let Some(fence) = self.fence.take() else {
            return;
        };
        let ended = (self.log.clone(), fence);
        if let Err(error) = self.database.transaction(LIMIT, &ended, give_back).await {
            tracing::debug!(error = chain(&error), "the lease was not given back");
        }
    }

    /// The lag of what was noted last, where this process publishes nothing.
    async fn observe_lag(&self) {
        let read = self.database.read(self.log.clone(), |connection, log| {
            let prefix = stream_name(log.service(), "");
            Box::pin(async move { log.relay_lag(connection, NAME, &prefix).await })
        });
        if let Ok(events) = read.await {
            self.instruments.lags(events);
        }
    }
}

/// Some events, and where the log ended.
struct Page {
    events: Vec<(Place, CloudEvent)>,
    end: i64,
}

struct Read {
    head: Head,
    /// Whether the last event of the stream is in the log at its place.
    follows: bool,
    events: Vec<event_log::Event>,
}

async fn read_page(
    connection: &mut PgConnection,
    log: &EventLog,
    last: Option<Place>,
) -> sqlx::Result<Read> {
    let wanted = Wanted {
        after: last.map_or(0, |(position, _)| position),
        limit: IN_FLIGHT,
        types: Vec::new(),
        subject: None,
    };
    let events = log.page(connection, &wanted).await?.events;
    // After the page, so that a log that was restored meanwhile is noticed.
    let head = log.head(connection).await?;
    let follows = match last {
        None => true,
        Some((position, id)) => {
            let event = log.event(connection, id).await?;
            event.is_some_and(|it| it.position == position)
        }
    };
    Ok(Read {
        head,
        follows,
        events,
    })
}

type Step<'a, T> = BoxFuture<'a, Result<T, Error>>;

fn lease<'a>(
    connection: &'a mut PgConnection,
    (log, held): &'a (EventLog, Option<i64>),
) -> Step<'a, Option<i64>> {
    Box::pin(async { Ok(log.lease_relay(connection, NAME, *held).await?) })
}

fn give_back<'a>(
    connection: &'a mut PgConnection,
    (log, fence): &'a (EventLog, i64),
) -> Step<'a, ()> {
    Box::pin(async { Ok(log.end_relay_lease(connection, NAME, *fence).await?) })
}

fn note<'a>(
    connection: &'a mut PgConnection,
    (log, fence, stream, position): &'a (EventLog, i64, String, i64),
) -> Step<'a, ()> {
    Box::pin(async {
        let place = (stream.as_str(), *position);
        Ok(log.note_relayed(connection, (NAME, *fence), place).await?)
    })
}
