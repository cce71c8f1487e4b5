use settings::{Secret, Violations, section};

use crate::checkpoint::{SigningKey, usable_seed};

section! {
    /// The section `[event_log]`.
    pub struct EventLogSettings {
        /// Signs the log's checkpoints: 64 hexadecimal digits, as `openssl rand -hex 32` makes them.
        /// Empty = nothing is signed. `check` shows the public key.
        pub signing_key: Secret = "", where usable_seed;
        /// Tells the events of this installation from those of others, in their `source`: 1 to 32 of
        /// a-z, 0-9 and -.
        pub instance: String = "local", where usable_instance;
    }
}

impl EventLogSettings {
    /// The `source` of the events of the service of this name.
    pub fn source(&self, service: &str) -> String {
        format!("/{}/{service}", self.instance)
    }

    /// What `check` says of the key of the service of this name.
    pub fn public_key(&self, service: &str) -> (&'static str, String) {
        let key = self.key(service).map(|key| key.public().to_string());
        let none =
            || "none: event_log.signing_key is not set, so there are no checkpoints".to_owned();
        ("event_log.public_key", key.unwrap_or_else(none))
    }

    /// The key of the service of this name, where one is set.
    pub fn key(&self, service: &str) -> Option<SigningKey> {
        SigningKey::new(service, &self.signing_key)
    }
}

#[allow(clippy::ptr_arg, reason = "`section!` gives the field")]
fn usable_instance(name: &String, at: &str, violations: &mut Violations) {
    let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 32 || !name.bytes().all(named) {
        violations.report(at, "is 1 to 32 of a-z, 0-9 and -");
    }
}
