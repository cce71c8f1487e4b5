//! What became of the requests of a run.

use std::time::Duration;

use serde_json::{Value, json};

use super::exchange::Outcome;

/// What became of the requests. Latencies are in microseconds.
#[derive(Default)]
pub(super) struct Tally {
    good: Vec<u32>,
    refused: Vec<u32>,
    good_by_second: Vec<u64>,
    wrong: u64,
    broken: u64,
    pub(super) late: u64,
    pub(super) unanswered: u64,
}

impl Tally {
    pub(super) fn count(&mut self, outcome: &Outcome, at: Duration, latency: Duration) {
        let latency = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        match outcome {
            Outcome::Good => {
                self.good.push(latency);
                let second = usize::try_from(at.as_secs()).unwrap_or(usize::MAX);
                if self.good_by_second.len() <= second {
                    self.good_by_second.resize(second + 1, 0);
                }
                self.good_by_second[second] += 1;
            }
            Outcome::Refused => self.refused.push(latency),
            Outcome::Wrong => self.wrong += 1,
            Outcome::Broken => self.broken += 1,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.good.extend(other.good);
        self.refused.extend(other.refused);
        let seconds = self.good_by_second.len().max(other.good_by_second.len());
        self.good_by_second.resize(seconds, 0);
        for (sum, part) in self.good_by_second.iter_mut().zip(other.good_by_second) {
            *sum += part;
        }
        self.wrong += other.wrong;
        self.broken += other.broken;
        self.late += other.late;
        self.unanswered += other.unanswered;
    }

    pub(super) fn json(&mut self, seconds: f64, unsent: u64) -> Value {
        json!({
            "seconds": seconds,
            "good": self.good.len(),
            "refused": self.refused.len(),
            "wrong": self.wrong,
            "broken": self.broken,
            "late": self.late,
            "unanswered": self.unanswered,
            "unsent": unsent,
            "good_by_second": self.good_by_second,
            "latency_us": percentiles(&mut self.good),
            "refused_latency_us": percentiles(&mut self.refused),
        })
    }
}

fn percentiles(latencies: &mut [u32]) -> Value {
    latencies.sort_unstable();
    let at = |thousandths: usize| {
        let last = latencies.len().checked_sub(1)?;
        Some(latencies[(latencies.len() * thousandths / 1000).min(last)])
    };
    json!({"p50": at(500), "p99": at(990), "p99.9": at(999)})
}
