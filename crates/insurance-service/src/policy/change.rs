//! How a policy is changed: the rules decide, one transaction writes the policy, its covers, its
//! event and the answer. Round trips are what a change costs: the policy is looked at together with
//! the key, and written together with the event and the answer.

use std::{sync::Arc, time::Duration};

use axum::http::{StatusCode, header::LOCATION};
use contracts::{Day, Money, PersonalIdentityNumber, PolicyEvent, Product, RegistrationNumber};
use event_log::{EventLog, Origin, new_event_id};
use service_database::Database;
use service_defaults::problem::Rejection;
use sqlx::{PgConnection, types::Uuid};

use super::{
    Clock,
    answer::{Answer, EVENT_ID, Wanted, version_conflict},
    decide::{Change, Command, Facts, Move, Terms, decide, draft},
    idempotency::{self, Claim},
    prices,
    refusal::Failure,
    state::{Cover, State},
    store::{self, Stored},
};

/// What somebody wants.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// A draft for this person.
    Draft(PersonalIdentityNumber, Terms),
    /// Something else of a policy, in one of these versions.
    Of(Wanted, Alteration),
}

/// What is to be different in a policy.
#[derive(Clone, Debug)]
pub(crate) enum Alteration {
    Patch(Patch),
    Move(Move),
    Change(Change),
}

/// What is to be different in a draft.
#[derive(Clone, Debug)]
#[expect(
    clippy::option_option,
    reason = "what stays differs from what is taken away (RFC 7396)"
)]
pub(crate) struct Patch {
    pub(crate) product: Option<Product>,
    pub(crate) car: Option<Option<RegistrationNumber>>,
    pub(crate) valid_from: Option<Day>,
    pub(crate) valid_until: Option<Option<Day>>,
}

impl Alteration {
    fn command(&self, policy: &State) -> Command {
        match self {
            Self::Patch(patch) => Command::Redraft(Terms {
                product: patch.product.unwrap_or(policy.product),
                car: patch.car.clone().unwrap_or_else(|| policy.car.clone()),
                valid_from: patch.valid_from.unwrap_or(policy.valid_from),
                valid_until: patch.valid_until.unwrap_or(policy.valid_until),
            }),
            Self::Move(to) => Command::Move(*to),
            Self::Change(change) => Command::Change(change.clone()),
        }
    }
}

/// What is to be written, with the answer to it.
#[derive(Debug)]
struct Prepared {
    outcome: Outcome,
    event_id: Uuid,
    origin: Origin,
    claim: Option<Claim>,
    answer: Answer,
}

impl Prepared {
    fn change(&self) -> serde_json::Result<store::Change<'_>> {
        let entry = self.claim.as_ref().map(|claim| claim.entry(&self.answer));
        Ok(store::Change {
            before: &self.outcome.before,
            after: &self.outcome.after,
            erased: self.outcome.erased,
            event: &self.outcome.event,
            event_id: self.event_id,
            origin: &self.origin,
            entry: entry.transpose()?,
        })
    }
}

/// A change of one request, with all that it rests on.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) log: EventLog,
    pub(crate) clock: Clock,
    pub(crate) origin: Origin,
    /// Whether a cover may begin before today.
    pub(crate) past_allowed: bool,
    pub(crate) claim: Option<Claim>,
    pub(crate) wish: Wish,
}

/// The price of a product on a day, if it has one.
type Priced = ((Product, Day), Option<Money>);

/// What a wish would make of a policy as it is.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) event: PolicyEvent,
    pub(crate) before: State,
    pub(crate) after: State,
    /// The day that it was decided on.
    today: Day,
    /// The price that it was decided by, if by one.
    price: Option<Priced>,
    /// As in [`Stored`].
    erased: bool,
    log: String,
}

impl Outcome {
    /// The policy as it is stored then.
    fn stored(&self) -> Stored {
        Stored {
            policy: self.after.clone(),
            erased: self.erased,
            log: self.log.clone(),
        }
    }

    /// The cars whose covers change, in their order.
    fn cars(&self) -> Vec<String> {
        let (before, after) = (&self.before.covers, &self.after.covers);
        let gone = before.iter().filter(|cover| !after.contains(cover));
        let new = after.iter().filter(|cover| !before.contains(cover));
        let mut cars: Vec<_> = gone
            .chain(new)
            .filter_map(|cover| cover.car.as_ref())
            .map(|car| car.as_str().to_owned())
            .collect();
        cars.sort();
        cars.dedup();
        cars
    }

    /// The car that somebody has to have seen before a policy covers it from now on.
    pub(crate) fn car_to_confirm(&self) -> Option<&RegistrationNumber> {
        // Only on the day before: it may have had the car long ago, and the car be gone since.
        let stays = |cover: &Cover| {
            let period = self.before.period_on(cover.from);
            period.is_some_and(|period| period.car == cover.car)
        };
        let mut new = self.after.covers.iter().filter(|cover| !stays(cover));
        new.find_map(|cover| cover.car.as_ref())
    }
}

impl Job {
    /// What the wish would make of the policy as it is now.
    pub(crate) async fn foresee(
        &self,
        database: &Database,
        stored: &Stored,
    ) -> Result<Outcome, Failure> {
        let today = self.clock.today();
        let (command, priced) = self.command(stored, today)?;
        let price = match priced {
            Some(priced) => {
                let found = database.read(priced, |connection, (product, day)| {
                    Box::pin(prices::store::price_on(connection, *product, *day))
                });
                Some((priced, found.await?))
            }
            None => None,
        };
        self.decided(stored, &command, today, price)
    }

    /// The command of the wish, where it takes this version of the policy, and the price that it is
    /// decided by: that of a product on a day.
    fn command(
        &self,
        stored: &Stored,
        today: Day,
    ) -> Result<(Command, Option<(Product, Day)>), Failure> {
        let Wish::Of(wanted, alteration) = &self.wish else {
            return Err(Failure::NotFound);
        };
        wanted.check(stored, today)?;
        let command = alteration.command(&stored.policy);
        let product = match &command {
            Command::Redraft(terms) => terms.product,
            _ => stored.policy.product,
        };
        let day = command.price_day(&stored.policy);
        Ok((command, day.map(|day| (product, day))))
    }

    fn decided(
        &self,
        stored: &Stored,
        command: &Command,
        today: Day,
        price: Option<Priced>,
    ) -> Result<Outcome, Failure> {
        let before = stored.policy.clone();
        let facts = Facts {
            today,
            price: price.and_then(|(_, found)| found),
            past_allowed: self.past_allowed,
            erased: stored.erased,
        };
        let event = decide(&before, command, &facts)?;
        let version = before.version + 1;
        let after = State::with(Some(before.clone()), version, &event).map_err(broken)?;
        Ok(Outcome {
            event,
            before,
            after,
            today,
            price,
            erased: stored.erased,
            log: stored.log.clone(),
        })
    }

    /// Does what was foreseen, within this time. Where it was decided by something that is not so
    /// any more, or the server has ended it for a deadlock, it is decided anew under the locks.
    pub(crate) async fn run(
        self,
        database: &Database,
        foreseen: Option<Outcome>,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let mut work = (self, foreseen, false);
        let once = async |work: &(Self, Option<Outcome>, bool)| {
            let done = database.change(limit, work, |connection, (job, foreseen, anew)| {
                Box::pin(job.write(connection, foreseen.as_ref(), *anew))
            });
            done.await
        };
        let at_once = match &work.1 {
            Some(foreseen) => work.0.alter_at_once(database, foreseen).await.transpose(),
            None => None,
        };
        let mut done = match at_once {
            Some(done) => done,
            None => once(&work).await,
        };
        if let Err(Failure::Deadlock | Failure::Outdated) = done {
            work.2 = true;
            done = once(&work).await;
        }
        if done.is_ok() {
            work.0.log.appended();
        }
        done
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        foreseen: Option<&Outcome>,
        anew: bool,
    ) -> Result<Answer, Failure> {
        match (&self.wish, foreseen) {
            (Wish::Draft(person, terms), _) => {
                store::lock_person(connection, person).await?;
                self.draft(connection, person, terms).await
            }
            (Wish::Of(..), Some(foreseen)) => self.alter(connection, foreseen, anew).await,
            (Wish::Of(..), None) => Err(Failure::NotFound),
        }
    }

    /// Locks are taken in one order: cars, policy, key.
    async fn alter(
        &self,
        connection: &mut PgConnection,
        foreseen: &Outcome,
        anew: bool,
    ) -> Result<Answer, Failure> {
        store::lock_cars(connection, &foreseen.cars()).await?;
        // What it rests on may have changed while Vehicle was asked and the locks were waited for:
        // the policy, its person, the day, the price.
        let outcome = if anew {
            self.decide_anew(connection, foreseen).await?
        } else {
            self.check(connection, foreseen).await?;
            foreseen.clone()
        };
        let prepared = self.prepare(outcome)?;
        if prepared.change().map_err(broken)?.write(connection).await? {
            Ok(prepared.answer)
        } else {
            Err(Failure::Outdated)
        }
    }

    fn prepare(&self, outcome: Outcome) -> Result<Prepared, Failure> {
        let event_id = new_event_id();
        let answer = Answer::policy(StatusCode::OK, &outcome.stored(), outcome.today)?;
        Ok(Prepared {
            answer: answer.with(EVENT_ID, event_id.to_string()),
            event_id,
            outcome,
            origin: self.origin.clone(),
            claim: self.claim.clone(),
        })
    }

    /// Writes what one statement can, without a transaction around it. `None`: there is more to be
    /// locked, looked at or written. Where the statement ran twice, the second run finds another
    /// version, and the request the answer under its key; so there has to be one.
    async fn alter_at_once(
        &self,
        database: &Database,
        foreseen: &Outcome,
    ) -> Result<Option<Answer>, Failure> {
        let covers_stay = foreseen.before.covers == foreseen.after.covers;
        if self.claim.is_none() || foreseen.price.is_some() || !covers_stay {
            return Ok(None);
        }
        if self.clock.today() != foreseen.today {
            return Err(Failure::Outdated);
        }
        let prepared = Arc::new(self.prepare(foreseen.clone())?);
        let written = database.change_at_once(prepared.clone(), |connection, prepared| {
            Box::pin(async move {
                let change = prepared.change().map_err(store::unreadable)?;
                change.write_row(connection).await
            })
        });
        if written.await? {
            Ok(Some(prepared.answer.clone()))
        } else {
            Err(Failure::Outdated)
        }
    }

    /// Whether the day and the price are those that it was decided by.
    async fn check(
        &self,
        connection: &mut PgConnection,
        foreseen: &Outcome,
    ) -> Result<(), Failure> {
        if self.clock.today() != foreseen.today {
            return Err(Failure::Outdated);
        }
        if let Some(((product, day), price)) = foreseen.price
            && prices::store::price_on(connection, product, day).await? != price
        {
            return Err(Failure::Outdated);
        }
        Ok(())
    }

    async fn decide_anew(
        &self,
        connection: &mut PgConnection,
        foreseen: &Outcome,
    ) -> Result<Outcome, Failure> {
        let stored = store::lock(connection, foreseen.before.insurance_id).await?;
        let stored = stored.ok_or(Failure::NotFound)?;
        let today = self.clock.today();
        // `If-Match` may name this version too, but the car that was confirmed is the other's.
        if stored.policy.version != foreseen.before.version {
            return Err(version_conflict(&stored, today));
        }
        let (command, priced) = self.command(&stored, today)?;
        let price = match priced {
            Some((product, day)) => {
                let found = prices::store::price_on(connection, product, day).await?;
                Some(((product, day), found))
            }
            None => None,
        };
        self.decided(&stored, &command, today, price)
    }

    async fn draft(
        &self,
        connection: &mut PgConnection,
        person: &PersonalIdentityNumber,
        terms: &Terms,
    ) -> Result<Answer, Failure> {
        let price = prices::store::price_on(connection, terms.product, terms.valid_from).await?;
        // By the rules first: the row has a number that none had, whatever becomes of it.
        let ruled = draft(0, terms.clone(), price)?;
        let PolicyEvent::Drafted(mut data) = ruled else {
            return Err(Failure::NotFound);
        };
        let added = store::add(connection, person, terms, data.monthly_cost).await?;
        let id = added.insurance_id;
        data.insurance_id = id;
        let event = PolicyEvent::Drafted(data);
        let stored = Stored {
            policy: State::with(None, 1, &event).map_err(broken)?,
            erased: false,
            log: added.log,
        };
        let (log, origin) = (&self.log, &self.origin);
        let told = store::tell(connection, log, origin, &stored.policy, &event).await?;
        let answer = Answer::policy(StatusCode::CREATED, &stored, self.clock.today())?
            .with(EVENT_ID, told)
            .with(LOCATION, format!("/api/v1/policies/{id}"));
        if let Some(claim) = &self.claim {
            let entry = claim.entry(&answer).map_err(broken)?;
            idempotency::keep(connection, &entry, Some(id)).await?;
        }
        Ok(answer)
    }
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Rejection::internal().with_cause(error).into()
}
