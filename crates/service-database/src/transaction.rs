use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgTransaction};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use crate::{Error, Read, connections::Session, database::run};

/// The statements of a transaction, with their argument. It may begin others inside, which are
/// savepoints.
pub type Work<A, T, E> = for<'a> fn(&'a mut PgConnection, &'a A) -> BoxFuture<'a, Result<T, E>>;

/// The connection of a transaction. Dropped before the commit, the transaction is rolled back
/// behind, and its connection goes back to the others.
pub(crate) struct Transaction {
    session: Option<Session>,
    began: Instant,
    /// What no statement exceeds on a server that is there.
    longest_statement: Duration,
    /// How long the statement that runs and the rollback may take before the connection is closed,
    /// whereupon the server rolls back.
    grace: Duration,
}

impl Transaction {
    pub(crate) fn new(session: Session, longest_statement: Duration, grace: Duration) -> Self {
        Self {
            session: Some(session),
            began: Instant::now(),
            longest_statement,
            grace,
        }
    }

    /// The server ends the transaction, too, once its client was silent for `limit`, so that a
    /// process that is frozen or out of reach holds no locks. It begins with these bounds, too.
    pub(crate) async fn run<A, T, E>(
        mut self,
        (limit, bounds): (Duration, &str),
        argument: &A,
        work: Work<A, T, E>,
    ) -> Result<T, E>
    where
        A: Sync,
        T: Send,
        E: From<Error> + Send,
    {
        let steps = Steps {
            begin: format!(
                "begin; set local idle_in_transaction_session_timeout = {}{bounds}",
                limit.as_millis().max(1)
            ),
            argument,
            work,
        };
        let done = run(self.session()?, &steps, take).await??;
        self.session = None;
        Ok(done)
    }

    fn session(&mut self) -> Result<&mut Session, Error> {
        let session = self.session.as_mut();
        session.ok_or_else(|| sqlx::Error::PoolClosed.into())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // Without a runtime the process is ending.
        let (Some(mut session), Ok(runtime)) = (self.session.take(), Handle::try_current()) else {
            return;
        };
        let (began, longest, grace) = (self.began, self.longest_statement, self.grace);
        runtime.spawn(async move {
            match timeout(grace, session.run(&(), ROLL_BACK)).await {
                // An error may be the answer to the statement before.
                Ok(Err(_)) => session.close(),
                // Not merely a statement that still runs.
                Err(_) if began.elapsed() > longest => session.unanswered(),
                Ok(Ok(())) | Err(_) => {}
            }
        });
    }
}

struct Steps<'a, A, T, E> {
    begin: String,
    argument: &'a A,
    work: Work<A, T, E>,
}

/// Fails as a statement does only where the transaction did not begin.
fn take<'a, A, T, E>(
    connection: &'a mut PgConnection,
    steps: &'a Steps<'_, A, T, E>,
) -> BoxFuture<'a, sqlx::Result<Result<T, E>>>
where
    A: Sync,
    T: Send,
    E: From<Error> + Send,
{
    Box::pin(async move {
        let begin = AssertSqlSafe(steps.begin.as_str());
        let mut transaction = connection.begin_with(begin).await?;
        let done = match (steps.work)(&mut transaction, steps.argument).await {
            Ok(done) => commit(transaction).await.map(|()| done).map_err(E::from),
            Err(error) => Err(error),
        };
        Ok(done)
    })
}

async fn commit(mut transaction: PgTransaction<'_>) -> Result<(), Error> {
    // Where a statement failed or the transaction has ended, a mere commit succeeds and keeps
    // nothing; a savepoint fails.
    let savepoint = sqlx::raw_sql("savepoint last");
    savepoint.execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

/// Sends the rollback that sqlx left to the next statement, and ends a transaction whose beginning
/// was cut off, for which sqlx leaves none.
const ROLL_BACK: Read<(), ()> = |connection, ()| {
    let statements = sqlx::raw_sql("begin; rollback");
    Box::pin(async { statements.execute(connection).await.map(drop) })
};
