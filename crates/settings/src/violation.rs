use std::fmt;

use crate::Secret;

/// One thing that is wrong with a set of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the setting, or of the file.
    pub setting: String,
    /// The figure and the bound that it breaks, in words.
    pub rule: String,
}

impl Violation {
    fn new(setting: &str, rule: impl fmt::Display) -> Self {
        Self {
            setting: setting.to_owned(),
            rule: rule.to_string(),
        }
    }
}

/// Everything that is wrong with a set of settings.
#[derive(Debug, Default)]
pub struct Violations {
    found: Vec<Violation>,
    /// Those that count only where somebody has set the setting.
    where_set: Vec<Violation>,
}

impl Violations {
    /// The path of a key of the table at this path; nothing for the outermost table.
    pub fn path(at: &str, key: &str) -> String {
        if at.is_empty() {
            key.to_owned()
        } else {
            format!("{at}.{key}")
        }
    }

    /// Reports a broken rule of a setting, in words.
    pub fn report(&mut self, setting: &str, rule: impl fmt::Display) {
        self.found.push(Violation::new(setting, rule));
    }

    /// Reports a setting that contradicts another one, unless it is merely at its default.
    pub fn report_where_set(&mut self, setting: &str, rule: impl fmt::Display) {
        self.where_set.push(Violation::new(setting, rule));
    }

    /// Holds a secret to being set, and to something that no template holds.
    pub fn secret(&mut self, setting: &str, value: &Secret) {
        if let Some(fault) = value.fault() {
            self.report(setting, fault);
        }
    }

    /// Says of each where it is from, as far as this knows it.
    pub(crate) fn with_origins(mut self, origin: impl Fn(&str) -> Option<String>) -> Self {
        let is_set = |violation: &Violation| origin(&violation.setting).is_some();
        self.found.extend(self.where_set.drain(..).filter(is_set));
        for Violation { setting, rule } in &mut self.found {
            if let Some(origin) = origin(setting) {
                *rule = format!("{rule} ({origin})");
            }
        }
        self
    }

    /// A sentence for each.
    pub(crate) fn sentences(&self) -> impl Iterator<Item = String> {
        self.found.iter().map(Violation::to_string)
    }

    /// What was reported, or nothing.
    pub fn into_result(self) -> Result<(), SettingsError> {
        if self.found.is_empty() {
            Ok(())
        } else {
            Err(SettingsError::Violations(self.found))
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file is missing, unreadable, empty, or no TOML or JSON.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Unknown keys, and values of the wrong kind, out of bounds or contradicting each other.
    #[error("{}", lines(.0))]
    Violations(Vec<Violation>),
}

impl SettingsError {
    /// Each thing that is wrong by itself.
    pub fn violations(&self) -> Vec<Violation> {
        match self {
            Self::File { path, reason } => vec![Violation {
                setting: path.clone(),
                rule: reason.clone(),
            }],
            Self::Violations(violations) => violations.clone(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.rule)
    }
}

fn lines(violations: &[Violation]) -> String {
    let lines: Vec<_> = violations.iter().map(Violation::to_string).collect();
    lines.join("\n")
}
