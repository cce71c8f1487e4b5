//! The README, the page of the API and the page of settings say what is so.

use std::{collections::BTreeSet, fmt::Write, fs, path::Path, process::Command, time::Duration};

use contracts::{Cause, EnrichmentStatus, PROBLEMS, Product, ProfileEnrichment, Source, Value};
use insurance_service::{InsuranceService, InsuranceSettings};
use service_defaults::{
    check::{self, Output},
    process::{CommandLine, EXIT_CODES},
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
fn the_commands_options_and_exit_codes_are_those_of_a_service() {
    let command = CommandLine::command_of::<VehicleService>();
    let mut table = String::from("\n| a service is told | what it does |\n| --- | --- |\n");
    let mut tell = |said: &str, meaning: String| {
        writeln!(table, "| {said} | {meaning} |").unwrap();
    };
    for command in command.get_subcommands() {
        let options = options(command).map(|(option, help)| format!("; `{option}`: {help}"));
        let about = format!(
            "{}{}",
            command.get_about().unwrap(),
            options.collect::<String>()
        );
        tell(&format!("`{}`", command.get_name()), about);
    }
    for (option, help) in options(&command) {
        tell(&format!("`{option}`"), help);
    }
    for (code, meaning) in EXIT_CODES {
        tell(&format!("exit code {code}"), meaning.to_owned());
    }
    assert_told("README.md", "commands", &format!("{table}\n"));
}

/// The options of a command, as they are written, with their help.
fn options(command: &clap::Command) -> impl Iterator<Item = (String, String)> {
    let options = command.get_arguments();
    options.filter_map(|option| {
        let names = option.get_value_names().unwrap_or_default().iter();
        let mut names = names.filter(|_| option.get_action().takes_values());
        let value = names
            .next()
            .map_or_else(String::new, |name| format!(" {name}"));
        let help = option.get_help().map(ToString::to_string);
        Some((format!("--{}{value}", option.get_long()?), help?))
    })
}

#[test]
fn the_options_and_ports_of_the_local_stack_are_those_of_its_help() {
    let output = Command::new(env!("CARGO_BIN_EXE_threadpilot"))
        .arg("--help")
        .output();
    let help = String::from_utf8(output.unwrap().stdout).unwrap();
    let usage = README
        .split("\n## ")
        .find(|it| it.starts_with("Run it"))
        .unwrap();
    let usage = usage
        .lines()
        .find(|line| line.starts_with("Options go after `--`"));
    let options = |text| words(text).filter(|it| it.starts_with("--") && it.len() > 2);
    let known: BTreeSet<_> = options(&help).collect();
    for option in options(usage.unwrap()) {
        assert!(known.contains(option), "{option}");
    }
    for option in known {
        let general = ["--help", "--version"].contains(&option);
        assert!(general || words(README).any(|it| it == option), "{option}");
    }
    let ports = |text| words(text).filter(|it| it.len() == 4 && it.parse::<u16>().is_ok());
    let known: BTreeSet<_> = ports(&help).collect();
    let addresses: Vec<_> = README.split("127.0.0.1:").skip(1).collect();
    let named = addresses.iter().filter_map(|rest| words(rest).next());
    let named: BTreeSet<_> = named.chain(ports(usage.unwrap())).collect();
    assert_eq!(named, known);
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|it: char| !it.is_ascii_alphanumeric() && it != '-')
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
