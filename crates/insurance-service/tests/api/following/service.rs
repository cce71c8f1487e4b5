use std::time::Duration;

use insurance_service::{InsuranceService, NAME};
use service_defaults::{process::Process, service::Service as _};
use settings::Arguments;
use test_support::{Api, metric, until};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use vehicle_client::FeedStart;

use super::{Pair, texts, within};
use crate::api::{
    real_vehicle::insurance_on,
    service::{PERSON, enrichments, patient, unavailable},
};

/// Waits until the readiness has this text.
pub(super) async fn until_ready_says(api: &Api, said: &str) {
    until(async || {
        let ready = api.get("/readyz").await.text();
        ready.contains(said).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_service_keeps_a_copy_and_says_how_old_it_is() {
    let pair = Pair::new().await;
    let settings = [("REPLICA__ENABLED", "true")];
    let api = insurance_on(&pair.insurance, &pair.url, &settings);
    within(async { while !pair.is_caught_up().await {} }).await;
    pair.vehicle
        .execute("update vehicle.vehicles set model = 'new'")
        .await;
    within(async { while !pair.is_caught_up().await {} }).await;
    pair.assert_equal().await;
    let pass = "{\"name\":\"replica\",\"status\":\"pass\",\"detail\":null}";
    until_ready_says(&api, pass).await;
    let metrics = api.get("/metrics").await.text();
    assert!(metric(&metrics, "feed_events_total", &[("outcome", "applied")]) > 0);
    assert_eq!(metric(&metrics, "replica_lag_events", &[]), 0);
    assert_eq!(metric(&metrics, "replica_stream_fallbacks_total", &[]), 0);
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with("replica_lag_seconds"))
    );
    let none = [("consumer", "vehicle_replica"), ("reason", "contract")];
    assert_eq!(metric(&metrics, "dead_letters_open", &none), 0);
    assert_eq!(metric(&metrics, "consumer_restarts_total", &none[..1]), 0);
    let discarded = "insert into insurance_replica.dead_letters
            (dead_letter_id, consumer, event_id, position, reason, detail, event, status,
             closed_at, closed_by)
        values (gen_random_uuid(), 'vehicle_replica', gen_random_uuid(), 1, 'unreadable', '', '',
            'discarded', now(), 'key/operator')";
    pair.insurance.execute(discarded).await;
    until_ready_says(&api, "names no car").await;
    let metrics = api.get("/metrics").await.text();
    let closed = [none[0], ("reason", "closed")];
    assert_eq!(metric(&metrics, "dead_letters_open", &closed), 1);
}

#[tokio::test]
async fn a_broker_that_is_of_no_use_is_counted_and_the_feed_is_read() {
    let pair = Pair::new().await;
    // Nobody listens there.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let broker = format!("nats://{}", socket.local_addr().unwrap());
    let settings = [
        ("REPLICA__ENABLED", "true"),
        ("REPLICA__NATS__URL", &*broker),
    ];
    let api = insurance_on(&pair.insurance, &pair.url, &settings);
    until(async || {
        let metrics = api.get("/metrics").await.text();
        let fallbacks = metric(&metrics, "replica_stream_fallbacks_total", &[]);
        (fallbacks == 1).then_some(())
    })
    .await;
    let change = "update vehicle.vehicles set model = 'new'";
    pair.vehicle.execute(change).await;
    within(async { while !pair.is_caught_up().await {} }).await;
    pair.assert_equal().await;
}

/// The copy of a Vehicle in which nothing changes is as old as the last question but one.
#[tokio::test]
async fn a_second_look_finds_that_the_copy_of_a_quiet_vehicle_lacks_a_car() {
    let pair = Pair::new().await;
    let settings = [("REPLICA__ENABLED", "true")];
    let lose = "delete from insurance_replica.vehicles where registration_number = 'ABC123'";
    let mut outcomes = Vec::new();
    // Once more where the machine had no time for a question.
    for _ in 0..3 {
        let api = insurance_on(&pair.insurance, &pair.url, &settings);
        within(async { while !pair.is_caught_up().await {} }).await;
        pair.insurance.execute(lose).await;
        let answer = api.get(&format!("/api/v1/insurances/{PERSON}")).await;
        assert_eq!(answer.status, 200);
        let outcome = until(async || {
            let metrics = api.get("/metrics").await.text();
            let is_counted = |outcome: &&str| {
                let outcome = [("outcome", *outcome)];
                metric(&metrics, "replica_comparisons_total", &outcome) > 0
            };
            let outcomes = ["only_live", "replica_behind", "equal"];
            outcomes.into_iter().find(is_counted)
        });
        outcomes.push(outcome.await);
        if outcomes.contains(&"only_live") {
            return;
        }
    }
    panic!("{outcomes:?}");
}

#[tokio::test]
async fn a_service_that_stops_lets_another_one_follow_at_once() {
    let pair = Pair::new().await;
    let settings = [("REPLICA__ENABLED", "true"), ("SERVER__DRAIN_DELAY", "0s")];
    let sources = patient(&pair.insurance, &pair.url, Arguments::default(), &settings);
    let process = Process::new(NAME, sources).unwrap();
    let assembled = InsuranceService::build(&process).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shutdown = process.shutdown().clone();
    let serving = tokio::spawn(async move { process.serve(assembled, Some(listener)).await });
    within(async { while !pair.is_caught_up().await {} }).await;
    let held = "select (leased_until > now())::text from insurance.workers
        where worker = 'vehicle_replica'";
    assert_eq!(texts(&pair.insurance, held).await, ["true"]);
    shutdown.begin();
    within(serving).await.unwrap().unwrap();
    assert_eq!(texts(&pair.insurance, held).await, ["false"]);
}

/// It holds up all that come after it, and the log is not at its end.
#[tokio::test]
async fn a_log_that_misses_an_event_says_for_how_long_it_has_placed_none() {
    let pair = Pair::new().await;
    pair.caught_up(&mut pair.consumer()).await;
    let lose = "begin;
        update vehicle_events.head set placed_at = now() - interval '1 hour';
        insert into vehicle.vehicles (registration_number) values ('NEW123');
        alter table vehicle_events.events disable trigger append_only;
        delete from vehicle_events.events where aggregate_id = 'NEW123';
        commit";
    pair.vehicle.execute(lose).await;
    until_behind(&pair).await;
}

/// Waits until Vehicle's log says that it may lack what was changed in the last hour.
async fn until_behind(pair: &Pair) {
    let (feed, start) = (pair.feed(), FeedStart::Position(1));
    let behind = async || {
        let page = feed.events(&start, 1, Duration::ZERO).await;
        page.unwrap().behind
    };
    within(async { while behind().await < Duration::from_mins(50) {} }).await;
}

/// Its log is at its end and lacks it: nobody gives events their places.
#[tokio::test]
async fn a_car_that_vehicle_has_and_its_log_has_not_is_not_denied() {
    let pair = Pair::new().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    let mut sequencer = pair.vehicle.connect().await;
    let lock = "begin; select from vehicle_events.head for update";
    sqlx::raw_sql(lock).execute(&mut sequencer).await.unwrap();
    let an_hour_ago = "insert into vehicle.vehicles (registration_number) values ('NEW123');
        alter table vehicle_events.events disable trigger append_only;
        update vehicle_events.events set occurred_at = now() - interval '1 hour'
        where aggregate_id = 'NEW123'";
    pair.vehicle.execute(an_hour_ago).await;
    let set = "update insurance_replica.consumers set caught_up_at = now() - interval '2 hours';
        insert into insurance.insurances
            (personal_identity_number, product, monthly_cost, car_registration_number)
        values ('199001011234', 'car', 30, 'NEW123')";
    pair.insurance.execute(set).await;
    until_behind(&pair).await;
    consumer.turn(&CancellationToken::new()).await.unwrap();
    let age = "extract(epoch from now() - caught_up_at) between 3600 and 4200";
    assert_eq!(pair.state(age).await, "true");
    let settings = [
        ("REPLICA__ENABLED", "true"),
        ("ENRICHMENT__STRATEGY", "replica"),
    ];
    let api = insurance_on(&pair.insurance, &pair.url, &settings);
    let answer = api.get(&format!("/api/v1/insurances/{PERSON}")).await;
    let told = enrichments(&answer);
    assert_eq!(told.last(), Some(&unavailable("replica_stale", None)));
    sqlx::raw_sql("rollback")
        .execute(&mut sequencer)
        .await
        .unwrap();
    pair.caught_up(&mut consumer).await;
    pair.assert_equal().await;
}
