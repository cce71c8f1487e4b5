//! The guard around Vehicle: every protection in its order, in one place.

use tower::{ServiceBuilder, util::BoxCloneSyncService};

use crate::{
    Answer, Call, Failure, Options,
    attempt::Attempt,
    breaker::{Breaker, BreakerGlance},
    bulkhead::Bulkheads,
    chance::Chance,
    departure::Departure,
    failure_log::FailureLog,
    gate::RetryAfter,
    instruments::Instruments,
    isolation::Isolation,
    retry::Retry,
    state::Controls,
    step::{Inner, StepLayer},
    switch::Switch,
};

/// The guard of one process. Clones share every permit, so that there is one cap however many
/// inbound requests there are.
pub(crate) type Guard = BoxCloneSyncService<Call, Answer, Failure>;

/// Builds the guard. All of it, outermost first:
///
/// 1. *Deadline* of a request's lookups, 2. *cache*, 3. *collapsing*, 4. *gathering*: they are
///    about numbers, not about calls, and save calls, so they stand in
///    [`dispatch`](crate::dispatch) before everything that bounds calls. The deadlines are those
///    of the [`waiters`](crate::waiters), not of the call.
/// 5. *Retry* with its *budget*: above the cap, so that no permit is held through a pause.
/// 6. *Retry-After gate*: nobody calls before Vehicle asked to be called; waits without a permit
///    and outside the queue, as many as there are requests in progress.
///    *Kill switch*, *isolation* and *breaker*, a first look: nobody waits for a place to be
///    refused below.
///    *Bulkhead*: the process-wide cap and its queue, bounded in time and length. A permit is
///    held for one attempt.
///    *Gate*, *kill switch* and *isolation* once more, for what waited in the queue when they
///    began.
///    *Departure*: the last look at who waits. Up to here a call that nobody waits for any more
///    ends at once; from here on it is the guard's, and ends by itself.
/// 7. *Circuit breaker*: asked when the permit is held, so that nothing that was queued goes
///    out after it has opened. Below the isolation, so that it learns nothing from calls that
///    never went out.
/// 8. *Attempt*: time limit, span and metrics of what really goes out.
/// 9. Transport and *contract check*: an answer is used only for the numbers asked for.
///
/// What can be looked at or controlled comes back as well.
pub(crate) fn build(
    transport: impl Inner,
    options: &Options,
    chance: &Chance,
    instruments: &Instruments,
) -> (Guard, Controls) {
    let failures = FailureLog::default();
    let controls = Controls {
        switch: Switch::default(),
        isolation: Isolation::new(instruments.clone()),
        breaker: Breaker::new(options.breaker, chance.clone(), instruments.clone()),
        gate: RetryAfter::default(),
        bulkheads: Bulkheads::new(options, instruments.clone(), failures.clone()),
        retry: Retry::new(options, chance.clone(), instruments.clone()),
    };
    let stack = ServiceBuilder::new()
        .layer(StepLayer(controls.retry.clone()))
        .layer(StepLayer(controls.gate.clone()))
        .layer(StepLayer(controls.switch.clone()))
        .layer(StepLayer(controls.isolation.clone()))
        .layer(StepLayer(BreakerGlance(controls.breaker.clone())))
        .layer(StepLayer(controls.bulkheads.clone()))
        .layer(StepLayer(controls.gate.check()))
        .layer(StepLayer(controls.switch.clone()))
        .layer(StepLayer(controls.isolation.clone()))
        .layer(StepLayer(Departure))
        .layer(StepLayer(controls.breaker.clone()))
        .layer(StepLayer(Attempt::new(
            options,
            instruments.clone(),
            failures,
            controls.retry.clone(),
        )))
        .service(transport);
    (BoxCloneSyncService::new(stack), controls)
}
