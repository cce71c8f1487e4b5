//! A server whose launcher and keeper were both killed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::account::Account;
use crate::error::Error;
use crate::folder::{Folder, remove_file};

const PID_FILE: &str = "postmaster.pid";

/// Stops a server that still runs on the folder; the caller holds the lock, so the server is nobody's.
///
/// The number in `postmaster.pid` may by now be that of another process, which must not be signalled and would keep
/// the new server from starting: then only the file goes.
pub(crate) fn stop(programs: &Path, account: &Account, folder: &Folder) -> Result<(), Error> {
    let data = folder.data();
    for mode in ["fast", "immediate"] {
        if !runs(&data) {
            break;
        }
        let mut pg_ctl = account.command(programs.join("pg_ctl"), &folder.path);
        pg_ctl
            .arg("-D")
            .arg(&data)
            .args(["-m", mode, "-w", "-t", "30", "stop"]);
        // It fails, too, when what the keeper left behind has just stopped the server: looked at again instead.
        let _ = pg_ctl.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
    if runs(&data) {
        return Err(Error::NotStopped {
            path: folder.path.clone(),
            log: folder.log(),
        });
    }
    let pid_file = data.join(PID_FILE);
    remove_file(&pid_file).map_err(|source| Error::Folder {
        path: pid_file,
        source,
    })
}

/// Whether the process that the folder names is its server, as the keeper starts it.
fn runs(data: &Path) -> bool {
    let content = fs::read_to_string(data.join(PID_FILE)).unwrap_or_default();
    let command_line = content.lines().next().and_then(command_line);
    command_line.is_some_and(|line| line.contains(&format!("-D {} ", data.display())))
}

/// The arguments of a running process, from `/proc` where there is one, else from `ps`.
fn command_line(pid: &str) -> Option<String> {
    let pid: u32 = pid.trim().parse().ok()?;
    if Path::new("/proc/self/cmdline").exists() {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        return Some(line.replace('\0', " "));
    }
    let mut ps = Command::new("ps");
    let output = ps.args(["-ww", "-o", "command=", "-p", &pid.to_string()]);
    String::from_utf8(output.output().ok()?.stdout).ok()
}
