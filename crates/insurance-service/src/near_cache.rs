//! Vehicles of the copy that this process has read, kept in memory for as long as the copy says the
//! same of them: a near cache. Every change of the copy tells its vehicles in its own transaction
//! (migration 0019), and nothing that is kept is told before all changes up to the state that the
//! caller has seen were looked at.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use contracts::{RegistrationNumber, Vehicle};
use service_database::{Database, Error, Gathered};
use sqlx::PgConnection;
use tokio::time::Instant;
use uuid::Uuid;

use crate::replica::CONSUMER;

/// Most vehicles of each age; one takes some 200 bytes.
const MOST_OF_AGE: usize = 50_000;

/// Which copy a statement has read, and in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CopyState {
    pub(crate) generation: i64,
    /// Another one after each change.
    pub(crate) state: Uuid,
}

/// What the copy has of each car: its vehicle, or that there is none.
pub(crate) type Vehicles = HashMap<RegistrationNumber, Option<Arc<Vehicle>>>;

/// The vehicles of the copy. Clones share what is kept.
#[derive(Clone)]
pub(crate) struct NearCache(Arc<Shared>);

struct Shared {
    database: Database,
    /// Those that are not kept.
    read: Gathered<Vec<RegistrationNumber>, Read>,
    kept: Mutex<Kept>,
    catching_up: tokio::sync::Mutex<()>,
}

/// What one statement has read.
#[derive(Clone)]
struct Read {
    of: CopyState,
    vehicles: Vehicles,
}

/// What the copy had of some vehicles when it was in this state.
struct Kept {
    of: Option<CopyState>,
    /// The state was looked at after this moment.
    checked: Instant,
    vehicles: Recent,
}

/// What was told lately. What was not told while as many others were as one age has room for is
/// forgotten. A cache that orders its entries would cost more than to read them again.
#[derive(Default)]
struct Recent {
    young: Vehicles,
    old: Vehicles,
}

/// The state of the copy, and what has changed up to it.
struct News {
    of: CopyState,
    /// From the state that was asked for on, that one included; none where it is not known any more.
    changes: Vec<(Uuid, Vec<RegistrationNumber>)>,
}

impl NearCache {
    pub(crate) fn new(database: Database) -> Self {
        let read = Gathered::new(database.clone(), |connection, numbers| {
            Box::pin(select(connection, numbers))
        });
        Self(Arc::new(Shared {
            database,
            read,
            kept: Mutex::new(Kept {
                of: None,
                checked: Instant::now(),
                vehicles: Recent::default(),
            }),
            catching_up: tokio::sync::Mutex::default(),
        }))
    }

    /// What the copy has of these cars, in this state or a later one; `None` where another copy has
    /// taken its place.
    pub(crate) async fn find(
        &self,
        of: CopyState,
        numbers: Vec<RegistrationNumber>,
    ) -> Result<Option<Vehicles>, Error> {
        self.catch_up(of).await?;
        let Some((mut vehicles, others)) = self.kept().part(of.generation, numbers) else {
            return Ok(None);
        };
        if !others.is_empty() {
            let read = self.0.read.get(others).await?;
            if read.of.generation != of.generation {
                return Ok(None);
            }
            self.kept().keep(&read);
            vehicles.extend(read.vehicles);
        }
        Ok(Some(vehicles))
    }

    /// Forgets what has changed up to this state, which has just been read.
    async fn catch_up(&self, of: CopyState) -> Result<(), Error> {
        let seen = Instant::now();
        if self.kept().of == Some(of) {
            return Ok(());
        }
        let _alone = self.0.catching_up.lock().await;
        let begun = Instant::now();
        let known = {
            let kept = self.kept();
            // Another state may be an earlier one, or one of a database that was restored: only a
            // look that began later tells.
            if kept.of == Some(of) || kept.checked > seen {
                return Ok(());
            }
            kept.of
        };
        let news = self.0.database.read(known, |connection, known| {
            Box::pin(changes_since(connection, *known))
        });
        // After a failure the next look begins anew, so that it does not fail of what is kept.
        let (news, failed) = match news.await {
            Ok(news) => (Some(news), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let forgotten = self.kept().take(news.as_ref(), begun);
        // Not under the lock.
        drop(forgotten);
        failed
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// What is kept of these, and which are not; `None` where it is of another copy.
    fn part(
        &mut self,
        generation: i64,
        numbers: Vec<RegistrationNumber>,
    ) -> Option<(Vehicles, Vec<RegistrationNumber>)> {
        self.of.filter(|of| of.generation == generation)?;
        let (mut vehicles, mut others) = (Vehicles::with_capacity(numbers.len()), Vec::new());
        for number in numbers {
            match self.vehicles.get(&number) {
                Some((number, vehicle)) => {
                    vehicles.insert(number, vehicle);
                }
                None => others.push(number),
            }
        }
        Some((vehicles, others))
    }

    /// Not what is of an earlier or of a later state: something may have changed between.
    fn keep(&mut self, read: &Read) {
        if self.of == Some(read.of) {
            for (number, vehicle) in &read.vehicles {
                self.vehicles.insert(number.clone(), vehicle.clone());
            }
        }
    }

    /// Forgets what may have changed: all, where it is not known which vehicles have.
    fn take(&mut self, news: Option<&News>, checked: Instant) -> Option<Recent> {
        let is_known = news.is_some_and(|news| self.leads_to(news));
        let says_the_same = self.of == news.map(|news| news.of);
        (self.of, self.checked) = (news.map(|news| news.of), checked);
        if let Some(news) = news.filter(|_| is_known) {
            // The first one led to what is kept.
            for number in news.changes.iter().skip(1).flat_map(|(_, numbers)| numbers) {
                self.vehicles.forget(number);
            }
            return None;
        }
        (!says_the_same).then(|| std::mem::take(&mut self.vehicles))
    }

    /// Whether the changes are all between what is kept and the present state.
    fn leads_to(&self, news: &News) -> bool {
        let state = |change: Option<&(Uuid, _)>| change.map(|(state, _)| *state);
        self.of.is_some_and(|of| {
            of.generation == news.of.generation && state(news.changes.first()) == Some(of.state)
        }) && state(news.changes.last()) == Some(news.of.state)
    }
}

impl Recent {
    fn get(
        &mut self,
        number: &RegistrationNumber,
    ) -> Option<(RegistrationNumber, Option<Arc<Vehicle>>)> {
        if let Some((number, vehicle)) = self.young.get_key_value(number) {
            return Some((number.clone(), vehicle.clone()));
        }
        let (number, vehicle) = self.old.remove_entry(number)?;
        self.insert(number.clone(), vehicle.clone());
        Some((number, vehicle))
    }

    fn insert(&mut self, number: RegistrationNumber, vehicle: Option<Arc<Vehicle>>) {
        if self.young.len() >= MOST_OF_AGE {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(number, vehicle);
    }

    fn forget(&mut self, number: &RegistrationNumber) {
        self.young.remove(number);
        self.old.remove(number);
    }
}

/// What the copy that is read has of each of these.
async fn select(
    connection: &mut PgConnection,
    asked: &[Vec<RegistrationNumber>],
) -> sqlx::Result<Vec<Read>> {
    let numbers: Vec<&str> = asked
        .iter()
        .flatten()
        .map(RegistrationNumber::as_str)
        .collect();
    let rows = sqlx::query!(
        r#"select generation as "generation!", state as "state!", number as "number?", make as "make?",
             model as "model?", model_year as "model_year?"
         from insurance_replica.consumers
         left join lateral (
             select registration_number as number, make, model, model_year
             from insurance_replica.vehicles
             where vehicles.generation = consumers.generation
                 and registration_number = any($2) and deleted_at is null
             offset 0
         ) as vehicle on true
         where consumer = $1"#,
        CONSUMER,
        &numbers as &[&str]
    );
    let rows = rows.fetch_all(connection).await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let of = CopyState {
        generation: first.generation,
        state: first.state,
    };
    let known = rows
        .iter()
        .filter_map(|row| Some((row.number.as_deref()?, row)));
    let known: HashMap<_, _> = known.collect();
    let vehicle = |number: &RegistrationNumber| {
        known.get(number.as_str()).map(|row| {
            Arc::new(Vehicle {
                registration_number: number.clone(),
                make: row.make.clone(),
                model: row.model.clone(),
                model_year: row.model_year,
            })
        })
    };
    let of_each = asked.iter().map(|numbers| Read {
        of,
        vehicles: numbers.iter().map(|it| (it.clone(), vehicle(it))).collect(),
    });
    Ok(of_each.collect())
}

async fn changes_since(
    connection: &mut PgConnection,
    known: Option<CopyState>,
) -> sqlx::Result<News> {
    let rows = sqlx::query!(
        r#"select generation as "generation!", consumers.state as "state!", told.state as "told?",
             registration_numbers as "registration_numbers?"
         from insurance_replica.consumers
         left join insurance_replica.changes as told on change >= (
             select change from insurance_replica.changes where changes.state = $2
         )
         where consumer = $1
         order by change"#,
        CONSUMER,
        known.map(|it| it.state)
    );
    let rows = rows.fetch_all(connection).await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let of = CopyState {
        generation: first.generation,
        state: first.state,
    };
    let changes = rows.into_iter().filter_map(|row| {
        let numbers = row.registration_numbers?;
        let numbers = numbers.iter().filter_map(|number| number.parse().ok());
        Some((row.told?, numbers.collect()))
    });
    Ok(News {
        of,
        changes: changes.collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use contracts::{RegistrationNumber, Vehicle};
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::{CopyState, Kept, MOST_OF_AGE, News, Read, Recent};

    fn of(generation: i64, state: u128) -> CopyState {
        CopyState {
            generation,
            state: Uuid::from_u128(state),
        }
    }

    fn number() -> RegistrationNumber {
        "ABC123".parse().unwrap()
    }

    fn read(of: CopyState) -> Read {
        let vehicle = Vehicle {
            registration_number: number(),
            make: None,
            model: None,
            model_year: None,
        };
        Read {
            of,
            vehicles: [(number(), Some(Arc::new(vehicle)))].into(),
        }
    }

    /// With this vehicle, in state 2.
    fn kept() -> Kept {
        let mut kept = Kept {
            of: Some(of(1, 2)),
            checked: Instant::now(),
            vehicles: Recent::default(),
        };
        kept.keep(&read(of(1, 2)));
        assert!(has(&kept));
        kept
    }

    fn has(kept: &Kept) -> bool {
        kept.vehicles.young.contains_key(&number())
    }

    fn after(of: CopyState, changes: &[(u128, &str)]) -> bool {
        let mut kept = kept();
        let changes = changes
            .iter()
            .map(|(state, number)| (Uuid::from_u128(*state), vec![number.parse().unwrap()]));
        let news = News {
            of,
            changes: changes.collect(),
        };
        kept.take(Some(&news), Instant::now());
        assert_eq!(kept.of, Some(of));
        has(&kept)
    }

    #[test]
    fn what_was_read_of_another_state_is_not_kept() {
        for other in [of(1, 1), of(1, 3), of(2, 2)] {
            let mut kept = kept();
            kept.vehicles.forget(&number());
            kept.keep(&read(other));
            assert!(!has(&kept));
        }
    }

    #[test]
    fn what_is_kept_goes_with_its_change_and_with_every_doubt() {
        // Nothing has changed, whether the change that led here is still told or not.
        assert!(after(of(1, 2), &[(2, "ABC123")]));
        assert!(after(of(1, 2), &[]));
        // Another car has, or this one.
        assert!(after(
            of(1, 4),
            &[(2, "ABC123"), (3, "DEF456"), (4, "DEF456")]
        ));
        assert!(!after(
            of(1, 4),
            &[(2, "DEF456"), (3, "ABC123"), (4, "DEF456")]
        ));
        // What came between is not known, or another copy is read.
        assert!(!after(of(1, 4), &[]));
        assert!(!after(of(1, 4), &[(2, "DEF456"), (3, "DEF456")]));
        assert!(!after(of(1, 4), &[(3, "DEF456"), (4, "DEF456")]));
        assert!(!after(of(2, 3), &[(2, "DEF456"), (3, "DEF456")]));
        assert!(!after(of(2, 2), &[]));
        let mut kept = kept();
        kept.take(None, Instant::now());
        assert!(kept.of.is_none() && !has(&kept));
    }

    #[test]
    fn what_is_of_another_copy_is_not_told() {
        assert!(kept().part(2, vec![number()]).is_none());
        let (vehicles, others) = kept()
            .part(1, vec![number(), "DEF456".parse().unwrap()])
            .unwrap();
        assert_eq!((vehicles.len(), others.len()), (1, 1));
    }

    #[test]
    fn what_is_told_again_is_kept_and_what_is_not_is_forgotten() {
        let numbers = (0..4 * MOST_OF_AGE).map(|it| format!("A{it}").parse().unwrap());
        let (mut vehicles, asked) = (Recent::default(), number());
        vehicles.insert(asked.clone(), None);
        for other in numbers {
            assert_eq!(vehicles.get(&asked), Some((asked.clone(), None)));
            vehicles.insert(other, None);
            assert!(vehicles.young.len() + vehicles.old.len() <= 2 * MOST_OF_AGE);
        }
        assert_eq!(vehicles.get(&"A0".parse().unwrap()), None);
        // One that has grown old is forgotten as well.
        vehicles.old.insert(number(), None);
        vehicles.young.remove(&number());
        vehicles.forget(&number());
        assert_eq!(vehicles.get(&number()), None);
    }
}
