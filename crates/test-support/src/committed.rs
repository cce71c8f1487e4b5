use std::{env, fs, path::Path};

use serde_json::Value;

/// Holds a JSON document to the file in the workspace's `docs` that tells it, byte by byte. With
/// the variable `UPDATE_DOCS` set, writes the file instead.
pub fn assert_committed(file: &str, document: &Value) {
    assert_file(&format!("docs/{file}"), document);
}

/// The same for a file anywhere in the workspace.
pub(crate) fn assert_file(file: &str, document: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(file);
    let mut sorted = document.clone();
    sorted.sort_all_objects();
    let text = serde_json::to_string_pretty(&sorted).unwrap() + "\n";
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let mut lines = (1..).zip(text.lines().zip(committed.lines()));
    let first = lines.find(|(_, (new, old))| new != old);
    assert!(
        text == committed,
        "{file} is not what the code says; UPDATE_DOCS=1 with this test writes it. First \
         difference, as line, new and committed: {first:?}"
    );
}
