//! The four signatures that are verified, over ring. Nothing is signed here.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{self, ErrorKind},
    signature::{self, Verifier},
};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

/// Those that a key may be for, by their names (RFC 7518, 3.1, and RFC 8037).
pub(crate) const ALGORITHMS: [(&str, Algorithm); 4] = [
    ("RS256", Algorithm::RS256),
    ("PS256", Algorithm::PS256),
    ("ES256", Algorithm::ES256),
    ("EdDSA", Algorithm::EdDSA),
];

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| verifier(*algorithm, key),
    // For thumbprints and private keys, which nobody asks for.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring what `jsonwebtoken` verifies with; further calls change nothing.
pub(crate) fn install() {
    // Fails only when one is installed already.
    let _ = PROVIDER.install_default();
}

enum RingKey {
    Rsa(&'static RsaParameters, RsaPublicKeyComponents<Vec<u8>>),
    Other(UnparsedPublicKey<Vec<u8>>),
}

struct RingVerifier {
    algorithm: Algorithm,
    key: RingKey,
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match &self.key {
            RingKey::Rsa(parameters, key) => key.verify(parameters, message, signature),
            RingKey::Other(key) => key.verify(message, signature),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn verifier(algorithm: Algorithm, key: &DecodingKey) -> errors::Result<Box<dyn JwtVerifier>> {
    use AlgorithmFamily::{Ec, Ed, Rsa};
    use DecodingKeyKind::{RsaModulusExponent, SecretOrDer};

    let rsa = |parameters, n: &[u8], e: &[u8]| {
        let (n, e) = (n.to_owned(), e.to_owned());
        RingKey::Rsa(parameters, RsaPublicKeyComponents { n, e })
    };
    let other = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
        RingKey::Other(UnparsedPublicKey::new(algorithm, key.to_owned()))
    };
    let key = match (algorithm, key.family(), key.kind()) {
        (Algorithm::RS256, Rsa, RsaModulusExponent { n, e }) => {
            rsa(&RSA_PKCS1_2048_8192_SHA256, n, e)
        }
        (Algorithm::PS256, Rsa, RsaModulusExponent { n, e }) => {
            rsa(&RSA_PSS_2048_8192_SHA256, n, e)
        }
        (Algorithm::ES256, Ec, SecretOrDer(point)) => other(&ECDSA_P256_SHA256_FIXED, point),
        (Algorithm::EdDSA, Ed, SecretOrDer(point)) => other(&ED25519, point),
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    Ok(Box::new(RingVerifier { algorithm, key }))
}
