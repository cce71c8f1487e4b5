use std::io;
use std::path::PathBuf;

/// Why a cluster did not start or stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Postgres refuses to run as root and there is nobody to hand it to.
    #[error(
        "as root, neither `postgres` nor `nobody` is in the passwd file to run PostgreSQL: use an ordinary user"
    )]
    NoAccount,
    /// The data folder, or a file in it, cannot be made or read.
    #[error("cannot prepare the data folder {}", .path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The data folder, or the folder above it, is in the hands of another user.
    #[error("{} belongs to another user, or others may replace it: choose another data folder", .0.display())]
    FolderNotOurs(PathBuf),
    /// The data folder holds something else, which must not be removed with a cluster.
    #[error("{} is not empty and holds no cluster of ours: choose another data folder", .0.display())]
    ForeignContent(PathBuf),
    /// Another launcher runs a cluster on the data folder.
    #[error("{} is already in use by another launcher: stop that one, or choose another data folder", .0.display())]
    AlreadyInUse(PathBuf),
    /// The data was written by another major version of Postgres.
    #[error(
        "{} was made by PostgreSQL {made_by}, but the programs found are PostgreSQL {found}: set PG_BIN to the `bin` \
         folder of PostgreSQL {made_by}, or remove the folder to begin anew without its data",
        .path.display()
    )]
    OtherVersion {
        /// The data folder.
        path: PathBuf,
        /// The version that wrote it.
        made_by: String,
        /// The major version of the programs.
        found: u32,
    },
    /// The data is there, the password is not.
    #[error("{} has lost its password file: remove the folder to begin anew without its data", .0.display())]
    PasswordLost(PathBuf),
    /// No random bytes for the password.
    #[error("the operating system gives no random bytes")]
    NoRandomness(#[source] getrandom::Error),
    /// No free port on 127.0.0.1.
    #[error("cannot get a port on 127.0.0.1")]
    NoPort(#[source] io::Error),
    /// The account that runs Postgres cannot enter the data folder, or there is no shell.
    #[error(
        "cannot run a shell in {}; as root, PostgreSQL runs as another user, who must be able to reach the folder",
        .path.display()
    )]
    Unreachable {
        /// The data folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// `initdb` failed.
    #[error("PostgreSQL could not make a cluster in {}:\n{log}", .path.display())]
    NotMade {
        /// The data folder.
        path: PathBuf,
        /// The last lines it logged.
        log: String,
    },
    /// The server did not come up.
    #[error(
        "PostgreSQL did not start on {}:\n{log}\nAfter a crash of the machine its data may be broken, because durability \
         is off: remove the folder to begin anew",
        .path.display()
    )]
    NotStarted {
        /// The data folder.
        path: PathBuf,
        /// The last lines it logged.
        log: String,
    },
    /// The server did not end, or its folder could not be removed.
    #[error("PostgreSQL on {} could not be stopped:\n{log}", .path.display())]
    NotStopped {
        /// The data folder.
        path: PathBuf,
        /// The last lines it logged.
        log: String,
    },
}
