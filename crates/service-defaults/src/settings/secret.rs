use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};

/// A secret setting: hidden by `Debug`, wiped from memory when dropped. Empty where it is not set.
#[derive(Clone)]
pub struct Secret(SecretString);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's own error would quote what was there instead of a text.
        SecretString::deserialize(deserializer)
            .map(Self)
            .map_err(|_| de::Error::custom("is a secret, which is a text"))
    }
}

impl Secret {
    /// The secret text.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }

    /// Whether the value is one that a template asks to replace.
    pub fn is_placeholder(&self) -> bool {
        let text = self.expose().trim();
        let lower = text.to_ascii_lowercase();
        (text.starts_with('<') && text.ends_with('>'))
            || (text.starts_with("${") && text.ends_with('}'))
            || [
                "changeme",
                "change-me",
                "change_me",
                "replace-me",
                "replace_me",
                "placeholder",
            ]
            .iter()
            .any(|word| lower.contains(word))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}
