use std::{collections::BTreeMap, ops::RangeInclusive};

use config::{Map, Value, ValueKind};
use serde::de::DeserializeOwned;

use crate::{Bounded, Section, Violations, bounded};

/// A table while its keys are read.
pub struct Reader<'a> {
    at: String,
    table: Map<String, Value>,
    findings: &'a mut Findings,
}

/// What is to be said about settings.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) violations: Violations,
    /// Keys of earlier releases.
    pub(crate) removed: Violations,
}

/// Reads the table at this path and holds it to its rules.
pub(crate) fn read<S: Section>(at: &str, value: Value, findings: &mut Findings) -> Option<S> {
    let ValueKind::Table(table) = value.kind else {
        let rule = "is a value, not a table of settings";
        findings.violations.report(at, rule);
        return None;
    };
    let at = at.to_owned();
    let mut reader = Reader {
        at,
        table,
        findings,
    };
    let section = S::read(&mut reader);
    let at = reader.finish::<S>();
    let section = section?;
    section.rules(&at, &mut findings.violations);
    Some(section)
}

impl Reader<'_> {
    /// Bounds as the reference has them.
    pub fn shown<T: Bounded>(bounds: &RangeInclusive<T>) -> String {
        bounded::shown(bounds)
    }

    /// A table within this one.
    pub fn table<S: Section>(&mut self, key: &str) -> Option<S> {
        let (at, value) = self.take(key)?;
        read(&at, value, self.findings)
    }

    /// A value that has no least and no most.
    pub fn value<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let (at, value) = self.take(key)?;
        let read = serde_path_to_error::deserialize(value);
        read.map_err(|error| {
            let within = error.path().to_string();
            let at = if within == "." {
                at
            } else {
                Violations::path(&at, &within)
            };
            let rule = without_quoted_value(error.into_inner().to_string());
            self.findings.violations.report(&at, rule);
        })
        .ok()
    }

    /// A value within these bounds. One outside is reported and given all the same, so that what
    /// contradicts it is told as well.
    pub fn bounded<T: Bounded>(&mut self, key: &str, bounds: &RangeInclusive<T>) -> Option<T> {
        let (at, Value { kind, .. }) = self.take(key)?;
        let (violations, shown) = (&mut self.findings.violations, bounded::shown(bounds));
        let Some(value) = T::read(&kind) else {
            let given = given(&kind);
            violations.report(&at, format_args!("{given} is no {} in {shown}", T::KIND));
            return None;
        };
        if !bounds.contains(&value) {
            violations.report(&at, format_args!("{} is outside {shown}", value.shown()));
        }
        Some(value)
    }

    /// Holds a value that was read to a rule of its own.
    pub fn hold<T>(
        &mut self,
        key: &str,
        value: Option<&T>,
        rule: impl Fn(&T, &str, &mut Violations),
    ) {
        if let Some(value) = value {
            let at = Violations::path(&self.at, key);
            rule(value, &at, &mut self.findings.violations);
        }
    }

    fn take(&mut self, key: &str) -> Option<(String, Value)> {
        let at = Violations::path(&self.at, key);
        let value = self.table.remove(key);
        if value.is_none() {
            self.findings.violations.report(&at, "is not set");
        }
        Some((at, value?))
    }

    /// Says of every key that nobody read that it is unknown, or what became of it.
    fn finish<S: Section>(self) -> String {
        let Self {
            at,
            table,
            findings,
        } = self;
        let unread: BTreeMap<_, _> = table.into_iter().collect();
        for key in unread.keys() {
            let setting = Violations::path(&at, key);
            let removed = S::REMOVED.iter().find(|(removed, _)| removed == key);
            if let Some((_, instead)) = removed {
                let rule = format_args!("is no setting any more; it {instead}");
                findings.removed.report(&setting, rule);
                continue;
            }
            let known: Vec<_> = S::fields().iter().map(|field| field.key).collect();
            let rule = format!("is no setting; there are {}", known.join(", "));
            findings.violations.report(&setting, rule);
        }
        at
    }
}

/// What was given instead, without what a table holds, which may be secret.
fn given(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        // With its point, which is what is wrong with it.
        ValueKind::Float(number) => format!("`{number:?}`"),
        other => format!("`{other}`"),
    }
}

/// A value where a table belongs is quoted by the error, and a key that was written to
/// `api_keys.<id>` itself is a secret.
pub(crate) fn without_quoted_value(error: String) -> String {
    if error.contains("expected a map") || error.contains("expected struct") {
        "is a value, not a table of settings".to_owned()
    } else {
        error
    }
}
