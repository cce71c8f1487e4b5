//! The process that holds a cluster and outlives its owner just long enough to stop it.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};

use crate::account::Account;
use crate::cluster::Lifetime;
use crate::error::Error;
use crate::folder::Folder;

const SCRIPT: &str = include_str!("keeper.sh");

/// Exit status of the script when `initdb` failed.
const NOT_MADE: i32 = 3;

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
        lifetime: Lifetime,
    ) -> Result<Self, Error> {
        let lock = folder.lock.try_clone().map_err(|source| Error::Folder {
            path: folder.path.clone(),
            source,
        })?;
        let lifetime = match lifetime {
            Lifetime::Temporary => "temporary",
            Lifetime::Kept => "kept",
        };
        let mut command = account.command("/bin/sh", &folder.path);
        command
            .args(["-c", SCRIPT, "keeper"])
            .arg(programs)
            .args([&port.to_string(), lifetime]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(lock);
        let spawned = command.spawn().and_then(|mut process| {
            let pipes = process.stdin.take().zip(process.stdout.take());
            let (owner, said) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
            Ok((Self { process, owner }, said))
        });
        let (keeper, said) = spawned.map_err(|source| Error::Unreachable {
            path: folder.path.clone(),
            source,
        })?;

        let mut line = String::new();
        let read = BufReader::new(said).read_line(&mut line);
        if read.is_ok() && line == "started\n" {
            return Ok(keeper);
        }
        let status = keeper.finish();
        let (path, log) = (folder.path.clone(), folder.log());
        match status.ok().and_then(|status| status.code()) {
            Some(NOT_MADE) => Err(Error::NotMade { path, log }),
            _ => Err(Error::NotStarted { path, log }),
        }
    }

    /// Lets the cluster go and waits until it is gone; the script puts a bound on every step.
    pub(crate) fn finish(self) -> io::Result<ExitStatus> {
        let Self { mut process, owner } = self;
        drop(owner);
        process.wait()
    }

    #[cfg(test)]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}
