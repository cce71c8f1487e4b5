//! How a service holds its PostgreSQL schema: connections, transactions, migrations, readiness, and which errors
//! mean that asking again makes sense.

mod connections;
mod database;
mod error;
mod finish;
mod gathered;
mod migration;
mod roles;
mod settings;
mod transaction;

pub use database::{Database, Read};
pub use error::Error;
pub use gathered::Gathered;
pub use migration::{MigrateError, Schema};
pub use roles::{Login, PrepareError, prepare};
pub use settings::DatabaseSettings;
pub use transaction::Work;
