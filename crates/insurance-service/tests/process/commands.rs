use insurance_service::{NAME, SCHEMA};
use sqlx::migrate::Migrator;
use test_support::{Binary, FakeVehicle, TestDatabase};

use super::binary::binary;

const PERSON: &str = "/api/v1/insurances/199001011234";

#[tokio::test]
async fn check_and_serve_refuse_bad_settings_with_78_and_their_names() {
    let vehicle = FakeVehicle::healthy().await;
    let database = TestDatabase::empty(NAME).await;
    for (setting, value, named) in [
        (
            "VEHICLE_CLIENT__MAX_BATCH_SIZE",
            "501",
            "vehicle_client.max_batch_size",
        ),
        ("VEHICLE_CLIENT__BATCH_SIZE", "50", "batch_size"),
    ] {
        let binary = binary(&database, &vehicle).with(setting, value);
        for command in ["check", "serve", "migrate"] {
            let output = binary.run(command).await;
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(78), "{command} {setting}");
            assert!(said.contains(named), "{command}: {said}");
        }
    }
}

#[tokio::test]
async fn migrate_and_seed_make_an_empty_database_ready() {
    let vehicle = FakeVehicle::healthy().await;
    let binary = binary(&TestDatabase::empty(NAME).await, &vehicle);
    let running = binary.serve().await;
    assert_eq!(running.at.get("/healthz").await.status, 200);
    assert_eq!(running.at.get("/readyz").await.status, 503);
    let seed = binary.run("seed").await;
    assert_eq!(seed.status.code(), Some(1), "there is no table to seed yet");
    // Both may run again.
    for command in ["migrate", "migrate", "seed", "seed"] {
        let output = binary.run(command).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{command}: {said}");
        // Nothing but what was done.
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // A readiness report may be as old as its reuse allows.
    while running.at.get("/readyz").await.status != 200 {
        tokio::task::yield_now().await;
    }
    for (command, found) in [
        ("verify-log", "the log is whole"),
        ("verify-state", " 0 differ from what their events say"),
    ] {
        let output = binary.run(command).await;
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{command}: {said}");
        assert!(said.contains(found), "{command}: {said}");
    }
    let profile = running.at.get(PERSON).await.json();
    assert_eq!(profile["enrichment"], "complete");
    assert_eq!(profile["totalMonthlyCost"], 40.0);
    let ended = running.stop().await.unwrap();
    assert_eq!(ended.code, Some(0));
}

/// Applies the steps up to this one.
async fn migrate_to(database: &TestDatabase, newest: i64) {
    let steps = SCHEMA.migrator.iter().filter(|it| it.version <= newest);
    let mut migrator = Migrator::with_migrations(steps.cloned().collect());
    migrator.dangerous_set_table_name("insurance._sqlx_migrations");
    migrator.create_schema("insurance");
    let mut owner = database.connect_as("insurance_migrator").await;
    migrator.run(&mut owner).await.unwrap();
}

/// What a dry run of `migrate` says.
async fn dry_run(binary: &Binary) -> String {
    let output = binary.run_with(&["migrate", "--dry-run"]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    said
}

#[tokio::test]
async fn a_dry_run_names_the_policies_that_overlap_and_changes_nothing() {
    let vehicle = FakeVehicle::healthy().await;
    let database = TestDatabase::empty(NAME).await;
    let binary = binary(&database, &vehicle);
    let newest = SCHEMA.migrator.iter().map(|step| step.version).max();
    let newest = newest.unwrap();
    let said = dry_run(&binary).await;
    assert_eq!(said, format!("migrate applies the steps 1 to {newest}\n"));
    // As before policies could change.
    migrate_to(&database, 2).await;
    let none = "no policy covers a car on days that another one covers\n";
    let said = dry_run(&binary).await;
    assert_eq!(
        said,
        format!("migrate applies the steps 3 to {newest}\n{none}")
    );
    database
        .execute(
            "insert into insurance.products values ('car', 30), ('pet', 10);
             insert into insurance.insurances
                 (insurance_id, personal_identity_number, product, monthly_cost,
                  car_registration_number)
             values (5, '190001010000', 'car', 30, 'ABC123'),
                 (9, '190001010000', 'car', 30, 'DEF456'),
                 (7, '190001010000', 'car', 30, 'ABC123'), (8, '190001010000', 'pet', 10, null),
                 (6, '190001010000', 'pet', 10, null), (4, '190001010000', 'car', 30, 'DEF456'),
                 (3, '190001010000', 'car', 30, 'DEF456'), (2, '190001010000', 'car', 30, 'JKL012')",
        )
        .await;
    let named = "marked: 4, 7, 9\n";
    for _ in 0..2 {
        let said = dry_run(&binary).await;
        assert!(said.starts_with("migrate applies the steps 3 to"), "{said}");
        assert!(said.ends_with(named), "{said}");
    }
    // Half-way through the import, with policies that came meanwhile: one whose days are others.
    migrate_to(&database, 3).await;
    database
        .execute(
            "insert into insurance.insurances
                 (insurance_id, personal_identity_number, product, monthly_cost,
                  car_registration_number, status, valid_from, valid_until)
             values (10, '190001010000', 'car', 30, 'JKL012', 'expired', '2019-01-01', '2020-01-01'),
                 (11, '190001010000', 'car', 30, 'MNO345', 'draft', '2020-01-01', null),
                 (1, '190001010000', 'car', 30, 'PQR678', 'active', '2020-01-01', null);
             select insurance.import_policy(policy) from insurance.insurances policy
                 where insurance_id in (2, 3)",
        )
        .await;
    let said = dry_run(&binary).await;
    assert!(said.starts_with("migrate applies the steps 4 to"), "{said}");
    assert!(said.ends_with(named), "{said}");
    let output = binary.run("migrate").await;
    assert_eq!(output.status.code(), Some(0));
    let said = dry_run(&binary).await;
    assert!(said.starts_with("schema is up to date"), "{said}");
    // What was said is what became of them.
    assert!(said.ends_with(named), "{said}");
}
