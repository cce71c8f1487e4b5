//! The README and the page of the API say what is so.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is the failure that a test wants"
)]

use std::{collections::BTreeSet, fmt::Write, time::Duration};

use contracts::{Cause, EnrichmentStatus, PROBLEMS, Product, ProfileEnrichment, Source, Value};
use insurance_service::{InsuranceService, InsuranceSettings};
use service_defaults::{
    check::{self, Output},
    service::Service as _,
    settings::{Arguments, Settings},
};

const README: &str = include_str!("../../../README.md");
const API: &str = include_str!("../../../docs/api.md");
const MANUALS: [(&str, &[&str]); 3] = [
    (
        "Both services",
        &[
            include_str!("../../service-defaults/config.toml"),
            include_str!("../../service-database/config.toml"),
        ],
    ),
    (
        "Vehicle",
        &[include_str!("../../vehicle-service/config.toml")],
    ),
    (
        "Insurance",
        &[include_str!("../../insurance-service/config.toml")],
    ),
];

/// Problems of requests that reach no route: the last resort for what has no code of its own.
const NOT_BY_A_ROUTE: [&str; 1] = ["bad_request"];

#[test]
fn the_first_command_runs_and_the_second_tests() {
    let mut blocks = README.split("```").skip(1).step_by(2);
    assert_eq!(blocks.next(), Some("sh\ncargo run\n"));
    assert_eq!(blocks.next(), Some("sh\ncargo test --workspace\n"));
}

#[test]
fn the_settings_table_is_that_of_the_manuals() {
    assert_told(README, "settings", &table());
}

#[test]
fn the_worst_case_is_what_check_prints_for_the_defaults() {
    let keys = ["API_KEYS__LOCAL__KEY", "VEHICLE_CLIENT__API_KEY"];
    let variables = keys.map(|name| (format!("INSURANCE__{name}"), "local-key-0123456789"));
    let settings: Settings<InsuranceSettings> = InsuranceService::sources(Arguments::default())
        .with_environment(variables)
        .load()
        .unwrap();
    let page = check::good(
        insurance_service::NAME,
        &settings,
        &[],
        Duration::from_secs(5),
        Output::Text,
    );
    let command = "$ insurance-service check";
    assert_told(
        README,
        "worst case",
        &format!("\n```console\n{command}\n{page}```\n\n"),
    );
}

#[test]
fn the_words_of_an_answer_are_those_of_the_contract() {
    let mut words = String::new();
    for (member, values) in [
        ("enrichment.status", EnrichmentStatus::VALUES),
        ("enrichment.cause", Cause::VALUES),
        ("enrichment.source", Source::VALUES),
        ("enrichment", ProfileEnrichment::VALUES),
        ("product", Product::VALUES),
    ] {
        words += &meanings(member, values);
    }
    words += "\n<details>\n<summary>Every <code>code</code> of a problem</summary>\n";
    words += &meanings("code", PROBLEMS);
    words += "\n</details>\n\n";
    assert_told(API, "words", &words);
}

#[test]
fn every_code_of_a_problem_has_an_example_that_was_given() {
    let mut given = BTreeSet::new();
    for document in [
        include_str!("../../../docs/api/vehicle.openapi.json"),
        include_str!("../../../docs/api/insurance.openapi.json"),
    ] {
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        let codes = &document["components"]["schemas"]["ProblemCode"]["enum"];
        let codes = codes.as_array().unwrap().iter();
        given.extend(codes.map(|code| code.as_str().unwrap().to_owned()));
    }
    let known: BTreeSet<_> = PROBLEMS
        .iter()
        .map(|(code, _)| (*code).to_owned())
        .filter(|code| !NOT_BY_A_ROUTE.contains(&code.as_str()))
        .collect();
    assert_eq!(given, known);
}

fn meanings(member: &str, values: &[Value]) -> String {
    let mut table = format!("\n| `{member}` | meaning |\n| --- | --- |\n");
    for (value, meaning) in values {
        writeln!(table, "| `{value}` | {} |", meaning.trim()).unwrap();
    }
    table
}

fn assert_told(document: &str, marks: &str, expected: &str) {
    let told = document
        .split(&format!("<!-- {marks} -->\n"))
        .nth(1)
        .and_then(|rest| rest.split(&format!("<!-- /{marks} -->")).next());
    assert!(
        told == Some(expected),
        "paste this between the {marks} marks of the document:\n{expected}"
    );
}

fn table() -> String {
    let mut table = String::new();
    for (title, manuals) in MANUALS {
        write!(
            table,
            "\n**{title}**\n\n| setting | default | meaning |\n| --- | --- | --- |\n"
        )
        .unwrap();
        for manual in manuals {
            rows(manual, &mut table);
        }
    }
    table.push('\n');
    table
}

fn rows(manual: &str, table: &mut String) {
    let (mut section, mut meaning) = ("", String::new());
    for line in manual.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            meaning.push_str(comment);
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            if section == "api_keys" {
                writeln!(
                    table,
                    "| `api_keys.<id>` | none |{} |",
                    meaning.replace('|', "\\|")
                )
                .unwrap();
            }
            meaning.clear();
        } else if let Some((key, default)) = line.split_once(" = ") {
            writeln!(
                table,
                "| `{section}.{key}` | `{default}` |{} |",
                meaning.replace('|', "\\|")
            )
            .unwrap();
            meaning.clear();
        } else {
            meaning.clear();
        }
    }
}
