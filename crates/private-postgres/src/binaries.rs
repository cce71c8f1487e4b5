use std::fmt;
use std::path::{Path, PathBuf};

use program_cache::Miss;

use crate::account::Account;
use crate::error::Error;

/// The oldest major version that is taken: the oldest one with a maintainer.
const OLDEST_MAJOR: u32 = 14;

const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// A folder with the server programs of Postgres, proved to run as the account that will run them.
#[derive(Debug, Clone)]
pub struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// The folder that holds `initdb`, `pg_ctl` and `postgres`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The major version of Postgres.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Looks whether `dir` holds programs that run here.
    pub(crate) fn in_folder(dir: PathBuf) -> Result<Self, Miss> {
        if let Some(program) = PROGRAMS
            .into_iter()
            .find(|program| !dir.join(program).is_file())
        {
            return Err(Miss(format!("{} has no {program}", dir.display())));
        }
        let account = Account::for_tools().ok_or_else(|| Miss(Error::NoAccount.to_string()))?;
        let mut major = 0;
        // Each one, because each needs other shared libraries.
        for program in PROGRAMS {
            major = ask_version(&account, &dir, program)?;
        }
        if major < OLDEST_MAJOR {
            return Err(Miss(format!(
                "{} holds PostgreSQL {major}, older than {OLDEST_MAJOR}",
                dir.display()
            )));
        }
        Ok(Self { dir, major })
    }
}

impl fmt::Display for Binaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL {} in {}", self.major, self.dir.display())
    }
}

fn ask_version(account: &Account, dir: &Path, name: &str) -> Result<u32, Miss> {
    let program = dir.join(name);
    let mut asked = account.command(&program, Path::new("/"));
    let program = program.display();
    let output = asked.arg("--version").output();
    let output = output.map_err(|error| Miss(format!("cannot run {program}: {error}")))?;
    let said = if output.status.success() {
        output.stdout
    } else {
        output.stderr
    };
    let said = String::from_utf8_lossy(&said);
    major_version(&said).ok_or_else(|| {
        let said = said.trim();
        Miss(format!("{program} does not tell its version: {said}"))
    })
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, and the like of `17.10` and `19beta1`.
fn major_version(said: &str) -> Option<u32> {
    let (_, version) = said.split_once(" (PostgreSQL) ")?;
    let digits = version.split(|it: char| !it.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_postgres_says() {
        assert_eq!(
            major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major_version("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(major_version("error while loading shared libraries"), None);
    }
}
