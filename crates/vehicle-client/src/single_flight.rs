//! Single-flight: one call for a number at a time, however many ask for it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use contracts::{Cause, RegistrationNumber};
use tokio::time::Instant;

use crate::{
    Failure,
    trail::Trail,
    waiters::{CallResult, Waiter, Waiters},
};

/// The calls that have no result yet, by number. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct SingleFlight(Arc<Mutex<ByNumber>>);

type ByNumber = HashMap<RegistrationNumber, Shared>;

/// A call as those who ask share it.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) waiters: Waiters,
    /// What the layers decide about it.
    pub(crate) trail: Trail,
}

impl SingleFlight {
    /// Waits for the call that carries this number already, or for the one that `begin` makes.
    /// Whether it is an earlier one's comes last.
    pub(crate) fn join(
        &self,
        number: &RegistrationNumber,
        deadline: Instant,
        begin: impl FnOnce() -> (Shared, Waiter),
    ) -> (Waiter, Trail, bool) {
        let mut calls = self.calls();
        if let Some(call) = calls.get(number)
            && let Some(waiter) = call.waiters.join(number, deadline)
        {
            return (waiter, call.trail.clone(), true);
        }
        let (call, waiter) = begin();
        let trail = call.trail.clone();
        calls.insert(number.clone(), call);
        (waiter, trail, false)
    }

    /// Lets nobody join the call for this number any more.
    pub(crate) fn forget(&self, number: &RegistrationNumber) {
        self.calls().remove(number);
    }

    /// Ends the call of these waiters when it is dropped.
    pub(crate) fn ending(&self, waiters: Waiters) -> Ending {
        Ending {
            calls: self.clone(),
            waiters,
            // What a panic leaves: nothing that could be used.
            result: Err(Failure::lasting(Cause::ContractViolation)),
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.calls().is_empty()
    }

    fn calls(&self) -> MutexGuard<'_, ByNumber> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a call out of the list and tells its result, in whatever way it ends.
pub(crate) struct Ending {
    calls: SingleFlight,
    waiters: Waiters,
    result: CallResult,
}

impl Ending {
    /// Ends it with this result.
    pub(crate) fn with(mut self, result: CallResult) {
        self.result = result;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let numbers = self.waiters.numbers();
        let mut calls = self.calls.calls();
        for number in numbers {
            if let Entry::Occupied(entry) = calls.entry(number)
                && entry.get().waiters.is(&self.waiters)
            {
                entry.remove();
            }
        }
        drop(calls);
        self.waiters.end(self.result.clone());
    }
}
