use std::ops::Deref;

use serde::{Deserialize, Deserializer};

/// Texts: a list, or one text with commas, which is all that an environment variable can hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List(Vec<String>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        list(deserializer).map(Self)
    }
}

impl Deref for List {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

/// Reads the texts of a [`List`]; for `#[serde(deserialize_with)]`.
pub fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "is a list of texts, or one text with commas")]
    enum Written {
        Entries(Vec<String>),
        Commas(String),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Entries(entries) => entries,
        Written::Commas(text) => text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}
