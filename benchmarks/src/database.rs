//! A private PostgreSQL for the benchmarks, until standard input ends.
//!
//! Prints its administrator's URL. Then each line of standard input is answered by a line:
//!
//! - `prepare NAME`: makes that database anew unless it was loaded; `loaded` or `empty`.
//! - `run NAME FILE`: runs a file of SQL there; `done`.
//! - `value NAME QUERY`: the one value of a query, as text.
//! - `again`: starts a server that was killed; `done`.

use std::{
    io::{Write, stdin, stdout},
    path::PathBuf,
    str::FromStr,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::bail;
use private_postgres::{Cluster, DataDir, Search, default_data_dir, find};
use service_database::{Login, prepare};
use settings::Secret;
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};

/// How long the last processes of a killed server may keep the next one from starting.
const LONGEST_END: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The folder `target` of the workspace
    target: PathBuf,
    /// Password of the services' roles
    password: String,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let data_dir = default_data_dir(&options.target.join("benchmarks"));
    let binaries = find(&Search::of_this_machine(), &mut |_, _| {})?;
    let mut cluster = Cluster::start(&binaries, &DataDir::Kept(data_dir))?;
    let server = Server {
        administrator: cluster.admin_url().into(),
        logins: [
            "vehicle_migrator",
            "vehicle_service",
            "insurance_migrator",
            "insurance_service",
        ]
        .map(|role| Login {
            role,
            password: options.password.as_str().into(),
        }),
    };
    writeln!(stdout(), "{}", cluster.admin_url())?;
    for line in stdin().lines() {
        let line = line?;
        let words: Vec<_> = line.splitn(3, ' ').collect();
        let answer = match words[..] {
            ["prepare", database] => server.prepare(database).await?.to_owned(),
            ["run", database, file] => server.run(database, file).await?,
            ["value", database, query] => server.value(database, query).await?,
            ["again"] => again(&mut cluster)?,
            _ => bail!("no command: {line}"),
        };
        writeln!(stdout(), "{answer}")?;
    }
    Ok(cluster.stop()?)
}

fn again(cluster: &mut Cluster) -> anyhow::Result<String> {
    let begun = Instant::now();
    while let Err(error) = cluster.start_again() {
        if begun.elapsed() > LONGEST_END {
            return Err(error.into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok("done".to_owned())
}

struct Server {
    administrator: Secret,
    logins: [Login; 4],
}

impl Server {
    async fn connect(&self, database: &str) -> anyhow::Result<PgConnection> {
        let options = PgConnectOptions::from_str(self.administrator.expose())?;
        Ok(PgConnection::connect_with(&options.database(database)).await?)
    }

    /// Makes the database anew unless it was loaded to the end.
    async fn prepare(&self, database: &str) -> anyhow::Result<&'static str> {
        prepare(&self.administrator, database, &self.logins).await?;
        if self.is_loaded(database).await? {
            return Ok("loaded");
        }
        let mut server = self.connect("postgres").await?;
        // The kit's own name.
        let drop = AssertSqlSafe(format!("drop database {database} with (force)"));
        sqlx::raw_sql(drop).execute(&mut server).await?;
        prepare(&self.administrator, database, &self.logins).await?;
        Ok("empty")
    }

    async fn is_loaded(&self, database: &str) -> anyhow::Result<bool> {
        let mut connection = self.connect(database).await?;
        let loaded = sqlx::query_scalar("select to_regclass('public.benchmark_data') is not null");
        Ok(loaded.fetch_one(&mut connection).await?)
    }

    async fn value(&self, database: &str, query: &str) -> anyhow::Result<String> {
        let mut connection = self.connect(database).await?;
        // The caller's own query.
        let query = AssertSqlSafe(format!("select ({query})::text"));
        Ok(sqlx::query_scalar(query).fetch_one(&mut connection).await?)
    }

    async fn run(&self, database: &str, file: &str) -> anyhow::Result<String> {
        let mut connection = self.connect(database).await?;
        // The caller's own file.
        let statements = AssertSqlSafe(std::fs::read_to_string(file)?);
        sqlx::raw_sql(statements).execute(&mut connection).await?;
        Ok("done".to_owned())
    }
}
