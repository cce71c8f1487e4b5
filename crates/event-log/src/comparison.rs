use std::fmt;

use service_database::{Database, DatabaseSettings, Error, Read};

/// Most differences that are named.
const MOST: usize = 100;

/// What a comparison of stored things with their events found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many things were compared.
    pub compared: u64,
    /// How many differ from what their events say.
    pub differing: u64,
    /// The first of these, and how.
    pub first: Vec<String>,
}

impl Comparison {
    /// Something differs.
    pub fn differs(&mut self, what: String) {
        self.differing += 1;
        if self.first.len() < MOST {
            self.first.push(what);
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            compared,
            differing,
            first,
        } = self;
        writeln!(
            f,
            "{compared} compared, {differing} differ from what their events say"
        )?;
        first.iter().try_for_each(|what| writeln!(f, "{what}"))
    }
}

/// The command `verify-state`: compares what a service stores with its events, both as they are at
/// one moment, and says what it found.
pub async fn verify_state(
    settings: &DatabaseSettings,
    compare: Read<(), Comparison>,
) -> Result<String, StateError> {
    let database = Database::patient(settings)?;
    let compared = database.transaction(Database::PATIENCE, &compare, |connection, compare| {
        Box::pin(async {
            let moment = "set transaction isolation level repeatable read, read only";
            sqlx::raw_sql(moment).execute(&mut *connection).await?;
            Ok::<_, Error>(compare(connection, &()).await?)
        })
    });
    let compared = compared.await?;
    if compared.differing > 0 {
        return Err(StateError::Differs(compared));
    }
    Ok(compared.to_string())
}

/// Why the state is not known to be what the events say.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read.
    #[error("the state cannot be compared with its events")]
    Database(#[from] service_database::Error),
    /// It differs.
    #[error("{0}")]
    Differs(Comparison),
}

impl From<sqlx::Error> for StateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
