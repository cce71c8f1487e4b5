use crate::{Field, Kind};

/// The width that meanings are wrapped to.
const WIDTH: usize = 100;

/// Settings as a TOML file of their defaults, with what each means and may be. `defaults` are those
/// that a service sets for itself: paths and TOML values.
pub fn reference(fields: &[Field], defaults: &[(&str, &str)]) -> String {
    let mut page = String::new();
    table("", fields, false, defaults, &mut page);
    page
}

fn table(at: &str, fields: &[Field], all_live: bool, defaults: &[(&str, &str)], page: &mut String) {
    // In TOML a table ends where the next one begins.
    let (tables, values): (Vec<&Field>, Vec<&Field>) =
        fields.iter().partition(|field| is_table(&field.kind));
    for field in values {
        let Kind::Value { default, bounds } = &field.kind else {
            continue;
        };
        let path = path(at, field.key);
        let own = defaults.iter().find(|(setting, _)| *setting == path);
        let default = own.map_or(*default, |(_, default)| default);
        comment(field, bounds.as_deref(), all_live || field.live, page);
        page.extend([field.key, " = ", default, "\n"]);
    }
    for field in tables {
        let path = path(at, field.key);
        if !page.is_empty() {
            page.push('\n');
        }
        comment(field, None, field.live, page);
        page.extend(["[", path.as_str(), "]\n"]);
        if let Kind::Table(fields) = &field.kind {
            table(&path, fields, all_live || field.live, defaults, page);
        }
    }
}

/// A table whose keys are the operator's own is a value to us.
fn is_table(kind: &Kind) -> bool {
    matches!(kind, Kind::Table(_) | Kind::Value { default: "{}", .. })
}

fn path(at: &str, key: &str) -> String {
    if at.is_empty() {
        key.to_owned()
    } else {
        format!("{at}.{key}")
    }
}

fn comment(field: &Field, bounds: Option<&str>, is_live: bool, page: &mut String) {
    let mark = if is_live { " (live)" } else { "" };
    let bounds = bounds.map_or_else(String::new, |bounds| format!(" {bounds}."));
    let meaning: Vec<_> = field.meaning.iter().map(|line| line.trim()).collect();
    let text = format!("{}{bounds}{mark}", meaning.join(" "));
    let mut line = String::from("#");
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            page.extend([line.as_str(), "\n"]);
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    page.extend([line.as_str(), "\n"]);
}
