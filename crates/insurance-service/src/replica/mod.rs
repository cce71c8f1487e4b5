//! A copy of Vehicle's cars: filled from its register, then kept by following its feed.
//!
//! All processes share one copy, and one of them consumes, by its lease. Effect, checkpoint and the
//! look for duplicates are one transaction; an older version never wins. What cannot be applied is
//! put aside, and following goes on.

mod apply;
mod consumer;
mod dead_letters;
mod observe;
mod page;
mod page_size;
mod source;
mod store;

use std::time::Duration;

use event_relay::NatsSettings;
use opentelemetry::metrics::Meter;
use service_database::Database;
use service_defaults::{
    health::Check,
    tasks::{OnEnd, Tasks},
};
use vehicle_client::Feed;

pub use self::consumer::{Consumer, Turn, TurnError};
pub(crate) use self::page::{Page, ReadTo};
use self::{observe::Instruments, source::Source};
use crate::{lease::Lease, settings::ReplicaSettings};

/// Its name in the readiness.
pub(crate) const NAME: &str = "replica";
/// Its row in `insurance_replica.consumers`, and in `insurance.workers`.
pub(crate) const CONSUMER: &str = "vehicle_replica";
/// Who it is where it decides something.
const ACTOR: &str = "worker/vehicle_replica";
/// Longer than Vehicle may take for a page, and short enough for another process to take over
/// within seconds.
const LEASE: Lease = Lease {
    worker: CONSUMER,
    lasts: Duration::from_secs(15),
};

/// The copy, as this process sees it.
#[derive(Clone)]
pub(crate) struct Replica(Instruments);

impl Replica {
    /// Runs a consumer in this process until it stops.
    pub(crate) fn spawn(
        settings: &ReplicaSettings,
        database: &Database,
        feed: &Feed,
        (tasks, meter): (&Tasks, &Meter),
    ) -> Self {
        let instruments = Instruments::new(meter);
        let (watched, watching) = (database.clone(), instruments.clone());
        tasks.spawn(NAME, OnEnd::Restart, move |told| {
            let look = watching.clone().look(watched.clone());
            async move {
                told.run_until_cancelled(look).await;
            }
        });
        let (database, told_of) = (database.clone(), instruments.clone());
        let (feed, nats) = (feed.clone(), settings.nats.clone());
        let keep = settings.tombstones_kept_for;
        let mut first = true;
        tasks.spawn(CONSUMER, OnEnd::Restart, move |told| {
            if !std::mem::take(&mut first) {
                told_of.restarted();
            }
            let source = Source::new(feed.clone(), &nats, told_of.clone());
            let mut consumer = Consumer::new(database.clone(), source, keep, told_of.clone());
            async move { consumer.run(&told).await }
        });
        Self(instruments)
    }

    /// What the readiness says of it. Nothing here keeps a service from serving.
    pub(crate) fn check(&self) -> Check {
        self.0.check()
    }
}

impl Consumer {
    /// One that consumes when it is told to; for tests.
    pub fn by_hand(database: Database, feed: Feed, nats: &NatsSettings, meter: &Meter) -> Self {
        let days = Duration::from_hours(30 * 24);
        let instruments = Instruments::new(meter);
        let source = Source::new(feed, nats, instruments.clone());
        Self::new(database, source, days, instruments)
    }

    /// Whether it reads the stream, and not the feed in its place; for tests.
    pub fn reads_stream(&self) -> bool {
        self.source.reads_stream()
    }
}
