//! Debian's and Ubuntu's own package, installed for the whole system: for root, when nothing else helps.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::binaries::Binaries;
use crate::find::{Miss, Progress, Step};
use crate::search::Search;
use crate::{account, cache, client, machine};

pub(crate) const NAME: &str = "the package postgresql of Debian or Ubuntu";

pub(crate) fn binaries(search: &Search, progress: &mut Progress<'_>) -> Result<Binaries, Miss> {
    let installer = search.installer.as_ref().ok_or(Miss::NotLookedAt)?;
    client::path(search, "apt-get")?;
    if !account::is_root() {
        return Err(Miss::NotRoot);
    }
    let _lock = cache::lock(&search.cache_dir)?;
    let find_again = || machine::on_path(search).or_else(|_| machine::usual_folders(search));
    // Another process may have been faster.
    if let Ok(binaries) = find_again() {
        return Ok(binaries);
    }
    progress(
        Step::Change,
        "Installing the package postgresql for the whole system with apt-get, as root: 260 MB, about a minute, once.",
    );
    // Unlike a download it does not end with its owner or by Ctrl-C: no package is left half installed.
    let mut install = Command::new("/bin/sh");
    install
        .arg(installer)
        .arg("--postgres")
        .env("PATH", &search.path)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    client::run("apt-get", &mut install)?;
    find_again()
}
