//! How a service holds its PostgreSQL schema: the pool, migrations, readiness, and which errors
//! mean that asking again makes sense.

mod error;
mod lease;
mod migration;
mod pool;
mod roles;
mod settings;

pub use error::Error;
pub use migration::{MigrateError, Schema};
pub use pool::Database;
pub use roles::{Login, PrepareError, prepare};
pub use settings::DatabaseSettings;

/// This crate's part of a service's manual.
pub const MANUAL: &str = include_str!("../config.toml");
