//! Calls of other people's programs: the registries' own clients and unpackers.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::find::Miss;
use crate::search::Search;

/// Runs a client and ends it with its owner.
const SCRIPT: &str = include_str!("client.sh");

/// Where `PATH` has the program.
pub(crate) fn path(search: &Search, program: &'static str) -> Result<PathBuf, Miss> {
    let found = search.programs(program).next();
    found.ok_or(Miss::NotOnPath { program })
}

/// A program of `PATH`, to be run in `folder`; it finds its own helpers on the same `PATH`.
pub(crate) fn command(
    search: &Search,
    program: &'static str,
    folder: &Path,
) -> Result<Command, Miss> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", SCRIPT, "client"])
        .arg(path(search, program)?)
        .current_dir(folder)
        .env("PATH", &search.path)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// Runs to the end; what the program says is kept for the reason of a failure.
pub(crate) fn run(client: &'static str, command: &mut Command) -> Result<(), Miss> {
    let failed = |said: &str| Miss::ClientFailed {
        client,
        said: said.to_owned(),
    };
    let output = command
        .spawn()
        .and_then(|mut process| {
            // Open until the client has ended, or the operating system closes it with this process.
            let _owner = process.stdin.take();
            process.wait_with_output()
        })
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
    use std::env;
    use std::fs;
    use std::thread;
    use std::time::{Duration, Instant};

    use crate::left_over;

    use super::*;

    const OWNED_FOLDER: &str = "PRIVATE_POSTGRES_CLIENT_FOLDER";

    /// Has a child, as npm has, and tells its number.
    const SLOW: &str = "sleep 600 & echo $! >draft; mv draft child; wait";

    fn sh(script: &str, folder: &Path) -> Command {
        let search = Search::of_this_machine();
        let mut command = command(&search, "sh", folder).unwrap();
        command.args(["-c", script]);
        command
    }

    fn wait_for<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(got) = get() {
                return got;
            }
            assert!(Instant::now() < give_up, "still not: {what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    #[ignore = "started by another test as a process of its own"]
    fn owner() {
        if let Some(folder) = env::var_os(OWNED_FOLDER) {
            run("sh", &mut sh(SLOW, folder.as_ref())).unwrap();
        }
    }

    #[test]
    fn a_client_and_its_children_end_with_a_killed_owner() {
        let folder = tempfile::tempdir().unwrap();
        let mut owner = Command::new(env::current_exe().unwrap())
            .args(["--exact", "client::tests::owner", "--ignored"])
            .env(OWNED_FOLDER, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let child: u32 = wait_for("the client runs", || {
            let number = fs::read_to_string(folder.path().join("child")).ok()?;
            number.trim().parse().ok()
        });
        owner.kill().unwrap();
        owner.wait().unwrap();
        wait_for("the client's child is gone", || {
            left_over::command_line(&child.to_string())
                .is_none_or(|line| !line.contains("sleep 600"))
                .then_some(())
        });
    }

    #[test]
    fn a_client_ends_with_its_own_status_and_words() {
        let folder = tempfile::tempdir().unwrap();
        run("sh", &mut sh("exit 0", folder.path())).unwrap();
        let failed = run("sh", &mut sh("echo 'an error' >&2; exit 3", folder.path()));
        assert!(matches!(failed, Err(Miss::ClientFailed { said, .. }) if said == "an error"));
    }

    #[test]
    fn the_complaint_is_the_line_with_the_error() {
        let said = "npm warn config\nnpm error code E404\nnpm error 404 Not Found\n\nA complete log is in x\n";
        assert_eq!(complaint(said), Some("npm error code E404"));
        assert_eq!(complaint("tar: short read\n\n"), Some("tar: short read"));
        assert_eq!(complaint("\n"), None);
    }
}
