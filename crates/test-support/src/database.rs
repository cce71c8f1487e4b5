use std::{
    collections::HashMap,
    io::{Write, stderr},
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
};

use private_postgres::{Cluster, DataDir, Search, Step, find};
use service_database::{Login, Schema, prepare};
use settings::Secret;
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{
    net::TcpSocket,
    sync::{Mutex, OnceCell},
};

use crate::{API_KEY, scram::verifier};

const PASSWORD: &str = "test";

/// A database of one test, with one service's schema and sample data. On a server of one's own it
/// is dropped with this.
#[derive(Debug)]
pub struct TestDatabase {
    service: &'static str,
    name: String,
    administrator: String,
    outlives_us: bool,
}

/// Names a server of one's own for the tests, as an administrator. They make roles and databases there, so it is not
/// `DATABASE_URL`, which may be somebody's production.
const OWN_SERVER: &str = "THREADPILOT_TEST_DATABASE_URL";
/// The roles of both services.
const ROLES: [&str; 4] = [
    "vehicle_migrator",
    "vehicle_service",
    "insurance_migrator",
    "insurance_service",
];
/// The comment of roles that the tests have made, and whose passwords they may change.
const MADE_BY_TESTS: &str = "made by the tests of ThreadPilot";

/// The server of this test process: a named one, or a private one that ends with the process.
struct Server {
    administrator: String,
    templates: Mutex<HashMap<&'static str, String>>,
    cluster: Option<Cluster>,
}

static SERVER: OnceCell<Server> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

impl TestDatabase {
    /// A fresh copy of the service's migrated and seeded database.
    pub async fn new(service: &'static str, schema: Schema) -> Self {
        let server = SERVER.get_or_init(server).await;
        if server.cluster.is_none() {
            // A template would stay there.
            let database = Self::named(service, server);
            build(&server.administrator, &database.name, service, schema).await;
            return database;
        }
        let mut templates = server.templates.lock().await;
        if !templates.contains_key(service) {
            let name = format!("template_{service}_{}", std::process::id());
            build(&server.administrator, &name, service, schema).await;
            templates.insert(service, name);
        }
        let template = templates[service].clone();
        drop(templates);
        let database = Self::named(service, server);
        let create = format!("create database {} template {template}", database.name);
        execute(&server.administrator, &create).await;
        database
    }

    /// A fresh database that has the roles and nothing else.
    pub async fn empty(service: &'static str) -> Self {
        let server = SERVER.get_or_init(server).await;
        let database = Self::named(service, server);
        prepare_database(&server.administrator, &database.name).await;
        database
    }

    /// A copy of the database as it is now. Ends its sessions.
    pub async fn copy(&self) -> Self {
        let copy = Self::named(self.service, SERVER.get_or_init(server).await);
        let allow = format!("alter database {} allow_connections", self.name);
        execute(&self.administrator, &format!("{allow} false")).await;
        let end = format!(
            "select pg_terminate_backend(pid, 60000) from pg_stat_activity where datname = '{}'",
            self.name
        );
        execute(&self.administrator, &end).await;
        let create = format!("create database {} template {}", copy.name, self.name);
        execute(&self.administrator, &create).await;
        execute(&self.administrator, &format!("{allow} true")).await;
        copy
    }

    /// Makes the database what a copy is, as a restore does. Ends its sessions.
    pub async fn restore(&self, copy: &Self) {
        let drop = format!("drop database {} with (force)", self.name);
        execute(&self.administrator, &drop).await;
        let create = format!("create database {} template {}", self.name, copy.name);
        execute(&self.administrator, &create).await;
    }

    fn named(service: &'static str, server: &Server) -> Self {
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = format!("test_{service}_{process}_{number}");
        Self {
            service,
            name,
            administrator: server.administrator.clone(),
            outlives_us: server.cluster.is_none(),
        }
    }

    /// The service whose schema it has.
    pub(crate) fn service(&self) -> &'static str {
        self.service
    }

    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The variables that make the service use this database, and take [`API_KEY`].
    pub fn variables(&self) -> Vec<(String, String)> {
        let prefix = self.service.to_ascii_uppercase();
        [
            ("DATABASE__URL", self.url()),
            ("DATABASE__PASSWORD", PASSWORD.to_owned()),
            // Many tests share one server.
            ("DATABASE__MAX_CONNECTIONS", "2".to_owned()),
            ("DATABASE__MIGRATION_PASSWORD", PASSWORD.to_owned()),
            ("API_KEYS__TEST__KEY", API_KEY.to_owned()),
        ]
        .map(|(name, value)| (format!("{prefix}__{name}"), value))
        .into()
    }

    /// Where the database is, without a user.
    pub fn url(&self) -> String {
        let (_, place) = self.administrator.rsplit_once('@').unwrap();
        let (address, _) = place.split_once('/').unwrap_or((place, ""));
        format!("postgres://{address}/{}", self.name)
    }

    /// A connection of an administrator.
    pub async fn connect(&self) -> PgConnection {
        let (server, _) = self.administrator.rsplit_once('/').unwrap();
        PgConnection::connect(&format!("{server}/{}", self.name))
            .await
            .unwrap()
    }

    /// A connection of one of the roles.
    pub async fn connect_as(&self, role: &str) -> PgConnection {
        let options = PgConnectOptions::from_str(&self.url()).unwrap();
        PgConnection::connect_with(&options.username(role).password(PASSWORD))
            .await
            .unwrap()
    }

    /// Runs SQL as an administrator.
    pub async fn execute(&self, sql: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if self.outlives_us {
            let administrator = self.administrator.clone();
            let sql = format!("drop database if exists {} with (force)", self.name);
            // The runtime of the test cannot wait for it here.
            let drop = move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.enable_all().build().unwrap();
                runtime.block_on(execute(&administrator, &sql));
            };
            std::thread::spawn(drop).join().unwrap();
        }
    }
}

/// A URL where no server is, for as long as the socket is kept: it has the port and does not listen.
pub fn nowhere() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("postgres://{}/none", socket.local_addr().unwrap());
    (socket, url)
}

async fn server() -> Server {
    // The one variable that tests take from outside, for people with a server of their own.
    let given = std::env::var_os(OWN_SERVER).and_then(|url| url.into_string().ok());
    if let Some(administrator) = given.filter(|url| !url.is_empty()) {
        spare_roles_of_others(&administrator).await;
        return Server {
            administrator,
            templates: Mutex::default(),
            cluster: None,
        };
    }
    let cluster = tokio::task::spawn_blocking(|| {
        let binaries = find(&Search::of_this_machine(), &mut announce)
            .unwrap_or_else(|error| panic!("{error}"));
        Cluster::start(&binaries, &DataDir::Temporary).unwrap_or_else(|error| panic!("{error}"))
    })
    .await
    .unwrap();
    let administrator = cluster.admin_url().to_owned();
    let (login, _) = administrator.rsplit_once('@').unwrap();
    let (_, password) = login.rsplit_once(':').unwrap();
    let cheapen = format!("alter role current_user password '{}'", verifier(password));
    execute(&administrator, &cheapen).await;
    Server {
        administrator,
        templates: Mutex::default(),
        cluster: Some(cluster),
    }
}

/// Says before something is fetched or installed, past the capture of the test harness.
fn announce(step: Step, sentence: &str) {
    if step == Step::Change {
        // With nobody reading there is nobody to tell.
        let _ = writeln!(stderr(), "{sentence}");
    }
}

/// Refuses a server where the services may be at home: the tests would change their passwords.
async fn spare_roles_of_others(administrator: &str) {
    let mut connection = PgConnection::connect(administrator).await.unwrap();
    let others: Vec<String> = sqlx::query_scalar(
        "select rolname::text from pg_roles where rolname = any($1)
         and shobj_description(oid, 'pg_authid') is distinct from $2",
    )
    .bind(ROLES)
    .bind(MADE_BY_TESTS)
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(
        others.is_empty(),
        "the server of {OWN_SERVER} has roles that no test has made: {others:?}"
    );
    connection.close().await.unwrap();
}

/// Makes a migrated and seeded database.
async fn build(administrator: &str, name: &str, service: &'static str, schema: Schema) {
    prepare_database(administrator, name).await;
    let (server, _) = administrator.rsplit_once('/').unwrap();
    let mut connection = PgConnection::connect(&format!("{server}/{name}"))
        .await
        .unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("set role {service}_migrator")))
        .execute(&mut connection)
        .await
        .unwrap();
    schema.migrator.run(&mut connection).await.unwrap();
    sqlx::raw_sql(schema.sample_data)
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

async fn prepare_database(administrator: &str, name: &str) {
    let logins = ROLES.map(|role| Login {
        role,
        password: Secret::from(verifier(PASSWORD).as_str()),
    });
    // Roles belong to the whole server, where other tests may be preparing theirs.
    let mut lock = PgConnection::connect(administrator).await.unwrap();
    sqlx::raw_sql("select pg_advisory_lock(1)")
        .execute(&mut lock)
        .await
        .unwrap();
    prepare(&Secret::from(administrator), name, &logins)
        .await
        .unwrap();
    for role in ROLES {
        let comment = format!("comment on role {role} is '{MADE_BY_TESTS}'");
        sqlx::raw_sql(AssertSqlSafe(comment))
            .execute(&mut lock)
            .await
            .unwrap();
    }
    lock.close().await.unwrap();
}

async fn execute(administrator: &str, sql: &str) {
    let mut connection = PgConnection::connect(administrator).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}
