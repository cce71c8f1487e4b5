//! The guard around Vehicle: every protection in its order, in one place.

use tower::{ServiceBuilder, util::BoxCloneSyncService};

use crate::{
    Answer, Call, Failure, Options,
    attempt::Attempt,
    breaker::Breaker,
    bulkhead::Bulkheads,
    chance::Chance,
    failure_log::FailureLog,
    gate::RetryAfter,
    instruments::Instruments,
    retry::Retry,
    step::{Inner, StepLayer},
};

/// The guard of one process. Clones share every permit, so that there is one cap however many
/// inbound requests there are.
pub(crate) type Guard = BoxCloneSyncService<Call, Answer, Failure>;

/// Builds the guard. All of it, outermost first:
///
/// 1. *Deadline* of a request's lookups, 2. *cache*, 3. *collapsing*, 4. *gathering*: they are
///    about numbers, not about calls, and save calls, so they stand in
///    [`dispatch`](crate::dispatch) before everything that bounds calls. Every layer below looks
///    at the deadline before it waits.
/// 5. *Retry* with its *budget*: above the cap, so that no permit is held through a pause.
/// 6. *Retry-After gate*: nobody calls before Vehicle asked to be called; waits without a permit,
///    and is looked at once more when the permit is held.
///    *Bulkhead*: the process-wide cap and its queue, bounded in time and length. A permit is
///    held for one attempt.
/// 7. *Circuit breaker*: asked when the permit is held, so that nothing that was queued goes
///    out after it has opened.
/// 8. *Attempt*: time limit, span and metrics of what really goes out.
/// 9. Transport and *contract check*: an answer is used only for the numbers asked for.
///
/// The bulkheads and the breaker come back as well, for a look at how they are.
pub(crate) fn build(
    transport: impl Inner,
    options: &Options,
    chance: &Chance,
    instruments: &Instruments,
) -> (Guard, Bulkheads, Breaker) {
    let failures = FailureLog::default();
    let bulkheads = Bulkheads::new(options, instruments.clone(), failures.clone());
    let breaker = Breaker::new(options.breaker, chance.clone(), instruments.clone());
    let gate = RetryAfter::default();
    let stack = ServiceBuilder::new()
        .layer(StepLayer(Retry::new(
            options,
            chance.clone(),
            instruments.clone(),
        )))
        .layer(StepLayer(gate.clone()))
        .layer(StepLayer(bulkheads.clone()))
        .layer(StepLayer(gate.check()))
        .layer(StepLayer(breaker.clone()))
        .layer(StepLayer(Attempt::new(
            options,
            instruments.clone(),
            failures,
        )))
        .service(transport);
    (BoxCloneSyncService::new(stack), bulkheads, breaker)
}
