//! What may be done with a policy: a command gives an event or a refusal, and changes nothing by
//! itself.

use contracts::{
    Day, Money, PolicyActivated, PolicyCancelled, PolicyChanged, PolicyDrafted, PolicyEnded,
    PolicyEvent, PolicyMoved, PolicyStatus, Product, RegistrationNumber, TransitionReason,
};

use super::state::State;

/// What a draft says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) product: Product,
    pub(crate) car: Option<RegistrationNumber>,
    pub(crate) valid_from: Day,
    pub(crate) valid_until: Option<Day>,
}

/// What somebody wants of a policy that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Other terms for a draft.
    Redraft(Terms),
    /// Another status.
    Move(Move),
    /// Another car or end from a day on.
    Change(Change),
    /// The status that its dates have made of it.
    End,
}

/// Another status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) to: PolicyStatus,
    pub(crate) reason: TransitionReason,
    /// From which day on, for a cancellation.
    pub(crate) effective_on: Option<Day>,
}

/// Another car or end from a day on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::option_option,
    reason = "no new end differs from the new end that there is none"
)]
pub(crate) struct Change {
    pub(crate) effective_on: Day,
    pub(crate) car: Option<RegistrationNumber>,
    /// The new end, which may be that there is none.
    pub(crate) valid_until: Option<Option<Day>>,
}

/// What a decision rests on beside the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) today: Day,
    /// The price list's, for the day of [`Command::price_day`].
    pub(crate) price: Option<Money>,
    /// Whether the caller may let a cover begin before today.
    pub(crate) past_allowed: bool,
    /// Whether the policy's person was erased.
    pub(crate) erased: bool,
}

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The policy cannot be taken from one status to the other.
    TransitionNotAllowed {
        from: PolicyStatus,
        to: PolicyStatus,
        allowed: Vec<PolicyStatus>,
    },
    /// Only drafts are patched.
    NotADraft,
    /// Only policies in force without a decided cancellation are changed.
    NotInForce,
    /// The person of the draft was erased.
    Erased,
    /// A value does not do.
    Rule(Rule),
}

/// A rule that a value breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    CarRequired,
    CarNotAllowed,
    DatesReversed,
    NoPrice,
    CoverInThePast,
    EffectiveOnOutOfRange,
    EffectiveOnNotAllowed,
    NothingToChange,
}

impl From<Rule> for Refusal {
    fn from(rule: Rule) -> Self {
        Self::Rule(rule)
    }
}

impl Command {
    /// The day whose price the command may freeze, if it freezes one.
    pub(crate) fn price_day(&self, policy: &State) -> Option<Day> {
        match self {
            Self::Redraft(terms) => Some(terms.valid_from),
            Self::Change(change) => Some(change.effective_on),
            Self::Move(_) if policy.status == PolicyStatus::Draft => Some(policy.valid_from),
            Self::Move(_) | Self::End => None,
        }
    }
}

/// A draft.
pub(crate) fn draft(
    insurance_id: i64,
    terms: Terms,
    price: Option<Money>,
) -> Result<PolicyEvent, Refusal> {
    check(&terms)?;
    Ok(PolicyEvent::Drafted(PolicyDrafted {
        insurance_id,
        product: terms.product,
        valid_from: terms.valid_from,
        valid_until: terms.valid_until,
        monthly_cost: price.ok_or(Rule::NoPrice)?,
        car_registration_number: terms.car,
    }))
}

/// What becomes of a policy.
pub(crate) fn decide(
    policy: &State,
    command: &Command,
    facts: &Facts,
) -> Result<PolicyEvent, Refusal> {
    match command {
        Command::Redraft(terms) => redraft(policy, terms, facts),
        Command::Move(to) => transition(policy, *to, facts),
        Command::Change(change) => change_in_force(policy, change, facts),
        Command::End => end(policy, facts.today),
    }
}

/// To which statuses a policy may be taken.
pub(crate) fn allowed(policy: &State, today: Day, erased: bool) -> Vec<PolicyStatus> {
    use PolicyStatus::{Active, Cancelled, Draft, Expired, Suspended};
    let targets: &[_] = match policy.status_on(today) {
        Draft if erased => &[Cancelled],
        Draft | Suspended => &[Active, Cancelled],
        Active => &[Suspended, Cancelled],
        Cancelled | Expired => &[],
    };
    let decided = policy.cancelled_on.is_some();
    let targets = targets.iter().copied();
    targets.filter(|to| *to != Cancelled || !decided).collect()
}

fn check(terms: &Terms) -> Result<(), Rule> {
    match (terms.product, &terms.car) {
        (Product::Car, None) => return Err(Rule::CarRequired),
        (Product::Pet | Product::PersonalHealth, Some(_)) => return Err(Rule::CarNotAllowed),
        _ => {}
    }
    if terms
        .valid_until
        .is_some_and(|until| until <= terms.valid_from)
    {
        return Err(Rule::DatesReversed);
    }
    Ok(())
}

fn redraft(policy: &State, terms: &Terms, facts: &Facts) -> Result<PolicyEvent, Refusal> {
    if policy.status != PolicyStatus::Draft {
        return Err(Refusal::NotADraft);
    }
    if facts.erased {
        return Err(Refusal::Erased);
    }
    check(terms)?;
    Ok(PolicyEvent::Changed(PolicyChanged {
        insurance_id: policy.insurance_id,
        effective_on: None,
        product: terms.product,
        valid_from: terms.valid_from,
        valid_until: terms.valid_until,
        monthly_cost: facts.price.ok_or(Rule::NoPrice)?,
        car_registration_number: terms.car.clone(),
    }))
}

fn transition(policy: &State, wanted: Move, facts: &Facts) -> Result<PolicyEvent, Refusal> {
    let Move {
        to,
        reason,
        effective_on,
    } = wanted;
    let from = policy.status_on(facts.today);
    let allowed = allowed(policy, facts.today, facts.erased);
    if !allowed.contains(&to) {
        return Err(Refusal::TransitionNotAllowed { from, to, allowed });
    }
    let cancels_cover = to == PolicyStatus::Cancelled && from != PolicyStatus::Draft;
    if effective_on.is_some() && !cancels_cover {
        return Err(Rule::EffectiveOnNotAllowed.into());
    }
    let insurance_id = policy.insurance_id;
    let moved = PolicyMoved {
        insurance_id,
        from,
        to,
        reason,
    };
    match (from, to) {
        (_, PolicyStatus::Cancelled) => cancel(policy, moved, effective_on, facts.today),
        (PolicyStatus::Draft, _) => activate(policy, moved, facts),
        (_, PolicyStatus::Suspended) => Ok(PolicyEvent::Suspended(moved)),
        _ => Ok(PolicyEvent::Resumed(moved)),
    }
}

fn activate(policy: &State, moved: PolicyMoved, facts: &Facts) -> Result<PolicyEvent, Refusal> {
    // A draft that came by SQL was held to fewer rules.
    check(&Terms {
        product: policy.product,
        car: policy.car.clone(),
        valid_from: policy.valid_from,
        valid_until: policy.valid_until,
    })?;
    if policy.valid_from < facts.today && !facts.past_allowed {
        return Err(Rule::CoverInThePast.into());
    }
    Ok(PolicyEvent::Activated(PolicyActivated {
        insurance_id: moved.insurance_id,
        from: moved.from,
        to: moved.to,
        reason: moved.reason,
        valid_from: policy.valid_from,
        valid_until: policy.valid_until,
        monthly_cost: facts.price.ok_or(Rule::NoPrice)?,
        car_registration_number: policy.car.clone(),
    }))
}

fn cancel(
    policy: &State,
    moved: PolicyMoved,
    effective_on: Option<Day>,
    today: Day,
) -> Result<PolicyEvent, Refusal> {
    let day = effective_on.unwrap_or(today);
    let valid_until = if moved.from == PolicyStatus::Draft {
        policy.valid_until
    } else {
        if day < today || policy.valid_until.is_some_and(|until| day >= until) {
            return Err(Rule::EffectiveOnOutOfRange.into());
        }
        Some(day.max(policy.valid_from))
    };
    Ok(PolicyEvent::Cancelled(PolicyCancelled {
        insurance_id: moved.insurance_id,
        from: moved.from,
        to: moved.to,
        reason: moved.reason,
        effective_on: day,
        valid_until,
    }))
}

fn change_in_force(policy: &State, change: &Change, facts: &Facts) -> Result<PolicyEvent, Refusal> {
    let status = policy.status_on(facts.today);
    let in_force = matches!(status, PolicyStatus::Active | PolicyStatus::Suspended);
    if !in_force || policy.cancelled_on.is_some() {
        return Err(Refusal::NotInForce);
    }
    if change.car.is_none() && change.valid_until.is_none() {
        return Err(Rule::NothingToChange.into());
    }
    if change.car.is_some() && policy.product != Product::Car {
        return Err(Rule::CarNotAllowed.into());
    }
    let (day, end) = (change.effective_on, policy.valid_until);
    let renews = end == Some(day);
    if day < facts.today.max(policy.valid_from)
        || end.is_some_and(|end| day > end)
        || renews && change.valid_until.is_none()
    {
        return Err(Rule::EffectiveOnOutOfRange.into());
    }
    let valid_until = change.valid_until.unwrap_or(end);
    if valid_until.is_some_and(|until| until <= day) {
        return Err(Rule::DatesReversed.into());
    }
    let before = policy.period_on(day);
    let monthly_cost = match before {
        Some(period) if !renews => period.monthly_cost,
        _ => facts.price.ok_or(Rule::NoPrice)?,
    };
    let car = before.map_or(&policy.car, |period| &period.car);
    Ok(PolicyEvent::Changed(PolicyChanged {
        insurance_id: policy.insurance_id,
        effective_on: Some(day),
        product: policy.product,
        valid_from: policy.valid_from,
        valid_until,
        monthly_cost,
        car_registration_number: change.car.clone().or_else(|| car.clone()),
    }))
}

/// What its dates have made of a policy, if that is not written yet.
fn end(policy: &State, today: Day) -> Result<PolicyEvent, Refusal> {
    let to = policy.status_on(today);
    let ended = |since| PolicyEnded {
        insurance_id: policy.insurance_id,
        from: policy.status,
        to,
        since,
    };
    match (policy.status == to, policy.cancelled_on, policy.valid_until) {
        (false, Some(day), _) if to == PolicyStatus::Cancelled => {
            Ok(PolicyEvent::Ended(ended(day)))
        }
        (false, _, Some(day)) => Ok(PolicyEvent::Expired(ended(day))),
        _ => Err(Refusal::NotInForce),
    }
}

#[cfg(test)]
mod tests;
