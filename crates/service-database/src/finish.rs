use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{runtime::Handle, time::timeout};

/// A future that does not end with whoever waits for it: dropped before it is done, it goes on in
/// a task for the time of grace.
pub(crate) struct Finish<F: Future + Send + 'static> {
    future: Option<Pin<Box<F>>>,
    grace: Duration,
}

pub(crate) fn finish<F: Future + Send + 'static>(future: F, grace: Duration) -> Finish<F> {
    Finish {
        future: Some(Box::pin(future)),
        grace,
    }
}

impl<F: Future + Send + 'static> Future for Finish<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        let output = std::task::ready!(future.as_mut().poll(context));
        self.future = None;
        Poll::Ready(output)
    }
}

impl<F: Future + Send + 'static> Drop for Finish<F> {
    fn drop(&mut self) {
        // Without a runtime the process is ending.
        if let (Some(future), Ok(runtime)) = (self.future.take(), Handle::try_current()) {
            let grace = self.grace;
            runtime.spawn(async move {
                let _ = timeout(grace, future).await;
            });
        }
    }
}
