//! Fills a copy beside the one that is read, from Vehicle's register.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Consumer, LIMIT, Turn, TurnError};
use crate::replica::{
    apply::{self, Copied, Done},
    dead_letters::{Letter, Reason},
    store::State,
};

impl Consumer {
    pub(super) async fn begin_filling(
        &mut self,
        fence: i64,
        lost: bool,
    ) -> Result<Turn, TurnError> {
        if lost {
            tracing::warn!("Vehicle has another log: its cars are copied anew");
        }
        let step = (fence, lost);
        let done = self
            .database
            .transaction(LIMIT, &step, apply::begin_filling);
        let done = done.await?;
        self.copied(done);
        Ok(if lost { Turn::Lost } else { Turn::Copied })
    }

    /// Copies a page of the register.
    pub(super) async fn copy(
        &mut self,
        fence: i64,
        from: State,
        told: &CancellationToken,
    ) -> Result<Turn, TurnError> {
        let after = from.snapshot_at.as_deref().and_then(|at| at.parse().ok());
        let limit = self.register_size.get();
        let page = told.run_until_cancelled(self.source.feed().vehicles(after.as_ref(), limit));
        let Some(page) = page.await else {
            return Ok(Turn::Told);
        };
        let mut page = page?;
        let mut letters = Vec::new();
        page.vehicles.retain(|it| {
            let plausible = it.vehicle.is_plausible();
            if !plausible {
                letters.push(Letter {
                    event_id: Uuid::new_v4(),
                    position: from.position,
                    registration_number: Some(it.vehicle.registration_number.clone()),
                    reason: Reason::Contract,
                    detail: "the register has a vehicle that cannot be",
                    event: String::new(),
                });
            }
            plausible
        });
        let (filled, vehicles) = (from.filling, page.vehicles.len());
        let copied = Copied {
            fence,
            from,
            page,
            letters,
            other_fails: self.feed_rest.is_failing(),
        };
        let began = Instant::now();
        let done = self.database.transaction(LIMIT, &copied, apply::copy).await;
        self.register_size
            .took(began.elapsed(), vehicles, done.is_err());
        let done = done?;
        let lost = matches!(&done, Done::State(state) if state.filling != filled);
        self.copied(done);
        Ok(if lost { Turn::Lost } else { Turn::Copied })
    }

    /// Takes over what a transaction has left.
    fn copied(&mut self, done: Done) {
        match done {
            Done::Overtaken => (self.fence, self.known) = (None, None),
            Done::Otherwise(state) | Done::State(state) => self.known = Some(state),
        }
    }
}
