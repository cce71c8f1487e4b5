//! The README, the page of the API and the page of settings say what is so.

use std::{collections::BTreeSet, fmt::Write, fs, path::Path, time::Duration};

use contracts::{Cause, EnrichmentStatus, PROBLEMS, Product, ProfileEnrichment, Source, Value};
use insurance_service::{InsuranceService, InsuranceSettings};
use service_defaults::{
    check::{self, Output},
    service::Service as _,
    settings::Settings,
};
use settings::Arguments;
use vehicle_service::{VehicleService, VehicleSettings};

const README: &str = include_str!("../../../../README.md");
const SETTINGS: &str = "docs/settings.md";

/// Problems of requests that reach no route: the last resort for what has no code of its own.
const NOT_BY_A_ROUTE: [&str; 1] = ["bad_request"];

#[test]
fn the_first_command_runs_and_the_second_tests() {
    let mut blocks = README.split("```").skip(1).step_by(2);
    assert_eq!(blocks.next(), Some("sh\ncargo run\n"));
    assert_eq!(blocks.next(), Some("sh\ncargo test --workspace\n"));
}

#[test]
fn the_page_of_settings_is_what_the_commands_print() {
    let vehicle = VehicleService::sources(Arguments::default());
    let vehicle = vehicle.reference::<Settings<VehicleSettings>>();
    let insurance = InsuranceService::sources(Arguments::default());
    let insurance = insurance.reference::<Settings<InsuranceSettings>>();
    for (service, reference) in [("vehicle", vehicle), ("insurance", insurance)] {
        let told = format!("\n```toml\n{reference}```\n\n");
        assert_told(SETTINGS, &format!("{service} settings"), &told);
    }
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
    let told = format!("\n```console\n$ insurance-service check\n{page}```\n\n");
    assert_told(SETTINGS, "worst case", &told);
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
    assert_told("docs/api.md", "words", &words);
}

#[test]
fn every_code_of_a_problem_has_an_example_that_was_given() {
    let mut given = BTreeSet::new();
    for document in [
        include_str!("../../../../docs/api/vehicle.openapi.json"),
        include_str!("../../../../docs/api/insurance.openapi.json"),
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

/// What stands between these marks of a document; `UPDATE_DOCS=1` writes it.
fn assert_told(document: &str, marks: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(document);
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(&format!("<!-- {marks} -->\n")).unwrap();
    let end = format!("<!-- /{marks} -->");
    let (told, after) = rest.split_once(&end).unwrap();
    if told == expected {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "{document} is old; UPDATE_DOCS=1 writes it. Between the {marks} marks:\n{expected}"
    );
    fs::write(
        &path,
        format!("{before}<!-- {marks} -->\n{expected}{end}{after}"),
    )
    .unwrap();
}
