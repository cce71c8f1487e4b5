use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use private_postgres::{default_data_dir, make_parent};

use crate::{error::Error, options::ServiceName};

/// Settings file of Insurance for playing with its toggles.
const TOGGLES: &str = "\
# Settings of the local Insurance service. Changes of the toggles take effect within 2 s.
[feature_toggles]
enable_vehicle_enrichment = true
enable_batch_vehicle_call = false
";

/// Where the local stack keeps its database, keys, certificate, logs and toggles.
pub(crate) struct Folder {
    /// The private cluster's own folder.
    pub(crate) postgres: PathBuf,
    files: PathBuf,
}

impl Folder {
    /// Makes the folder, by default inside the workspace's `target`.
    pub(crate) fn open(chosen: Option<&Path>) -> Result<Self, Error> {
        let postgres = match chosen {
            Some(folder) => {
                let folder = std::path::absolute(folder).map_err(Error::file(folder))?;
                folder.join("pg")
            }
            None => default_data_dir(&workspace()),
        };
        // Refused before anything is written where somebody else could swap it for a link.
        let files = make_parent(&postgres)?.join("stack");
        match DirBuilder::new().mode(0o700).create(&files) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(Error::file(&files)(error));
            }
            _ => {}
        }
        let found = fs::symlink_metadata(&files).map_err(Error::file(&files))?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
            return Err(Error::NotOurs(files));
        }
        fs::set_permissions(&files, Permissions::from_mode(0o700)).map_err(Error::file(&files))?;
        Ok(Self { postgres, files })
    }

    pub(crate) fn log(&self, service: ServiceName) -> PathBuf {
        self.files.join(format!("{}.log", service.as_str()))
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.files.join("certificate.pem")
    }

    pub(crate) fn private_key(&self) -> PathBuf {
        self.files.join("private-key.pem")
    }

    /// The settings file of Insurance; made when it is missing.
    pub(crate) fn toggles(&self) -> Result<PathBuf, Error> {
        let path = self.files.join("insurance.toml");
        if !path.exists() {
            fs::write(&path, TOGGLES).map_err(Error::file(&path))?;
        }
        Ok(path)
    }

    /// A secret that is made once and then kept: 32 random bytes in hexadecimal.
    pub(crate) fn secret(&self, name: &str) -> Result<String, Error> {
        let path = self.files.join(name);
        if let Ok(secret) = fs::read_to_string(&path)
            && secret.len() == 64
        {
            return Ok(secret);
        }
        let [high, low] = rand::random::<[u128; 2]>();
        let secret = format!("{high:032x}{low:032x}");
        write_private(&path, &secret)?;
        Ok(secret)
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::file(path))
}

/// The workspace that this program was built from, or, once moved elsewhere, the current folder.
fn workspace() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::canonicalize(built).unwrap_or_else(|_| PathBuf::from("."))
}
