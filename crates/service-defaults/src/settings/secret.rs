use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// A secret setting: hidden by `Debug`, wiped from memory when dropped. Empty where it is not set.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);

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
