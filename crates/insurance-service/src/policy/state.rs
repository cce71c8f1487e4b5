//! A policy, and what its events make of it.

use contracts::{
    Day, Money, PolicyEvent, PolicyImported, PolicyStatus, Product, RegistrationNumber,
};

/// A policy as its events tell it: its row but for the person, and its covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) insurance_id: i64,
    pub(crate) product: Product,
    /// What was decided last. Its dates may have made another one of it since.
    pub(crate) status: PolicyStatus,
    /// Rises by one with every event.
    pub(crate) version: i64,
    pub(crate) valid_from: Day,
    /// The first day without cover.
    pub(crate) valid_until: Option<Day>,
    /// From this day on it is cancelled.
    pub(crate) cancelled_on: Option<Day>,
    /// What was decided last; the covers have the cost of each day.
    pub(crate) monthly_cost: Money,
    /// What was decided last; the covers have the car of each day.
    pub(crate) car: Option<RegistrationNumber>,
    /// By their days, without gaps.
    pub(crate) covers: Vec<Cover>,
}

/// Days with one car at one cost.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cover {
    pub(crate) from: Day,
    pub(crate) until: Option<Day>,
    pub(crate) car: Option<RegistrationNumber>,
    pub(crate) monthly_cost: Money,
    /// It came with days on which another policy covered the car.
    pub(crate) overlapping: bool,
}

/// An event that cannot follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FoldError {
    /// A policy begins with one of the two.
    #[error("the first event is neither an import nor a draft")]
    NoBeginning,
    /// And with one of them only.
    #[error("a policy that exists began once more")]
    BeganAgain,
    /// After it there is no policy.
    #[error("the policy was removed")]
    Removed,
}

impl State {
    /// The status that it has on a day.
    pub(crate) fn status_on(&self, day: Day) -> PolicyStatus {
        let came = |on: Option<Day>| on.is_some_and(|on| on <= day);
        match self.status {
            PolicyStatus::Active | PolicyStatus::Suspended if came(self.cancelled_on) => {
                PolicyStatus::Cancelled
            }
            PolicyStatus::Active | PolicyStatus::Suspended if came(self.valid_until) => {
                PolicyStatus::Expired
            }
            decided => decided,
        }
    }

    /// The period of a day; before the first one that, after the last one that.
    pub(crate) fn period_on(&self, day: Day) -> Option<&Cover> {
        let begun = self.covers.iter().rev().find(|cover| cover.from <= day);
        begun.or(self.covers.first())
    }

    /// The policy with one more event, which was the `version`th.
    pub(crate) fn with(
        policy: Option<Self>,
        version: i64,
        event: &PolicyEvent,
    ) -> Result<Self, FoldError> {
        let (policy, began) = match (policy, event) {
            (Some(_), PolicyEvent::Removed) => return Err(FoldError::Removed),
            (None, PolicyEvent::Imported(it)) => (Self::imported(it), true),
            (None, PolicyEvent::Drafted(it)) => (Self::drafted(it), true),
            (None, _) => return Err(FoldError::NoBeginning),
            (Some(_), PolicyEvent::Imported(_) | PolicyEvent::Drafted(_)) => {
                return Err(FoldError::BeganAgain);
            }
            (Some(policy), _) => (policy, false),
        };
        let policy = if began { policy } else { policy.after(event) };
        Ok(Self { version, ..policy })
    }

    fn imported(it: &PolicyImported) -> Self {
        let mut policy = Self {
            insurance_id: it.insurance_id,
            product: it.product,
            status: it.status,
            version: 0,
            valid_from: it.valid_from,
            valid_until: it.valid_until,
            cancelled_on: it.cancelled_on,
            monthly_cost: it.monthly_cost,
            car: it.car_registration_number.clone(),
            covers: Vec::new(),
        };
        // Which days it covered is unknown where it has ended without an end.
        let end = policy.valid_until.or(policy.cancelled_on);
        let covers = match policy.status {
            PolicyStatus::Draft => false,
            PolicyStatus::Active | PolicyStatus::Suspended => true,
            PolicyStatus::Cancelled | PolicyStatus::Expired => end.is_some(),
        };
        if covers {
            policy.cover_from(policy.valid_from);
        }
        if let Some(day) = policy.cancelled_on {
            policy.cut(day);
        }
        for cover in &mut policy.covers {
            cover.overlapping = it.cover_overlaps;
        }
        policy
    }

    fn drafted(it: &contracts::PolicyDrafted) -> Self {
        Self {
            insurance_id: it.insurance_id,
            product: it.product,
            status: PolicyStatus::Draft,
            version: 0,
            valid_from: it.valid_from,
            valid_until: it.valid_until,
            cancelled_on: None,
            monthly_cost: it.monthly_cost,
            car: it.car_registration_number.clone(),
            covers: Vec::new(),
        }
    }

    fn after(mut self, event: &PolicyEvent) -> Self {
        match event {
            // They begin and remove a policy.
            PolicyEvent::Imported(_) | PolicyEvent::Drafted(_) | PolicyEvent::Removed => {}
            PolicyEvent::Changed(it) => {
                self.product = it.product;
                self.valid_from = it.valid_from;
                self.valid_until = it.valid_until;
                self.monthly_cost = it.monthly_cost;
                self.car.clone_from(&it.car_registration_number);
                if let Some(day) = it.effective_on {
                    self.cut(day);
                    self.cover_from(day);
                }
            }
            PolicyEvent::Activated(it) => {
                self.status = it.to;
                self.valid_from = it.valid_from;
                self.valid_until = it.valid_until;
                self.monthly_cost = it.monthly_cost;
                self.car.clone_from(&it.car_registration_number);
                self.cover_from(self.valid_from);
            }
            PolicyEvent::Suspended(it) | PolicyEvent::Resumed(it) => self.status = it.to,
            PolicyEvent::Cancelled(it) => {
                self.cancelled_on = Some(it.effective_on);
                self.valid_until = it.valid_until;
                self.cut(it.effective_on);
                // Of a policy in force it is decided; its day makes it so.
                if it.from == PolicyStatus::Draft {
                    self.status = it.to;
                }
            }
            PolicyEvent::Ended(it) | PolicyEvent::Expired(it) => self.status = it.to,
        }
        self
    }

    /// Takes the days from this one on away.
    fn cut(&mut self, day: Day) {
        self.covers.retain(|cover| cover.from < day);
        if let Some(last) = self.covers.last_mut()
            && last.until.is_none_or(|until| until > day)
        {
            last.until = Some(day);
        }
    }

    /// Covers the days from this one to the end, if there are any.
    fn cover_from(&mut self, from: Day) {
        if self.valid_until.is_none_or(|until| until > from) {
            self.covers.push(Cover {
                from,
                until: self.valid_until,
                car: self.car.clone(),
                monthly_cost: self.monthly_cost,
                overlapping: false,
            });
        }
    }
}
