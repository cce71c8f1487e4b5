use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::{Error, Read, connections::Session, database::run, finish::finish};

/// The statements of a transaction, with their argument.
pub type Work<A, T, E> = for<'a> fn(&'a mut PgConnection, &'a A) -> BoxFuture<'a, Result<T, E>>;

/// A transaction that has begun. Dropped before its end it is rolled back behind, and its
/// connection goes back to the others.
pub(crate) struct Transaction {
    session: Option<Session>,
    /// How long the statement that runs and the rollback may take before the connection is closed,
    /// whereupon the server rolls back.
    grace: Duration,
}

impl Transaction {
    /// The server ends the transaction, too, once its client was silent for `limit`, so that a
    /// process that is frozen or out of reach holds no locks.
    pub(crate) async fn begin(
        session: Session,
        limit: Duration,
        grace: Duration,
    ) -> Result<Self, Error> {
        let begin = format!(
            "begin; set local idle_in_transaction_session_timeout = {}",
            limit.as_millis().max(1)
        );
        let mut transaction = Self {
            session: Some(session),
            grace,
        };
        run(transaction.session()?, &begin, EXECUTE).await?;
        Ok(transaction)
    }

    pub(crate) async fn run<A, T, E: From<Error>>(
        &mut self,
        argument: &A,
        work: Work<A, T, E>,
    ) -> Result<T, E> {
        let connection = self.session()?.statements().map_err(Error::from)?;
        work(connection, argument).await
    }

    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        // After a failed statement a mere commit succeeds and keeps nothing; a statement fails.
        let commit = "select; commit".to_owned();
        self.session()?.run(&commit, EXECUTE).await?;
        self.session = None;
        Ok(())
    }

    fn session(&mut self) -> Result<&mut Session, Error> {
        let session = self.session.as_mut();
        session.ok_or_else(|| sqlx::Error::PoolClosed.into())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(mut session) = self.session.take() {
            let rollback = async move {
                let rollback = "rollback".to_owned();
                // An error may be the answer to the statement before.
                if session.run(&rollback, EXECUTE).await.is_err() {
                    session.close();
                }
            };
            drop(finish(rollback, self.grace));
        }
    }
}

const EXECUTE: Read<String, ()> = |connection, sql| {
    let statements = sqlx::raw_sql(AssertSqlSafe(sql.as_str()));
    Box::pin(async { statements.execute(connection).await.map(drop) })
};
