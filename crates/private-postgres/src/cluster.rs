use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use crate::account::Account;
use crate::binaries::Binaries;
use crate::error::Error;
use crate::folder::{DataDir, Folder};
use crate::keeper::Keeper;
use crate::left_over;

#[cfg(test)]
mod tests;

/// How often a port may be snatched away between its choice and the start of the server.
const PORT_ATTEMPTS: u32 = 5;

/// What the server logs when its port is taken.
const PORT_TAKEN: &str = "could not create any TCP/IP sockets";

/// A running Postgres server on 127.0.0.1, stopped when this is dropped or the process ends in any way.
pub struct Cluster {
    keeper: Option<Keeper>,
    programs: PathBuf,
    account: Account,
    folder: Folder,
    port: u16,
    admin_url: String,
}

impl Cluster {
    /// Starts a server on the data folder, after making the cluster when there is none yet.
    ///
    /// Waits a few seconds for a launcher that is just ending; a server whose launcher was killed is stopped first.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyInUse`] while another launcher has the folder, [`Error::OtherVersion`] when another major
    /// version of Postgres wrote it; the others name what failed.
    pub fn start(binaries: &Binaries, data_dir: &DataDir) -> Result<Self, Error> {
        Self::start_on(binaries, data_dir, free_port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's URL, password included: not for logs.
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// Whether the server runs and would end with this process; either may have been killed.
    pub fn is_running(&mut self) -> bool {
        self.keeper.as_mut().is_some_and(Keeper::lives)
    }

    /// Starts a server that has ended, with its data, port and password; one that would outlive this process is
    /// stopped first.
    ///
    /// # Errors
    ///
    /// [`Error::NotStopped`], [`Error::NotStarted`], also for a while after the server was killed, until its last child has noticed.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.end_server()?;
        left_over::stop(&self.programs, &self.account, &self.folder)?;
        let keeper = Keeper::start(&self.programs, &self.account, &self.folder, self.port)?;
        self.keeper = Some(keeper);
        Ok(())
    }

    /// Stops the server, ending what still runs on it, and removes the data folder of a temporary cluster.
    pub fn stop(mut self) -> Result<(), Error> {
        self.shut_down()
    }

    fn start_on(
        binaries: &Binaries,
        data_dir: &DataDir,
        mut pick_port: impl FnMut() -> io::Result<u16>,
    ) -> Result<Self, Error> {
        let account = Account::for_tools().ok_or(Error::NoAccount)?;
        let folder = Folder::open(data_dir, &account)?;
        if let Some(made_by) = folder.made_by()?
            && made_by != binaries.major().to_string()
        {
            return Err(Error::OtherVersion {
                path: folder.path,
                made_by,
                found: binaries.major(),
            });
        }
        let password = folder.password(&account)?;
        // From here on its end removes what a temporary cluster leaves.
        let mut cluster = Self {
            keeper: None,
            programs: binaries.dir().to_owned(),
            account,
            folder,
            port: 0,
            admin_url: String::new(),
        };
        let mut attempt = 1;
        loop {
            let port = pick_port().map_err(Error::NoPort)?;
            cluster.port = port;
            cluster.admin_url = format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres");
            match cluster.start_again() {
                Ok(()) => return Ok(cluster),
                Err(Error::NotStarted { log, .. })
                    if log.contains(PORT_TAKEN) && attempt < PORT_ATTEMPTS =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn shut_down(&mut self) -> Result<(), Error> {
        let ended = self.end_server();
        if self.folder.temporary {
            self.folder.remove().map_err(|error| Error::NotStopped {
                path: self.folder.path.clone(),
                log: error.to_string(),
            })?;
        }
        ended
    }

    /// Lets the keeper stop the server; stops one whose keeper was killed.
    fn end_server(&mut self) -> Result<(), Error> {
        match self.keeper.take().map(Keeper::finish) {
            Some(Err(_)) => left_over::stop(&self.programs, &self.account, &self.folder),
            _ => Ok(()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nobody is left to tell; the next start on the folder deals with what remains.
        let _ = self.shut_down();
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("port", &self.port)
            .field("folder", &self.folder.path)
            .finish_non_exhaustive()
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
