use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::runtime::Handle;

use super::single_flight::Ending;
use crate::{Call, Failure, FailureKind, answer::CallResult};

/// A call that is made by whoever began it, as long as they wait: a task for it would cost more
/// than the rest of its way through the guard.
///
/// It belongs to nobody who waits. Dropped before it has ended, it goes on in a task, until it has
/// ended or nobody waits for it while it is not in flight.
pub(super) struct Making(Option<Made>);

struct Made {
    call: Arc<Call>,
    /// Nothing after a panic.
    result: BoxFuture<'static, Option<CallResult>>,
    ending: Ending,
}

impl Making {
    pub(super) fn new(
        call: Arc<Call>,
        result: impl Future<Output = CallResult> + Send + 'static,
        ending: Ending,
    ) -> Self {
        // Whoever waits with its maker is not to notice the maker's panic.
        let result = AssertUnwindSafe(result).catch_unwind().map(Result::ok);
        Self(Some(Made {
            call,
            result: result.boxed(),
            ending,
        }))
    }
}

/// Done when the call has ended.
impl Future for Making {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(made) = &mut self.0 {
            let result = ready!(made.result.poll_unpin(context));
            if let Some(made) = self.0.take() {
                made.ending.with(result);
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        // Without a runtime the process is ending.
        if let (Some(made), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(made.without_maker());
        }
    }
}

impl Made {
    async fn without_maker(self) {
        let result = tokio::select! {
            biased;
            result = self.result => result,
            () = self.call.group.abandoned() => Some(Err(Failure::lasting(FailureKind::Timeout))),
        };
        self.ending.with(result);
    }
}
