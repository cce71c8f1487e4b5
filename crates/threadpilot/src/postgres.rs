use std::{path::PathBuf, process::Command};

use private_postgres::{Binaries, Cluster, Lifetime, NoBinaries, Search, find};
use service_database::{Login, prepare};
use service_defaults::settings::Secret;
use url::Url;

use crate::{
    error::Error,
    folder::{Folder, workspace},
    options::Options,
    screen,
};

const DATABASE: &str = "threadpilot";

/// The database of the local stack, prepared for `migrate`.
pub(crate) struct Postgres {
    /// Where it is, without a user.
    pub(crate) url: String,
    /// The private server, if it is one; ends when it is dropped.
    cluster: Option<Cluster>,
}

impl Postgres {
    /// Starts a private server, or takes the one that was named, and makes the roles.
    pub(crate) async fn start(
        options: &Options,
        folder: &Folder,
        logins: &[Login],
    ) -> Result<Self, Error> {
        let (administrator, cluster) = if let Some(url) = options.database_url() {
            screen::step("using the server of --database-url or DATABASE_URL");
            (url.clone(), None)
        } else {
            let data_dir = folder.postgres.clone();
            let cluster = tokio::task::spawn_blocking(|| start_private(data_dir)).await??;
            (Secret::from(cluster.admin_url()), Some(cluster))
        };
        let mut url = Url::parse(administrator.expose()).map_err(|_| Error::DatabaseUrl)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(Error::DatabaseUrl);
        }
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
            cluster,
        })
    }

    /// Stops the private server.
    pub(crate) fn stop(self) -> Result<(), Error> {
        Ok(self.cluster.map_or(Ok(()), Cluster::stop)?)
    }
}

fn start_private(data_dir: PathBuf) -> Result<Cluster, Error> {
    let binaries = binaries()?;
    screen::step(&format!("starting {binaries}"));
    Ok(Cluster::start(
        &binaries,
        &private_postgres::Options {
            data_dir,
            lifetime: Lifetime::Kept,
        },
    )?)
}

/// The machine's programs, or fetched ones; as root on Debian and Ubuntu, at last, installed ones.
fn binaries() -> Result<Binaries, NoBinaries> {
    let search = Search::of_this_machine();
    let nothing = match find(&search, &mut screen::step) {
        Err(nothing) => nothing,
        found => return found,
    };
    let script = workspace().join("init.sh");
    if !rustix::process::geteuid().is_root() || !has_apt(&search) || !script.exists() {
        return Err(nothing);
    }
    screen::step("running ./init.sh --postgres, which installs PostgreSQL with apt-get");
    match Command::new("sh").arg(script).arg("--postgres").status() {
        Ok(status) if status.success() => find(&search, &mut screen::step),
        _ => Err(nothing),
    }
}

fn has_apt(search: &Search) -> bool {
    std::env::split_paths(&search.path).any(|folder| folder.join("apt-get").is_file())
}
