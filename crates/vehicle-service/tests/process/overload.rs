use rustix::process::Signal;
use test_support::{Remote, TestDatabase};
use tokio::task::JoinSet;
use vehicle_service::{NAME, SCHEMA};

use super::{
    binary::Serving,
    caller::{Caller, within},
};

const PATH: &str = "/api/v1/vehicles/ABC123";
const TABLE: &str = "vehicle.vehicles";
const OTHER_KEY: &str = "other-key-0123456789";

#[tokio::test]
async fn a_noisy_key_is_slowed_down_and_no_other() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let settings = [
        ("RATE_LIMIT__REQUESTS_PER_SECOND", "3"),
        ("API_KEYS__OTHER__KEY", OTHER_KEY),
    ];
    let serving = Serving::start(&database, &settings).await;
    let at = Remote(serving.address);
    let answers = at.flood(PATH, 100).await;
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    // Three at once, and three more for each second that the flood takes.
    assert!((3..90).contains(&served.len()), "{}", served.len());
    for answer in refused {
        assert_eq!(answer.status, 429);
        assert_eq!(answer.problem()["code"], "rate_limited");
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.header("ratelimit"), "\"per-key\";r=0;t=1");
        assert_eq!(answer.header("ratelimit-policy"), "\"per-key\";q=3;w=1");
    }
    let other = at.get_as(OTHER_KEY, PATH).await;
    assert_eq!(other.status, 200);
    assert_eq!(other.header("ratelimit"), "\"per-key\";r=2;t=1");
}

/// A burst, as the default settings promise to take it.
const BURST: usize = 600;

#[tokio::test]
async fn a_burst_waits_in_the_listen_queue() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let serving = Serving::start(&database, &[]).await;
    // It accepts nobody, so that whatever has no room in the queue never gets a connection.
    serving.signal(Signal::STOP);
    let address = serving.address;
    let callers: JoinSet<_> = (0..BURST)
        .map(|_| async move { Caller::connect(address).await })
        .collect();
    let mut callers = within(callers.join_all()).await;
    serving.signal(Signal::CONT);
    for caller in &mut callers {
        let (head, _) = caller.get("/healthz").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
    }
}

#[tokio::test]
async fn a_soft_limit_on_open_files_is_raised_for_the_connections_of_the_settings() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let serving = Serving::start_with_open_files("-S", 100, &database).await;
    let mut callers = Vec::new();
    for _ in 0..BURST {
        let mut caller = Caller::connect(serving.address).await;
        let (head, _) = caller.get("/healthz").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        callers.push(caller);
    }
}

#[tokio::test]
async fn a_hard_limit_on_open_files_bounds_the_connections() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let mut serving = Serving::start_with_open_files("", 400, &database).await;
    let warning = serving
        .log
        .iter()
        .find(|line| line.contains("limit on open files"));
    assert!(
        warning.is_some_and(|line| line.contains("\"connections\":200")),
        "{:?}",
        serving.log
    );
    let mut callers = Vec::new();
    for _ in 0..250 {
        callers.push(Caller::connect(serving.address).await);
    }
    // The others wait in the queue until there is room.
    for mut caller in callers {
        let (head, _) = caller.get("/readyz").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
    }
    serving.signal(Signal::TERM);
    assert_eq!(serving.code().await, Some(0));
    let (_, log) = serving.end().await;
    assert!(
        !log.join("\n").contains("no connection accepted"),
        "{log:?}"
    );
}

#[tokio::test]
async fn a_caller_who_hangs_up_ends_its_statement() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let settings = [
        ("DATABASE__STATEMENT_TIMEOUT", "60s"),
        ("SERVER__REQUEST_DEADLINE", "2m"),
    ];
    let serving = Serving::start(&database, &settings).await;
    let at = Remote(serving.address);
    let mut lock = database.lock(TABLE).await;
    let request = tokio::spawn(async move { at.get(PATH).await });
    lock.queued(1).await;
    request.abort();
    lock.queued(0).await;
}
