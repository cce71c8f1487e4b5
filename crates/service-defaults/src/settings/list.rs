use serde::{Deserialize, Deserializer};

/// Reads a list, or one text with commas, which is all that an environment variable can hold.
pub(crate) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "is a list of texts, or one text with commas")]
    enum List {
        Entries(Vec<String>),
        Commas(String),
    }
    Ok(match List::deserialize(deserializer)? {
        List::Entries(entries) => entries,
        List::Commas(text) => text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}
