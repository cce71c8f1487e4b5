use std::sync::Arc;

use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{Opened, Shared};
use crate::{Error, Read, error::is_broken};

/// A connection for the time of one statement or transaction. Dropped, it goes back to the others, unless it is
/// broken or a statement still runs on it.
pub(crate) struct Session {
    shared: Arc<Shared>,
    place: Option<OwnedSemaphorePermit>,
    opened: Option<Opened>,
    /// Opened for this statement, so that it cannot have died while it was idle.
    fresh: bool,
    lent: Instant,
    condition: Condition,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Usable,
    Running,
    Broken,
}

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        place: OwnedSemaphorePermit,
        opened: Opened,
        fresh: bool,
    ) -> Self {
        Self {
            shared,
            place: Some(place),
            opened: Some(opened),
            fresh,
            lent: Instant::now(),
            condition: Condition::Usable,
        }
    }

    pub(crate) async fn run<A, T>(&mut self, argument: &A, read: Read<A, T>) -> sqlx::Result<T> {
        let Some(opened) = &mut self.opened else {
            return Err(sqlx::Error::PoolClosed);
        };
        self.condition = Condition::Running;
        let result = read(&mut opened.raw, argument).await;
        opened.answered = Instant::now();
        self.condition = match &result {
            Err(error) if is_broken(error) => Condition::Broken,
            _ => Condition::Usable,
        };
        result
    }

    /// Leaves the connection to nobody else.
    pub(crate) fn close(&mut self) {
        self.condition = Condition::Broken;
    }

    /// Whether the connection may have died before the statement came.
    pub(crate) fn was_dead(&self) -> bool {
        self.condition == Condition::Broken && !self.fresh
    }

    /// Takes the place of a connection that was dead with a fresh one.
    pub(crate) async fn replace(&mut self) -> Result<(), Error> {
        let (Some(opened), Some(place)) = (self.opened.take(), self.place.take()) else {
            return Err(sqlx::Error::PoolClosed.into());
        };
        drop(opened);
        let opening = {
            let mut state = self.shared.state();
            state.open -= 1;
            self.shared.begin_opening(&mut state)
        };
        *self = opening.open_for_caller(place).await?;
        Ok(())
    }

    /// The server was silent for longer than any statement may take. A connection that was idle
    /// may have died without a sign, and those that were idle beside it with it. One that was
    /// replaced meanwhile tells nothing about them.
    pub(crate) fn unanswered(&self) {
        if self.opened.is_some() && !self.fresh {
            self.shared.discard_silent(self.lent);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (Some(opened), Some(place)) = (self.opened.take(), self.place.take()) else {
            return;
        };
        match self.condition {
            Condition::Usable => self.shared.give_back(opened, place),
            Condition::Running => {
                drop(opened);
                self.shared.linger(place);
            }
            Condition::Broken => {
                drop(opened);
                self.shared.lost();
            }
        }
    }
}
