//! What the command `check` says: that the settings are good and what they allow at worst, or what
//! is wrong with them.

use std::{collections::BTreeMap, time::Duration};

use ::settings::{Figure, SettingsError, page};
use serde_json::{Value, json};

use crate::settings::{Checked, Settings};

/// For whom `check` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object for programs
    Json,
}

/// What there is to say about good settings, where whom the service calls works for so long on a
/// call that we gave up.
pub fn good<S: Checked>(
    service: &str,
    settings: &Settings<S>,
    warnings: &[String],
    work: Duration,
    output: Output,
) -> String {
    let mut figures = settings.worst_case();
    figures.extend(settings.service.worst_case_at_work(work));
    let mut facts = vec![settings.common.tokens.facts()];
    facts.extend(settings.service.facts());
    match output {
        Output::Text => {
            let facts = facts
                .iter()
                .map(|(name, value)| format!("{name}  {value}\n"));
            format!(
                "{service}: the settings are good; at worst they allow\n\n{}{}{}",
                page(&figures),
                facts.collect::<String>(),
                warning_lines(warnings)
            )
        }
        Output::Json => {
            let figures: Vec<_> = figures.iter().map(Figure::json).collect();
            let settings = "good";
            lines(&json!({
                "service": service, "settings": settings, "warnings": warnings, "worstCase": figures,
                "facts": facts.into_iter().collect::<BTreeMap<_, _>>()
            }))
        }
    }
}

/// What there is to say to a program about settings that cannot be used.
pub(crate) fn bad(service: &str, error: &SettingsError, warnings: &[String]) -> String {
    let violations: Vec<_> = error
        .violations()
        .into_iter()
        .map(|it| json!({ "setting": it.setting, "rule": it.rule }))
        .collect();
    lines(&json!({
        "service": service, "settings": "bad", "warnings": warnings, "violations": violations
    }))
}

/// Warnings for people.
pub(crate) fn warning_lines(warnings: &[String]) -> String {
    let lines = warnings.iter().map(|it| format!("warning: {it}\n"));
    lines.collect::<Vec<_>>().concat()
}

fn lines(value: &Value) -> String {
    format!("{value:#}\n")
}
