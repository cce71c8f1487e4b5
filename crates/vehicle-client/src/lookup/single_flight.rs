//! Single-flight: one call for a number at a time, however many ask for it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use contracts::RegistrationNumber;
use tokio::time::Instant;

use crate::{
    Failure, FailureKind, Strategy,
    answer::CallResult,
    group::{Group, Waiter},
    observe::LookupLog,
};

/// The calls that have no result yet. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct SingleFlight {
    calls: Arc<Mutex<Calls>>,
    max_batch_size: usize,
}

#[derive(Debug, Default)]
struct Calls {
    by_number: HashMap<RegistrationNumber, Group>,
    /// The batch that was begun last. It takes numbers until it is sent, so that numbers which are
    /// asked for while a batch is in flight share the next one.
    batch: Option<Group>,
}

/// A place among those who wait for a call, for some numbers of a set.
pub(super) struct Joined {
    pub(super) waiter: Waiter,
    /// Their positions in the set, and whether the call carried them already.
    pub(super) numbers: Vec<(usize, bool)>,
    /// The call is new, and whoever joined has to make it. From the start it ends when this is
    /// dropped, so that nobody waits for a call that a panic kept from being made.
    pub(super) begun: Option<Ending>,
}

impl SingleFlight {
    pub(super) fn new(max_batch_size: usize) -> Self {
        Self {
            calls: Arc::default(),
            max_batch_size,
        }
    }

    /// Waits for a set of numbers at once: for the calls that carry them, for a batch that takes
    /// them, or for new calls.
    pub(super) fn join<'a>(
        &self,
        numbers: impl IntoIterator<Item = &'a RegistrationNumber>,
        strategy: Strategy,
        deadline: Instant,
    ) -> Vec<Joined> {
        let mut joined = Vec::new();
        // Released before `joined` is dropped, also by a panic: an `Ending` needs it.
        let mut calls = self.calls();
        for (position, number) in numbers.into_iter().enumerate() {
            if let Some(group) = calls.by_number.get(number)
                && let Some(of) = wait(&mut joined, group, Wait::Join, number, deadline)
            {
                of.numbers.push((position, true));
                continue;
            }
            let batch = calls.batch.clone().filter(|_| strategy == Strategy::Batch);
            let group = if let Some(batch) = batch
                && let Some(of) = wait(&mut joined, &batch, Wait::Add, number, deadline)
            {
                of.numbers.push((position, false));
                batch
            } else {
                let (group, begun) = self.begin(&mut calls, (position, number), strategy, deadline);
                joined.push(begun);
                group
            };
            calls.by_number.insert(number.clone(), group);
        }
        drop(calls);
        joined
    }

    /// A new call for a number.
    fn begin(
        &self,
        calls: &mut Calls,
        (position, number): (usize, &RegistrationNumber),
        strategy: Strategy,
        deadline: Instant,
    ) -> (Group, Joined) {
        let capacity = match strategy {
            Strategy::Single => 1,
            Strategy::Batch => self.max_batch_size,
        };
        let (group, waiter) = Group::new(number, deadline, capacity, LookupLog::begin());
        if strategy == Strategy::Batch {
            calls.batch = Some(group.clone());
        }
        let begun = Ending {
            single_flight: self.clone(),
            group: group.clone(),
            // What a panic leaves: nothing that could be used.
            result: Err(Failure::lasting(FailureKind::ContractViolation)),
        };
        let joined = Joined {
            waiter,
            numbers: vec![(position, false)],
            begun: Some(begun),
        };
        (group, joined)
    }

    /// Lets nobody join the call for this number any more.
    pub(super) fn forget(&self, number: &RegistrationNumber) {
        self.calls().by_number.remove(number);
    }

    /// Whether no call is on its way and none is kept that has ended.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let calls = self.calls();
        calls.by_number.is_empty() && calls.batch.is_none()
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How somebody waits for a number.
#[derive(Clone, Copy)]
enum Wait {
    /// For a call that carries it.
    Join,
    /// For a batch that takes it.
    Add,
}

/// Waits for a number of this call, in the place that there is in it already or in a new one.
fn wait<'a>(
    joined: &'a mut Vec<Joined>,
    group: &Group,
    how: Wait,
    number: &RegistrationNumber,
    deadline: Instant,
) -> Option<&'a mut Joined> {
    let place = joined.iter().position(|it| it.waiter.group().is(group));
    if let Some(index) = place {
        let of = &mut joined[index];
        let waits = match how {
            Wait::Join => of.waiter.join(number),
            Wait::Add => of.waiter.add(number),
        };
        return waits.then_some(of);
    }
    let waiter = match how {
        Wait::Join => group.join(number, deadline),
        Wait::Add => group.add(number, deadline),
    }?;
    joined.push(Joined {
        waiter,
        numbers: Vec::new(),
        begun: None,
    });
    joined.last_mut()
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

    /// Ends it with this result; without one after a panic.
    pub(super) fn with(mut self, result: Option<CallResult>) {
        if let Some(result) = result {
            self.result = result;
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let numbers = self.group.numbers();
        let mut calls = self.single_flight.calls();
        calls.batch.take_if(|batch| batch.is(&self.group));
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

    use contracts::RegistrationNumber;
    use tokio::time::Instant;

    use super::{Joined, SingleFlight};
    use crate::{Answer, Strategy};

    fn join(calls: &SingleFlight, numbers: &[&str], strategy: Strategy) -> Vec<Joined> {
        let deadline = Instant::now() + Duration::from_secs(1);
        let numbers: Vec<RegistrationNumber> =
            numbers.iter().map(|text| text.parse().unwrap()).collect();
        calls.join(&numbers, strategy, deadline)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_ends_leaves_the_newer_one_for_its_number() {
        for strategy in [Strategy::Single, Strategy::Batch] {
            let calls = SingleFlight::new(1);
            let join = || join(&calls, &["ABC123"], strategy).remove(0);
            let old = join();
            let (ending, _waiter) = (old.begun.unwrap(), old.waiter);
            // In flight, so that a batch does not take the number once more.
            let in_flight = ending.group().begin_attempt();
            calls.forget(&"ABC123".parse().unwrap());
            let new = join();
            assert_eq!(new.numbers, [(0, false)]);
            drop(in_flight);
            ending.with(Some(Ok(Answer::new().into())));
            assert_eq!(join().numbers, [(0, true)]);
            drop(new.begun.unwrap());
            assert!(calls.is_idle());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_those_who_share_a_call_has_to_make_it() {
        let calls = SingleFlight::new(2);
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
            let joined = join(&calls, &[number], strategy).remove(0);
            let is = (joined.numbers[0].1, joined.begun.is_some());
            assert_eq!(is, (shared, begun), "{number}");
            // The call goes on, and it keeps waiting.
            std::mem::forget(joined);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_is_one_batch_with_what_is_carried_already_left_where_it_is() {
        let calls = SingleFlight::new(3);
        let single = join(&calls, &["BBB222"], Strategy::Single);
        let numbers = ["AAA111", "BBB222", "CCC333", "DDD444", "EEE555"];
        let batch = join(&calls, &numbers, Strategy::Batch);
        let shares: Vec<_> = batch.iter().map(|it| &*it.numbers).collect();
        assert_eq!(
            shares,
            [
                &[(0, false), (2, false), (3, false)][..],
                &[(1, true)],
                &[(4, false)],
            ]
        );
        let begun: Vec<_> = batch.iter().map(|it| it.begun.is_some()).collect();
        assert_eq!(begun, [true, false, true]);
        // One place for the set in each call, which it leaves as a whole.
        drop(single);
        let carried = batch[0].waiter.group().begin_attempt().unwrap();
        assert_eq!(carried.numbers.len(), 3);
        // What is in flight takes no more; the batch behind it does.
        let later = join(&calls, &["FFF666", "AAA111"], Strategy::Batch);
        let shares: Vec<_> = later.iter().map(|it| &*it.numbers).collect();
        assert_eq!(shares, [&[(0, false)][..], &[(1, true)]]);
        assert!(later[0].waiter.group().is(batch[2].waiter.group()));
    }
}
