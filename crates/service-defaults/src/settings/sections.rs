use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use config::{Map, Value, ValueKind};
use serde::de::DeserializeOwned;

use super::{Checked, CommonSettings, SettingsError, common};

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

/// A value where a table belongs is quoted by the error, and a key that was written to
/// `api_keys.<id>` itself is a secret.
pub(super) fn without_quoted_value(error: String) -> String {
    if error.contains("expected a map") || error.contains("expected struct") {
        "is a value, not a table of settings".to_owned()
    } else {
        error
    }
}
