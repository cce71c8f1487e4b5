//! What the user of the local stack sees.

use std::{
    error::Error,
    io::{Write, stderr, stdout},
};

use service_defaults::chain;

/// What the user can do once everything runs.
pub(crate) struct Summary<'a> {
    pub(crate) vehicle_url: &'a str,
    pub(crate) insurance_url: &'a str,
    pub(crate) key: &'a str,
    /// The key for the routes under `/api/v1/operations/` of Insurance.
    pub(crate) operations_key: &'a str,
    pub(crate) toggles: &'a str,
    pub(crate) logs: &'a str,
    /// For `curl --cacert`, with HTTPS.
    pub(crate) certificate: Option<String>,
    /// Whether somebody can type faults of Vehicle.
    pub(crate) keyboard: bool,
}

/// What can be typed.
pub(crate) const FAULTS: &str =
    "type slow, errors, down or normal, and Enter, to change what Vehicle does";

/// One step of the start.
pub(crate) fn step(what: &str) {
    print(&format!("· {what}"));
}

/// Everything runs.
pub(crate) fn summary(summary: &Summary<'_>) {
    let Summary {
        vehicle_url,
        insurance_url,
        key,
        operations_key,
        toggles,
        logs,
        certificate,
        keyboard,
    } = summary;
    let faults = if *keyboard {
        format!("  Faults       {FAULTS}\n")
    } else {
        String::new()
    };
    let curl = certificate.as_ref().map_or("curl -s".to_owned(), |path| {
        format!("curl -s --cacert '{path}'")
    });
    print(&format!(
        "
ThreadPilot runs. Ctrl-C stops everything.

  Vehicle      {vehicle_url}/swagger/
  Insurance    {insurance_url}/swagger/
  X-Api-Key    {key}
  Operations   {operations_key}
  Toggles      {toggles}
  Logs         {logs}
{faults}
Try:

  {curl} -H 'X-Api-Key: {key}' {vehicle_url}/api/v1/vehicles/ABC123
  {curl} -H 'X-Api-Key: {key}' {insurance_url}/api/v1/insurances/199001011234
  {curl} -H 'X-Api-Key: {key}' -H 'Content-Type: application/json' -d '{{\"personalIdentityNumber\":\"198505155678\"}}' {insurance_url}/api/v1/insurances/lookup
"
    ));
}

fn print(text: &str) {
    // With nobody reading there is nobody to tell.
    let _ = writeln!(stdout(), "{text}").and_then(|()| stdout().flush());
}

/// Says why nothing runs.
pub(crate) fn complain(error: &dyn Error) {
    let _ = writeln!(stderr(), "threadpilot: {}", chain(error));
}
