//! The links of the chain that lead to what is installed on the machine, or is installed for it.

use std::cmp::Reverse;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use program_cache::{Miss, lock};

use crate::account;
use crate::binaries::Binaries;
use crate::find::{Progress, Search, Step};

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
    let dir = search.pg_bin.clone();
    let dir = dir.ok_or_else(|| Miss("not set".to_owned()))?;
    Binaries::in_folder(dir)
}

/// Symbolic links are followed first: often only `initdb` is linked into a folder of `PATH`.
pub(crate) fn on_path(search: &Search) -> Result<Binaries, Miss> {
    let folders = search.place().programs("initdb").filter_map(|program| {
        let program = program.canonicalize().ok()?;
        program.parent().map(Path::to_owned)
    });
    first_that_runs(folders, "initdb is not on PATH")
}

pub(crate) fn usual_folders(search: &Search) -> Result<Binaries, Miss> {
    if !search.system_folders {
        return Err(Miss("not looked at".to_owned()));
    }
    let folders = FAMILIES
        .iter()
        .flat_map(|(parent, prefix)| newest_first(Path::new(parent), prefix));
    first_that_runs(folders, "nothing installed there")
}

/// Debian's and Ubuntu's own package, installed for the whole system: for root, when nothing else helps.
pub(crate) fn installed(search: &Search, progress: &mut Progress<'_>) -> Result<Binaries, Miss> {
    let installer = search.installer.as_ref();
    let installer = installer.ok_or_else(|| Miss("not looked at".to_owned()))?;
    search.place().program("apt-get")?;
    if !account::is_root() {
        return Err(Miss("only root may install it".to_owned()));
    }
    let _lock = lock(&search.cache_dir)?;
    let find_again = || on_path(search).or_else(|_| usual_folders(search));
    // Another process may have been faster.
    if let Ok(binaries) = find_again() {
        return Ok(binaries);
    }
    progress(
        Step::Change,
        "Installing the package postgresql for the whole system with apt-get, as root: 260 MB, about a minute, once.",
    );
    let mut install = Command::new("/bin/sh");
    // Unlike a download it does not end by Ctrl-C: no package is left half installed.
    install.arg(installer).arg("--postgres").process_group(0);
    search.place().run("apt-get", &mut install)?;
    find_again()
}

/// Of several that do not run, the reason of the last.
fn first_that_runs(
    folders: impl Iterator<Item = PathBuf>,
    none: &'static str,
) -> Result<Binaries, Miss> {
    let mut last = Err(Miss(none.to_owned()));
    for dir in folders {
        last = Binaries::in_folder(dir);
        if last.is_ok() {
            break;
        }
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
