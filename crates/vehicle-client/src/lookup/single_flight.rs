//! Single-flight: one call for a number at a time, however many ask for it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use contracts::RegistrationNumber;
use tokio::time::Instant;

use super::batcher::Batcher;
use crate::{
    Failure, FailureKind, Strategy,
    group::{CallResult, Group, Waiter},
    observe::LookupLog,
};

/// The calls that have no result yet. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct SingleFlight(Arc<Mutex<Calls>>);

#[derive(Debug)]
struct Calls {
    by_number: HashMap<RegistrationNumber, Group>,
    batcher: Batcher,
}

/// A place among those who wait for a call.
pub(super) struct Joined {
    pub(super) waiter: Waiter,
    /// The call carried the number already.
    pub(super) shared: bool,
    /// The call is new, and whoever joined has to make it. From the start it ends when this is
    /// dropped, so that nobody waits for a call that a panic kept from being made.
    pub(super) begun: Option<Ending>,
}

impl SingleFlight {
    pub(super) fn new(max_batch_size: usize) -> Self {
        Self(Arc::new(Mutex::new(Calls {
            by_number: HashMap::new(),
            batcher: Batcher::new(max_batch_size),
        })))
    }

    /// Waits for the call that carries this number, for a batch that takes it, or for a new call.
    pub(super) fn join(
        &self,
        number: &RegistrationNumber,
        strategy: Strategy,
        deadline: Instant,
    ) -> Joined {
        let mut calls = self.calls();
        let known = calls.by_number.get(number);
        if let Some(waiter) = known.and_then(|group| group.join(number, deadline)) {
            return Joined {
                waiter,
                shared: true,
                begun: None,
            };
        }
        let (group, waiter, begun) = calls.begin(number, strategy, deadline);
        calls.by_number.insert(number.clone(), group.clone());
        drop(calls);
        Joined {
            waiter,
            shared: false,
            begun: begun.then(|| self.ending(group)),
        }
    }

    /// Lets nobody join the call for this number any more.
    pub(super) fn forget(&self, number: &RegistrationNumber) {
        self.calls().by_number.remove(number);
    }

    fn ending(&self, group: Group) -> Ending {
        Ending {
            single_flight: self.clone(),
            group,
            // What a panic leaves: nothing that could be used.
            result: Err(Failure::lasting(FailureKind::ContractViolation)),
        }
    }

    /// Whether no call is on its way and none is kept that has ended.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let calls = self.calls();
        calls.by_number.is_empty() && calls.batcher.is_idle()
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    /// A call for a number that none carries, and whether it is new.
    fn begin(
        &mut self,
        number: &RegistrationNumber,
        strategy: Strategy,
        deadline: Instant,
    ) -> (Group, Waiter, bool) {
        let capacity = match strategy {
            Strategy::Single => 1,
            Strategy::Batch => {
                if let Some((batch, waiter)) = self.batcher.add(number, deadline) {
                    return (batch, waiter, false);
                }
                self.batcher.max_size()
            }
        };
        let (group, waiter) = Group::new(number, deadline, capacity, LookupLog::begin());
        if strategy == Strategy::Batch {
            self.batcher.begin(group.clone());
        }
        (group, waiter, true)
    }
}

/// Takes a call out of the list and gives its result to all who wait, in whatever way it ends.
pub(super) struct Ending {
    single_flight: SingleFlight,
    group: Group,
    result: CallResult,
}

impl Ending {
    /// The call.
    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    /// Ends it with this result.
    pub(super) fn with(mut self, result: CallResult) {
        self.result = result;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let numbers = self.group.numbers();
        let mut calls = self.single_flight.calls();
        calls.batcher.end(&self.group);
        for number in numbers {
            // After an erasure there may be a newer call for the number.
            if let Entry::Occupied(entry) = calls.by_number.entry(number)
                && entry.get().is(&self.group)
            {
                entry.remove();
            }
        }
        drop(calls);
        self.group.end(self.result.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::SingleFlight;
    use crate::{Answer, Strategy};

    #[tokio::test(start_paused = true)]
    async fn a_call_that_ends_leaves_the_newer_one_for_its_number() {
        for strategy in [Strategy::Single, Strategy::Batch] {
            let (calls, number) = (SingleFlight::new(1), "ABC123".parse().unwrap());
            let join = || calls.join(&number, strategy, Instant::now() + Duration::from_secs(1));
            let old = join();
            let (ending, _waiter) = (old.begun.unwrap(), old.waiter);
            // In flight, so that a batch does not take the number once more.
            let in_flight = ending.group().begin_attempt();
            calls.forget(&number);
            let new = join();
            assert!(!new.shared);
            drop(in_flight);
            ending.with(Ok(Answer::new().into()));
            assert!(join().shared);
            drop(new.begun.unwrap());
            assert!(calls.is_idle());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_those_who_share_a_call_has_to_make_it() {
        let calls = SingleFlight::new(2);
        let join = |number: &str, strategy| {
            let number = number.parse().unwrap();
            calls.join(&number, strategy, Instant::now() + Duration::from_secs(1))
        };
        for (number, strategy, shared, begun) in [
            ("AAA111", Strategy::Single, false, true),
            ("AAA111", Strategy::Batch, true, false),
            ("BBB222", Strategy::Batch, false, true),
            ("CCC333", Strategy::Batch, false, false),
            ("CCC333", Strategy::Single, true, false),
            // The batch is full.
            ("DDD444", Strategy::Batch, false, true),
            ("EEE555", Strategy::Single, false, true),
        ] {
            let joined = join(number, strategy);
            let is = (joined.shared, joined.begun.is_some());
            assert_eq!(is, (shared, begun), "{number}");
            // The call goes on, and it keeps waiting.
            std::mem::forget((joined.begun, joined.waiter));
        }
    }
}
