//! What a change leaves behind, in one statement but for its covers.

use contracts::{Day, PolicyEvent, RegistrationNumber};
use event_log::Origin;
use sqlx::{PgConnection, types::Uuid};

use crate::policy::{
    idempotency::{Entry, claim},
    state::State,
};

/// A change of a policy, with the event that tells it and the answer that is kept of it.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) before: &'a State,
    pub(crate) after: &'a State,
    /// Whether the person is erased.
    pub(crate) erased: bool,
    pub(crate) event: &'a PolicyEvent,
    pub(crate) event_id: Uuid,
    pub(crate) origin: &'a Origin,
    pub(crate) entry: Option<Entry<'a>>,
}

impl Change<'_> {
    /// Makes the row and the covers those of `after`, appends the event, and claims the key together
    /// with its answer. `false`: the row has another version than `before`, or its person was erased
    /// or not, and nothing is written.
    pub(crate) async fn write(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        let written = self.write_row(&mut *connection).await?;
        if written {
            self.write_covers(connection).await?;
        }
        Ok(written)
    }

    /// All but the covers, in one statement, which may be a transaction of its own: each wait for a
    /// lock is bounded, and a key that somebody else has claimed fails it. What hangs on `changed`
    /// comes after the row and its lock. The event is that of `EventLog::append`.
    pub(crate) async fn write_row(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        let (after, origin, entry) = (self.after, self.origin, self.entry.as_ref());
        let data = serde_json::to_string(self.event).map_err(super::unreadable)?;
        let written = claim!(
            "with changed as (
                 update insurance.insurances
                 set product = $2, status = $3, version = $4, valid_from = $5::text::date,
                     valid_until = $6::text::date, cancelled_on = $7::text::date,
                     monthly_cost = $8::text::numeric, car_registration_number = $9
                 where insurance_id = $1 and version = $10
                     and (personal_identity_number is null) = $24
                     -- Once, however the row is found, and before it is locked.
                     and (select set_config('lock_timeout', '250ms', true)) is not null
                 returning insurance_id::text as id, version
             ), told as (
                 insert into insurance_events.events
                     (event_id, aggregate_type, aggregate_id, version, event_type,
                      actor, correlation_id, causation_id, traceparent, data)
                 select $11::uuid, 'policy', id, version, $12::text,
                     $13::text, $14::text, $15::uuid, $16::text, $17::text::json
                 from changed
             ), claimed as (
                 ",
            "select $18::text, $19::text, $20::bytea, $21::smallint, $22::text::json,
                     $23::bytea, 'policy/' || id
                 from changed where $18::text is not null",
            "
             )
             select version from changed",
            after.insurance_id,
            after.product.name(),
            after.status.name(),
            after.version,
            after.valid_from.to_string(),
            text(after.valid_until),
            text(after.cancelled_on),
            after.monthly_cost.to_string(),
            after.car.as_ref().map(RegistrationNumber::as_str),
            self.before.version,
            self.event_id,
            self.event.kind(),
            origin.actor,
            origin.correlation_id,
            origin.causation_id,
            origin.traceparent,
            data,
            entry.map(|entry| entry.claim.caller.as_str()),
            entry.map(|entry| entry.claim.key.as_str()),
            entry.map(|entry| entry.claim.fingerprint.as_slice()),
            entry.map(|entry| entry.status),
            entry.map(|entry| entry.headers.as_str()),
            entry.map(|entry| entry.body),
            self.erased
        )
        .fetch_optional(connection)
        .await?;
        Ok(written.is_some())
    }

    async fn write_covers(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let (before, after) = (&self.before.covers, &self.after.covers);
        // What goes makes room for what comes.
        for gone in before.iter().filter(|it| !after.contains(it)) {
            sqlx::query!(
                "delete from insurance.covers
                 where insurance_id = $1 and cover = daterange($2::text::date, $3::text::date)",
                self.after.insurance_id,
                gone.from.to_string(),
                text(gone.until)
            )
            .execute(&mut *connection)
            .await?;
        }
        for new in after.iter().filter(|it| !before.contains(it)) {
            sqlx::query!(
                "insert into insurance.covers (insurance_id, car, cover, monthly_cost, overlapping)
                 values ($1, $2, daterange($3::text::date, $4::text::date), $5::text::numeric, $6)",
                self.after.insurance_id,
                new.car.as_ref().map(RegistrationNumber::as_str),
                new.from.to_string(),
                text(new.until),
                new.monthly_cost.to_string(),
                new.overlapping
            )
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}

fn text(day: Option<Day>) -> Option<String> {
    day.map(|day| day.to_string())
}
