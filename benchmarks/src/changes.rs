//! Runs a file of SQL again and again while PostgreSQL is stopped: after a failure once more, on a
//! new connection.

use std::{
    io::{Write, stdout},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::sleep;

/// After a failure.
const PAUSE: Duration = Duration::from_millis(20);
/// Without a success in between it is the statements that are at fault.
const LONGEST_FAILURE: Duration = Duration::from_mins(10);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// URL of the database
    url: String,
    /// Statements that commit by themselves
    file: PathBuf,
    /// How often they are to succeed
    times: u32,
}

/// Prints how often they have failed.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let statements = std::fs::read_to_string(&options.file)?;
    let (mut connection, mut succeeded, mut failed) = (None, 0, 0);
    let mut last = Instant::now();
    while succeeded < options.times {
        let done = once(&mut connection, &options.url, &statements).await;
        if done.is_ok() {
            (succeeded, last) = (succeeded + 1, Instant::now());
        } else if last.elapsed() > LONGEST_FAILURE {
            done.context("it fails again and again")?;
        } else {
            failed += 1;
            connection = None;
            sleep(PAUSE).await;
        }
    }
    Ok(writeln!(stdout(), "{failed}")?)
}

async fn once(
    connection: &mut Option<PgConnection>,
    url: &str,
    statements: &str,
) -> sqlx::Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(PgConnection::connect(url).await?),
    };
    // The caller's own file.
    let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
    statements.execute(connection).await.map(drop)
}
