use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// Polls in a row, after which others have their turn: a request with a body takes three, and who
/// wakes itself for the others' sake, as hyper does after 16 rounds, gets little more.
const MOST_POLLS: u32 = 4;

/// Bits of a stage. Without both it rests.
const POLLED: u8 = 1;
const WOKEN: u8 = 2;

/// Polls a future again at once when it was woken while it was polled.
///
/// hyper's connection, a request's body and a handler wake each other within one task, and Tokio
/// would queue that task and wake another thread to take it.
pub(super) struct Repolled<F> {
    future: Pin<Box<F>>,
    state: Arc<State>,
    waker: Waker,
}

struct State {
    /// Changed by read-modify-write only: a poll sees all that was done before the wakes that it
    /// takes away, and a wake that comes later is seen after the poll.
    stage: AtomicU8,
    task: AtomicWaker,
}

impl<F> Repolled<F> {
    pub(super) fn new(future: F) -> Self {
        let state = Arc::new(State {
            stage: AtomicU8::new(0),
            task: AtomicWaker::new(),
        });
        Self {
            future: Box::pin(future),
            waker: state.clone().into(),
            state,
        }
    }
}

impl<F: Future> Future for Repolled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self {
            future,
            state,
            waker,
        } = &mut *self;
        state.task.register(context.waker());
        for _ in 0..MOST_POLLS {
            state.stage.swap(POLLED, Ordering::AcqRel);
            let polled = future.as_mut().poll(&mut Context::from_waker(waker));
            if polled.is_ready() || !state.rest() {
                return polled;
            }
        }
        state.stage.swap(0, Ordering::AcqRel);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl State {
    /// Ends a poll; whether the future was woken meanwhile, so that it is to be polled again.
    fn rest(&self) -> bool {
        let ended = self
            .stage
            .compare_exchange(POLLED, 0, Ordering::AcqRel, Ordering::Acquire);
        ended.is_err()
    }
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.stage.fetch_or(WOKEN, Ordering::AcqRel) == 0 {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
            mpsc,
        },
        task::{Context, Poll, Wake, Waker},
        thread,
        time::Duration,
    };

    use futures_util::FutureExt;
    use tokio::time::timeout;

    use super::{MOST_POLLS, Repolled};

    /// Another thread wakes it in the middle of its polls, and none of the wakes is lost.
    #[tokio::test]
    async fn no_wake_of_another_thread_is_lost() {
        let (sender, receiver) = mpsc::channel::<(Arc<AtomicU32>, Waker)>();
        let waking = thread::spawn(move || {
            for (ready, waker) in receiver {
                ready.store(1, Ordering::Release);
                waker.wake();
            }
        });
        for _ in 0..20_000 {
            let ready = Arc::<AtomicU32>::default();
            let (mut sent, again) = (false, ready.clone());
            let future = Repolled::new(poll_fn(|context| {
                if again.load(Ordering::Acquire) == 1 {
                    return Poll::Ready(());
                }
                if !sent {
                    sent = true;
                    sender
                        .send((again.clone(), context.waker().clone()))
                        .unwrap();
                    context.waker().wake_by_ref();
                }
                Poll::Pending
            }));
            timeout(Duration::from_secs(20), future).await.unwrap();
        }
        drop(sender);
        waking.join().unwrap();
    }

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls once; whether it is ready, and how often the task was woken.
    fn poll(future: &mut (impl Future + Unpin)) -> (bool, u32) {
        let wakes = Arc::<Wakes>::default();
        let task = Waker::from(wakes.clone());
        let polled = future.poll_unpin(&mut Context::from_waker(&task));
        (polled.is_ready(), wakes.0.load(Ordering::Relaxed))
    }

    /// Wakes itself so often before it is ready.
    fn waking_itself(times: u32) -> impl Future<Output = ()> + Unpin {
        let mut left = times;
        Repolled::new(poll_fn(move |context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }))
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_again_and_its_task_is_not_woken() {
        assert_eq!(poll(&mut waking_itself(3)), (true, 0));
    }

    #[test]
    fn one_that_does_nothing_else_lets_others_have_their_turn() {
        let mut future = waking_itself(MOST_POLLS);
        assert_eq!(poll(&mut future), (false, 1));
        assert_eq!(poll(&mut future), (true, 0));
    }

    #[test]
    fn what_wakes_it_later_wakes_its_task() {
        let mut inner = None;
        let mut future = Repolled::new(poll_fn(|context| -> Poll<()> {
            inner = Some(context.waker().clone());
            Poll::Pending
        }));
        let wakes = Arc::<Wakes>::default();
        let task = Waker::from(wakes.clone());
        assert!(
            future
                .poll_unpin(&mut Context::from_waker(&task))
                .is_pending()
        );
        drop(future);
        inner.unwrap().wake();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    }
}
