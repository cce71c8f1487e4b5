/// Makes ring the process's TLS implementation; further calls change nothing.
pub fn install_crypto_provider() {
    // Fails only when one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
