//! The process that holds a cluster and outlives its owner just long enough to stop it.

use std::io;
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::account::Account;
use crate::error::Error;
use crate::folder::Folder;

const SCRIPT: &str = include_str!("keeper.sh");

/// Exit status of the script when `initdb` failed.
const NOT_MADE: i32 = 3;

/// How long a start, with `initdb`, and how long a stop may take.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Keeper {
    process: Child,
    /// Closed by dropping it, or by the operating system when this process ends.
    owner: ChildStdin,
}

impl Keeper {
    /// Returns when the server takes connections on `port` of 127.0.0.1.
    pub(crate) fn start(
        programs: &Path,
        account: &Account,
        folder: &Folder,
        port: u16,
    ) -> Result<Self, Error> {
        let unreachable = |source| Error::Unreachable {
            path: folder.path.clone(),
            source,
        };
        let lock = folder.lock.try_clone().map_err(unreachable)?;
        let mut command = account.command("/bin/sh", &folder.path);
        command
            .args(["-c", SCRIPT, "keeper"])
            .arg(programs)
            .arg(port.to_string())
            .arg(if folder.temporary {
                "temporary"
            } else {
                "kept"
            })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(lock);
        let mut process = command.spawn().map_err(unreachable)?;
        let owner = process.stdin.take();
        let owner = owner.ok_or_else(|| unreachable(io::ErrorKind::BrokenPipe.into()))?;
        let mut keeper = Self { process, owner };

        let give_up = Instant::now() + PATIENCE;
        while keeper.lives() && Instant::now() < give_up {
            if folder.serves() {
                return Ok(keeper);
            }
            thread::sleep(LOOK_EVERY);
        }
        let log = folder.log();
        let status = keeper.finish();
        let path = folder.path.clone();
        match status.ok().and_then(|status| status.code()) {
            Some(NOT_MADE) => Err(Error::NotMade { path, log }),
            _ => Err(Error::NotStarted { path, log }),
        }
    }

    /// Whether the server runs and would end with this process.
    pub(crate) fn lives(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Lets the cluster go and waits until it is gone. An error when that takes too long or
    /// somebody killed the script.
    pub(crate) fn finish(self) -> io::Result<ExitStatus> {
        let Self { mut process, owner } = self;
        drop(owner);
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            match process.try_wait()? {
                Some(status) if status.code().is_some() => return Ok(status),
                Some(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                None => thread::sleep(LOOK_EVERY),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    #[cfg(test)]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}
