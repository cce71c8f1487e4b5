//! The process that holds a cluster and outlives its owner just long enough to stop it.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};

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
    said: BufReader<ChildStdout>,
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
            Ok(Self {
                process,
                owner,
                said: BufReader::new(said),
            })
        });
        let mut keeper = spawned.map_err(|source| Error::Unreachable {
            path: folder.path.clone(),
            source,
        })?;

        if keeper.says_started() {
            return Ok(keeper);
        }
        let status = keeper.finish();
        let (path, log) = (folder.path.clone(), folder.log());
        match status.ok().and_then(|status| status.code()) {
            Some(NOT_MADE) => Err(Error::NotMade { path, log }),
            _ => Err(Error::NotStarted { path, log }),
        }
    }

    /// Whether it still keeps the cluster; it may have been killed.
    pub(crate) fn lives(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Starts a server that has ended on its old port; returns when it takes connections.
    pub(crate) fn start_again(&mut self, folder: &Folder) -> Result<(), Error> {
        if self.owner.write_all(b"\n").is_ok() && self.says_started() {
            return Ok(());
        }
        Err(Error::NotStarted {
            path: folder.path.clone(),
            log: folder.log(),
        })
    }

    fn says_started(&mut self) -> bool {
        let mut line = String::new();
        self.said.read_line(&mut line).is_ok() && line == "started\n"
    }

    /// Lets the cluster go and waits until it is gone; the script puts a bound on every step.
    pub(crate) fn finish(self) -> io::Result<ExitStatus> {
        let Self {
            mut process,
            owner,
            said,
        } = self;
        drop((owner, said));
        process.wait()
    }

    #[cfg(test)]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}
