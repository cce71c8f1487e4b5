use std::{collections::BTreeMap, ffi::OsString};

use config::{Map, Value, ValueKind};

use crate::{
    SettingsError, Violations,
    layers::{lay_over, nested},
};

/// The environment variables that begin with a service's name and an underscore.
#[derive(Clone)]
pub(super) struct Variables {
    service: &'static str,
    values: BTreeMap<String, OsString>,
}

impl Variables {
    /// Only the service's own are kept: others may be secrets.
    pub(super) fn new(
        service: &'static str,
        all: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let named = all
            .into_iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value));
        let values = named
            .filter(|(name, _)| {
                let name = name.to_ascii_lowercase();
                name.strip_prefix(service)
                    .is_some_and(|rest| rest.starts_with('_'))
            })
            .collect();
        Self { service, values }
    }

    /// What a name says behind the service's own and one underscore, in lower case.
    fn rest(&self, name: &str) -> String {
        name[self.service.len() + 1..].to_ascii_lowercase()
    }

    /// The names that mean a setting, with what they say behind the two underscores.
    fn names(&self) -> impl Iterator<Item = (&str, String)> {
        self.values.keys().filter_map(|name| {
            let said = self.rest(name).strip_prefix('_')?.to_owned();
            Some((name.as_str(), said))
        })
    }

    /// What they set. Nothing depends on their order: names that conflict are refused.
    pub(super) fn settings(&self) -> Result<Value, SettingsError> {
        let mut violations = Violations::default();
        let mut settings = Value::new(None, Map::<String, Value>::new());
        let mut names = BTreeMap::new();
        for (name, said) in self.names() {
            let Some(path) = path(&said) else {
                violations.report(name, "is no name of a setting");
                continue;
            };
            match self.values[name].to_str() {
                Some(text) => {
                    lay_over(&mut settings, nested(&path, Value::new(None, text)));
                }
                None => violations.report(&path, format_args!("{name} is not UTF-8")),
            }
            if let Some(other) = names.insert(path.clone(), name) {
                violations.report(&path, format_args!("is set by both {other} and {name}"));
            }
        }
        for (path, name) in &names {
            for (end, _) in path.match_indices('.') {
                let table = &path[..end];
                if let Some(other) = names.get(table) {
                    let rule = format_args!("is set by {other}, and {path} by {name}");
                    violations.report(table, rule);
                }
            }
        }
        violations.into_result().map(|()| settings)
    }

    /// The names that set this setting, or something under it.
    pub(super) fn that_set(&self, setting: &str) -> Option<String> {
        let sets = |said: &str| {
            let path = path(said).unwrap_or_default();
            let within = path.strip_prefix(setting);
            within.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let setting = self.names().filter(|(_, said)| sets(said));
        let names: Vec<_> = setting.map(|(name, _)| name).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// The names that would mean a setting if all their underscores were two. They are no fault:
    /// Kubernetes makes such names for its services.
    pub(super) fn warnings(&self, defaults: &Value) -> Vec<String> {
        let mut known = Vec::new();
        paths("", defaults, &mut known);
        let prefix = self.service.to_ascii_uppercase();
        let meant = |said: &str| {
            let flat = said.replace("__", "_");
            known.iter().find_map(|path| {
                let name = path.replace('.', "__").to_ascii_uppercase();
                let written = path.replace('.', "_");
                match path.strip_suffix('.') {
                    None => (flat == written).then(|| format!("{prefix}__{name} would")),
                    Some(table) => flat
                        .strip_prefix(&written)
                        .is_some_and(|id| !id.is_empty())
                        .then(|| format!("settings of {table} begin with {prefix}__{name}")),
                }
            })
        };
        let single = self.values.keys().filter_map(|name| {
            let said = self.rest(name);
            let meant = (!said.starts_with('_')).then(|| meant(&said))??;
            Some(format!("{name} sets nothing; {meant}"))
        });
        single.collect()
    }
}

/// The path of the setting that a name means, if it means one.
fn path(said: &str) -> Option<String> {
    let key = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut keys = said.split("__");
    keys.all(|it| !it.is_empty() && it.bytes().all(key))
        .then(|| said.replace("__", "."))
}

/// The paths of all settings; a table for names of the operator's own has a dot behind it.
fn paths(at: &str, value: &Value, found: &mut Vec<String>) {
    match &value.kind {
        ValueKind::Table(table) if table.is_empty() => found.push(at.to_owned()),
        ValueKind::Table(table) => {
            for (key, inner) in table {
                let dot = if matches!(inner.kind, ValueKind::Table(_)) {
                    "."
                } else {
                    ""
                };
                paths(&format!("{at}{key}{dot}"), inner, found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}
