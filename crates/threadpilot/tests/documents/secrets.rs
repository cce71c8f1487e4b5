//! `init.sh`, its template and the services agree on what a secret is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use insurance_service::{InsuranceService, InsuranceSettings};
use service_defaults::{service::Service as _, settings::Settings};
use settings::{Arguments, SettingsError};
use tempfile::TempDir;
use vehicle_service::{VehicleService, VehicleSettings};

const NO_VARIABLES: [(&str, &str); 0] = [];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn arguments(secrets: PathBuf) -> Arguments {
    Arguments {
        config: None,
        secrets: Some(secrets),
    }
}

fn vehicle(secrets: PathBuf) -> Result<Settings<VehicleSettings>, SettingsError> {
    VehicleService::sources(arguments(secrets))
        .with_environment(NO_VARIABLES)
        .load()
}

fn insurance(secrets: PathBuf) -> Result<Settings<InsuranceSettings>, SettingsError> {
    InsuranceService::sources(arguments(secrets))
        .with_environment(NO_VARIABLES)
        .load()
}

#[test]
fn both_services_refuse_the_template_and_name_every_placeholder() {
    let template = workspace().join("secrets.local.json.template");
    let refusal = vehicle(template.clone()).unwrap_err().to_string();
    for setting in [
        "api_keys.core_system.key",
        "api_keys.insurance_service.key",
        "database.password",
        "database.migration_password",
    ] {
        assert!(
            refusal.contains(&format!("{setting}: still holds")),
            "{refusal}"
        );
    }
    let refusal = insurance(template).unwrap_err().to_string();
    for setting in [
        "api_keys.core_system.key",
        "api_keys.operations.key",
        "vehicle_client.api_key",
        "database.password",
    ] {
        assert!(
            refusal.contains(&format!("{setting}: still holds")),
            "{refusal}"
        );
    }
}

#[test]
fn both_services_take_what_init_makes() {
    let copy = initialised();
    let secrets = copy.path().join("secrets.local.json");
    let vehicle = vehicle(secrets.clone()).unwrap();
    let insurance = insurance(secrets).unwrap();
    assert_eq!(vehicle.common.api_keys.len(), 2);
    assert_eq!(insurance.common.api_keys.len(), 2);
    assert_ne!(
        vehicle.service.database.password.expose(),
        insurance.service.database.password.expose()
    );
}

fn initialised() -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["init.sh", "secrets.local.json.template"] {
        fs::copy(workspace().join(file), copy.path().join(file)).unwrap();
    }
    let status = Command::new("sh")
        .arg(copy.path().join("init.sh"))
        .status()
        .unwrap();
    assert!(status.success());
    copy
}
