//! Makes an async function a tower layer, so that each protection is its rule and nothing else.

use std::{
    future::Future,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tower::{Layer, Service, ServiceExt};

use crate::{Answer, Call, Failure};

/// What stands below a step: the rest of the guard, down to the transport.
pub(crate) trait Inner:
    Service<Call, Response = Answer, Error = Failure, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Inner for S where
    S: Service<Call, Response = Answer, Error = Failure, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// One protection of the guard. Clones share their state.
pub(crate) trait Step: Clone + Send + 'static {
    /// Passes the call on, or does not, and answers for it.
    fn pass(
        self,
        call: Call,
        inner: impl Inner,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

/// Sends a call to what stands below.
pub(crate) async fn ask(inner: &impl Inner, call: Call) -> Result<Answer, Failure> {
    inner.clone().oneshot(call).await
}

/// The layer of a step.
#[derive(Clone)]
pub(crate) struct StepLayer<T>(pub(crate) T);

impl<T: Step, S> Layer<S> for StepLayer<T> {
    type Service = Stepped<T, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Stepped {
            step: self.0.clone(),
            inner,
        }
    }
}

/// A step with what stands below it.
#[derive(Clone)]
pub(crate) struct Stepped<T, S> {
    step: T,
    inner: S,
}

impl<T: Step, S: Inner> Service<Call> for Stepped<T, S> {
    type Response = Answer;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Answer, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        // A step waits in `pass`, where the deadline of the call is known.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        Box::pin(self.step.clone().pass(call, self.inner.clone()))
    }
}
