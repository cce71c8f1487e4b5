//! Collapsing: one call in flight for a number, however many ask for it.
//!
//! A flight is a future that all who wait for it share. Whoever waits drives it, so nobody is
//! harmed when the first caller goes away; when the last one goes, it ends, and its call with it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use contracts::RegistrationNumber;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

use tokio::time::Instant;

use crate::{Answer, Failure, trail::Trail};

/// What came back: an answer for every number of the call, or why there is none.
pub(crate) type Landed = Result<Arc<Answer>, Failure>;
/// A call in flight, by whoever asked first.
pub(crate) type Flight = Shared<BoxFuture<'static, Landed>>;

/// The calls in flight by number.
#[derive(Clone, Default)]
pub(crate) struct Flights(Arc<Inner>);

#[derive(Default)]
struct Inner {
    by_number: Mutex<ByNumber>,
    next: AtomicU64,
}

/// The numbers that one flight carries.
#[derive(Debug, Default)]
pub(crate) struct Passengers {
    pub(crate) numbers: Vec<RegistrationNumber>,
    /// Whether the call has gone out, so that nobody can board any more.
    pub(crate) departed: bool,
}

/// A flight's entry in the list, which leaves it when the flight ends in whatever way.
pub(crate) struct Boarded {
    flights: Flights,
    id: u64,
    passengers: Arc<Mutex<Passengers>>,
}

type ByNumber = HashMap<RegistrationNumber, Airborne>;

struct Airborne {
    id: u64,
    deadline: Instant,
    flight: WeakShared<BoxFuture<'static, Landed>>,
    trail: Trail,
}

/// A flight as it is begun.
pub(crate) struct Begun {
    pub(crate) id: u64,
    /// The deadline of the request that began it, by which it ends.
    pub(crate) deadline: Instant,
    pub(crate) flight: Flight,
    /// What the layers decide about its call.
    pub(crate) trail: Trail,
}

/// A flight as one of those who wait for it sees it.
pub(crate) struct Joined {
    pub(crate) flight: Flight,
    /// When it ends at the latest: the deadline of the request that began it.
    pub(crate) deadline: Instant,
    /// Whether the number was on its way already.
    pub(crate) shared: bool,
    /// What the layers decide about its call.
    pub(crate) trail: Trail,
}

impl Flights {
    /// The entry of a new flight with these passengers. Keep it in the flight's future.
    pub(crate) fn board(&self, passengers: Arc<Mutex<Passengers>>) -> Boarded {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        Boarded {
            flights: self.clone(),
            id,
            passengers,
        }
    }

    /// The flight that carries this number already, or the one that `begin` makes for it.
    pub(crate) fn join(
        &self,
        number: &RegistrationNumber,
        begin: impl FnOnce() -> Begun,
    ) -> Joined {
        let mut by_number = self.list();
        if let Some(airborne) = by_number.get(number)
            && let Some(flight) = airborne.flight.upgrade()
        {
            // Not dropped while the list is locked: its end would want the lock.
            return Joined {
                flight,
                deadline: airborne.deadline,
                shared: true,
                trail: airborne.trail.clone(),
            };
        }
        let Begun {
            id,
            deadline,
            flight,
            trail,
        } = begin();
        if let Some(weak) = flight.downgrade() {
            by_number.insert(
                number.clone(),
                Airborne {
                    id,
                    deadline,
                    flight: weak,
                    trail: trail.clone(),
                },
            );
        }
        Joined {
            flight,
            deadline,
            shared: false,
            trail,
        }
    }

    /// Lets nobody join the flight that carries this number any more.
    pub(crate) fn forget(&self, number: &RegistrationNumber) {
        self.list().remove(number);
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    fn list(&self) -> MutexGuard<'_, ByNumber> {
        self.0
            .by_number
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Boarded {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Lets nobody board any more; the numbers that the call is for.
    pub(crate) fn depart(&self) -> Vec<RegistrationNumber> {
        let mut passengers = self
            .passengers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        passengers.departed = true;
        passengers.numbers.clone()
    }
}

impl Drop for Boarded {
    fn drop(&mut self) {
        let numbers = self.depart();
        let mut list = self.flights.list();
        for number in numbers {
            if list
                .get(&number)
                .is_some_and(|airborne| airborne.id == self.id)
            {
                list.remove(&number);
            }
        }
    }
}

/// Makes a future a flight.
pub(crate) fn flight(future: impl Future<Output = Landed> + Send + 'static) -> Flight {
    future.boxed().shared()
}
