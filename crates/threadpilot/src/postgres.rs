use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use private_postgres::{Cluster, DataDir, Search, find};
use service_database::{Login, prepare};
use settings::Secret;
use tokio::{
    task::spawn_blocking,
    time::{interval, sleep},
};
use url::Url;

use crate::{
    error::Error,
    folder::Folder,
    options::Options,
    screen,
    supervisor::{Backoff, FIRST_PAUSE},
};

const DATABASE: &str = "threadpilot";
/// How often the private server is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The database of the local stack, prepared for `migrate`.
pub(crate) struct Postgres {
    /// Where it is, without a user.
    pub(crate) url: String,
    /// The private server, if it is one; ends when it is dropped.
    cluster: Arc<Mutex<Option<Cluster>>>,
}

impl Postgres {
    /// Starts a private server, or takes the one that was named, and makes the roles.
    pub(crate) async fn start(
        options: &Options,
        folder: &Folder,
        logins: &[Login],
    ) -> Result<Self, Error> {
        let (administrator, cluster) = if let Some(url) = options.database_url() {
            let place = place(url.expose()).ok_or(Error::DatabaseUrl)?;
            screen::step(&format!("using your server: {place}"));
            (url.clone(), None)
        } else {
            tell_what_is_not_used();
            let data_dir = folder.postgres.clone();
            let cluster = spawn_blocking(|| start_private(data_dir)).await??;
            (Secret::from(cluster.admin_url()), Some(cluster))
        };
        let mut url = Url::parse(administrator.expose()).map_err(|_| Error::DatabaseUrl)?;
        let name = match url.path().trim_start_matches('/') {
            "" | "postgres" => DATABASE.to_owned(),
            named => named.to_owned(),
        };
        prepare(&administrator, &name, logins)
            .await
            .map_err(Error::Prepare)?;
        url.set_path(&name);
        // Both fail only for URLs without a host, which a server cannot have.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self {
            url: url.into(),
            cluster: Arc::new(Mutex::new(cluster)),
        })
    }

    /// Starts the private server again whenever it ends, on its old port and with its data.
    pub(crate) async fn keep_running(&self) -> Infallible {
        let mut looks = interval(LOOK_EVERY);
        let mut backoff = Backoff::new();
        loop {
            looks.tick().await;
            if lock(&self.cluster).as_mut().is_none_or(Cluster::is_running) {
                continue;
            }
            let pause = backoff.pause();
            screen::step(&format!(
                "PostgreSQL is not running; starting it again in {} ms",
                pause.as_millis()
            ));
            sleep(pause).await;
            match self.start_again().await {
                Ok(()) => {
                    backoff.started();
                    screen::step("PostgreSQL runs again");
                }
                // For a moment its last processes may keep a killed server from starting again.
                Err(_) if pause == FIRST_PAUSE => {}
                Err(error) => screen::complain(&error),
            }
        }
    }

    async fn start_again(&self) -> Result<(), Error> {
        let cluster = Arc::clone(&self.cluster);
        let start = move || match lock(&cluster).as_mut() {
            Some(cluster) => cluster.start_again(),
            None => Ok(()),
        };
        Ok(spawn_blocking(start).await??)
    }

    /// Stops the private server.
    pub(crate) fn stop(self) -> Result<(), Error> {
        // A start that is under way ends first.
        let cluster = lock(&self.cluster).take();
        Ok(cluster.map_or(Ok(()), Cluster::stop)?)
    }
}

fn lock(cluster: &Mutex<Option<Cluster>>) -> MutexGuard<'_, Option<Cluster>> {
    cluster.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Many programs leave this variable in the environment, and it may name somebody's production.
fn tell_what_is_not_used() {
    let Some(url) = std::env::var_os("DATABASE_URL").filter(|url| !url.is_empty()) else {
        return;
    };
    let place = url.to_str().and_then(place);
    screen::step(&format!(
        "DATABASE_URL is not used ({}); to use it: --database-url or THREADPILOT_DATABASE_URL",
        place.as_deref().unwrap_or("no URL of a PostgreSQL server")
    ));
}

/// Host and database of a URL, without user and password.
fn place(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    matches!(url.scheme(), "postgres" | "postgresql")
        .then(|| format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path()))
}

fn start_private(data_dir: PathBuf) -> Result<Cluster, Error> {
    let search = Search::of_this_machine();
    let binaries = find(&search, &mut |_, sentence| screen::step(sentence))?;
    screen::step(&format!("starting {binaries}"));
    Ok(Cluster::start(&binaries, &DataDir::Kept(data_dir))?)
}
