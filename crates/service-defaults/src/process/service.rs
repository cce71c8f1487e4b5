//! What each service says of itself; all else is alike.

use std::{error::Error, path::PathBuf};

use settings::{Arguments, Sources};

use crate::{
    assembly::Assembled,
    process::{NewLog, Process, ProcessError},
    settings::Checked,
};

/// One service: its name, its settings and how it is built.
pub trait Service: 'static {
    /// Its name: its section in the secrets file and the prefix of its variables.
    const NAME: &'static str;
    /// What it is, in a sentence or two.
    const ABOUT: &'static str;
    /// What it has settings for, beside the common ones.
    type Settings: Checked;
    /// Why one of its commands failed.
    type Error: Error + From<ProcessError>;

    /// Where its settings come from, with these options of the command line.
    fn sources(arguments: Arguments) -> Sources;

    /// Builds it, without a socket. What it does beside requests it spawns as
    /// [`tasks`](Process::tasks).
    fn build(process: &Process<Self::Settings>) -> Result<Assembled, Self::Error>;

    /// Brings its schema up to date.
    fn migrate(settings: &Self::Settings) -> impl Future<Output = Result<(), Self::Error>>;

    /// Says what [`migrate`](Self::migrate) would do and find, and changes nothing.
    fn preview_migration(
        settings: &Self::Settings,
    ) -> impl Future<Output = Result<String, Self::Error>>;

    /// Inserts its sample data where it is missing.
    fn seed(settings: &Self::Settings) -> impl Future<Output = Result<(), Self::Error>>;

    /// Verifies its event log against itself and the checkpoints in these files, and says what it
    /// found.
    fn verify_log(
        settings: &Self::Settings,
        checkpoints: &[PathBuf],
    ) -> impl Future<Output = Result<String, Self::Error>>;

    /// Compares what is stored now with what the events say, and says what it found.
    fn verify_state(settings: &Self::Settings)
    -> impl Future<Output = Result<String, Self::Error>>;

    /// Gives its event log a new id, and says which.
    fn new_log(
        settings: &Self::Settings,
        wanted: &NewLog,
    ) -> impl Future<Output = Result<String, Self::Error>>;
}
