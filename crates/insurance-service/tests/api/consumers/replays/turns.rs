//! One replay at a time, in one process at a time.

use insurance_service::{InsuranceService, NAME};
use serde_json::json;
use service_defaults::{process::Process, service::Service as _};
use settings::Arguments;
use test_support::{Api, Gate};
use tracing_subscriber::filter::LevelFilter;

use super::{REPLAYS, code, dry_run, following, rebuild};
use crate::api::{
    capture::Capture,
    consumers::{Operator, feed},
    service::patient,
};

#[tokio::test]
async fn one_replay_runs_at_a_time_and_ends_within_its_page_when_it_is_cancelled() {
    let (capture, _guard) = Capture::start(LevelFilter::INFO);
    let gate = Gate::closed();
    let vehicle = feed::held(2_500, 1_000, &gate).await;
    let operator = following(vehicle.clone(), 2_500).await;
    let request = dry_run(&json!({ "fromPosition": 1 }));
    let replay = operator.start(&request).await;
    vehicle.reached(4).await;
    let running = operator.until(&replay, "running").await;
    assert_eq!(
        (&running["seen"], &running["position"]),
        (&json!(1000), &json!(1000))
    );
    assert!(running["estimatedEndAt"].is_string());
    for second in [&request, &rebuild()] {
        let refused = operator.post(REPLAYS, second).await;
        assert_eq!(code(&refused), (409, "replay_running".to_owned()));
        assert_eq!(refused.problem()["replayId"], running["replayId"]);
    }
    for _ in 0..2 {
        let answer = operator.cancel(&replay).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(answer.json()["status"], "cancelling");
    }
    gate.open();
    let ended = operator.until(&replay, "cancelled").await;
    assert_eq!(ended["seen"], 1000);
    assert_eq!(
        code(&operator.cancel(&replay).await),
        (409, "replay_ended".to_owned())
    );
    assert_eq!(operator.read(&replay).await, ended);
    // With the two looks of the dry run that was refused.
    assert_eq!(vehicle.calls(), 6);
    let told = ["\"target\":\"audit\"", "\"action\":\"cancel_replay\""];
    assert_eq!(capture.lines_with(&told), 2, "{}", capture.text());
    let unknown = format!("{REPLAYS}/0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11");
    assert_eq!(
        code(&operator.cancel(&unknown).await),
        (404, "replay_not_found".to_owned())
    );
    assert_eq!(
        code(&operator.get(&unknown).await),
        (404, "replay_not_found".to_owned())
    );
}

#[tokio::test]
async fn another_process_goes_on_where_one_was_and_the_first_one_is_fenced_off() {
    let (first_gate, second_gate) = (Gate::closed(), Gate::closed());
    let first = feed::held(2_500, 1_000, &first_gate).await;
    let operator = following(first.clone(), 2_500).await;
    let replay = operator
        .start(&dry_run(&json!({ "fromPosition": 1 })))
        .await;
    first.reached(4).await;
    let second = feed::held(2_500, 2_000, &second_gate).await;
    let settings = [("REPLICA__ENABLED", "true")];
    let sources = patient(
        &operator.0.database,
        &second.url(),
        Arguments::default(),
        &settings,
    );
    let process = Process::new(NAME, sources).unwrap();
    let _running = Api(InsuranceService::build(&process).unwrap().public);
    // As if the time of a lease had passed without a word of its holder.
    let pass = "update insurance.workers set leased_until = '-infinity' where worker = 'replays'";
    operator.execute(pass).await;
    // Its second page.
    second.reached(2).await;
    let pages: Vec<_> = second.requests().into_iter().map(|it| it.path).collect();
    assert!(pages[0].contains(&feed::id(1_000)), "{pages:?}");
    first_gate.open();
    operator.counts("replays_running", &[], 0).await;
    assert_eq!(first.calls(), 4, "the first one went on");
    assert_eq!(operator.read(&replay).await["seen"], 2000);
    second_gate.open();
    let done = operator.until(&replay, "completed").await;
    assert_eq!(
        done["outcomes"],
        json!([{ "outcome": "equal", "count": 2500 }])
    );
}

#[tokio::test]
async fn a_dry_run_is_cancelled_while_the_consumer_is_at_a_page() {
    let gate = Gate::closed();
    let operator = following(feed::held(2_500, 1_000, &gate).await, 2_500).await;
    let request = dry_run(&json!({ "fromPosition": 1 }));
    let replay = operator.start(&request).await;
    operator.until(&replay, "running").await;
    let mut consumer = operator.0.database.connect().await;
    let page = "begin; select from insurance_replica.consumers for update";
    sqlx::raw_sql(page).execute(&mut consumer).await.unwrap();
    let answer = operator.cancel(&replay).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    gate.open();
    operator.until(&replay, "cancelled").await;
}

#[tokio::test]
async fn a_process_without_a_copy_starts_no_replay_and_ends_one_that_has_not_begun() {
    let operator = Operator::new().await;
    let refused = operator.post(REPLAYS, &rebuild()).await;
    assert_eq!(code(&refused), (409, "replica_off".to_owned()));
    let id = "0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11";
    let pending = format!(
        "insert into insurance_replica.replays
             (replay_id, consumer, mode, from_position, until_position, requested_by, reason)
         values ('{id}', 'vehicle_replica', 'dry_run', 1, 2, 'k', 'r')"
    );
    operator.execute(&pending).await;
    let answer = operator.cancel(&format!("{REPLAYS}/{id}")).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["status"]),
        (202, &json!("cancelled"))
    );
}
