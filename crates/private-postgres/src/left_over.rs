//! A server whose launcher and keeper were both killed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::account::Account;
use crate::error::Error;
use crate::folder::{Folder, remove_file};

/// Stops a server that still runs on the folder; the caller holds the lock, so the server is nobody's.
///
/// The number in `postmaster.pid` may by now be that of another process, which must not be signalled and would keep
/// the new server from starting: then only the file goes.
pub(crate) fn stop(programs: &Path, account: &Account, folder: &Folder) -> Result<(), Error> {
    let data = folder.data();
    let pid_file = data.join("postmaster.pid");
    let Ok(content) = fs::read_to_string(&pid_file) else {
        return Ok(());
    };
    if !is_server(&content, &data) {
        return remove_file(&pid_file).map_err(|source| Error::Folder {
            path: pid_file,
            source,
        });
    }
    for mode in ["fast", "immediate"] {
        let mut pg_ctl = account.command(programs.join("pg_ctl"), &folder.path);
        pg_ctl
            .arg("-D")
            .arg(&data)
            .args(["-m", mode, "-w", "-t", "30", "stop"]);
        let stopped = pg_ctl.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if stopped.is_ok_and(|status| status.success()) {
            return Ok(());
        }
    }
    Err(Error::NotStopped {
        path: folder.path.clone(),
        log: folder.log(),
    })
}

/// Whether the server that wrote `postmaster.pid` still runs.
pub(crate) fn serves(folder: &Folder) -> bool {
    let data = folder.data();
    fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|content| is_server(&content, &data))
}

fn is_server(pid_file: &str, data: &Path) -> bool {
    pid_file
        .lines()
        .next()
        .and_then(command_line)
        .is_some_and(|line| names(&line, data))
}

/// The arguments of a running process, from `/proc` where there is one, else from `ps`.
pub(crate) fn command_line(pid: &str) -> Option<String> {
    let pid: u32 = pid.trim().parse().ok()?;
    if Path::new("/proc/self/cmdline").exists() {
        return Some(
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .ok()?
                .replace('\0', " "),
        );
    }
    let output = Command::new("ps")
        .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()
}

/// `pg_ctl` starts the server as `postgres -D <data>`.
fn names(command_line: &str, data: &Path) -> bool {
    command_line.contains(&format!("-D {} ", data.display()))
}
