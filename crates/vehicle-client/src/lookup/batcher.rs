use contracts::RegistrationNumber;
use tokio::time::Instant;

use crate::group::{Group, Waiter};

/// Which batch gathers numbers. Numbers of different requests that are asked for within a moment
/// share a call.
#[derive(Debug)]
pub(super) struct Batcher {
    max_size: usize,
    gathering: Option<Group>,
}

impl Batcher {
    pub(super) fn new(max_size: usize) -> Self {
        Self {
            max_size,
            gathering: None,
        }
    }

    /// Numbers in one batch.
    pub(super) fn max_size(&self) -> usize {
        self.max_size
    }

    /// Adds a number to the batch that gathers, if there is one with room.
    pub(super) fn add(
        &self,
        number: &RegistrationNumber,
        deadline: Instant,
    ) -> Option<(Group, Waiter)> {
        let batch = self.gathering.as_ref()?;
        let waiter = batch.add(number, deadline)?;
        Some((batch.clone(), waiter))
    }

    /// Lets this batch gather from now on.
    pub(super) fn begin(&mut self, batch: Group) {
        self.gathering = Some(batch);
    }

    /// Forgets this batch, which has ended.
    pub(super) fn end(&mut self, batch: &Group) {
        self.gathering.take_if(|it| it.is(batch));
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.gathering.is_none()
    }
}
