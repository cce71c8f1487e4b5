//! Calls of other people's programs: the registries' own clients and unpackers.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::find::Miss;
use crate::search::Search;

/// A program of `PATH`, to be run in `folder`; it finds its own helpers on the same `PATH`.
pub(crate) fn command(
    search: &Search,
    program: &'static str,
    folder: &Path,
) -> Result<Command, Miss> {
    let found = search
        .programs(program)
        .next()
        .ok_or(Miss::NotOnPath { program })?;
    let mut command = Command::new(found);
    command
        .current_dir(folder)
        .env("PATH", &search.path)
        .stdin(Stdio::null());
    Ok(command)
}

/// Runs to the end; what the program says is kept for the reason of a failure.
pub(crate) fn run(client: &'static str, command: &mut Command) -> Result<(), Miss> {
    let failed = |said: &str| Miss::ClientFailed {
        client,
        said: said.to_owned(),
    };
    let output = command
        .output()
        .map_err(|error| failed(&error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(complaint(&said).unwrap_or("it said nothing")))
}

/// The line that names the error; npm and pip follow it with hints.
fn complaint(said: &str) -> Option<&str> {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next_back();
    lines
        .find(|line| line.to_ascii_lowercase().contains("error"))
        .or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_is_the_line_with_the_error() {
        let said = "npm warn config\nnpm error code E404\nnpm error 404 Not Found\n\nA complete log is in x\n";
        assert_eq!(complaint(said), Some("npm error code E404"));
        assert_eq!(complaint("tar: short read\n\n"), Some("tar: short read"));
        assert_eq!(complaint("\n"), None);
    }
}
