use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf, absolute},
    process,
};

use crate::Miss;

/// Makes the cache folder and waits until no other process fetches or installs. Until the file is
/// dropped, others wait.
pub fn lock(cache: &Path) -> Result<File, Miss> {
    let made = absolute(cache).and_then(|folder| make_open(&folder));
    made.map_err(Miss::cannot_write(cache))?;
    if !is_ours(cache).map_err(Miss::cannot_write(cache))? {
        let cache = cache.display();
        return Err(Miss(format!(
            "{cache} belongs to somebody else or everybody may write to it"
        )));
    }
    let locked = File::create(cache.join("lock")).and_then(|file| file.lock().map(|()| file));
    locked.map_err(Miss::cannot_write(cache))
}

/// Makes the folder and those above it that are missing, so that every account gets through whatever
/// the umask.
pub fn make_open(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_open(parent)?;
    }
    match DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o755)),
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Programs of the cache are run, so nobody else may have put them there.
fn is_ours(folder: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(folder)?;
    let writable_for_all = metadata.mode() & 0o002 != 0;
    let own = rustix::process::geteuid().as_raw() == metadata.uid();
    Ok(metadata.is_dir() && own && !writable_for_all)
}

/// A folder of this process, because the client of one that was killed may still write into its own.
pub(crate) fn new_partial(cache: &Path) -> io::Result<PathBuf> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(b"partial-")
        {
            let _ = clear(&entry.path());
        }
    }
    let partial = cache.join(format!("partial-{}", process::id()));
    fs::create_dir(&partial)?;
    Ok(partial)
}

/// Lets the account that runs the server read everything and run what lies in a `bin` folder,
/// whatever the umask and the archive say. Zip files carry no such bits at all.
pub(crate) fn make_readable(folder: &Path) -> io::Result<()> {
    let holds_programs = folder.file_name().is_some_and(|name| name == "bin");
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            make_readable(&entry.path())?;
        } else if kind.is_file() {
            let mode = if holds_programs { 0o755 } else { 0o644 };
            fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

pub(crate) fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
