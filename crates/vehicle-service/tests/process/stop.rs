use std::fs;

use rustix::process::Signal;
use test_support::TestDatabase;
use tokio::net::unix::pipe::Sender;
use vehicle_service::{NAME, SCHEMA};

use super::{
    binary::{Serving, command},
    caller::{Caller, within},
    fifo::Fifo,
};

const GIVEN_UP: &str = "settings not reloaded; the last good ones stay";

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
    serving.signal(Signal::TERM);
    let (code, log) = serving.end().await;
    assert_eq!(code, Some(0));
    // It ended before the file was given up, 5 s after its reading began.
    assert!(!log.join("\n").contains(GIVEN_UP), "{log:?}");
}

#[tokio::test]
async fn a_certificate_that_stalls_does_not_end_the_following_of_settings() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let (mut serving, fifo, _writer) = with_a_stalled_certificate(&database).await;
    serving.until_line(GIVEN_UP).await;
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
