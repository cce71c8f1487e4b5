//! The guard around Vehicle: every protection in its order, in one place.

use tower::{ServiceBuilder, util::BoxCloneSyncService};

use crate::{
    Answer, BuildError, Call, Failure, Options, attempt::Attempt, bulkhead::Bulkheads,
    failure_log::FailureLog, instruments::Instruments, retry::Retry, step::StepLayer,
    transport::Transport,
};

/// The guard of one process. Clones share every permit, so that there is one cap however many
/// inbound requests there are.
pub(crate) type Guard = BoxCloneSyncService<Call, Answer, Failure>;

/// Builds the guard, outermost layer first:
///
/// 1. *Deadline* for all of a request's calls: held by
///    [`VehicleClient::look_up`](crate::VehicleClient::look_up), which also answers for what is
///    not there by then. Every layer below looks at it before it waits.
/// 2. *Cache*, 3. *collapsing* and 4. *gathering* come here: they save calls, so they stand
///    before everything that bounds calls.
/// 5. *Retry*: above the cap, so that no permit is held through a pause. Its *budget* and the
///    *Retry-After gate* belong with it.
/// 6. *Bulkhead*: the process-wide cap and its queue, bounded in time and length. A permit is
///    held for one attempt.
/// 7. The *circuit breaker* comes here, asked when the permit is held, so that nothing that
///    was queued goes out after it has opened.
/// 8. *Attempt*: time limit, span and metrics of what really goes out.
/// 9. Transport and *contract check*: an answer is used only for the numbers asked for.
///
/// The bulkheads come back as well, for a look at how full they are.
pub(crate) fn build(
    options: &Options,
    instruments: &Instruments,
) -> Result<(Guard, Bulkheads), BuildError> {
    let transport = Transport::new(options, instruments.clone())?;
    let failures = FailureLog::default();
    let bulkheads = Bulkheads::new(options, instruments.clone(), failures.clone());
    let stack = ServiceBuilder::new()
        .layer(StepLayer(Retry::new(options)))
        .layer(StepLayer(bulkheads.clone()))
        .layer(StepLayer(Attempt::new(
            options,
            instruments.clone(),
            failures,
        )))
        .service(transport);
    Ok((BoxCloneSyncService::new(stack), bulkheads))
}
