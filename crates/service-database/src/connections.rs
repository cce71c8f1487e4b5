//! The connections of a service, lent to one statement or transaction at a time.
//!
//! sqlx's own pool does not fit: whoever finds no idle connection opens one and throws the session
//! away by leaving meanwhile, and its task that keeps a minimum open holds places of the pool for
//! up to a minute after an outage.

mod session;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::future::join_all;
use service_defaults::chain;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout},
};

pub(crate) use self::session::Session;
use crate::{DatabaseSettings, Error, finish::finish};

/// How long the server may take to give a connection. A caller waits for `acquire_timeout` only.
const OPENING_TIMEOUT: Duration = Duration::from_secs(5);
/// How many connections the filling opens at once.
const OPENED_AT_ONCE: u32 = 8;
/// Pauses of the filling while the server gives no connections.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long a connection is used on average, so that a server's new address and its grown
/// sessions are not kept for ever. Each lives a fifth shorter or longer, so that those that were
/// opened together are not replaced together.
const LIFE: Duration = Duration::from_mins(30);
/// How long a connection may be idle while others are used, so that each shows now and then that its
/// server is there, and is replaced when it is old.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// What a server needs to end a session once it knows that its client is gone.
const END_OF_SESSION: Duration = Duration::from_millis(50);

/// Clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: PgConnectOptions,
    most: u32,
    acquire_timeout: Duration,
    /// How long a session may outlive a connection that was closed in mid-statement.
    linger: Duration,
    /// One for each connection that may be open, first in, first out. Whoever uses or opens a
    /// connection holds one; idle connections hold none.
    places: Arc<Semaphore>,
    state: Mutex<State>,
    /// Whether all connections were open at some time.
    filled: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// The one that was used last at the end.
    idle: VecDeque<Opened>,
    /// Idle, lent, being opened, and closed in mid-statement where the server may not have
    /// noticed yet. At most as many as there are places, because a holder of a place opens one
    /// only where none is idle, or one is missing. The sessions of a server that fell silent are not
    /// counted once their connections are given up.
    open: u32,
    opening: u32,
    filling: bool,
}

#[derive(Debug)]
struct Opened {
    raw: PgConnection,
    /// When it last showed that the server is there.
    answered: Instant,
    /// When it is due for replacement.
    old: Instant,
}

impl Opened {
    fn new(raw: PgConnection) -> Self {
        let answered = Instant::now();
        Self {
            raw,
            answered,
            old: answered + life(),
        }
    }
}

fn life() -> Duration {
    LIFE.mul_f64(rand::random_range(0.8..1.2))
}

/// How many connections there are.
pub(crate) struct Counts {
    pub(crate) idle: u32,
    pub(crate) open: u32,
    pub(crate) opening: u32,
}

impl Connections {
    /// Begins to open all of them.
    pub(crate) fn new(settings: &DatabaseSettings) -> sqlx::Result<Self> {
        let most = settings.max_connections;
        let places = usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            options: settings.service_options()?,
            most,
            acquire_timeout: settings.acquire_timeout,
            linger: settings
                .client_connection_check_interval
                .min(settings.statement_timeout)
                + END_OF_SESSION,
            places: Arc::new(Semaphore::new(places)),
            state: Mutex::default(),
            filled: watch::Sender::new(false),
        });
        shared.fill();
        Ok(Self(shared))
    }

    /// Takes an idle connection or opens one, first come, first served.
    pub(crate) async fn lend(&self) -> Result<Session, Error> {
        let lent = self.in_time(self.0.lend()).await;
        lent.unwrap_or_else(|| Err(self.none_free()))
    }

    /// What comes within the time that a caller waits for a connection.
    pub(crate) async fn in_time<F: Future>(&self, turn: F) -> Option<F::Output> {
        timeout(self.0.acquire_timeout, turn).await.ok()
    }

    /// Why no connection was free in time.
    pub(crate) fn none_free(&self) -> Error {
        let counts = self.counts();
        if counts.open > counts.opening {
            Error::Busy
        } else {
            sqlx::Error::PoolTimedOut.into()
        }
    }

    /// Waits until all were open once.
    pub(crate) async fn filled(&self) {
        // The sender lives as long as this.
        let _ = self.0.filled.subscribe().wait_for(|filled| *filled).await;
    }

    pub(crate) fn counts(&self) -> Counts {
        let state = self.0.state();
        Counts {
            idle: u32::try_from(state.idle.len()).unwrap_or(u32::MAX),
            open: state.open,
            opening: state.opening,
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lend(self: &Arc<Self>) -> Result<Session, Error> {
        let place = self.place().await?;
        // Under one lock: none is idle, so one more may be open.
        let opening = {
            let mut state = self.state();
            if let Some(opened) = state.take_idle() {
                drop(state);
                return Ok(Session::new(self.clone(), place, opened, false));
            }
            self.begin_opening(&mut state)
        };
        opening.open_for_caller(place).await
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        let place = self.places.clone().acquire_owned().await;
        // Never closed.
        place.map_err(|_| sqlx::Error::PoolClosed.into())
    }

    fn begin_opening(self: &Arc<Self>, state: &mut State) -> Opening {
        state.open += 1;
        state.opening += 1;
        Opening {
            shared: self.clone(),
            done: false,
        }
    }

    /// Keeps all connections open, in a task that ends when they are.
    fn fill(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let mut state = self.state();
        if state.open < self.most && !state.filling {
            state.filling = true;
            runtime.spawn(fill(Arc::downgrade(self)));
        }
    }

    /// How many connections are missing; with none, the filling is over.
    fn missing(&self) -> u32 {
        let mut state = self.state();
        let missing = self.most.saturating_sub(state.open);
        state.filling = missing > 0;
        missing
    }

    /// Opens one of those that are missing.
    async fn open_missing(self: &Arc<Self>) -> Result<(), Error> {
        let place = self.place().await?;
        let opening = {
            let mut state = self.state();
            if state.open >= self.most {
                return Ok(());
            }
            self.begin_opening(&mut state)
        };
        opening.open(place).await.map(drop)
    }

    fn give_back(self: &Arc<Self>, opened: Opened, place: OwnedSemaphorePermit) {
        let mut state = self.state();
        let runtime = Handle::try_current();
        let (false, Ok(runtime)) = (state.keeps(&opened, self.most), runtime) else {
            state.idle.push_back(opened);
            return;
        };
        state.open -= 1;
        let replacement = (state.open < self.most).then(|| self.begin_opening(&mut state));
        drop(state);
        // With its place, so that the others find enough connections meanwhile.
        runtime.spawn(async move {
            // Its session ends before the next begins, and a server that is gone ends it as well.
            let _ = timeout(OPENING_TIMEOUT, opened.raw.close()).await;
            if let Some(replacement) = replacement {
                // What fails is missing, and the filling says so.
                let _ = replacement.open(place).await;
            }
        });
    }

    /// Closes the idle connections that have not answered since then.
    fn discard_silent(self: &Arc<Self>, since: Instant) {
        let mut state = self.state();
        let before = state.idle.len();
        state.idle.retain(|idle| idle.answered >= since);
        let silent = before - state.idle.len();
        state.open -= u32::try_from(silent).unwrap_or(u32::MAX);
        drop(state);
        self.fill();
    }

    /// Counts a connection that was closed in mid-statement until the server has looked whether
    /// its client is still there and ends the session, so that callers in a hurry cannot heap
    /// sessions up.
    fn linger(self: &Arc<Self>, place: OwnedSemaphorePermit) {
        // Without a runtime the process is ending.
        if let Ok(runtime) = Handle::try_current() {
            let shared = self.clone();
            runtime.spawn(async move {
                sleep(shared.linger).await;
                shared.lost();
                drop(place);
            });
        }
    }

    /// One connection fewer is open.
    fn lost(self: &Arc<Self>) {
        self.state().open -= 1;
        self.fill();
    }
}

impl State {
    /// The one that was used last: its session has in its caches what the next statement needs.
    fn take_idle(&mut self) -> Option<Opened> {
        let first = self.idle.front()?;
        if first.answered.elapsed() > LONGEST_REST {
            self.idle.pop_front()
        } else {
            self.idle.pop_back()
        }
    }

    /// Whether a connection serves on. An old one is replaced where no request waits for it:
    /// another one is idle, or it is the only one, and the server gave all that are wanted. Where
    /// that never comes, it is replaced a life later.
    fn keeps(&self, opened: &Opened, most: u32) -> bool {
        let now = Instant::now();
        let spare = (!self.idle.is_empty() || self.open == 1) && self.open >= most;
        let due = opened.old <= now && spare || opened.old + LIFE <= now;
        !due || self.opening > 0
    }
}

async fn fill(shared: Weak<Shared>) {
    let mut pause = FIRST_PAUSE;
    // Ends with the last clone of the connections.
    while let Some(shared) = shared.upgrade() {
        let missing = shared.missing().min(OPENED_AT_ONCE);
        if missing == 0 {
            return;
        }
        let opened = join_all((0..missing).map(|_| shared.open_missing())).await;
        drop(shared);
        let Some(error) = opened.into_iter().find_map(Result::err) else {
            pause = FIRST_PAUSE;
            continue;
        };
        // Once for each time that they are missing.
        if pause == FIRST_PAUSE {
            tracing::warn!(
                error = chain(&error),
                "database connections cannot be opened"
            );
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Counts a connection that is being opened.
struct Opening {
    shared: Arc<Shared>,
    done: bool,
}

impl Opening {
    /// Opens a connection that stays even if its caller leaves meanwhile.
    async fn open_for_caller(self, place: OwnedSemaphorePermit) -> Result<Session, Error> {
        finish(self.open(place), OPENING_TIMEOUT).await
    }

    async fn open(mut self, place: OwnedSemaphorePermit) -> Result<Session, Error> {
        let connecting = PgConnection::connect_with(&self.shared.options);
        let raw = timeout(OPENING_TIMEOUT, connecting)
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??;
        self.done = true;
        {
            let mut state = self.shared.state();
            state.opening -= 1;
            if state.open - state.opening >= self.shared.most {
                self.shared
                    .filled
                    .send_if_modified(|filled| !std::mem::replace(filled, true));
            }
        }
        let opened = Opened::new(raw);
        Ok(Session::new(self.shared.clone(), place, opened, true))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.done {
            self.shared.state().opening -= 1;
            self.shared.lost();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn lives_differ_by_up_to_two_fifths() {
        let lives: Vec<_> = (0..1000).map(|_| super::life()).collect();
        let (shortest, longest) = (lives.iter().min().unwrap(), lives.iter().max().unwrap());
        let minutes = Duration::from_mins;
        assert!(
            (minutes(24)..minutes(25)).contains(shortest),
            "{shortest:?}"
        );
        assert!((minutes(35)..minutes(36)).contains(longest), "{longest:?}");
    }
}
