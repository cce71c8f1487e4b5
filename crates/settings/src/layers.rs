use config::{File, FileFormat, Map, Value, ValueKind};

use crate::{
    SettingsError,
    file::{Text, Texts},
    reader::without_quoted_value,
};

/// What the files say, with their names, the weaker first.
pub(crate) fn of_files(
    texts: &Texts,
    service: &str,
) -> Result<Vec<(String, Value)>, SettingsError> {
    let mut layers = Vec::new();
    if let Some(config) = &texts.config {
        layers.push((
            config.path.display().to_string(),
            parse(config, FileFormat::Toml)?,
        ));
    }
    if let Some(secrets) = &texts.secrets {
        let path = secrets.path.display().to_string();
        let ValueKind::Table(mut services) = parse(secrets, FileFormat::Json)?.kind else {
            return Ok(layers);
        };
        match services.remove(service) {
            None => {}
            Some(section) if matches!(section.kind, ValueKind::Table(_)) => {
                layers.push((path, section));
            }
            Some(_) => {
                return Err(SettingsError::File {
                    path,
                    reason: format!("{service} is no table of settings"),
                });
            }
        }
    }
    Ok(layers)
}

/// Puts tables over each other, key by key, and anything else in the place of what was there.
pub(crate) fn lay_over(under: &mut Value, over: Value) {
    match (&mut under.kind, over.kind) {
        (ValueKind::Table(under), ValueKind::Table(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(under) => lay_over(under, value),
                    None => drop(under.insert(key, value)),
                }
            }
        }
        (under, over) => *under = over,
    }
}

/// Whether a layer sets this setting, or something under it.
pub(crate) fn sets(layer: &Value, setting: &str) -> bool {
    let mut keys = setting.split('.');
    keys.try_fold(layer, |value, key| match &value.kind {
        ValueKind::Table(table) => table.get(key),
        _ => None,
    })
    .is_some()
}

/// The tables around one setting.
pub(crate) fn nested(path: &str, value: Value) -> Value {
    let keys = path.rsplit('.');
    keys.fold(value, |inner, key| {
        Value::new(None, Map::from([(key.to_owned(), inner)]))
    })
}

/// A text of this format as a table.
pub(crate) fn table(text: &str, format: FileFormat) -> Result<Value, String> {
    use config::Source as _;

    // Not through a builder, which would take a key with a dot for a path.
    let table = File::from_str(text, format).collect();
    let table =
        table.map_err(|error| without_quoted_value(without_source_lines(&error.to_string())))?;
    Ok(Value::new(None, table))
}

fn parse(text: &Text, format: FileFormat) -> Result<Value, SettingsError> {
    let file = |reason: String| SettingsError::File {
        path: text.path.display().to_string(),
        reason,
    };
    let text = text.read.clone().map_err(file)?;
    // A file that is being written is empty for a moment; defaults must not sneak in with it.
    if text.trim().is_empty() {
        return Err(file("is empty".to_owned()));
    }
    table(&text, format).map_err(file)
}

/// TOML errors quote the line at fault (`3 | key = "…"`), which may hold a secret.
fn without_source_lines(error: &str) -> String {
    error
        .lines()
        .filter(|line| !line.contains('|'))
        .collect::<Vec<_>>()
        .join(" ")
}
