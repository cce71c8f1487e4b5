use std::{sync::Arc, time::Duration};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::{sync::Semaphore, time::sleep};

/// A pool's connection for the time of one query.
///
/// Dropped in the middle of it, because the request's time is up or its caller went away, it
/// closes the connection, for the server to notice and to stop working on the statement. In the
/// pool the connection would be of no use until the statement has ended.
pub(crate) struct Lease {
    connection: PoolConnection<Postgres>,
    hang_up: Option<HangUp>,
    ended: bool,
}

impl Lease {
    pub(crate) async fn take(pool: &PgPool, hang_up: Option<HangUp>) -> sqlx::Result<Self> {
        let connection = pool.acquire().await?;
        Ok(Self {
            connection,
            hang_up,
            ended: false,
        })
    }

    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Gives the connection back, ready for another query.
    pub(crate) fn give_back(mut self) {
        self.ended = true;
    }

    /// Closes the connection of a server that says nothing more.
    pub(crate) fn close(mut self) {
        self.ended = true;
        self.connection.close_on_drop();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.ended && self.hang_up.as_ref().is_some_and(HangUp::may_begin) {
            self.connection.close_on_drop();
        }
    }
}

/// Bounds how many statements are ended by closing their connections.
///
/// The server keeps such a session until it looks at it, while the pool opens another one already.
/// With as many of them as the pool is large, further connections stay in the pool until their
/// statements have ended, so that callers in a hurry cannot heap sessions up.
#[derive(Clone, Debug)]
pub(crate) struct HangUp {
    check_interval: Duration,
    sessions: Arc<Semaphore>,
}

impl HangUp {
    /// Nothing for a server that never looks whether its client is still there.
    pub(crate) fn new(check_interval: Duration, max_connections: u32) -> Option<Self> {
        let sessions = usize::try_from(max_connections).unwrap_or(Semaphore::MAX_PERMITS);
        (!check_interval.is_zero()).then(|| Self {
            check_interval,
            sessions: Arc::new(Semaphore::new(sessions)),
        })
    }

    /// Whether one more may begin; counts it until the server has looked.
    fn may_begin(&self) -> bool {
        let Ok(session) = self.sessions.clone().try_acquire_owned() else {
            return false;
        };
        let interval = self.check_interval;
        tokio::spawn(async move {
            sleep(interval).await;
            drop(session);
        });
        true
    }
}
