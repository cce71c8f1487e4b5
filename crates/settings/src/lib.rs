//! What both services read their settings with.
//!
//! A [`Section`] says of each setting once what it means, its default and its bounds, beside the
//! field that holds it; reading, refusing and the reference are made from that.
//!
//! Precedence: defaults < file < secrets < environment. Every violation is named at once. This is
//! the only place that reads the environment.

mod bounded;
mod figure;
mod file;
mod gauges;
mod layers;
mod list;
mod live;
mod reader;
mod reference;
mod secret;
mod section;
mod source;
mod variables;
mod violation;

pub use bounded::{Bounded, millis, seconds};
pub use figure::{Figure, Quantity, Shown, log, page};
pub use file::read_file;
pub use gauges::Gauges;
pub use humantime::format_duration;
pub use list::{List, list};
pub use live::Live;
pub use reader::Reader;
pub use reference::reference;
pub use secret::Secret;
pub use section::{Field, Kind, Section};
pub use source::{Arguments, Loaded, Sources, parse};
pub use violation::{SettingsError, Violation, Violations};
