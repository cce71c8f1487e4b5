//! Stored policies that an answer has to leave out.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};

/// A policy with a stored value that the schema's checks should have refused, or that a newer
/// release knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy {insurance_id} cannot be read: {column}")]
pub(crate) struct Unreadable {
    pub(crate) insurance_id: i64,
    pub(crate) column: &'static str,
}

/// Tells the log and the metrics of them. Clones share the metric.
#[derive(Clone, Debug)]
pub(crate) struct UnreadableCounter(Counter<u64>);

impl UnreadableCounter {
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = meter
            .u64_counter("policies.unreadable")
            .with_description("Stored policies that an answer had to leave out")
            .build();
        Self(counter)
    }

    /// The policies that can be read, and the numbers of the others, which are logged and counted.
    pub(crate) fn part<T>(&self, found: Vec<Result<T, Unreadable>>) -> (Vec<T>, Vec<i64>) {
        let (mut policies, mut others) = (Vec::with_capacity(found.len()), Vec::new());
        for policy in found {
            match policy {
                Ok(policy) => policies.push(policy),
                Err(Unreadable {
                    insurance_id,
                    column,
                }) => {
                    tracing::error!(insurance_id, column, "a stored policy cannot be read");
                    self.0.add(1, &[KeyValue::new("column", column)]);
                    others.push(insurance_id);
                }
            }
        }
        (policies, others)
    }
}
