//! Settings: embedded manual < file < secrets < environment, every violation named at once.
//!
//! The only place that reads the environment.

mod common;
mod file;
mod list;
mod live;
mod secret;
mod sections;
mod source;
mod variables;
mod violation;

pub use common::{CommonSettings, Settings};
pub(crate) use list::list;
pub use live::{Live, watch};
pub use secret::Secret;
pub use source::{Arguments, Sources};
pub use violation::{Checked, SettingsError, Violation, Violations};

/// Reads and writes a [`std::time::Duration`] with its unit (`250ms`, `5s`); for `#[serde(with)]`.
pub mod duration {
    use std::{borrow::Cow, time::Duration};

    use serde::{Deserialize, Deserializer, de};

    /// Reads a duration; a number without a unit is refused.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(|_| {
            de::Error::custom(format_args!(
                "`{text}` is not a duration such as 250ms, 5s or 10m"
            ))
        })
    }
}
