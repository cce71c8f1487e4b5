//! Fetched packages, one folder each. A folder that bears its final name is complete.

use std::env;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf, absolute};

use crate::account;
use crate::find::Miss;
use crate::folder::make_open;
use crate::search::Search;

/// Marks a package that did not run even when it was fresh: another fetch would not help.
const UNUSABLE: &str = "does-not-run-on-this-machine";

/// What `open` makes of the folder `name`, which is filled on the first call, and anew when it can no longer be opened.
///
/// `fill` gets an empty folder to work in and gives back the folder in it that is worth keeping. That one is moved
/// into place at the very end, so an interrupted fetch leaves nothing that is trusted later; of several processes
/// one fetches while the others wait.
pub(crate) fn fetched<T>(
    cache_dir: &Path,
    name: &str,
    open: impl Fn(&Path) -> Result<T, Miss>,
    fill: impl FnOnce(&Path) -> Result<PathBuf, Miss>,
) -> Result<T, Miss> {
    let cannot_write = cannot_write(cache_dir);
    let _lock = lock(cache_dir)?;

    let finished = cache_dir.join(name);
    let unusable = finished.join(UNUSABLE);
    if finished.is_dir() {
        let opened = open(&finished);
        if opened.is_ok() || unusable.exists() {
            return opened;
        }
    }
    let partial = cache_dir.join("partial");
    clear(&partial)
        .and_then(|()| fs::create_dir(&partial))
        .map_err(&cannot_write)?;
    let filled = fill(&partial).and_then(|package| {
        make_readable(&package)
            .and_then(|()| clear(&finished))
            .and_then(|()| fs::rename(package, &finished))
            .map_err(&cannot_write)
    });
    let cleared = clear(&partial).map_err(&cannot_write);
    filled.and(cleared)?;
    let opened = open(&finished);
    if opened.is_err() {
        // Without the mark the next start fetches once more, no worse.
        let _ = fs::write(unusable, "");
    }
    opened
}

/// A package with the programs for one kind of machine.
pub(crate) struct Build {
    pub(crate) os: &'static str,
    pub(crate) cpu: &'static str,
    /// What the registry calls the kind of machine.
    pub(crate) platform: &'static str,
    /// What its client compares the package with.
    pub(crate) digest: &'static str,
}

impl Build {
    pub(crate) fn for_this_machine(builds: &'static [Self]) -> Result<&'static Self, Miss> {
        let fits = |it: &&Self| it.os == env::consts::OS && it.cpu == env::consts::ARCH;
        builds.iter().find(fits).ok_or(Miss::NoBuild)
    }
}

/// Writes a file for a client in the folder in which it works.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> Result<(), Miss> {
    fs::write(folder.join(name), text).map_err(cannot_write(folder))
}

/// What is said before a fetch.
pub(crate) fn announcement(search: &Search, client: &str, size: &str) -> String {
    format!(
        "Fetching PostgreSQL through {client}, {size}, once for all runs, into {}.",
        search.cache_dir.display()
    )
}

/// Makes the cache folder and waits until no other process fetches or installs. Until the file is dropped, others wait.
pub(crate) fn lock(cache_dir: &Path) -> Result<File, Miss> {
    let cannot_write = cannot_write(cache_dir);
    absolute(cache_dir)
        .and_then(|folder| make_open(&folder))
        .map_err(&cannot_write)?;
    if !is_ours(cache_dir).map_err(&cannot_write)? {
        return Err(Miss::CacheNotOurs(cache_dir.to_owned()));
    }
    let lock = File::create(cache_dir.join("lock")).map_err(&cannot_write)?;
    lock.lock().map_err(&cannot_write)?;
    Ok(lock)
}

fn cannot_write(cache_dir: &Path) -> impl Fn(io::Error) -> Miss {
    let path = cache_dir.to_owned();
    move |source| Miss::Cache {
        path: path.clone(),
        source,
    }
}

/// Programs of the cache are run, so nobody else may have put them there.
fn is_ours(folder: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(folder)?;
    let writable_for_all = metadata.mode() & 0o002 != 0;
    Ok(metadata.is_dir() && account::own_uid() == metadata.uid() && !writable_for_all)
}

/// Lets the account that runs the server read everything and run what lies in a `bin` folder, whatever the umask and
/// the archive say. Zip files carry no such bits at all.
fn make_readable(folder: &Path) -> io::Result<()> {
    let holds_programs = folder.file_name().is_some_and(|name| name == "bin");
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            make_readable(&entry.path())?;
        } else if kind.is_file() {
            let mode = if holds_programs { 0o755 } else { 0o644 };
            fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(partial: &Path) -> PathBuf {
        let package = partial.join("package");
        fs::create_dir_all(package.join("bin")).unwrap();
        fs::write(package.join("bin/initdb"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(package.join("bin"), Permissions::from_mode(0o700)).unwrap();
        package
    }

    fn as_it_is(package: &Path) -> Result<PathBuf, Miss> {
        let path = package.to_owned();
        path.is_dir().then_some(path).ok_or(Miss::NoBuild)
    }

    fn unbroken(package: &Path) -> Result<(), Miss> {
        let whole = package.join("bin/initdb").exists();
        whole.then_some(()).ok_or(Miss::NoBuild)
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_package_is_fetched_once_and_made_runnable() {
        let cache = tempfile::tempdir().unwrap();
        let first = fetched(cache.path(), "one", as_it_is, |it| Ok(package(it))).unwrap();
        let again = fetched(cache.path(), "one", as_it_is, |_| panic!("fetched twice")).unwrap();
        assert_eq!(first, again);
        assert_eq!(names(cache.path()), ["lock", "one"]);
        assert_eq!(
            fs::metadata(first.join("bin")).unwrap().mode() & 0o777,
            0o755
        );
        assert_eq!(
            fs::metadata(first.join("bin/initdb")).unwrap().mode() & 0o777,
            0o755
        );
    }

    #[test]
    fn a_fetch_that_failed_or_was_interrupted_leaves_nothing_that_is_trusted() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir_all(cache.path().join("partial/package/bin")).unwrap();
        let failed = fetched(cache.path(), "one", as_it_is, |partial| {
            assert_eq!(names(partial), [] as [String; 0]);
            package(partial);
            Err(Miss::NoBuild)
        });
        assert!(matches!(failed, Err(Miss::NoBuild)));
        assert_eq!(names(cache.path()), ["lock"]);
        assert!(
            fetched(cache.path(), "one", as_it_is, |it| Ok(package(it)))
                .unwrap()
                .is_dir()
        );
    }

    #[test]
    fn a_package_that_broke_is_fetched_anew() {
        let cache = tempfile::tempdir().unwrap();
        fetched(cache.path(), "one", unbroken, |it| Ok(package(it))).unwrap();
        let initdb = cache.path().join("one/bin/initdb");
        fs::remove_file(&initdb).unwrap();
        let failed = fetched(cache.path(), "one", unbroken, |_| Err(Miss::NotSet));
        assert!(matches!(failed, Err(Miss::NotSet)));
        fetched(cache.path(), "one", unbroken, |it| Ok(package(it))).unwrap();
        assert!(initdb.exists());
    }

    #[test]
    fn a_package_that_never_ran_is_not_fetched_at_every_start() {
        let cache = tempfile::tempdir().unwrap();
        let never = |_: &Path| Err::<(), _>(Miss::NoBuild);
        fetched(cache.path(), "one", never, |it| Ok(package(it))).unwrap_err();
        let again = fetched(cache.path(), "one", never, |_| panic!("fetched twice"));
        assert!(matches!(again, Err(Miss::NoBuild)));
        // What it lacked may have been installed since.
        fetched(cache.path(), "one", unbroken, |_| panic!("fetched twice")).unwrap();
    }

    #[test]
    fn parallel_fetches_of_one_package_run_once() {
        let cache = tempfile::tempdir().unwrap();
        let count = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    fetched(cache.path(), "one", as_it_is, |partial| {
                        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        Ok(package(partial))
                    })
                    .unwrap()
                });
            }
        });
        assert_eq!(count.into_inner(), 1);
    }

    #[test]
    fn a_cache_that_everybody_may_write_to_is_refused() {
        let cache = tempfile::tempdir().unwrap();
        fs::set_permissions(cache.path(), Permissions::from_mode(0o777)).unwrap();
        let refused = fetched(cache.path(), "one", as_it_is, |it| Ok(package(it)));
        assert!(matches!(refused, Err(Miss::CacheNotOurs(_))));
    }
}
