//! The links of the chain that need no network.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

use crate::binaries::Binaries;
use crate::find::Miss;
use crate::search::Search;

/// Parent folders and the part of the name before the version; the programs lie in `bin` below.
const FAMILIES: [(&str, &str); 7] = [
    // Debian and Ubuntu
    ("/usr/lib/postgresql", ""),
    // The packages of postgresql.org for Red Hat and its kin
    ("/usr", "pgsql-"),
    // Homebrew on Apple silicon, on Intel and on Linux
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@"),
    // Postgres.app
    ("/Applications/Postgres.app/Contents/Versions", ""),
    // The installer of EDB
    ("/Library/PostgreSQL", ""),
];

pub(crate) fn pg_bin(search: &Search) -> Result<Binaries, Miss> {
    let dir = search.pg_bin.clone().ok_or(Miss::NotSet)?;
    Binaries::in_folder(dir)
}

/// Symbolic links are followed first: often only `initdb` is linked into a folder of `PATH`.
pub(crate) fn on_path(search: &Search) -> Result<Binaries, Miss> {
    let folders = search.programs("initdb").filter_map(|program| {
        let program = program.canonicalize().ok()?;
        program.parent().map(Path::to_owned)
    });
    first_that_runs(folders).unwrap_or(Err(Miss::NotOnPath { program: "initdb" }))
}

pub(crate) fn usual_folders(search: &Search) -> Result<Binaries, Miss> {
    if !search.system_folders {
        return Err(Miss::NotLookedAt);
    }
    let folders = FAMILIES
        .iter()
        .flat_map(|(parent, prefix)| newest_first(Path::new(parent), prefix));
    first_that_runs(folders).unwrap_or(Err(Miss::NoneInstalled))
}

/// `None` for no folder at all; of several that do not run, the reason of the last.
fn first_that_runs(folders: impl Iterator<Item = PathBuf>) -> Option<Result<Binaries, Miss>> {
    let mut last = None;
    for dir in folders {
        let found = Binaries::in_folder(dir);
        if found.is_ok() {
            return Some(found);
        }
        last = Some(found);
    }
    last
}

fn newest_first(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut versions: Vec<_> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = version(entry.file_name().to_str()?.strip_prefix(prefix)?)?;
            Some((Reverse(version), entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    versions.into_iter().map(|(_, bin)| bin).collect()
}

fn version(name: &str) -> Option<Vec<u32>> {
    name.split('.').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_number_comes_first_and_other_names_are_passed_over() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["9.6", "15", "9.10", "17", "latest", "pgsql-16"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let names =
            ["17/bin", "15/bin", "9.10/bin", "9.6/bin"].map(|name| parent.path().join(name));
        assert_eq!(newest_first(parent.path(), ""), names);
        assert_eq!(
            newest_first(parent.path(), "pgsql-"),
            [parent.path().join("pgsql-16/bin")]
        );
        assert_eq!(
            newest_first(&parent.path().join("none"), ""),
            [] as [PathBuf; 0]
        );
    }
}
