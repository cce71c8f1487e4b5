use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where programs come from and go to.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Where the clients are looked for; in the form of the variable `PATH`.
    pub path: &'a OsStr,
    /// Keeps what was fetched, one folder per package and version.
    pub cache: &'a Path,
}

impl<'a> Place<'a> {
    /// The programs called `name`, in the order of `PATH`.
    pub fn programs<'n>(self, name: &'n str) -> impl Iterator<Item = PathBuf> + use<'a, 'n> {
        env::split_paths(self.path)
            .filter(|folder| folder.is_absolute())
            .map(move |folder| folder.join(name))
            .filter(|program| is_executable(program))
    }

    /// The first of them.
    pub fn program(self, name: &str) -> Result<PathBuf, Miss> {
        let found = self.programs(name).next();
        found.ok_or_else(|| Miss(format!("{name} is not on PATH")))
    }

    /// Runs somebody else's program, which finds its own helpers on the same `PATH`, and gives back
    /// what it says.
    pub fn run(self, client: &'static str, command: &mut Command) -> Result<String, Miss> {
        command.env("PATH", self.path).stdin(Stdio::null());
        let output = command.output();
        let output = output.map_err(|error| Miss(format!("{client} failed: {error}")))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = complaint(&said).unwrap_or("it said nothing");
        Err(Miss(format!("{client} failed: {said}")))
    }
}

/// Why there are no programs at some place, for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Miss(pub String);

impl Miss {
    /// Of a file or folder.
    pub fn cannot_write(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self(format!("cannot write {}: {error}", path.display()))
    }
}

/// The folder for caches. Root's own cache lies in a home folder that the account which runs a server
/// cannot enter.
pub fn cache_root() -> PathBuf {
    let macos = cfg!(target_os = "macos");
    if rustix::process::geteuid().is_root() {
        return PathBuf::from(if macos {
            "/Library/Caches"
        } else {
            "/var/cache"
        });
    }
    let home = set("HOME").map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| home.map(|home| home.join(if macos { "Library/Caches" } else { ".cache" })))
        .unwrap_or_else(env::temp_dir)
}

fn set(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

/// The line that names the error; npm and pip follow it with hints.
pub(crate) fn complaint(said: &str) -> Option<&str> {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next_back();
    lines
        .find(|line| line.to_ascii_lowercase().contains("error"))
        .or(last)
}
