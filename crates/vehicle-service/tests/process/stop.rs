use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use test_support::TestDatabase;
use tokio::{net::unix::pipe::Sender, sync::watch, task::JoinSet};
use vehicle_service::{NAME, SCHEMA};

use crate::{
    binary::{Serving, command},
    caller::{Caller, within},
    fifo::Fifo,
};

const PATH: &str = "/api/v1/vehicles/ABC123";

/// Asks over one connection until told to go elsewhere: how many requests there were.
async fn ask(mut caller: Caller, begun: watch::Sender<u32>) -> u32 {
    for count in 1.. {
        let (head, _) = caller.get(PATH).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        if count == 1 {
            begun.send_modify(|callers| *callers += 1);
        }
        if head.contains("connection: close") {
            return count;
        }
    }
    unreachable!()
}

#[tokio::test]
async fn a_stop_under_load_fails_no_request() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let serving = Serving::start(&database, &[("SERVER__DRAIN_DELAY", "2s")]).await;
    let (begun, mut callers) = watch::channel(0);
    let mut asking = JoinSet::new();
    for _ in 0..4 {
        let caller = Caller::connect(serving.address).await;
        asking.spawn(ask(caller, begun.clone()));
    }
    within(callers.wait_for(|callers| *callers == 4))
        .await
        .unwrap();
    serving.signal(Signal::TERM);
    let (counts, (code, log)) = tokio::join!(within(asking.join_all()), serving.end());
    assert!(counts.iter().all(|count| *count > 1), "{counts:?}");
    assert_eq!(code, Some(0));
    let ended = log
        .iter()
        .filter(|line| line.contains("\"request ended\""))
        .count();
    assert_eq!(
        ended,
        counts.iter().map(|count| *count as usize).sum::<usize>()
    );
    assert!(log.last().unwrap().contains("\"stopped\""), "{log:?}");
    for line in &log {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_ok(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn either_signal_begins_the_stop() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    for signal in [Signal::TERM, Signal::INT] {
        let serving = Serving::start(&database, &[("SERVER__DRAIN_DELAY", "0s")]).await;
        serving.signal(signal);
        assert_eq!(serving.end().await.0, Some(0));
    }
}

/// A service whose settings have come to name a certificate on a file system that stalls.
async fn with_a_stalled_certificate(database: &TestDatabase) -> (Serving, Fifo, Sender) {
    let fifo = Fifo::new();
    let config = fifo.beside("vehicle.toml");
    fs::write(&config, "[log]\nfilter = \"info\"").unwrap();
    let settings = [("SERVER__PORT", "0"), ("SERVER__DRAIN_DELAY", "0s")];
    let serve = command(&["serve", "--config", &config], &settings);
    let serving = Serving::spawn(serve, database).await;

    let certificate = format!("{0:?}\ntls_private_key = {0:?}", fifo.path());
    fs::write(
        &config,
        format!("[server]\ntls_certificate = {certificate}"),
    )
    .unwrap();
    let writer = within(fifo.reader()).await;
    (serving, fifo, writer)
}

#[tokio::test]
async fn a_file_that_stalls_delays_no_stop() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let (serving, _fifo, _writer) = with_a_stalled_certificate(&database).await;
    let told = Instant::now();
    serving.signal(Signal::TERM);
    let (code, _) = serving.end().await;
    assert_eq!(code, Some(0));
    // The file is given up 5 s after its reading began.
    let waited = told.elapsed();
    assert!(waited < Duration::from_secs(4), "{waited:?}");
}

#[tokio::test]
async fn a_certificate_that_stalls_does_not_end_the_following_of_settings() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let (mut serving, fifo, _writer) = with_a_stalled_certificate(&database).await;
    serving
        .until_line("settings not reloaded; the last good ones stay")
        .await;
    fs::write(fifo.beside("vehicle.toml"), "[log]\nfilter = \"info\"").unwrap();
    serving.until_line("settings reloaded").await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let mut serving = Serving::start(&database, &[("SERVER__DRAIN_DELAY", "5m")]).await;
    serving.signal(Signal::TERM);
    serving
        .until_line("stopping; a second signal ends at once")
        .await;
    let mut caller = Caller::connect(serving.address).await;
    let (head, _) = caller.get("/readyz").await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    serving.signal(Signal::TERM);
    let (code, log) = serving.end().await;
    assert_eq!(code, Some(1));
    assert!(log.last().unwrap().contains("ended at once"), "{log:?}");
}
