use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};

use crate::TestDatabase;

/// Longer than anything that a test waits for, and shorter than the longest `statement_timeout`,
/// which would end what a test wants to see ended otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// A locked table: queries on it wait until this is released or dropped.
#[derive(Debug)]
pub struct TableLock {
    holder: PgConnection,
    watcher: PgConnection,
    table: &'static str,
}

impl TestDatabase {
    /// Locks a table, named with its schema.
    pub async fn lock(&self, table: &'static str) -> TableLock {
        let mut lock = TableLock {
            holder: self.connect().await,
            watcher: self.connect().await,
            table,
        };
        let take = format!("begin; lock table {table} in access exclusive mode");
        execute(&mut lock.holder, take).await;
        lock
    }
}

impl TableLock {
    /// Waits until so many queries or more wait for the lock, or none.
    pub async fn queued(&mut self, queries: i64) {
        // Tables of other tests' databases may have the same oid.
        let waiting = format!(
            "select least(count(*), {})
             from pg_locks join pg_database on pg_database.oid = database
             where not granted and relation = '{}'::regclass and datname = current_database()",
            queries.max(1),
            self.table
        );
        self.until(&waiting, queries).await;
    }

    /// Waits until a role has so many sessions in the database.
    pub async fn sessions(&mut self, role: &str, sessions: i64) {
        let open = format!(
            "select count(*) from pg_stat_activity
             where datname = current_database() and usename = '{role}'"
        );
        self.until(&open, sessions).await;
    }

    async fn until(&mut self, sql: &str, expected: i64) {
        let reached = async {
            while number(&mut self.watcher, sql).await != expected {
                tokio::task::yield_now().await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "never {expected}: {sql}");
    }

    /// Lets every query go on.
    pub async fn release(&mut self) {
        execute(&mut self.holder, "rollback".to_owned()).await;
    }
}

async fn execute(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap();
}

async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_one(connection)
        .await
        .unwrap()
}
