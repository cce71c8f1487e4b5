use std::{fs::Permissions, os::unix::fs::PermissionsExt, thread};

use super::*;
use crate::place::complaint;

/// A package whose client is `true`.
fn package(fetch: Fetch) -> Package {
    let build = |os, cpu| Build {
        os,
        cpu,
        platform: "here",
        digest: "",
    };
    Package {
        what: "a program",
        client: "true",
        program: "true",
        name: "program",
        version: "1",
        size: "1 kB",
        programs: "bin",
        builds: [
            build("linux", "x86_64"),
            build("linux", "aarch64"),
            build("macos", "x86_64"),
            build("macos", "aarch64"),
        ],
        fetch,
    }
}

/// A cache folder that is not there yet.
fn cache(parent: &tempfile::TempDir) -> PathBuf {
    parent.path().join("programs")
}

fn filled(folder: &Path, said: &str) -> PathBuf {
    let package = folder.join("package");
    fs::create_dir_all(package.join("bin")).unwrap();
    let script = format!("#!/bin/sh\necho '{said}'\n");
    fs::write(package.join("bin/program"), script).unwrap();
    fs::set_permissions(package.join("bin"), Permissions::from_mode(0o700)).unwrap();
    package
}

/// What the program says, where that is `good`, and how often it was fetched.
fn find(package: &Package, cache: &Path) -> (Result<PathBuf, Miss>, usize) {
    let path = env::var_os("PATH").unwrap();
    let place = Place { path: &path, cache };
    let mut fetches = 0;
    let found = fetched(package, &place, &mut |_| fetches += 1, |dir| {
        let program = dir.join("program");
        let said = place.run("sh", &mut std::process::Command::new(&program))?;
        let is_good = said == "good\n";
        is_good
            .then_some(program)
            .ok_or_else(|| Miss("it is bad".to_owned()))
    });
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
    let parent = tempfile::tempdir().unwrap();
    let (package, cache) = (
        package(|_, _, _, folder| Ok(filled(folder, "good"))),
        cache(&parent),
    );
    let (found, fetches) = find(&package, &cache);
    assert_eq!((found.is_ok(), fetches), (true, 1));
    assert_eq!(find(&package, &cache).1, 0);
    assert_eq!(names(&cache).len(), 2);
    fs::remove_file(found.unwrap()).unwrap();
    let (found, fetches) = find(&package, &cache);
    assert_eq!((found.is_ok(), fetches), (true, 1));
}

#[test]
fn a_fetch_that_failed_or_was_interrupted_leaves_nothing_that_is_trusted() {
    let parent = tempfile::tempdir().unwrap();
    let cache = cache(&parent);
    fs::create_dir_all(cache.join("partial-1/package/bin")).unwrap();
    let failing = package(|_, _, _, folder| {
        assert_eq!(names(folder), [] as [String; 0]);
        filled(folder, "good");
        Err(Miss("no network".to_owned()))
    });
    let failed = find(&failing, &cache).0.unwrap_err();
    assert_eq!(failed.to_string(), "no network");
    assert_eq!(names(&cache), ["lock"]);
}

#[test]
fn a_package_that_never_ran_is_not_fetched_at_every_start() {
    let parent = tempfile::tempdir().unwrap();
    let (package, cache) = (
        package(|_, _, _, folder| Ok(filled(folder, "no libc"))),
        cache(&parent),
    );
    let (found, fetches) = find(&package, &cache);
    assert_eq!((found.is_err(), fetches), (true, 1));
    let (found, fetches) = find(&package, &cache);
    assert_eq!((found.is_err(), fetches), (true, 0));
}

#[test]
fn several_fetches_of_one_package_run_once() {
    let parent = tempfile::tempdir().unwrap();
    let (package, cache) = (
        package(|_, _, _, folder| Ok(filled(folder, "good"))),
        cache(&parent),
    );
    let fetches = thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| find(&package, &cache)))
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
fn the_complaint_is_the_line_with_the_error() {
    let said =
        "npm warn config\nnpm error code E404\nnpm error 404 Not Found\n\nA complete log is in x\n";
    assert_eq!(complaint(said), Some("npm error code E404"));
    assert_eq!(complaint("tar: short read\n\n"), Some("tar: short read"));
    assert_eq!(complaint("\n"), None);
}
