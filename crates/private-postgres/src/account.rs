//! Postgres refuses to run as root, so root hands its programs to an account that may do less.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Who may run the programs for root, the better one first; macOS puts an underscore before its own.
const ACCOUNTS: [&str; 3] = ["postgres", "_postgres", "nobody"];

/// Who runs the Postgres programs and owns their files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    /// The user of this process.
    Caller,
    /// Another user, because this process is root's.
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// `None` when root has nobody to hand the programs to: `initdb` wants a user the passwd file knows.
    pub(crate) fn for_tools() -> Option<Self> {
        if !is_root() {
            return Some(Self::Caller);
        }
        best_of(&fs::read_to_string("/etc/passwd").ok()?)
    }

    /// A program in a process group of its own, so that a Ctrl-C meant for the launcher does not reach it.
    ///
    /// Of the environment only the search paths are handed on: a stray `PGDATA` would matter, and secrets of the
    /// caller are none of the server's business.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .process_group(0)
            .env_clear();
        command.env("LC_ALL", "C").env("TZ", "UTC");
        for variable in ["PATH", "LD_LIBRARY_PATH"] {
            if let Some(value) = env::var_os(variable) {
                command.env(variable, value);
            }
        }
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Gives `path` to this account; a symbolic link itself, never what it points to.
    pub(crate) fn adopt(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Caller => Ok(()),
            Self::Other { uid, gid, .. } => lchown(path, Some(*uid), Some(*gid)),
        }
    }

    /// Whether files of user `uid` may be trusted: those of this account and of the user of this process.
    pub(crate) fn trusts(&self, uid: u32) -> bool {
        let own = own_uid() == uid;
        own || matches!(self, Self::Other { uid: other, .. } if *other == uid)
    }
}

pub(crate) fn is_root() -> bool {
    own_uid() == 0
}

/// The effective user of this process.
pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn best_of(passwd: &str) -> Option<Account> {
    ACCOUNTS.iter().find_map(|name| look_up(passwd, name))
}

fn look_up(passwd: &str, wanted: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| *name == wanted)?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account::Other {
            name: name.to_owned(),
            uid,
            gid,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_from_the_passwd_file() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgresql:x:7:7::/:\npostgres:x:101:104:PostgreSQL:/var:/bin/sh\n";
        let postgres = Account::Other {
            name: "postgres".to_owned(),
            uid: 101,
            gid: 104,
        };
        assert_eq!(look_up(passwd, "postgres"), Some(postgres));
        assert_eq!(look_up(passwd, "nobody"), None);
    }

    #[test]
    fn an_account_of_postgres_is_taken_before_nobody() {
        for name in ["postgres", "_postgres"] {
            let passwd = format!("nobody:*:65534:65534::/:\n{name}:*:216:216::/:\n");
            assert_eq!(best_of(&passwd), look_up(&passwd, name));
            assert!(best_of(&passwd).is_some());
        }
    }

    #[test]
    fn an_account_without_numbers_is_passed_over() {
        assert_eq!(look_up("nobody:*\n", "nobody"), None);
    }
}
