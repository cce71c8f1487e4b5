//! How a request about a policy is carried out: what its key says, the rules, Vehicle, and then the
//! transaction.

use std::time::Duration;

use axum::{extract::FromRequestParts, http::request::Parts};
use contracts::RegistrationNumber;
use event_log::Origin;
use service_defaults::{
    limits::RequestDeadline, problem::Rejection, request_context::RequestContext, scope::Scope,
};
use tokio::time::Instant;
use vehicle_client::{CallContext, FailureKind, Lookup};

use super::{
    Policies,
    answer::Answer,
    change::{Job, Outcome, Wish},
    idempotency::{Claim, replay},
    refusal::Failure,
    store,
};
use crate::{
    enrichment::retry_after_seconds,
    routes::{LASTING_RETRY_AFTER_SECONDS, enriched_until},
};

/// Who asks, and until when.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) context: RequestContext,
    pub(super) origin: Origin,
    deadline: Instant,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let context = parts.extensions.get::<RequestContext>();
        let deadline = parts.extensions.get::<RequestDeadline>();
        // The edge gives every request both.
        let (Some(context), Some(RequestDeadline(deadline))) = (context, deadline) else {
            return Err(Rejection::internal());
        };
        Ok(Self {
            context: context.clone(),
            origin: Origin::of_request(context, &parts.headers),
            deadline: *deadline,
        })
    }
}

impl Caller {
    /// What is left of the request's time.
    pub(super) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl Policies {
    /// Drafts a policy under a key, or gives what was answered to it before. The wish itself is
    /// judged only where there is no such answer.
    pub(super) async fn draft_once(
        &self,
        caller: &Caller,
        claim: Claim,
        wish: impl FnOnce() -> Result<Wish, Failure> + Send,
    ) -> Result<Answer, Failure> {
        let work = async {
            let job = self.job(caller, Some(claim.clone()), wish()?);
            self.execute(caller, job, None).await
        };
        self.once(&claim, work).await
    }

    /// Changes a policy under a key, or gives what was answered to it before: the `If-Match` of a
    /// second try is stale.
    pub(super) async fn alter_once(
        &self,
        caller: &Caller,
        claim: Claim,
        id: i64,
        wish: impl FnOnce() -> Result<Wish, Failure> + Send,
    ) -> Result<Answer, Failure> {
        let done = self.alter(caller, Some(claim.clone()), id, wish).await;
        self.or_replayed(&claim, done).await
    }

    /// The key and the rules first, then Vehicle, then the transaction.
    pub(super) async fn alter(
        &self,
        caller: &Caller,
        claim: Option<Claim>,
        id: i64,
        wish: impl FnOnce() -> Result<Wish, Failure> + Send,
    ) -> Result<Answer, Failure> {
        let asked = (id, claim.clone());
        let found = self.database.read(asked, |connection, (id, claim)| {
            Box::pin(store::look(connection, *id, claim.as_ref()))
        });
        let (stored, kept) = match found.await? {
            Some((stored, kept)) => (Some(stored), kept),
            None => (None, None),
        };
        if let (Some(kept), Some(claim)) = (kept, &claim) {
            return Ok(self.count(kept.replayed(claim)?));
        }
        let job = self.job(caller, claim, wish()?);
        let stored = stored.ok_or(Failure::NotFound)?;
        let foreseen = job.foresee(&self.database, &stored).await?;
        if let Some(car) = foreseen.car_to_confirm() {
            self.confirm(car, caller).await?;
        }
        self.execute(caller, job, Some(foreseen)).await
    }

    /// Does the work of a request, unless it was done before: then gives what was answered. Nothing
    /// of the work is begun earlier.
    pub(super) async fn once(
        &self,
        claim: &Claim,
        work: impl Future<Output = Result<Answer, Failure>>,
    ) -> Result<Answer, Failure> {
        if let Some(answer) = replay(&self.database, claim).await? {
            return Ok(self.count(answer));
        }
        self.or_replayed(claim, work.await).await
    }

    /// Another try may have been made meanwhile, and be the reason of a failure. A database that has
    /// failed is not asked once more.
    async fn or_replayed(
        &self,
        claim: &Claim,
        done: Result<Answer, Failure>,
    ) -> Result<Answer, Failure> {
        match done {
            Err(failure) if !matches!(failure, Failure::Rejected(_)) => {
                let answer = replay(&self.database, claim).await?.ok_or(failure)?;
                Ok(self.count(answer))
            }
            done => done,
        }
    }

    /// Counts an answer that is given again.
    fn count(&self, answer: Answer) -> Answer {
        self.replays.add(1, &[]);
        answer
    }

    fn job(&self, caller: &Caller, claim: Option<Claim>, wish: Wish) -> Job {
        Job {
            log: self.log.clone(),
            clock: self.clock.clone(),
            origin: caller.origin.clone(),
            past_allowed: caller.context.has_scope(Scope::Admin),
            claim,
            wish,
        }
    }

    async fn execute(
        &self,
        caller: &Caller,
        job: Job,
        foreseen: Option<Outcome>,
    ) -> Result<Answer, Failure> {
        let left = caller.time_left();
        let done = job.run(&self.database, foreseen.clone(), left).await;
        match (done, foreseen) {
            (Err(Failure::Overlaps), Some(outcome)) => {
                // The refusal stands, whether the other policy can be named or not.
                let conflict = self
                    .database
                    .read(outcome.after, |connection, policy| {
                        Box::pin(store::find_conflict(connection, policy))
                    })
                    .await
                    .ok()
                    .flatten();
                let told = caller.context.has_scope(Scope::Read);
                Err(Failure::CoverOverlaps { conflict, told })
            }
            (done, _) => done,
        }
    }

    /// Asks Vehicle whether it has a car.
    async fn confirm(&self, car: &RegistrationNumber, caller: &Caller) -> Result<(), Failure> {
        let unavailable = |retry_after_seconds| Failure::VehicleUnavailable {
            retry_after_seconds,
        };
        let toggles = self.settings.snapshot().service.feature_toggles;
        if !toggles.enable_vehicle_enrichment {
            return Err(unavailable(LASTING_RETRY_AFTER_SECONDS));
        }
        let context = CallContext {
            deadline: enriched_until(self.time, caller.deadline),
            request_id: caller.context.request_id().into(),
            traceparent: caller.context.traceparent().into(),
        };
        match self.vehicles.confirm(car, &context).await {
            Lookup::Found { .. } => Ok(()),
            Lookup::NotFound { .. } => Err(Failure::VehicleUnknown),
            Lookup::Unavailable(failure) => {
                let lasting = matches!(
                    failure.kind,
                    FailureKind::Isolated | FailureKind::SwitchedOff
                );
                let after = retry_after_seconds(&failure).filter(|_| !lasting);
                let after = after.unwrap_or(LASTING_RETRY_AFTER_SECONDS).max(1);
                Err(unavailable(after))
            }
        }
    }
}
