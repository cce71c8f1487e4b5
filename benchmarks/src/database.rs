//! A private PostgreSQL for the benchmarks, until standard input ends.
//!
//! Prints its administrator's URL. Then each line of standard input is `NAME`, which prepares that
//! database and is answered with `loaded` or `empty`, or `NAME FILE`, which runs a file of SQL there
//! and is answered with `done`.

use std::{
    io::{Write, stdin, stdout},
    path::PathBuf,
    str::FromStr,
};

use private_postgres::{Cluster, DataDir, Search, default_data_dir, find};
use service_database::{Login, prepare};
use settings::Secret;
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};

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
    let cluster = Cluster::start(&binaries, &DataDir::Kept(data_dir))?;
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
        let answer = match line.split_once(' ') {
            None => server.prepare(&line).await?,
            Some((database, file)) => server.run(database, file).await?,
        };
        writeln!(stdout(), "{answer}")?;
    }
    Ok(cluster.stop()?)
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

    async fn run(&self, database: &str, file: &str) -> anyhow::Result<&'static str> {
        let mut connection = self.connect(database).await?;
        // The caller's own file.
        let statements = AssertSqlSafe(std::fs::read_to_string(file)?);
        sqlx::raw_sql(statements).execute(&mut connection).await?;
        Ok("done")
    }
}
