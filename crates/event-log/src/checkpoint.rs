//! Signed checkpoints: the size and the root of the log at one moment, as a note of C2SP
//! `tlog-checkpoint` and `signed-note`, signed with Ed25519. Whoever keeps one can notice any later
//! change of what it covers.

use std::{fmt, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use settings::{Secret, Violations};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{Timestamp, tree::Hash};

/// Begins the line after the root that says when the checkpoint was signed.
const TIME: &str = "time ";
/// The signature type Ed25519 of `signed-note`.
const ED25519_TYPE: u8 = 1;

/// The size and the root of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: `<name of the key>/<log id>`.
    pub origin: String,
    /// How many events it has.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// When it was signed, by the clock of the database.
    pub signed_at: Option<Timestamp>,
}

impl Checkpoint {
    /// Of the log with this id, under the name of a key.
    pub(crate) fn new(name: &str, log_id: Uuid, (size, root): (u64, Hash), now: Timestamp) -> Self {
        Self {
            origin: format!("{name}/{log_id}"),
            size,
            root,
            signed_at: Some(now),
        }
    }

    /// What a note says, whoever has signed it.
    pub fn read(note: &str) -> Option<Self> {
        let (text, _signatures) = note.split_once("\n\n")?;
        let mut lines = text.lines();
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let time = lines.next().and_then(|line| line.strip_prefix(TIME));
        let time: Option<SystemTime> = time.and_then(|it| humantime::parse_rfc3339(it).ok());
        Some(Self {
            origin: origin.to_owned(),
            size: size.parse().ok()?,
            root: STANDARD.decode(root).ok()?.try_into().ok()?,
            signed_at: time.map(Timestamp::from),
        })
    }

    /// What a note says, and whether it has a good signature of the key, where one is known. Without
    /// one it may be signed with a key that was replaced.
    pub(crate) fn told(note: &str, key: Option<&PublicKey>) -> Result<(Self, bool), Forged> {
        let signed = key.map(|key| key.open(note)).transpose()?.flatten();
        match signed {
            Some(checkpoint) => Ok((checkpoint, true)),
            None => Ok((Self::read(note).ok_or(Forged)?, false)),
        }
    }
}

/// What is signed: the note up to the empty line.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = STANDARD.encode(self.root);
        write!(f, "{}\n{}\n{root}\n", self.origin, self.size)?;
        match self.signed_at {
            Some(time) => writeln!(f, "{TIME}{time}"),
            None => Ok(()),
        }
    }
}

/// The public key that checkpoints are verified with. Shown as a verifier key of `signed-note`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: [u8; 32],
}

impl PublicKey {
    fn id(&self) -> [u8; 4] {
        let hasher = Sha256::new_with_prefix(&self.name);
        let hash = hasher
            .chain_update([b'\n', ED25519_TYPE])
            .chain_update(self.key)
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// What a note says, where it has a good signature of this key; `None` where it has none of it.
    ///
    /// # Errors
    ///
    /// [`Forged`] where a signature says that it is of this key and is not, or the note is none.
    pub fn open(&self, note: &str) -> Result<Option<Checkpoint>, Forged> {
        let checkpoint = Checkpoint::read(note).ok_or(Forged)?;
        // The note's own text: a later release may say more in it.
        let (text, signatures) = note.split_at(note.find("\n\n").ok_or(Forged)? + 1);
        let prefix = format!("— {} ", self.name);
        for signature in signatures.lines().filter_map(|it| it.strip_prefix(&prefix)) {
            let signature = STANDARD.decode(signature).map_err(|_| Forged)?;
            let (id, signature) = signature.split_first_chunk().ok_or(Forged)?;
            if *id == self.id() {
                let good =
                    UnparsedPublicKey::new(&ED25519, self.key).verify(text.as_bytes(), signature);
                return good.map(|()| Some(checkpoint)).map_err(|_| Forged);
            }
        }
        Ok(None)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[ED25519_TYPE], self.key.as_slice()].concat());
        let id = u32::from_be_bytes(self.id());
        write!(f, "{}+{id:08x}+{key}", self.name)
    }
}

/// A note that is not what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the note is forged")]
pub struct Forged;

/// The key that checkpoints are signed with.
#[derive(Debug)]
pub struct SigningKey {
    name: String,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// The key of the service of this name, out of the 64 hexadecimal digits of its seed.
    pub fn new(service: &str, seed: &Secret) -> Option<Self> {
        let seed = seed.expose();
        if !seed.bytes().all(|it| it.is_ascii_hexdigit()) {
            return None;
        }
        let digit = |at| u8::from_str_radix(seed.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..seed.len()).step_by(2).map(digit).collect();
        let pair = Ed25519KeyPair::from_seed_unchecked(&bytes?).ok()?;
        Some(Self {
            name: format!("threadpilot/{service}"),
            pair,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What others verify with.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey {
            name: self.name.clone(),
            key,
        }
    }

    /// A note with the key's signature.
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        let text = checkpoint.to_string();
        format!("{text}\n{}", self.signature(&text))
    }

    /// The line of a note's signature over its text.
    fn signature(&self, text: &str) -> String {
        let signature = self.pair.sign(text.as_bytes());
        let signature = [self.public().id().as_slice(), signature.as_ref()].concat();
        format!("— {} {}\n", self.name, STANDARD.encode(signature))
    }
}

/// Whether a setting is empty or a seed.
pub(crate) fn usable_seed(seed: &Secret, at: &str, violations: &mut Violations) {
    if seed.is_placeholder() {
        violations.secret(at, seed);
    } else if !seed.is_empty() && SigningKey::new("", seed).is_none() {
        violations.report(at, "is not 64 hexadecimal digits");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(digit: &str) -> SigningKey {
        SigningKey::new("insurance", &Secret::from(digit.repeat(64).as_str())).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_256_130_123_456);
        let end = (7, [9; 32]);
        Checkpoint::new("threadpilot/insurance", Uuid::nil(), end, now.into())
    }

    #[test]
    fn a_note_is_opened_with_the_public_key_alone() {
        let key = key("1");
        let note = key.sign(&checkpoint());
        assert!(
            note.starts_with(
                "threadpilot/insurance/00000000-0000-0000-0000-000000000000\n7\n\
                 CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n\
                 time 2026-11-21T10:15:30.123456Z\n\n— threadpilot/insurance "
            ),
            "{note}"
        );
        assert_eq!(key.public().open(&note), Ok(Some(checkpoint())));
    }

    #[test]
    fn a_note_that_was_changed_is_forged() {
        let key = key("1");
        let note = key.sign(&checkpoint());
        for changed in [
            note.replace("\n7\n", "\n8\n"),
            note.replace("CQkJ", "CAkJ"),
            note.replace("0000-", "0001-"),
            note.replace("time 2026", "time 2027"),
            note.replace("\n\n", "\n"),
        ] {
            assert_eq!(key.public().open(&changed), Err(Forged), "{changed}");
        }
    }

    #[test]
    fn a_note_in_which_a_later_release_says_more_is_opened() {
        let key = key("1");
        let text = format!("{}said later\n", checkpoint());
        let signature = key.signature(&text);
        let note = format!("{text}\n{signature}");
        assert_eq!(key.public().open(&note), Ok(Some(checkpoint())));
        let changed = note.replace("said later", "said never");
        assert_eq!(key.public().open(&changed), Err(Forged));
    }

    #[test]
    fn a_note_of_another_key_says_nothing() {
        let note = key("2").sign(&checkpoint());
        assert_eq!(key("1").public().open(&note), Ok(None));
    }

    /// The key of the examples of Go's `golang.org/x/mod/sumdb/note`.
    #[test]
    fn a_public_key_is_shown_as_others_read_it() {
        let shown = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key = STANDARD.decode(shown.rsplit_once('+').unwrap().1).unwrap();
        let name = "PeterNeumann".to_owned();
        let key = PublicKey {
            name,
            key: key[1..].try_into().unwrap(),
        };
        assert_eq!(key.to_string(), shown);
    }

    #[test]
    fn a_seed_is_64_hexadecimal_digits() {
        for text in [
            "1",
            &"+1".repeat(32),
            &"1".repeat(63),
            &"1".repeat(66),
            &"å".repeat(32),
        ] {
            assert!(
                SigningKey::new("insurance", &Secret::from(text)).is_none(),
                "{text}"
            );
        }
    }
}
