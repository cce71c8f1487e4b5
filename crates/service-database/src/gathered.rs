//! Lookups of many callers in one statement.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
    hash::Hash,
    iter::repeat,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{Either, select};
use tokio::{
    runtime::Handle,
    sync::oneshot::{Receiver, Sender, channel},
    time::{Instant, timeout},
};

use crate::{Database, Error, Read};

/// How many statements run at once while each ends soon. More of them gather less.
const STATEMENTS: u32 = 2;
/// After so long without one that began, those that run are slow, and one more may begin, up to
/// as many as there are connections.
const SLOW: Duration = Duration::from_millis(10);
/// Most keys of one statement.
const MOST_KEYS: usize = 128;

/// Looks values up by key. What is asked for while two statements run waits and shares the next
/// one, each key once; with nothing under way a caller runs its own statement at once.
///
/// Each caller has its own wait for a turn, `acquire_timeout`, and leaves when it likes: a
/// statement ends when nobody waits for it any more, and not before. Clones share the statements.
pub struct Gathered<K, T>(Arc<Shared<K, T>>);

impl<K, T> Clone for Gathered<K, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Keys may be personal data.
impl<K, T> fmt::Debug for Gathered<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathered").finish_non_exhaustive()
    }
}

struct Shared<K, T> {
    database: Database,
    read: Read<Vec<K>, Vec<T>>,
    state: Mutex<State<K, T>>,
}

struct State<K, T> {
    /// First in, first out. A caller who left is passed over when its turn comes.
    waiting: VecDeque<Waiter<K, T>>,
    /// How many have had their turn, so that a waiter knows whether it had.
    served: u64,
    running: u32,
    /// When the latest statement began.
    began: Instant,
}

struct Waiter<K, T> {
    key: K,
    answer: Answer<T>,
}

type Answer<T> = Sender<Result<T, Error>>;

/// Keys of one statement, and for each of them those who wait for its value.
struct Batch<K, T> {
    keys: Vec<K>,
    answers: Vec<Vec<Answer<T>>>,
}

impl<K, T> Gathered<K, T>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    T: Clone + Send + 'static,
{
    /// `read` gives one value for each key, in their order.
    pub fn new(database: Database, read: Read<Vec<K>, Vec<T>>) -> Self {
        Self(Arc::new(Shared {
            database,
            read,
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                served: 0,
                running: 0,
                began: Instant::now(),
            }),
        }))
    }

    /// The value of a key, as of some moment after the call.
    ///
    /// # Errors
    ///
    /// Those of [`Database::read`]. A statement that fails fails everyone who waits for it.
    pub async fn get(&self, key: K) -> Result<T, Error> {
        match self.0.join(key) {
            Turn::Now(key, _running) => {
                let values = self.0.database.read(vec![key], self.0.read).await?;
                values.into_iter().next().ok_or_else(no_value)
            }
            Turn::Later(number, answer) => self.0.wait(number, answer).await,
        }
    }
}

/// A read that breaks its promise, or a task that was ended.
fn no_value() -> Error {
    Error::Failed(sqlx::Error::RowNotFound.into())
}

enum Turn<K, T> {
    /// The caller runs its own statement.
    Now(K, Running),
    /// Another one brings the answer.
    Later(u64, Receiver<Result<T, Error>>),
}

/// Counts a statement, or those of a task, that may run.
struct Running(Arc<dyn Serve>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.clone().end();
    }
}

trait Serve: Send + Sync {
    /// Lets those go on who wait, if any.
    fn end(self: Arc<Self>);
}

impl<K, T> Serve for Shared<K, T>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    T: Clone + Send + 'static,
{
    fn end(self: Arc<Self>) {
        let mut state = self.state();
        // Without a runtime the process is ending.
        match Handle::try_current() {
            Ok(runtime) if !state.waiting.is_empty() => {
                drop(state);
                runtime.spawn(self.serve());
            }
            _ => state.running -= 1,
        }
    }
}

impl<K, T> Shared<K, T>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    T: Clone + Send + 'static,
{
    fn state(&self) -> MutexGuard<'_, State<K, T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(self: &Arc<Self>, key: K) -> Turn<K, T> {
        let mut state = self.state();
        let begins = state.running < STATEMENTS
            || state.running < self.database.max_connections && state.began.elapsed() > SLOW;
        if begins {
            state.running += 1;
            state.began = Instant::now();
            if state.waiting.is_empty() {
                return Turn::Now(key, Running(self.clone()));
            }
        }
        let (answer, receiver) = channel();
        let number = state.served + state.waiting.len() as u64;
        state.waiting.push_back(Waiter { key, answer });
        drop(state);
        if begins {
            self.clone().end();
        }
        Turn::Later(number, receiver)
    }

    async fn wait(&self, number: u64, mut answer: Receiver<Result<T, Error>>) -> Result<T, Error> {
        let connections = &self.database.connections;
        let answer = match connections.in_time(&mut answer).await {
            Some(answer) => answer,
            None if self.state().served > number => answer.await,
            None => return Err(connections.none_free()),
        };
        answer.unwrap_or_else(|_| Err(no_value()))
    }

    /// The next statement's keys; none when nobody waits any more.
    fn batch(&self) -> Batch<K, T> {
        let mut state = self.state();
        let mut batch = Batch {
            keys: Vec::new(),
            answers: Vec::new(),
        };
        let mut places = HashMap::new();
        while batch.keys.len() < MOST_KEYS
            && let Some(Waiter { key, answer }) = state.waiting.pop_front()
        {
            state.served += 1;
            if answer.is_closed() {
                continue;
            }
            match places.entry(key) {
                Entry::Occupied(place) => {
                    let place: usize = *place.get();
                    batch.answers[place].push(answer);
                }
                Entry::Vacant(place) => {
                    batch.keys.push(place.key().clone());
                    batch.answers.push(vec![answer]);
                    place.insert(batch.keys.len() - 1);
                }
            }
        }
        state.began = Instant::now();
        batch
    }

    /// Runs statements until nobody waits.
    async fn serve(self: Arc<Self>) {
        let _running = Running(self.clone());
        loop {
            let lent = self.database.connections.lend().await;
            // Who waited as long as that has gone; who came later has a wait of their own.
            if let Err(Error::Busy) = lent {
                return;
            }
            let mut batch = self.batch();
            if batch.keys.is_empty() {
                return;
            }
            match lent {
                Ok(session) => {
                    let statement = self.database.answer(session, batch.keys, self.read);
                    let grace = self.database.grace;
                    if let Some(values) = awaited(statement, &mut batch.answers, grace).await {
                        tell(batch.answers, values);
                    }
                }
                Err(error) => tell(batch.answers, Err(error)),
            }
        }
    }
}

/// Waits for a statement as long as somebody waits for its values. When the last one has left it
/// has a time of grace to end by itself, and is then dropped.
async fn awaited<T, F: Future>(
    statement: F,
    answers: &mut [Vec<Answer<T>>],
    grace: Duration,
) -> Option<F::Output> {
    let statement = pin!(statement);
    let all_left = pin!(async {
        for answer in answers.iter_mut().flatten() {
            answer.closed().await;
        }
    });
    match select(statement, all_left).await {
        Either::Left((values, _)) => Some(values),
        Either::Right(((), statement)) => timeout(grace, statement).await.ok(),
    }
}

/// Gives everybody their value, or the same error.
fn tell<T: Clone>(answers: Vec<Vec<Answer<T>>>, values: Result<Vec<T>, Error>) {
    let (values, error) = match values {
        Ok(values) => (values, no_value()),
        Err(error) => (Vec::new(), error),
    };
    let values = values.into_iter().map(Ok).chain(repeat(Err(error)));
    for (mut answers, value) in answers.into_iter().zip(values) {
        let last = answers.pop();
        // Nobody minds those who left.
        for answer in answers {
            let _ = answer.send(value.clone());
        }
        last.map(|answer| answer.send(value));
    }
}
