//! How the tests ask, and how they judge what reached Vehicle.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
    time::Duration,
};

use futures_util::{StreamExt, future::join_all, stream};
use test_support::Request;
use tokio::time::{Instant, sleep_until};

/// Asks for each of these persons at a steady rate, whether or not answers come; the answers in
/// the order of the questions.
pub(crate) async fn steadily<T>(
    per_second: u32,
    persons: Range<usize>,
    ask: impl AsyncFn(usize) -> T,
) -> Vec<T> {
    let start = Instant::now();
    let ask = &ask;
    join_all(persons.enumerate().map(|(number, person)| async move {
        let number = u32::try_from(number).unwrap();
        sleep_until(start + Duration::from_secs(1) / per_second * number).await;
        ask(person).await
    }))
    .await
}

/// Asks for each of these persons, always so many at a time.
pub(crate) async fn closely<T>(
    at_once: usize,
    persons: Range<usize>,
    ask: impl AsyncFn(usize) -> T,
) -> Vec<T> {
    let ask = &ask;
    stream::iter(persons.map(|person| ask(person)))
        .buffer_unordered(at_once)
        .collect()
        .await
}

/// Whether chance strikes, this often in a hundred; always alike for the same thing.
pub(crate) fn strikes(percent: u64, thing: impl Hash) -> bool {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish() % 100 < percent
}

/// Lookups that made these calls, where every lookup has a car of its own.
pub(crate) fn lookups(calls: &[Request]) -> usize {
    let cars: HashSet<_> = calls.iter().map(|call| &call.path).collect();
    cars.len()
}

/// Calls for each lookup that made any, where every lookup has a car of its own.
pub(crate) fn amplification(calls: &[Request]) -> f64 {
    ratio(calls.len(), lookups(calls))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
