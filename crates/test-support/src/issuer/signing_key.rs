use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, PublicKeyComponents},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaEncoding,
    },
};
use serde_json::{Value, json};

/// Made for tests; nothing else trusts them.
const RSA: [&[u8]; 2] = [include_bytes!("rsa-1.pk8"), include_bytes!("rsa-2.pk8")];

/// A key that signs tokens.
#[derive(Debug)]
pub struct SigningKey {
    id: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Rsa {
        algorithm: &'static str,
        key: RsaKeyPair,
    },
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Secret(hmac::Key),
}

impl SigningKey {
    /// An RSA key for RS256.
    pub fn rs256(id: &str) -> Self {
        Self::rsa(id, "RS256", 0)
    }

    /// The same RSA key for PS256.
    pub fn ps256(id: &str) -> Self {
        Self::rsa(id, "PS256", 0)
    }

    /// Another RSA key for RS256.
    pub fn other_rs256(id: &str) -> Self {
        Self::rsa(id, "RS256", 1)
    }

    fn rsa(id: &str, algorithm: &'static str, which: usize) -> Self {
        let key = RsaKeyPair::from_pkcs8(RSA[which]).unwrap();
        Self::new(id, Kind::Rsa { algorithm, key })
    }

    /// A new key for ES256.
    pub fn es256(id: &str) -> Self {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(kind, key.as_ref(), &random);
        Self::new(id, Kind::P256(key.unwrap()))
    }

    /// A new key for `EdDSA`.
    pub fn eddsa(id: &str) -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap();
        Self::new(id, Kind::Ed25519(key))
    }

    /// A secret for HS256.
    pub fn hs256(id: &str, secret: &[u8]) -> Self {
        Self::new(id, Kind::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    fn new(id: &str, kind: Kind) -> Self {
        let id = id.to_owned();
        Self { id, kind }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> &'static str {
        match &self.kind {
            Kind::Rsa { algorithm, .. } => algorithm,
            Kind::P256(_) => "ES256",
            Kind::Ed25519(_) => "EdDSA",
            Kind::Secret(_) => "HS256",
        }
    }

    /// The header of a token that it signs.
    pub fn header(&self) -> Value {
        json!({ "typ": "at+jwt", "alg": self.algorithm(), "kid": self.id })
    }

    /// Its public half (RFC 7517); of a secret, the secret's shape.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.kind {
            Kind::Rsa { key, .. } => {
                let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({ "kty": "RSA", "n": encoded(&public.n), "e": encoded(&public.e) })
            }
            Kind::P256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": encoded(x), "y": encoded(y) })
            }
            Kind::Ed25519(key) => {
                let x = encoded(key.public_key().as_ref());
                json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
            }
            Kind::Secret(_) => json!({ "kty": "oct", "k": encoded(&[7; 32]) }),
        };
        jwk["kid"] = self.id.as_str().into();
        jwk["alg"] = self.algorithm().into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A token of this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), claims.to_string().as_bytes())
    }

    /// A token of these texts in the places of its header and its claims.
    pub(crate) fn sign_text(&self, header: &str, claims: &[u8]) -> String {
        let header = encoded(header.as_bytes());
        let message = format!("{header}.{}", encoded(claims));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", encoded(&signature))
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.kind {
            Kind::Rsa { algorithm, key } => {
                let encoding: &dyn RsaEncoding = match *algorithm {
                    "PS256" => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(encoding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Kind::P256(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Kind::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Kind::Secret(key) => hmac::sign(key, message).as_ref().to_vec(),
        }
    }
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
