//! Whether each policy is what its events say: the row, all but its person, and its covers.

use std::collections::HashMap;

use contracts::PolicyEvent;
use event_log::Comparison;
use sqlx::PgConnection;

use super::{
    state::State,
    store::{self, Told},
};

/// Folds the events of each policy and compares the outcome with what is stored.
pub(crate) async fn compare(connection: &mut PgConnection) -> sqlx::Result<Comparison> {
    let (mut found, mut after) = (Comparison::default(), i64::MIN);
    loop {
        let ids = store::ids(connection, after).await?;
        let Some(last) = ids.last() else { break };
        after = *last;
        let mut stored = stored(connection, &ids).await?;
        let mut told: HashMap<i64, Vec<Told>> = HashMap::new();
        for event in store::told(connection, &ids).await? {
            told.entry(event.insurance_id).or_default().push(event);
        }
        for id in ids {
            found.compared += 1;
            let events = told.remove(&id).unwrap_or_default();
            if let Err(why) = check(stored.remove(&id), &events) {
                found.differs(format!("policy {id}: {why}"));
            }
        }
    }
    for id in store::without_row(connection).await? {
        found.differs(format!("policy {id}: it has events and is gone"));
    }
    Ok(found)
}

/// The policies that can be read.
async fn stored(connection: &mut PgConnection, ids: &[i64]) -> sqlx::Result<HashMap<i64, State>> {
    let found = store::find(connection, ids).await?.into_iter().flatten();
    Ok(found
        .map(|it| (it.policy.insurance_id, it.policy))
        .collect())
}

/// What differs, if anything does.
fn check(stored: Option<State>, events: &[Told]) -> Result<(), String> {
    let stored = stored.ok_or("what is stored cannot be read")?;
    let folded = fold(events)?;
    let differing = differing(&stored, &folded);
    if differing.is_empty() {
        Ok(())
    } else {
        Err(format!("{} differ", differing.join(", ")))
    }
}

fn fold(events: &[Told]) -> Result<State, &'static str> {
    let mut policy: Option<State> = None;
    for it in events {
        if policy
            .as_ref()
            .is_some_and(|before| before.version + 1 != it.version)
        {
            return Err("an event is missing");
        }
        let event = PolicyEvent::parse(&it.event_type, &it.data);
        let event = event.map_err(|_| "an event cannot be read")?;
        let with = State::with(policy, it.version, &event);
        policy = Some(with.map_err(|_| "an event cannot follow the one before it")?);
    }
    policy.ok_or("it has no event")
}

/// The members in which two states differ.
fn differing(one: &State, other: &State) -> Vec<&'static str> {
    // All of them, so that none is forgotten.
    let State {
        insurance_id,
        product,
        status,
        version,
        valid_from,
        valid_until,
        cancelled_on,
        monthly_cost,
        car,
        covers,
    } = one;
    let members = [
        ("insuranceId", *insurance_id == other.insurance_id),
        ("product", *product == other.product),
        ("status", *status == other.status),
        ("version", *version == other.version),
        ("validFrom", *valid_from == other.valid_from),
        ("validUntil", *valid_until == other.valid_until),
        ("cancelledOn", *cancelled_on == other.cancelled_on),
        ("monthlyCost", *monthly_cost == other.monthly_cost),
        ("carRegistrationNumber", *car == other.car),
        ("covers", *covers == other.covers),
    ];
    let differing = members.into_iter().filter(|(_, same)| !same);
    differing.map(|(name, _)| name).collect()
}
