//! What is done between pages: dead letters are tried again, and what nobody reads is swept.

use std::time::Duration;

use service_database::Error;
use service_defaults::chain;
use tokio::time::Instant;

use super::{Consumer, LIMIT};
use crate::replica::apply;

/// Between two looks for dead letters to be tried again.
const BETWEEN_TRIES: Duration = Duration::from_millis(500);
/// How many are tried again in a turn.
const MOST_TRIED: u8 = 10;
/// Between two sweeps, once one found little.
const BETWEEN_SWEEPS: Duration = Duration::from_mins(1);
/// A sweep that found so many rows is followed by the next one.
const MANY: u64 = 1_000;

impl Consumer {
    pub(super) async fn look_after(&mut self, fence: i64, catches_up: bool) -> Result<(), Error> {
        if self.tries <= Instant::now() {
            self.tries = Instant::now() + BETWEEN_TRIES;
            self.try_again(fence).await?;
        }
        if !catches_up && self.sweeps <= Instant::now() {
            self.sweeps = Instant::now() + BETWEEN_SWEEPS;
            let step = (fence, self.keep_tombstones);
            let swept = self
                .database
                .transaction(LIMIT, &step, apply::sweep)
                .await?;
            if swept >= MANY {
                self.sweeps = Instant::now();
            }
        }
        Ok(())
    }

    /// One after the other, so that of one that the process dies of, no other has lost a try.
    async fn try_again(&self, fence: i64) -> Result<(), Error> {
        for _ in 0..MOST_TRIED {
            let due = self.database.transaction(LIMIT, &fence, apply::take_due);
            let Some(due) = due.await? else {
                break;
            };
            let step = (fence, due);
            let tried = self.database.transaction(LIMIT, &step, apply::try_again);
            match tried.await {
                Err(error @ (Error::Failed(_) | Error::TimedOut)) => {
                    // Its next time is written already.
                    tracing::warn!(error = chain(&error), "a dead letter failed again");
                }
                tried => tried?,
            }
        }
        Ok(())
    }
}
