//! The folder of one cluster: `data`, the password, the logs and the lock.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf, absolute};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use program_cache::make_open;
use sha2::{Digest, Sha256};

use crate::account::{self, Account};
use crate::error::Error;

/// How long the server of a launcher that just ended may take to let go of its folder.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// As many lines of a log as fit an error message.
const LOG_LINES: usize = 15;

/// Where the cluster of a workspace lives: `target/pg` in it.
///
/// As root it is a folder under the system's temp folder, named by a digest of the workspace's path, because the
/// account that runs Postgres for root can rarely enter root's folders.
pub fn default_data_dir(workspace: &Path) -> PathBuf {
    if !account::is_root() {
        return workspace.join("target/pg");
    }
    let workspace = absolute(workspace).unwrap_or_else(|_| workspace.to_owned());
    let digest = Sha256::digest(workspace.as_os_str().as_encoded_bytes());
    env::temp_dir().join(format!("threadpilot-{}/pg", hex::encode(&digest[..8])))
}

/// Where a cluster keeps everything that it writes, its password included.
#[derive(Debug, Clone)]
pub enum DataDir {
    /// This folder stays for the next start. Made when it is not there, and as root given to the account that runs
    /// Postgres.
    Kept(PathBuf),
    /// A fresh folder under the system's temp folder, which is removed with the cluster.
    Temporary,
}

/// A name that no other call and no other process gets.
pub(crate) fn temporary() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // The process number alone comes back one day; without randomness it still tells the living ones apart.
    let random = random_hex::<4>().unwrap_or_default();
    env::temp_dir().join(format!("threadpilot-pg-{}-{count}-{random}", process::id()))
}

/// That many random bytes of the operating system.
fn random_hex<const BYTES: usize>() -> Result<String, getrandom::Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// Makes the folder above `data_dir`, where a launcher may keep files of its own, and gives back its path.
///
/// Everybody may read and nobody else may write it, whatever the umask.
///
/// # Errors
///
/// As root, [`Error::FolderNotOurs`] for a folder in which somebody else could swap those files for links, the account
/// that runs Postgres included.
pub fn make_parent(data_dir: &Path) -> Result<PathBuf, Error> {
    parent_for(data_dir, &Account::Caller)
}

/// A data folder that is locked for this process.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) lock: File,
    pub(crate) temporary: bool,
}

impl Folder {
    /// Makes the folder, gives it to `account` and locks it; waits a moment for a launcher that is just ending.
    pub(crate) fn open(data_dir: &DataDir, account: &Account) -> Result<Self, Error> {
        let (path, temporary) = match data_dir {
            DataDir::Kept(path) => (prepare(path, account)?, false),
            DataDir::Temporary => (prepare(&temporary(), account)?, true),
        };
        let lock = lock(&path)?;
        Ok(Self {
            path,
            lock,
            temporary,
        })
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// The version of Postgres that made the data, as the server wrote it down; `None` before the first start.
    pub(crate) fn made_by(&self) -> Result<Option<String>, Error> {
        let version = read(self.data().join("PG_VERSION"))?;
        Ok(version.map(|version| version.trim().to_owned()))
    }

    /// The password of the cluster: the one in its file, or for a cluster that is not made yet a fresh one.
    pub(crate) fn password(&self, account: &Account) -> Result<String, Error> {
        let path = self.path.join("password");
        if self.data().is_dir() {
            return read(path)?.ok_or_else(|| Error::PasswordLost(self.path.clone()));
        }
        let password = random_hex::<24>().map_err(Error::NoRandomness)?;
        let write = || {
            remove_file(&path)?;
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(password.as_bytes())?;
            account.adopt(&path)
        };
        write().map_err(|source| Error::Folder {
            path: path.clone(),
            source,
        })?;
        Ok(password)
    }

    /// Whether the server takes connections; it says so itself.
    pub(crate) fn serves(&self) -> bool {
        let status = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        status
            .lines()
            .nth(7)
            .is_some_and(|line| line.starts_with("ready"))
    }

    /// The last lines of what `initdb` or the server said.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.path.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Removes everything; nothing to do when the keeper did.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Locks a data folder; waits a moment for a launcher that is just ending.
fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let cannot = |source| Error::Folder {
        path: path.clone(),
        source,
    };
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(&path);
    let file = file.map_err(cannot)?;
    let give_up = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => thread::sleep(LOCK_POLL),
            Err(TryLockError::WouldBlock) => return Err(Error::AlreadyInUse(folder.to_owned())),
            Err(TryLockError::Error(source)) => return Err(cannot(source)),
        }
    }
}

fn prepare(path: &Path, account: &Account) -> Result<PathBuf, Error> {
    let cannot = |source| Error::Folder {
        path: path.to_owned(),
        source,
    };
    parent_for(path, account)?;
    let path = absolute(path).map_err(cannot)?;
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(cannot(error)),
        _ => {}
    }
    let metadata = fs::symlink_metadata(&path).map_err(cannot)?;
    if !metadata.is_dir() || !account.trusts(metadata.uid()) {
        return Err(Error::FolderNotOurs(path));
    }
    let empty = path.read_dir().map_err(cannot)?.next().is_none();
    if !empty && !path.join("lock").exists() {
        return Err(Error::ForeignContent(path));
    }
    account.adopt(&path).map_err(cannot)?;
    fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(cannot)?;
    path.canonicalize().map_err(cannot)
}

fn parent_for(path: &Path, account: &Account) -> Result<PathBuf, Error> {
    let cannot = |source| Error::Folder {
        path: path.to_owned(),
        source,
    };
    let mut parent = absolute(path).map_err(cannot)?;
    if !parent.pop() {
        return Err(Error::FolderNotOurs(parent));
    }
    make_open(&parent).map_err(cannot)?;
    if account::is_root() && others_may_replace(&parent, account).map_err(cannot)? {
        return Err(Error::FolderNotOurs(parent));
    }
    Ok(parent)
}

/// Whether somebody else could swap what lies in `folder` for a link, and root would then give away its target.
fn others_may_replace(folder: &Path, account: &Account) -> io::Result<bool> {
    // A link belongs to somebody, too.
    let named_by = fs::symlink_metadata(folder)?.uid();
    let metadata = fs::metadata(folder)?;
    let sticky = metadata.mode() & 0o1000 != 0;
    let writable = metadata.mode() & 0o022 != 0;
    let trusted = account.trusts(named_by) && account.trusts(metadata.uid());
    Ok(!trusted || writable && !sticky)
}

fn read(path: PathBuf) -> Result<Option<String>, Error> {
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Folder { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, lchown, symlink};
    use std::process::Command;

    use super::*;

    const UNDER_UMASK: &str = "PRIVATE_POSTGRES_UNDER_UMASK";

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn folders_are_open_whatever_the_umask() {
        if env::var_os(UNDER_UMASK).is_none() {
            let this = "folder::tests::folders_are_open_whatever_the_umask";
            for umask in ["077", "000"] {
                let again = Command::new("sh")
                    .args([
                        "-c",
                        "umask \"$1\" && exec \"$2\" --exact \"$3\"",
                        "sh",
                        umask,
                    ])
                    .arg(env::current_exe().unwrap())
                    .arg(this)
                    .env(UNDER_UMASK, umask)
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&again.stdout);
                assert!(
                    again.status.success() && said.contains("1 passed"),
                    "{said}"
                );
            }
            return;
        }
        let top = tempfile::tempdir().unwrap();
        let data_dir = top.path().join("one/two/pg");
        let parent = make_parent(&data_dir).unwrap();
        assert_eq!(parent, data_dir.parent().unwrap());
        assert!(!data_dir.exists());
        for made in ["one", "one/two"] {
            assert_eq!(mode(&top.path().join(made)), 0o755, "{made}");
        }
    }

    #[test]
    fn the_modes_of_folders_that_are_there_stay() {
        let parent = tempfile::tempdir().unwrap();
        fs::set_permissions(parent.path(), Permissions::from_mode(0o700)).unwrap();
        make_parent(&parent.path().join("pg")).unwrap();
        assert_eq!(mode(parent.path()), 0o700);
    }

    #[test]
    fn root_keeps_no_files_where_others_may_replace_them() {
        if !account::is_root() {
            return;
        }
        let top = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            let folder = top.path().join(name);
            fs::create_dir(&folder).unwrap();
            folder
        };
        let (writable, theirs, ours) = (made("writable"), made("theirs"), made("ours"));
        fs::set_permissions(&writable, Permissions::from_mode(0o777)).unwrap();
        chown(&theirs, Some(4711), None).unwrap();
        let link = top.path().join("link");
        symlink(&ours, &link).unwrap();
        lchown(&link, Some(4711), None).unwrap();
        for folder in [writable, theirs, link] {
            let refused = make_parent(&folder.join("pg"));
            assert!(matches!(refused, Err(Error::FolderNotOurs(it)) if it == folder));
        }
        assert!(make_parent(&ours.join("pg")).is_ok());
    }

    #[test]
    fn the_folder_of_a_workspace_stays_the_same() {
        let workspace = Path::new("/somewhere/workspace");
        assert_eq!(default_data_dir(workspace), default_data_dir(workspace));
        assert_ne!(
            default_data_dir(workspace),
            default_data_dir(Path::new("/somewhere/else"))
        );
        assert!(default_data_dir(workspace).ends_with("pg"));
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        symlink("/etc", parent.path().join("pg")).unwrap();
        let refused = prepare(&parent.path().join("pg"), &Account::Caller);
        assert!(matches!(refused, Err(Error::FolderNotOurs(_))));
    }
}
