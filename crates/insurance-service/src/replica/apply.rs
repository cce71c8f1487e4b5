//! What one transaction does: a page of events or of the register, or an event that is put aside.
//! Each looks first whether this process still holds the lease and whether all is as it was when
//! the page was asked for, so that no effect comes twice.

use std::{collections::HashMap, time::Duration};

use contracts::{RegistrationNumber, VersionedVehicle};
use futures_util::future::BoxFuture;
use service_database::Error;
use sqlx::PgConnection;
use vehicle_client::{RegisterPage, VehicleEvent};

use super::{
    LEASE,
    dead_letters::{self, Due, Letter},
    store::{self, Reached, Row, State},
};

pub(super) type Step<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// What became of a step.
pub(super) enum Done {
    /// Another process has taken the lease.
    Overtaken,
    /// It has no effect, because all is otherwise than it was: how it is now.
    Otherwise(State),
    /// It has its effect: how all is after it.
    State(State),
}

impl From<&VehicleEvent> for Row {
    fn from(event: &VehicleEvent) -> Self {
        let vehicle = event.vehicle.clone();
        let (make, model, model_year) =
            vehicle.map_or((None, None, None), |it| (it.make, it.model, it.model_year));
        Self {
            registration_number: event.registration_number.clone(),
            make,
            model,
            model_year,
            gone: event.vehicle.is_none(),
            version: event.version,
            position: Some(event.position),
        }
    }
}

impl From<VersionedVehicle> for Row {
    fn from(VersionedVehicle { vehicle, version }: VersionedVehicle) -> Self {
        Self {
            registration_number: vehicle.registration_number,
            make: vehicle.make,
            model: vehicle.model,
            model_year: vehicle.model_year,
            gone: false,
            version,
            position: None,
        }
    }
}

/// Events of a page, or nothing new at the end of the log.
pub(super) struct Piece<'p> {
    pub(super) fence: i64,
    /// As it was when they were asked for, or after the piece before.
    pub(super) from: &'p State,
    pub(super) events: Vec<&'p VehicleEvent>,
    /// Of a later version of what is known, with the version of the vehicle: each is put aside
    /// where the known one, which tells the same, did not come before it or with it.
    pub(super) later: Vec<(i64, Letter)>,
    /// Put aside in place of events.
    pub(super) letter: Option<Letter>,
    pub(super) to: Reached,
}

/// The lease renewed and the state locked; `None` where another process has the lease.
async fn enter(connection: &mut PgConnection, fence: i64) -> Result<Option<State>, Error> {
    if !LEASE.renew(connection, fence).await? {
        return Ok(None);
    }
    Ok(Some(store::lock(connection).await?))
}

pub(super) fn hold<'a>(
    connection: &'a mut PgConnection,
    (held,): &'a (Option<i64>,),
) -> Step<'a, Option<(i64, State)>> {
    Box::pin(async {
        let Some(fence) = LEASE.hold(connection, *held).await? else {
            return Ok(None);
        };
        Ok(Some((fence, store::lock(connection).await?)))
    })
}

/// Writes that so many events are begun.
pub(super) fn begin<'a>(
    connection: &'a mut PgConnection,
    (fence, events): &'a (i64, i64),
) -> Step<'a, bool> {
    Box::pin(async {
        let held = enter(connection, *fence).await?.is_some();
        if held {
            store::begin_page(connection, *events).await?;
        }
        Ok(held)
    })
}

pub(super) fn begin_filling<'a>(
    connection: &'a mut PgConnection,
    (fence, lost): &'a (i64, bool),
) -> Step<'a, Done> {
    Box::pin(async {
        let Some(state) = enter(connection, *fence).await? else {
            return Ok(Done::Overtaken);
        };
        // An operator may have ordered otherwise.
        if state.mode == "paused" || !(*lost || state.lacks_copy()) {
            return Ok(Done::Otherwise(state));
        }
        store::begin_filling(connection, *lost || state.log_id.is_none()).await?;
        Ok(Done::State(store::lock(connection).await?))
    })
}

/// Effect, checkpoint and the look for duplicates: what became of it, and how many events were put
/// aside.
pub(super) fn follow<'a>(
    connection: &'a mut PgConnection,
    page: &'a Piece<'_>,
) -> Step<'a, (Done, usize)> {
    Box::pin(async {
        let Some(now) = enter(connection, page.fence).await? else {
            return Ok((Done::Overtaken, 0));
        };
        let from = page.from;
        let as_before =
            (now.position, now.log_id, now.event_id) == (from.position, from.log_id, from.event_id);
        if !as_before || now.mode == "paused" {
            return Ok((Done::Otherwise(now), 0));
        }
        if !page.events.is_empty() {
            keep(connection, &now, &page.events).await?;
        }
        let mut letters = lacking(connection, &now, &page.later).await?;
        letters.extend(&page.letter);
        let mut too_many = false;
        for letter in &letters {
            too_many |= dead_letters::park(connection, letter).await?;
        }
        let is_filled = now.filling.is_some() && now.snapshot_at.is_none();
        if is_filled && page.to.all_since.is_some() {
            store::turn(connection).await?;
        }
        store::advance(connection, &page.to).await?;
        if too_many {
            store::stop(connection, "too_many_dead_letters").await?;
        }
        let state = store::lock(connection).await?;
        Ok((Done::State(state), letters.len()))
    })
}

/// Of each vehicle the newest state that the page tells.
async fn keep(
    connection: &mut PgConnection,
    state: &State,
    events: &[&VehicleEvent],
) -> sqlx::Result<()> {
    let mut newest: HashMap<&RegistrationNumber, &VehicleEvent> = HashMap::new();
    for &event in events {
        let newest = newest.entry(&event.registration_number).or_insert(event);
        if newest.version < event.version {
            *newest = event;
        }
    }
    let rows: Vec<Row> = newest.values().map(|it| Row::from(*it)).collect();
    store::keep(connection, &state.followed(), &rows).await?;
    if state.generation > 0 && !state.is_followed() {
        // The copy that is read lacks it until the other one is turned to.
        return Ok(());
    }
    let told = newest.iter();
    let (numbers, positions): (Vec<_>, Vec<_>) = told
        .map(|(number, event)| (number.as_str().to_owned(), event.position))
        .unzip();
    dead_letters::supersede(connection, &numbers, &positions).await
}

/// Which of these events of a later version tell what no copy has.
async fn lacking<'l>(
    connection: &mut PgConnection,
    state: &State,
    later: &'l [(i64, Letter)],
) -> sqlx::Result<Vec<&'l Letter>> {
    if later.is_empty() {
        return Ok(Vec::new());
    }
    let number = |letter: &Letter| {
        let number = letter.registration_number.as_ref();
        number.map_or(String::new(), |it| it.as_str().to_owned())
    };
    let told = later.iter().map(|(version, it)| (number(it), *version));
    let (numbers, versions): (Vec<_>, Vec<_>) = told.unzip();
    let told = (&numbers[..], &versions[..]);
    let places = store::lacking(connection, &state.followed(), told).await?;
    let indexes = places
        .into_iter()
        .filter_map(|it| usize::try_from(it - 1).ok());
    Ok(indexes.filter_map(|it| Some(&later.get(it)?.1)).collect())
}

/// A page of the register, with what of it no vehicle can be.
pub(super) struct Copied {
    pub(super) fence: i64,
    pub(super) from: State,
    pub(super) page: RegisterPage,
    pub(super) letters: Vec<Letter>,
    /// Whether the feed fails.
    pub(super) other_fails: bool,
}

pub(super) fn copy<'a>(connection: &'a mut PgConnection, copied: &'a Copied) -> Step<'a, Done> {
    Box::pin(async {
        let Some(now) = enter(connection, copied.fence).await? else {
            return Ok(Done::Overtaken);
        };
        let (from, page) = (&copied.from, &copied.page);
        let as_before = (now.filling, &now.snapshot_at) == (from.filling, &from.snapshot_at);
        let (Some(filling), true) = (now.filling, as_before && now.mode != "paused") else {
            return Ok(Done::Otherwise(now));
        };
        if now.log_id.is_some_and(|known| known != page.log_id) {
            store::begin_filling(connection, true).await?;
            return Ok(Done::State(store::lock(connection).await?));
        }
        let rows: Vec<Row> = page.vehicles.iter().cloned().map(Row::from).collect();
        store::keep(connection, &[filling], &rows).await?;
        let mut too_many = false;
        for letter in &copied.letters {
            too_many |= dead_letters::park(connection, letter).await?;
        }
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        store::copied(connection, page, count, copied.other_fails).await?;
        if too_many {
            store::stop(connection, "too_many_dead_letters").await?;
        }
        Ok(Done::State(store::lock(connection).await?))
    })
}

pub(super) fn stop<'a>(
    connection: &'a mut PgConnection,
    (fence, kind): &'a (i64, &'static str),
) -> Step<'a, ()> {
    Box::pin(async {
        if enter(connection, *fence).await?.is_some() {
            store::stop(connection, kind).await?;
        }
        Ok(())
    })
}

pub(super) fn failed<'a>(
    connection: &'a mut PgConnection,
    (fence, kind): &'a (i64, &'static str),
) -> Step<'a, ()> {
    Box::pin(async {
        if enter(connection, *fence).await?.is_some() {
            store::failed(connection, kind).await?;
        }
        Ok(())
    })
}

/// One to be tried again, while there is one copy and it is followed.
pub(super) fn take_due<'a>(
    connection: &'a mut PgConnection,
    fence: &'a i64,
) -> Step<'a, Option<Due>> {
    Box::pin(async {
        let state = enter(connection, *fence).await?;
        if state.is_some_and(|it| it.is_settled() && it.mode == "follow") {
            return Ok(dead_letters::take_due(connection).await?);
        }
        Ok(None)
    })
}

pub(super) fn try_again<'a>(
    connection: &'a mut PgConnection,
    (fence, due): &'a (i64, Due),
) -> Step<'a, ()> {
    Box::pin(async {
        let state = enter(connection, *fence).await?;
        if let Some(state) = state.filter(State::is_settled) {
            dead_letters::apply(connection, &state.followed(), due).await?;
        }
        Ok(())
    })
}

pub(super) fn sweep<'a>(
    connection: &'a mut PgConnection,
    (fence, age): &'a (i64, Duration),
) -> Step<'a, u64> {
    Box::pin(async {
        match enter(connection, *fence).await? {
            Some(state) => Ok(store::sweep(connection, &state, *age).await?),
            None => Ok(0),
        }
    })
}
