use std::{fmt, ops::RangeInclusive, time::Duration};

use serde::de::DeserializeOwned;

use super::{CommonSettings, Secret};
use crate::worst_case::Figure;

/// The settings that one service has beside the common ones.
pub trait Checked: DeserializeOwned + Send + Sync + 'static {
    /// The sections that take effect while the service runs; all others do at its start.
    const LIVE: &'static [&'static str] = &[];

    /// Reports every value that is out of bounds or contradicts another, here or in the common
    /// settings.
    fn check(&self, common: &CommonSettings, violations: &mut Violations);

    /// What the service's settings allow at worst, beside what the edge does
    /// ([`CommonSettings::worst_case`]).
    fn worst_case(&self, common: &CommonSettings) -> Vec<Figure> {
        let _ = common;
        Vec::new()
    }

    /// What they allow at worst when whom the service calls works for this long on each call,
    /// whoever waits for it.
    fn worst_case_at_work(&self, work: Duration) -> Vec<Figure> {
        let _ = work;
        Vec::new()
    }
}

/// One thing that is wrong with a set of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the setting, or of the file.
    pub setting: String,
    /// The figure and the bound that it breaks, in words.
    pub rule: String,
}

/// Everything that is wrong with a set of settings.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Reports a broken rule of a setting, in words.
    pub fn report(&mut self, setting: &str, rule: impl fmt::Display) {
        let (setting, rule) = (setting.to_owned(), rule.to_string());
        self.0.push(Violation { setting, rule });
    }

    /// Holds a number to its bounds.
    pub fn range<T: PartialOrd + fmt::Display>(
        &mut self,
        setting: &str,
        value: &T,
        bounds: RangeInclusive<T>,
    ) {
        if !bounds.contains(value) {
            let (low, high) = (bounds.start(), bounds.end());
            self.report(setting, format_args!("{value} is outside {low}..={high}"));
        }
    }

    /// Holds a duration to its bounds.
    pub fn duration(&mut self, setting: &str, value: Duration, bounds: RangeInclusive<Duration>) {
        if !bounds.contains(&value) {
            let show = humantime::format_duration;
            let (low, high) = (show(*bounds.start()), show(*bounds.end()));
            self.report(
                setting,
                format_args!("{} is outside {low}..={high}", show(value)),
            );
        }
    }

    /// Holds a secret to being set, and to something that no template holds.
    pub fn secret(&mut self, setting: &str, value: &Secret) {
        if let Some(fault) = value.fault() {
            self.report(setting, fault);
        }
    }

    /// What was reported, or nothing.
    pub fn into_result(self) -> Result<(), SettingsError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(SettingsError::Violations(self.0))
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file is missing, unreadable or empty.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A text that is no TOML or JSON.
    #[error("{0}")]
    Syntax(String),
    /// An unknown key, a missing one, or a value of the wrong kind.
    #[error("{setting}: {reason}")]
    Value {
        /// Path of the setting.
        setting: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Values out of bounds or contradicting each other.
    #[error("{}", lines(.0))]
    Violations(Vec<Violation>),
}

impl SettingsError {
    /// Each thing that is wrong by itself.
    pub fn violations(&self) -> Vec<Violation> {
        let one = |setting: &str, rule: &str| {
            let (setting, rule) = (setting.to_owned(), rule.to_owned());
            vec![Violation { setting, rule }]
        };
        match self {
            Self::File { path, reason } => one(path, reason),
            Self::Syntax(reason) => one("", reason),
            Self::Value { setting, reason } => one(setting, reason),
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
