use std::{fmt, ops::RangeInclusive, time::Duration};

use serde::de::DeserializeOwned;

use super::{CommonSettings, Secret};

/// The settings that one service has beside the common ones.
pub trait Checked: DeserializeOwned + Send + Sync + 'static {
    /// The sections that take effect while the service runs; all others do at its start.
    const LIVE: &'static [&'static str] = &[];

    /// Reports every value that is out of bounds or contradicts another, here or in the common
    /// settings.
    fn check(&self, common: &CommonSettings, violations: &mut Violations);
}

/// Everything that is wrong with a set of settings.
#[derive(Debug, Default)]
pub struct Violations(Vec<String>);

impl Violations {
    /// Reports a broken rule of a setting, in words.
    pub fn report(&mut self, setting: &str, rule: impl fmt::Display) {
        self.0.push(format!("{setting}: {rule}"));
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
    #[error("{}", .0.join("\n"))]
    Violations(Vec<String>),
}
