use std::fs;

use crate::{
    error::Error,
    folder::{Folder, write_private},
};

/// Makes the certificate of this machine where it is missing. It is trusted by nobody but the
/// local Insurance service and the printed `curl` lines.
pub(crate) fn make(folder: &Folder) -> Result<(), Error> {
    let (certificate, key) = (folder.certificate(), folder.private_key());
    if certificate.exists() && key.exists() {
        return Ok(());
    }
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names)?;
    write_private(&key, &made.signing_key.serialize_pem())?;
    fs::write(&certificate, made.cert.pem()).map_err(Error::file(&certificate))
}
