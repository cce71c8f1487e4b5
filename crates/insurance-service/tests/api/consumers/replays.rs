use std::time::Duration;

use http::Method;
use insurance_service::{Clock, InsuranceService, NAME, SCHEMA};
use serde_json::{Value, json};
use service_defaults::{process::Process, service::Service as _};
use settings::Arguments;
use test_support::{Answer, Api, FakeVehicle, Gate, Reply, Request, TestDatabase};
use tokio::{task::yield_now, time::timeout};
use tracing_subscriber::filter::LevelFilter;

use super::{
    Operator,
    feed::{self, LOG},
    operator::{ADMIN, CONSUMER},
};
use crate::api::{
    capture::Capture,
    service::{Service, patient},
};

pub(super) const REPLAYS: &str = "/api/v1/operations/replays";

/// A service that follows this Vehicle, and whose copy has so many cars of it.
pub(super) async fn following(vehicle: FakeVehicle, cars: usize) -> Operator {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let copied = format!(
        "update insurance_replica.consumers
         set mode = 'paused', log_id = '{LOG}', copy_log_id = '{LOG}', generation = 1,
             generations = 1, position = {cars}, source_position = {cars}, filled = {cars},
             caught_up_at = clock_timestamp();
         insert into insurance_replica.vehicles
             (generation, registration_number, make, model, model_year, version)
         select 1, 'C' || lpad(number::text, 6, '0'), 'Volvo', 'XC60', 2021, number
         from generate_series(1, {cars}) as number;
         -- The consumer is left to the test.
         update insurance.workers set leased_until = 'infinity' where worker = 'vehicle_replica'"
    );
    database.execute(&copied).await;
    let settings = [&ADMIN[..], &[("REPLICA__ENABLED", "true")]].concat();
    let (clock, arguments) = (Clock::system(), Arguments::default());
    Operator(Service::on(database, clock, vehicle, arguments, &settings))
}

pub(super) fn dry_run(members: &Value) -> Value {
    let mut request = json!({ "consumer": "vehicle_replica", "mode": "dry_run", "reason": "r" });
    for (member, value) in members.as_object().unwrap() {
        request[member] = value.clone();
    }
    request
}

/// A consumer that does what it does most of the time.
const FOLLOWS: &str =
    "update insurance_replica.consumers set mode = 'follow', filling = null, snapshot_at = null";

fn rebuild() -> Value {
    json!({ "consumer": "vehicle_replica", "mode": "rebuild", "reason": "it differs" })
}

impl Operator {
    /// Starts a replay: where it is.
    async fn start(&self, request: &Value) -> String {
        let answer = self.post(REPLAYS, request).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let at = answer.header("location");
        assert_eq!(
            at,
            format!("{REPLAYS}/{}", answer.json()["replayId"].as_str().unwrap())
        );
        at.to_owned()
    }

    /// The replay once it has this status.
    async fn until(&self, replay: &str, status: &str) -> Value {
        let wait = async {
            loop {
                let found = self.read(replay).await;
                if found["status"] == status {
                    return found;
                }
                yield_now().await;
            }
        };
        let waited = timeout(Duration::from_mins(2), wait).await;
        waited.unwrap_or_else(|_| panic!("it never was {status}"))
    }

    async fn cancel(&self, replay: &str) -> Answer {
        self.ask(Method::DELETE, replay, &Value::Null).await
    }

    async fn execute(&self, sql: &str) {
        self.0.database.execute(sql).await;
    }

    /// Waits until a metric is so: it is counted after what it counts.
    async fn counts(&self, name: &str, labels: &[(&str, &str)], expected: i64) {
        let reached = async {
            while self.0.metric(name, labels).await != expected {
                yield_now().await;
            }
        };
        timeout(Duration::from_mins(2), reached).await.unwrap();
    }

    /// Has the consumer do something else.
    async fn command(&self, mode: &str) {
        let order = json!({ "mode": mode, "reason": "r", "owner": "o" });
        assert_eq!(self.order(&order).await.status, 200);
    }

    /// Waits until the worker of replays has looked once more.
    async fn looked(&self) {
        let mut watcher = self.0.database.connect().await;
        let renewed = "select leased_until::text from insurance.workers where worker = 'replays'";
        let mut look = async || {
            let until = sqlx::query_scalar::<_, String>(renewed);
            until.fetch_one(&mut watcher).await.unwrap()
        };
        let before = look().await;
        let later = async {
            while look().await == before {
                yield_now().await;
            }
        };
        timeout(Duration::from_mins(1), later).await.unwrap();
    }
}

fn code(answer: &Answer) -> (u16, String) {
    let code = answer.problem()["code"].as_str().unwrap().to_owned();
    (answer.status.as_u16(), code)
}

#[tokio::test]
async fn a_dry_run_of_a_true_copy_finds_every_car_equal_and_changes_nothing() {
    let (capture, _guard) = Capture::start(LevelFilter::INFO);
    let operator = following(feed::of(2_500).await, 2_500).await;
    let replay = operator
        .start(&dry_run(&json!({ "fromPosition": 1 })))
        .await;
    let done = operator.until(&replay, "completed").await;
    for (member, value) in [
        ("outcomes", json!([{ "outcome": "equal", "count": 2500 }])),
        ("fields", json!([])),
        ("fromPosition", json!(1)),
        ("untilPosition", json!(2500)),
        ("position", json!(2500)),
        ("seen", json!(2500)),
        ("expected", json!(2500)),
        ("failed", json!(0)),
        ("failure", Value::Null),
        ("estimatedEndAt", Value::Null),
        ("requestedBy", json!("operator")),
    ] {
        assert_eq!(done[member], value, "{member}");
    }
    assert!(done["perSecond"].as_f64().unwrap() > 0.0);
    // Three pages, after two looks at the ends of the window.
    assert_eq!(operator.0.vehicle.calls(), 5);
    let unchanged =
        "do $$ begin assert (select count(*) = 2500 and max(loaded_at) < min(created_at)
        from insurance_replica.vehicles, insurance_replica.replays); end $$";
    operator.execute(unchanged).await;
    assert_eq!(operator.read(REPLAYS).await["replays"], json!([done]));
    let told = [
        "\"target\":\"audit\"",
        "\"action\":\"start_replay\"",
        "\"key_id\":\"operator\"",
    ];
    assert_eq!(capture.lines_with(&told), 1, "{}", capture.text());
}

#[tokio::test]
async fn a_dry_run_tells_how_cars_differ_and_not_which() {
    let mut events = feed::events(6);
    events.push(feed::gone(7, 6));
    events.push(json!({ "sequence": "00000000000000000008", "time": "2026-01-08T00:00:00Z" }));
    let operator = following(feed::serving(events).await, 8).await;
    operator
        .execute(
            "update insurance_replica.vehicles set model = 'XC70', model_year = 2020
                 where registration_number = 'C000001';
             delete from insurance_replica.vehicles where registration_number = 'C000002';
             update insurance_replica.vehicles set version = 1, make = 'Saab'
                 where registration_number = 'C000003';
             update insurance_replica.vehicles set version = 9, model = null
                 where registration_number = 'C000004';",
        )
        .await;
    let replay = operator
        .start(&dry_run(&json!({ "fromPosition": 1 })))
        .await;
    let done = operator.until(&replay, "completed").await;
    let expected = [
        ("different", 1),
        ("equal", 1),
        ("only_live", 1),
        ("only_replica", 1),
        ("replica_ahead", 1),
        ("replica_behind", 1),
    ];
    let expected = expected.map(|(outcome, count)| json!({ "outcome": outcome, "count": count }));
    assert_eq!(done["outcomes"], json!(expected));
    assert_eq!(done["fields"], json!(["make", "model", "modelYear"]));
    assert_eq!((&done["seen"], &done["failed"]), (&json!(8), &json!(1)));
    assert!(!done.to_string().contains("C00000"), "{done}");
    let forgotten = "do $$ begin assert (select differences::text not like '%C00000%'
        and (select count(*) from jsonb_object_keys(differences)) = 4
        from insurance_replica.replays); end $$";
    operator.execute(forgotten).await;
}

#[tokio::test]
async fn a_copy_that_differs_too_much_ends_the_dry_run() {
    let operator = following(feed::of(3_000).await, 3_000).await;
    operator
        .execute("delete from insurance_replica.vehicles")
        .await;
    let replay = operator
        .start(&dry_run(&json!({ "fromPosition": 1 })))
        .await;
    let failed = operator.until(&replay, "failed").await;
    assert_eq!(failed["failure"], "too_many_differences");
    assert_eq!(failed["seen"], 2000);
    operator
        .counts("replays_total", &[("status", "failed")], 1)
        .await;
}

#[tokio::test]
async fn a_window_is_told_by_places_or_moments_and_ends_where_the_copy_does() {
    let operator = following(feed::of(40).await, 30).await;
    // An event each day from the first of January on.
    for (members, from, until) in [
        (json!({ "fromPosition": 3, "untilPosition": 3 }), 3, 3),
        (json!({ "fromPosition": 5, "untilPosition": 9 }), 5, 9),
        (json!({ "fromPosition": 5, "untilPosition": 39 }), 5, 30),
        (
            json!({ "from": "2026-01-02T00:00:00Z", "until": "2026-01-04T00:00:00Z" }),
            2,
            3,
        ),
        (json!({ "from": "2026-01-20T12:00:00Z" }), 21, 30),
        (
            json!({ "from": "2026-01-20T12:00:00Z", "until": "2027-01-01T00:00:00Z" }),
            21,
            30,
        ),
    ] {
        let replay = operator.start(&dry_run(&members)).await;
        let done = operator.until(&replay, "completed").await;
        let window = (&done["fromPosition"], &done["untilPosition"], &done["seen"]);
        let seen = until - from + 1;
        assert_eq!(
            window,
            (&json!(from), &json!(until), &json!(seen)),
            "{members}"
        );
    }
    for (members, expected) in [
        (json!({ "fromPosition": 31 }), (422, "window_empty")),
        (json!({ "fromPosition": 99 }), (422, "window_empty")),
        (
            json!({ "fromPosition": 9, "untilPosition": 8 }),
            (422, "window_empty"),
        ),
        (json!({ "from": "2026-01-02" }), (400, "invalid_from")),
        (
            json!({ "from": "2026-01-02T00:00:00Z", "until": "soon" }),
            (400, "invalid_until"),
        ),
        (
            json!({ "fromPosition": 1, "consumer": "none" }),
            (404, "consumer_not_found"),
        ),
    ] {
        let refused = operator.post(REPLAYS, &dry_run(&members)).await;
        assert_eq!(
            code(&refused),
            (expected.0, expected.1.to_owned()),
            "{members}"
        );
    }
}

#[tokio::test]
async fn a_large_window_is_meant_only_where_that_is_said() {
    let many = following(feed::far(1_000_001, 1).await, 1).await;
    let long = following(feed::far(1_000_000, 31).await, 1).await;
    for (operator, positions, days) in [(&many, 1_000_001, 1), (&long, 1_000_000, 31)] {
        let copied = format!("update insurance_replica.consumers set position = {positions}");
        operator.execute(&copied).await;
        let request = dry_run(&json!({ "fromPosition": 1 }));
        let refused = operator.post(REPLAYS, &request).await;
        assert_eq!(code(&refused), (422, "window_too_large".to_owned()));
        let problem = refused.problem();
        assert_eq!(
            (&problem["events"], &problem["days"]),
            (&json!(positions), &json!(days))
        );
        let replay = operator
            .start(&dry_run(&json!({ "fromPosition": 1, "confirm": true })))
            .await;
        assert_eq!(operator.cancel(&replay).await.status, 202);
    }
}

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
async fn a_copy_of_another_log_is_compared_with_nothing() {
    let operator = following(feed::of(1).await, 1).await;
    let request = dry_run(&json!({ "fromPosition": 1 }));
    let restored = "update insurance_replica.consumers set copy_log_id = gen_random_uuid()";
    operator.execute(restored).await;
    let refused = operator.post(REPLAYS, &request).await;
    assert_eq!(code(&refused), (409, "replica_off".to_owned()));
}

/// What a log says after the first page of a dry run.
type Other = fn(&[Value], &Request) -> Reply;

/// The same, with another place of the event at this one.
fn moved(events: &[Value], at: usize, request: &Request) -> Reply {
    let mut events = events.to_vec();
    events[at - 1]["sequence"] = json!(format!("{:020}", at + 1));
    feed::answer(&events, request)
}

#[tokio::test]
async fn a_dry_run_believes_no_place_that_is_not_the_next_one() {
    let others: [(Other, usize); 5] = [
        (|_, _| Reply::status(410), 1_000),
        (
            |events, request| match feed::answer(events, request) {
                Reply::Answer(status, mut headers, body) => {
                    let log = headers.iter_mut().find(|(name, _)| *name == "log-id");
                    log.unwrap().1 = feed::id(7);
                    Reply::Answer(status, headers, body)
                }
                reply => reply,
            },
            1_000,
        ),
        // Shorter than it was.
        (
            |events, request| feed::answer(&events[..1_000], request),
            1_000,
        ),
        (|events, request| moved(events, 1_001, request), 1_000),
        (|events, request| moved(events, 1_500, request), 1_499),
    ];
    for (number, (other, seen)) in others.into_iter().enumerate() {
        let events = feed::events(2_500);
        let vehicle = FakeVehicle::start(move |request| {
            if request.path.contains("lastEventId") {
                other(&events, request)
            } else {
                feed::answer(&events, request)
            }
        });
        let operator = following(vehicle.await, 2_500).await;
        let request = dry_run(&json!({ "fromPosition": 1 }));
        let replay = operator.start(&request).await;
        let failed = operator.until(&replay, "failed").await;
        let expected = (&json!("unknown_event"), &json!(seen));
        assert_eq!((&failed["failure"], &failed["seen"]), expected, "{number}");
    }
}

#[tokio::test]
async fn a_later_version_of_an_event_without_the_known_one_is_no_equal_car() {
    let mut events = feed::events(6);
    // Beside the known one; before the known one; alone, and in the copy; alone, and newer.
    for (index, car, version) in [(1, 1, 1), (2, 4, 4), (4, 5, 5), (5, 6, 7)] {
        let event = &mut events[index];
        event["type"] = json!("vehicle.changed.v2");
        event["subject"] = json!(format!("vehicle/C{car:06}"));
        event["aggregateversion"] = json!(version);
    }
    let operator = following(feed::serving(events).await, 6).await;
    let request = dry_run(&json!({ "fromPosition": 1 }));
    let replay = operator.start(&request).await;
    let done = operator.until(&replay, "completed").await;
    assert_eq!((&done["seen"], &done["failed"]), (&json!(6), &json!(1)));
    let equal = json!([{ "outcome": "equal", "count": 2 }]);
    assert_eq!(done["outcomes"], equal);
}

#[tokio::test]
async fn a_rebuild_is_the_consumers_snapshot_with_an_id_to_watch() {
    let operator = following(feed::of(1).await, 3).await;
    operator.execute(FOLLOWS).await;
    // However many vehicles the copy has, it does not count them.
    let mut copy = operator.0.database.lock("insurance_replica.vehicles").await;
    let replay = operator.start(&rebuild()).await;
    copy.release().await;
    let consumer = operator.read(CONSUMER).await;
    assert_eq!(
        (&consumer["mode"], &consumer["control"]["by"]),
        (&json!("snapshot"), &json!("key/operator"))
    );
    let began = "update insurance_replica.consumers
        set mode = 'paused', generations = 2, filling = 2, filled = 2";
    operator.execute(began).await;
    let at_two = async {
        while operator.read(&replay).await["seen"] != 2 {
            yield_now().await;
        }
    };
    timeout(Duration::from_mins(2), at_two).await.unwrap();
    let running = operator.read(&replay).await;
    assert_eq!(
        (&running["status"], &running["expected"]),
        (&json!("running"), &json!(3))
    );
    let swapped = "update insurance_replica.consumers
        set generation = 2, filling = null, filled = 4";
    operator.execute(swapped).await;
    let done = operator.until(&replay, "completed").await;
    assert_eq!(done["seen"], 4);
}

#[tokio::test]
async fn of_a_cancelled_rebuild_nothing_is_left_and_a_needed_one_goes_on() {
    let operator = following(feed::of(1).await, 3).await;
    operator.execute(FOLLOWS).await;
    let filling = "update insurance_replica.consumers
        set filling = generations + 1, generations = generations + 1, snapshot_at = 'C000001'";
    let replay = operator.start(&rebuild()).await;
    operator.execute(filling).await;
    // The copy that is read is of another log, or nothing is known of any.
    for lost in [
        "update insurance_replica.consumers set log_id = gen_random_uuid()",
        "update insurance_replica.consumers set log_id = null, copy_log_id = null",
    ] {
        operator.execute(lost).await;
        assert_eq!(
            code(&operator.cancel(&replay).await),
            (409, "replay_needed".to_owned())
        );
    }
    let back =
        format!("update insurance_replica.consumers set log_id = '{LOG}', copy_log_id = '{LOG}'");
    operator.execute(&back).await;
    let answer = operator.cancel(&replay).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["status"]),
        (202, &json!("cancelled"))
    );
    let consumer = operator.read(CONSUMER).await;
    assert_eq!(
        (&consumer["mode"], &consumer["snapshot"]),
        (&json!("follow"), &Value::Null)
    );
    // One that is told to follow before it has begun is given up.
    let replay = operator.start(&rebuild()).await;
    operator.command("follow").await;
    let failed = operator.until(&replay, "failed").await;
    assert_eq!(failed["failure"], "given_up");
}

#[tokio::test]
async fn a_rebuild_takes_nothing_back_that_another_operator_has_ordered() {
    let operator = following(feed::of(1).await, 3).await;
    for mode in ["paused", "snapshot"] {
        operator.command(mode).await;
        let refused = operator.post(REPLAYS, &rebuild()).await;
        assert_eq!(code(&refused), (409, "consumer_not_following".to_owned()));
        assert_eq!(operator.read(CONSUMER).await["mode"], mode);
    }
    operator.command("follow").await;
    let filling = "update insurance_replica.consumers
        set filling = generations + 1, generations = generations + 1, snapshot_at = 'C000001'";
    operator.execute(filling).await;
    let refused = operator.post(REPLAYS, &rebuild()).await;
    assert_eq!(code(&refused), (409, "consumer_not_following".to_owned()));
    // Whoever pauses it or orders a copy meanwhile finds it so after the end of the rebuild.
    for mode in ["paused", "snapshot"] {
        operator.execute(FOLLOWS).await;
        let replay = operator.start(&rebuild()).await;
        operator.command(mode).await;
        assert_eq!(operator.cancel(&replay).await.status, 202);
        assert_eq!(operator.read(CONSUMER).await["mode"], mode);
    }
}

#[tokio::test]
async fn a_copy_that_is_ordered_while_a_rebuild_is_cancelled_is_made() {
    let operator = following(feed::of(1).await, 3).await;
    operator.execute(FOLLOWS).await;
    let replay = operator.start(&rebuild()).await;
    let began = "update insurance_replica.consumers
        set filling = generations + 1, generations = generations + 1, snapshot_at = 'C000001'";
    operator.execute(began).await;
    // An order for a copy that has its effect while the cancellation is at work.
    let mut order = operator.0.database.connect().await;
    let give = "begin; update insurance_replica.consumers
        set mode = 'snapshot', filling = null, snapshot_at = null, mode_since = clock_timestamp()";
    sqlx::raw_sql(give).execute(&mut order).await.unwrap();
    let commit = async {
        operator.blocked().await;
        sqlx::raw_sql("commit").execute(&mut order).await.unwrap();
    };
    let (cancelled, ()) = tokio::join!(operator.cancel(&replay), commit);
    assert_eq!(code(&cancelled), (409, "replay_ended".to_owned()));
    assert_eq!(operator.read(CONSUMER).await["mode"], "snapshot");
}

#[tokio::test]
async fn a_dry_run_asks_again_when_vehicle_says_and_is_cancelled_meanwhile() {
    let events = feed::events(2_500);
    let vehicle = FakeVehicle::start(move |request| {
        if request.path.contains("lastEventId") {
            Reply::Answer(503, vec![("retry-after", "3600".to_owned())], String::new())
        } else {
            feed::answer(&events, request)
        }
    })
    .await;
    let operator = following(vehicle.clone(), 2_500).await;
    let replay = operator
        .start(&dry_run(&json!({ "fromPosition": 1 })))
        .await;
    vehicle.reached(4).await;
    // The lease is renewed with each look.
    for _ in 0..3 {
        operator.looked().await;
    }
    assert_eq!(vehicle.calls(), 4, "it asked again");
    assert_eq!(operator.cancel(&replay).await.status, 202);
    operator.until(&replay, "cancelled").await;
    assert_eq!(vehicle.calls(), 4, "it asked again");
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
