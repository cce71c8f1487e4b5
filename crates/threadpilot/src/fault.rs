//! What can be wrong with Vehicle on purpose, so that the guard can be seen at work.

use clap::ValueEnum;

/// What is wrong with Vehicle. It is always the real service that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Nothing
    Normal,
    /// Its process is paused: it takes connections and answers only once it is normal again
    Slow,
    /// It has no database and answers 503
    Errors,
    /// It does not run: connections are refused
    Down,
}

impl Fault {
    /// A word that was typed.
    pub(crate) fn typed(word: &str) -> Option<Self> {
        Self::from_str(word.trim(), true).ok()
    }

    /// What the user is told when it begins.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Normal => "vehicle runs as it should",
            Self::Slow => "vehicle is paused: it takes connections and answers nothing",
            Self::Errors => "vehicle has lost its database: it answers 503",
            Self::Down => "vehicle does not run: connections are refused",
        }
    }

    /// How the process of Vehicle is started meanwhile, if at all.
    pub(crate) fn process(self) -> Option<Database> {
        match self {
            Self::Normal | Self::Slow => Some(Database::Own),
            Self::Errors => Some(Database::Unreachable),
            Self::Down => None,
        }
    }
}

/// Which database a service is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    /// The one of the local stack.
    Own,
    /// An address at which nothing listens.
    Unreachable,
}
