use settings::{Secret, section};

use crate::checkpoint::{SigningKey, usable_seed};

section! {
    /// The section `[event_log]`.
    pub struct EventLogSettings {
        /// Signs the log's checkpoints: 64 hexadecimal digits, as `openssl rand -hex 32` makes them.
        /// Empty = nothing is signed. `check` shows the public key.
        pub signing_key: Secret = "", where usable_seed;
    }
}

impl EventLogSettings {
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
