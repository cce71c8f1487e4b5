use std::{fs, os::unix::fs::symlink, time::Duration};

use axum::{
    body::Body,
    http::{Request, StatusCode},
    routing::get,
};
use service_defaults::{
    process::Process,
    scope::Scope,
    surface::{Routes, Surface},
};
use test_support::Api;
use tokio::time::{Instant, sleep};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::support::{Place, Sample};

const OLD: &str = "old-key-0123456789abc";
const NEW: &str = "new-key-0123456789abc";

fn word(word: &str) -> String {
    format!("[sample]\nword = \"{word}\"\n")
}

fn keys(keys: &[(&str, &str)]) -> String {
    let tables: Vec<_> = keys
        .iter()
        .map(|(id, key)| format!("[api_keys.{id}]\nkey = \"{key}\"\n"))
        .collect();
    tables.concat()
}

/// A service that follows its files. The clock is paused, so that waiting takes no time.
struct Service {
    process: Process<Sample>,
    api: Api,
}

impl Service {
    fn follow(place: &Place) -> Self {
        let process = Process::<Sample>::new("sample", place.sources()).unwrap();
        let own = OpenApiRouter::new().route("/own", get(async || "own"));
        let operations = OpenApiRouter::new().route("/operations", get(async || "own"));
        let routes = Routes::new(OpenApi::default())
            .with(Surface::keyed(&[Scope::Read, Scope::Api]), own)
            .with(
                Surface::keyed(&[Scope::Admin, Scope::Operations]),
                operations,
            );
        let api = Api(process.assemble(routes, &process.readiness()).public);
        tokio::spawn(process.follow_settings());
        Self { process, api }
    }

    fn word(&self) -> String {
        self.process.settings().service.sample.word.clone()
    }

    /// Waits for as long as a change may take at most.
    async fn settle(&self) {
        sleep(Duration::from_millis(1_999)).await;
    }

    async fn status(&self, path: &str, key: &str) -> StatusCode {
        let request = Request::builder().uri(path).header("x-api-key", key);
        self.api
            .send(request.body(Body::empty()).unwrap())
            .await
            .status
    }

    async fn metrics(&self) -> String {
        self.api.get("/metrics").await.text()
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_change_is_in_force_within_two_seconds() {
    let place = Place::new().with_config(&word("before"));
    let service = Service::follow(&place);
    service.settle().await;
    assert_eq!(service.word(), "before");
    place.write("config.toml", &word("after"));
    let changed = Instant::now();
    while service.word() == "before" {
        sleep(Duration::from_millis(10)).await;
        assert!(changed.elapsed() < Duration::from_secs(2));
    }
    assert_eq!(service.word(), "after");
    let metrics = service.metrics().await;
    assert!(
        metrics.contains("settings_reloads_total{result=\"success\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("settings_last_reload_successful 1"),
        "{metrics}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_is_started_again_goes_on_from_where_it_was() {
    let place = Place::new().with_config(&word("before"));
    let service = Service::follow(&place);
    for (text, reloads) in [(word("after"), [1, 0]), ("[sevrer]".to_owned(), [1, 1])] {
        place.write("config.toml", &text);
        service.settle().await;
        let again = tokio::spawn(service.process.follow_settings());
        service.settle().await;
        again.abort();
        let metrics = service.metrics().await;
        for (result, reloads) in ["success", "failure"].into_iter().zip(reloads) {
            let told = format!("settings_reloads_total{{result=\"{result}\"}} {reloads}");
            assert!(metrics.contains(&told), "{metrics}");
        }
        let good = format!("settings_last_reload_successful {}", 1 - reloads[1]);
        assert!(metrics.contains(&good), "{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_between_the_start_and_the_first_look_is_seen() {
    let place = Place::new().with_config(&word("before"));
    let process = Process::<Sample>::new("sample", place.sources()).unwrap();
    place.write("config.toml", &word("after"));
    tokio::spawn(process.follow_settings());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(process.settings().service.sample.word, "after");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_used_leaves_the_last_good_settings_and_says_so() {
    for (text, reason) in [
        (Some("[sample\nword = "), "config.toml"),
        (Some(""), "is empty"),
        (Some("[sample]\nwrod = \"x\""), "wrod"),
        (Some("[server]\nport = 99999"), "server.port"),
        (None, "No such file"),
    ] {
        let place = Place::new().with_config(&word("good"));
        let service = Service::follow(&place);
        service.settle().await;
        match text {
            Some(text) => place.write("config.toml", text),
            None => fs::remove_file(place.path("config.toml")).unwrap(),
        }
        service.settle().await;
        assert_eq!(service.word(), "good");
        let error = service.process.live().last_error().unwrap();
        assert!(error.contains(reason), "{error}");
        let metrics = service.metrics().await;
        assert!(
            metrics.contains("settings_reloads_total{result=\"failure\"} 1"),
            "{metrics}"
        );
        assert!(
            metrics.contains("settings_last_reload_successful 0"),
            "{metrics}"
        );
        let ready = service.api.get("/readyz").await;
        assert_eq!(ready.status, StatusCode::OK);
        assert_eq!(ready.json()["checks"][0]["status"], "warn");
        assert!(!ready.text().contains(reason), "{}", ready.text());

        place.write("config.toml", &word("mended"));
        service.settle().await;
        assert_eq!(service.word(), "mended");
        assert_eq!(service.process.live().last_error(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_takes_effect_only_at_a_start_is_named_until_then() {
    let place = Place::new().with_config(&word("before"));
    let service = Service::follow(&place);
    service.settle().await;
    place.write(
        "config.toml",
        "[sample]\nword = \"after\"\n[limits]\nmax_requests_in_progress = 512\n[swagger]\nenabled = false\n",
    );
    service.settle().await;
    assert_eq!(service.word(), "after");
    assert_eq!(
        service.process.live().awaiting_restart(),
        ["limits", "swagger"]
    );
    let ready = service.api.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK);
    let check = &ready.json()["checks"][0];
    assert_eq!(check["status"], "warn");
    assert_eq!(check["detail"], "a restart is needed for limits, swagger");

    place.write("config.toml", &word("again"));
    service.settle().await;
    assert_eq!(service.process.live().awaiting_restart(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_table_may_be_live_in_part() {
    let place = Place::new().with_config(&word("before"));
    let service = Service::follow(&place);
    service.settle().await;
    place.write("config.toml", "mixed = { now = \"after\" }\n");
    service.settle().await;
    assert_eq!(service.process.live().awaiting_restart(), [""; 0]);
    place.write(
        "config.toml",
        "mixed = { now = \"again\", later = \"after\" }\n",
    );
    service.settle().await;
    let mixed = &service.process.settings().service.mixed;
    assert_eq!([&*mixed.now, &*mixed.later], ["again", "default"]);
    assert_eq!(service.process.live().awaiting_restart(), ["mixed"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_left_until_it_is_whole() {
    let place = Place::new().with_config(&word("before"));
    let service = Service::follow(&place);
    service.settle().await;
    for part in ["", "[sample]\n", "[sample]\nword = \"af"] {
        place.write("config.toml", part);
        // Less than between two looks, so that no two see the same part.
        sleep(Duration::from_millis(400)).await;
        assert_eq!(service.word(), "before");
    }
    place.write("config.toml", &word("after"));
    service.settle().await;
    assert_eq!(service.word(), "after");
    let metrics = service.metrics().await;
    assert!(
        metrics.contains("settings_reloads_total{result=\"failure\"} 0"),
        "{metrics}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_config_map_that_kubernetes_swaps_is_seen() {
    let place = Place::new();
    for version in ["v1", "v2"] {
        fs::create_dir(place.path(version)).unwrap();
        place.write(&format!("{version}/config.toml"), &word(version));
    }
    symlink("v1", place.path("..data")).unwrap();
    let file = place.path("config.toml");
    symlink("..data/config.toml", &file).unwrap();
    let place = place.with_config_at(&file);
    let service = Service::follow(&place);
    service.settle().await;
    assert_eq!(service.word(), "v1");
    symlink("v2", place.path("..data_tmp")).unwrap();
    fs::rename(place.path("..data_tmp"), place.path("..data")).unwrap();
    service.settle().await;
    assert_eq!(service.word(), "v2");
}

#[tokio::test(start_paused = true)]
async fn keys_are_rotated_with_an_overlap_and_without_a_restart() {
    let place = Place::new().with_config(&keys(&[("a", OLD)]));
    let service = Service::follow(&place);
    let mut seen = Vec::new();
    for content in [&[("a", OLD)][..], &[("a", OLD), ("b", NEW)], &[("b", NEW)]] {
        place.write("config.toml", &keys(content));
        service.settle().await;
        let old = service.status("/own", OLD).await == StatusCode::OK;
        let new = service.status("/own", NEW).await == StatusCode::OK;
        seen.push((old, new));
    }
    assert_eq!(seen, [(true, false), (true, true), (false, true)]);
}

#[tokio::test(start_paused = true)]
async fn the_scopes_of_a_key_change_without_a_restart() {
    let scoped = |scopes: &str| format!("{}scopes = {scopes}\n", keys(&[("a", OLD)]));
    let place = Place::new().with_config(&scoped("\"api\""));
    let service = Service::follow(&place);
    let mut seen = Vec::new();
    for scopes in ["[\"operations\"]", "[\"api\", \"operations\"]", "[]"] {
        place.write("config.toml", &scoped(scopes));
        service.settle().await;
        let own = service.status("/own", OLD).await;
        let operations = service.status("/operations", OLD).await;
        seen.push([own, operations].map(|status| status.as_u16()));
    }
    // A key that opens nothing is refused, and the last good scopes stay.
    assert_eq!(seen, [[403, 200], [200, 200], [200, 200]]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_revokes_no_key() {
    let place = Place::new().without_key().with_config(&keys(&[("a", OLD)]));
    let service = Service::follow(&place);
    for text in ["", "[api_keys]", "[api_keys.a]\nkey = \"short\""] {
        place.write("config.toml", text);
        service.settle().await;
        assert_eq!(service.status("/own", OLD).await, StatusCode::OK, "{text}");
    }
}

/// What `/metrics` says that the longest pause and the longest request are, in seconds.
async fn worst_case(service: &Service) -> [String; 2] {
    let metrics = service.metrics().await;
    ["longest_pause", "longest_request"].map(|figure| {
        let name = format!("settings_worst_case_duration_seconds{{figure=\"{figure}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{metrics}")).to_owned()
    })
}

#[tokio::test(start_paused = true)]
async fn the_worst_case_on_show_is_that_of_the_settings_in_force() {
    let config = |pause: &str, deadline: &str| {
        format!("[sample]\npause = \"{pause}\"\n[server]\nrequest_deadline = \"{deadline}\"\n")
    };
    let place = Place::new().with_config(&config("1s", "10s"));
    let service = Service::follow(&place);
    assert_eq!(worst_case(&service).await, ["1", "10"]);
    // The one is live, the other waits for a restart, and neither is taken from a refused file.
    for (pause, deadline, shown) in [("2s", "10s", "2"), ("3s", "9s", "3"), ("2m", "9s", "3")] {
        place.write("config.toml", &config(pause, deadline));
        service.settle().await;
        assert_eq!(worst_case(&service).await, [shown, "10"]);
        let in_force = service.process.settings();
        assert_eq!(in_force.common.server.request_deadline.as_secs(), 10);
    }
}
