use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use config::{Map, Value, ValueKind};
use serde::de::DeserializeOwned;

use super::{Checked, CommonSettings, SettingsError, Violations, common};

/// The sections of a service's settings as they were read. They may hold secrets.
#[derive(Clone, Default)]
pub(super) struct Sections(Map<String, Value>);

impl From<Map<String, Value>> for Sections {
    fn from(sections: Map<String, Value>) -> Self {
        Self(sections)
    }
}

impl fmt::Debug for Sections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Sections {
    /// What they say, unchecked.
    pub(super) fn read<S: Checked>(&self) -> Result<(CommonSettings, S), SettingsError> {
        let (common, service) = self
            .0
            .clone()
            .into_iter()
            .partition(|(section, _)| common::SECTIONS.contains(&section.as_str()));
        Ok((read(common)?, read(service)?))
    }

    /// The sections that differ and take effect at the start only, in order.
    pub(super) fn awaiting_restart<S: Checked>(&self, started: &Self) -> Vec<String> {
        let digests = |sections: &Self| -> BTreeMap<String, u64> {
            let start_only = sections.0.iter().filter(|(name, _)| !is_live::<S>(name));
            start_only
                .map(|(name, section)| (name.clone(), digest(section)))
                .collect()
        };
        let started = digests(started);
        let newest = digests(self).into_iter();
        newest
            .filter(|(name, digest)| started.get(name) != Some(digest))
            .map(|(name, _)| name)
            .collect()
    }

    /// These where they are live, and `started` elsewhere: what a running service goes by.
    pub(super) fn over<S: Checked>(&self, started: &Self) -> Self {
        let live = self.0.iter().filter(|(name, _)| is_live::<S>(name));
        let fixed = started.0.iter().filter(|(name, _)| !is_live::<S>(name));
        let all = live.chain(fixed);
        Self(all.map(|(name, it)| (name.clone(), it.clone())).collect())
    }
}

fn is_live<S: Checked>(section: &str) -> bool {
    common::LIVE.contains(&section) || S::LIVE.contains(&section)
}

/// The same for the same values, whatever the order of a table's keys and wherever they are from.
fn digest(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    match &value.kind {
        ValueKind::Table(table) => {
            let sorted: BTreeMap<_, _> = table
                .iter()
                .map(|(key, inner)| (key, digest(inner)))
                .collect();
            sorted.hash(&mut hasher);
        }
        ValueKind::Array(values) => {
            values
                .iter()
                .map(digest)
                .collect::<Vec<_>>()
                .hash(&mut hasher);
        }
        scalar => scalar.to_string().hash(&mut hasher),
    }
    hasher.finish()
}

fn read<T: DeserializeOwned>(sections: Map<String, Value>) -> Result<T, SettingsError> {
    serde_path_to_error::deserialize(Value::new(None, ValueKind::Table(sections))).map_err(
        |error| {
            let setting = error.path().to_string();
            let reason = without_quoted_value(error.into_inner().to_string());
            SettingsError::Value { setting, reason }
        },
    )
}

/// Puts tables over each other, key by key, and anything else in the place of what was there.
pub(super) fn lay_over(under: &mut Value, over: Value) {
    match (&mut under.kind, over.kind) {
        (ValueKind::Table(under), ValueKind::Table(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(under) => lay_over(under, value),
                    None => drop(under.insert(key, value)),
                }
            }
        }
        (under, over) => *under = over,
    }
}

/// Reports what is no number where the manual has one: `config` would take `true` for 1 and 1.5
/// for 2.
pub(super) fn check_numbers(
    path: &str,
    manual: &Value,
    given: &Value,
    violations: &mut Violations,
) {
    let is_whole = |value: &ValueKind| match value {
        ValueKind::String(text) => text.parse::<i128>().is_ok(),
        ValueKind::Boolean(_) | ValueKind::Float(_) => false,
        // Tables and the like are refused when they are read.
        _ => true,
    };
    let is_number = |value: &ValueKind| match value {
        ValueKind::String(text) => text.parse::<f64>().is_ok(),
        value => !matches!(value, ValueKind::Boolean(_)),
    };
    let refused = match (&manual.kind, &given.kind) {
        (ValueKind::Table(manual), ValueKind::Table(given)) => {
            let sorted: BTreeMap<_, _> = manual.iter().collect();
            for (key, manual) in sorted {
                if let Some(given) = given.get(key) {
                    let dot = if path.is_empty() { "" } else { "." };
                    check_numbers(&format!("{path}{dot}{key}"), manual, given, violations);
                }
            }
            None
        }
        (ValueKind::I64(_), given) => (!is_whole(given)).then_some("whole number"),
        (ValueKind::Float(_), given) => (!is_number(given)).then_some("number"),
        _ => None,
    };
    if let Some(kind) = refused {
        let shown = match &given.kind {
            // With its point, which is what is wrong with it.
            ValueKind::Float(number) => format!("{number:?}"),
            other => other.to_string(),
        };
        violations.report(path, format_args!("`{shown}` is no {kind}"));
    }
}

/// A value where a table belongs is quoted by the error, and a key that was written to
/// `api_keys.<id>` itself is a secret.
pub(super) fn without_quoted_value(error: String) -> String {
    if error.contains("expected a map") || error.contains("expected struct") {
        "is a value, not a table of settings".to_owned()
    } else {
        error
    }
}
