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

    /// What is wrong with a secret that has to be there: nothing set, or a template's placeholder.
    pub fn fault(&self) -> Option<&'static str> {
        if self.is_empty() {
            Some("is not set")
        } else if self.is_placeholder() {
            Some("still holds the template's placeholder; run ./init.sh")
        } else {
            None
        }
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

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
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
