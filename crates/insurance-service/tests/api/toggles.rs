//! Toggles in the settings file, switched while the service runs.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use service_defaults::settings::Arguments;
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;
use test_support::FakeVehicle;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::service::{PERSON, Service};

/// A service that follows its settings file.
struct Followed {
    service: Service,
    folder: TempDir,
    follower: JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

fn toggles(enrichment: bool, batch: bool) -> String {
    format!(
        "[feature_toggles]\nenable_vehicle_enrichment = {enrichment}\n\
         enable_batch_vehicle_call = {batch}\n"
    )
}

impl Followed {
    async fn start(contents: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("insurance.toml");
        fs::write(&path, contents).unwrap();
        let arguments = Arguments {
            config: Some(path),
            ..Arguments::default()
        };
        let service = Service::from_files(FakeVehicle::healthy().await, arguments, &[]).await;
        let follower = tokio::spawn(service.process.follow_settings());
        // It has looked at the file before it is changed.
        tokio::task::yield_now().await;
        Self {
            service,
            folder,
            follower,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("insurance.toml")
    }

    async fn enrichment(&self) -> Value {
        self.service.look_up(PERSON).await.json()["enrichment"].clone()
    }

    /// Waits until the running service has taken or refused the newest contents.
    async fn until(&self, reached: impl Fn(&Service) -> bool) {
        let taken = async {
            while !reached(&self.service) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_mins(1), taken)
            .await
            .expect("the new contents are looked at");
    }
}

fn toggled(enrichment: bool, batch: bool) -> impl Fn(&Service) -> bool {
    move |service| {
        let toggles = service.process.settings().service.feature_toggles;
        (
            toggles.enable_vehicle_enrichment,
            toggles.enable_batch_vehicle_call,
        ) == (enrichment, batch)
    }
}

/// Puts a file in the place of another in one step, as careful tools do.
fn replace(path: &Path, contents: &str) {
    let new = path.with_extension("new");
    fs::write(&new, contents).unwrap();
    fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn a_toggle_takes_effect_without_a_restart() {
    let followed = Followed::start(&toggles(true, false)).await;
    assert_eq!(followed.enrichment().await, "complete");
    replace(&followed.path(), &toggles(false, false));
    followed.until(toggled(false, false)).await;
    assert_eq!(followed.enrichment().await, "disabled");
    assert_eq!(followed.service.vehicle.calls(), 1);
    replace(&followed.path(), &toggles(true, true));
    followed.until(toggled(true, true)).await;
    assert_eq!(followed.enrichment().await, "complete");
    let methods: Vec<_> = followed
        .service
        .vehicle
        .requests()
        .into_iter()
        .map(|it| it.method)
        .collect();
    assert_eq!(methods, ["GET", "POST"]);
}

#[tokio::test]
async fn a_swapped_symbolic_link_counts_as_a_change() {
    let followed = Followed::start(&toggles(true, false)).await;
    let folder = followed.folder.path();
    fs::write(folder.join("v2"), toggles(false, false)).unwrap();
    std::os::unix::fs::symlink("v2", folder.join("link")).unwrap();
    fs::rename(folder.join("link"), followed.path()).unwrap();
    followed.until(toggled(false, false)).await;
    assert_eq!(followed.enrichment().await, "disabled");
}

#[tokio::test]
async fn a_request_keeps_the_toggles_that_it_came_with() {
    let followed = Followed::start(&toggles(false, true)).await;
    let service = &followed.service;
    let mut locker = service.database.connect().await;
    let mut lock = locker.begin().await.unwrap();
    sqlx::raw_sql("lock table insurance.insurances in access exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let api = service.api.clone();
    let held = tokio::spawn(async move { api.get("/api/v1/insurances/199001011234").await });
    blocked_backend(&service.database).await;
    replace(&followed.path(), &toggles(true, false));
    followed.until(toggled(true, false)).await;
    lock.rollback().await.unwrap();
    let answer = held.await.unwrap();
    assert_eq!(answer.json()["enrichment"], "disabled");
    assert_eq!(service.vehicle.calls(), 0);
    assert_eq!(followed.enrichment().await, "complete");
}

/// Waits until a connection waits for a lock in this test's database.
async fn blocked_backend(database: &test_support::TestDatabase) {
    let mut connection = database.connect().await;
    let waiting = "select count(*) from pg_locks where not granted and database =
                   (select oid from pg_database where datname = current_database())";
    loop {
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(waiting))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        if count > 0 {
            return;
        }
    }
}

#[tokio::test]
async fn a_broken_file_keeps_the_last_good_toggles_and_says_so() {
    for broken in [
        "[feature_toggles\n",
        "",
        "[feature_toggles]\nenable_vehicle_enrichment = \"perhaps\"\n",
        "[feature_toggles]\nenable_vehicle_enrichmnt = true\n",
        "[vehicle_client]\nmax_batch_size = 501\n",
    ] {
        let followed = Followed::start(&toggles(false, false)).await;
        replace(&followed.path(), broken);
        followed
            .until(|service| service.process.live().last_error().is_some())
            .await;
        assert_eq!(followed.enrichment().await, "disabled", "{broken}");
        let answer = followed.service.api.get("/readyz").await;
        assert_eq!(answer.status, 200);
        let check = &answer.json()["checks"][0];
        assert_eq!(check["name"], "settings");
        assert_eq!(check["status"], "warn");
        let good = "settings_last_reload_successful";
        assert_eq!(followed.service.metric(good, &[]).await, 0);
        replace(&followed.path(), &toggles(true, false));
        followed.until(toggled(true, false)).await;
        assert_eq!(followed.enrichment().await, "complete");
        assert_eq!(followed.service.metric(good, &[]).await, 1);
    }
}

#[tokio::test]
async fn a_deleted_file_keeps_the_last_good_toggles_and_says_so() {
    let followed = Followed::start(&toggles(false, false)).await;
    fs::remove_file(followed.path()).unwrap();
    followed
        .until(|service| service.process.live().last_error().is_some())
        .await;
    assert_eq!(followed.enrichment().await, "disabled");
}
