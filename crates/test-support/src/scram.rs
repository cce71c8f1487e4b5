use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

const SALT: &[u8; 16] = b"threadpilot test";

/// What PostgreSQL keeps of a password that is hashed once instead of 4,096 times (RFC 5802, 3):
/// a client without optimisation computes 50 ms for those, on each connection of a test.
pub(crate) fn verifier(password: &str) -> String {
    let salted = mac(
        password.as_bytes(),
        &[SALT, &1_u32.to_be_bytes()[..]].concat(),
    );
    let stored_key = Sha256::digest(mac(&salted, b"Client Key"));
    let server_key = mac(&salted, b"Server Key");
    let [salt, stored_key, server_key] =
        [&SALT[..], &stored_key, &server_key].map(|bytes| BASE64_STANDARD.encode(bytes));
    format!("SCRAM-SHA-256$1:{salt}${stored_key}:{server_key}")
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}
