use insurance_service::{NAME, SCHEMA};
use test_support::{FakeVehicle, Gate, Reply, TestDatabase, metric};
use tokio::task::JoinSet;

use super::binary::binary;

const PATH: &str = "/api/v1/insurances/199001011234";
const LOOKUP: &str = "/api/v1/insurances/lookup";

#[tokio::test]
async fn a_flood_is_refused_in_one_line_a_second_and_costs_those_in_progress_nothing() {
    let gate = Gate::closed();
    let held = gate.clone();
    let vehicle = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let database = TestDatabase::new(NAME, SCHEMA).await;
    // Four people with a car each, so that no request shares another one's call.
    database
        .execute(
            "insert into insurance.insurances
                 (personal_identity_number, product, monthly_cost, car_registration_number)
             select '20000101000' || n, 'car', 30, 'FLD00' || n from generate_series(1, 4) as n",
        )
        .await;
    let running = binary(&database, &vehicle)
        .with("LIMITS__MAX_REQUESTS_IN_PROGRESS", "4")
        .with("SERVER__REQUEST_DEADLINE", "90s")
        .with("ENRICHMENT__DEADLINE", "50s")
        .with("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "20s")
        .serve()
        .await;
    let at = running.at;
    let accepted = (1..=4).map(|person| async move {
        let path = format!("/api/v1/insurances/20000101000{person}");
        at.get(&path).await
    });
    let accepted: JoinSet<_> = accepted.collect();
    vehicle.reached(4).await;

    for answer in at.flood(PATH, 500).await {
        assert_eq!(answer.problem()["code"], "overloaded");
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), "1");
    }
    let refused = at.post_without_its_body(LOOKUP).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert_eq!(at.get("/healthz").await.status, 200);
    assert_eq!(vehicle.calls(), 4, "a refused request called Vehicle");

    // One that asks now waits for its turn, and gets it in time.
    let waiting = tokio::spawn(async move { at.get(PATH).await });
    let in_progress = async || {
        let text = at.get("/metrics").await.text();
        metric(&text, "http_server_active_requests", &[])
    };
    // With those accepted and the one that reads it.
    while in_progress().await != 6 {}
    gate.open();
    assert_eq!(waiting.await.unwrap().status, 200);
    for answer in accepted.join_all().await {
        assert_eq!(answer.json()["enrichment"], "complete");
    }
    assert_eq!(at.get(PATH).await.json()["enrichment"], "complete");
    let text = at.get("/metrics").await.text();
    let refused = metric(&text, "http_server_admission_refused_total", &[]);
    assert_eq!(refused, 501);
    let ended = running.stop().await.unwrap();
    assert_eq!(ended.code, Some(0));
    let logged = ended.lines.iter().filter(|line| line["status"] == 503);
    assert!((1..60).contains(&logged.count()), "{:?}", ended.lines);
}
