use http::Method;
use serde_json::{Value, json};
use test_support::{API_KEY, Examples, Reply};

use super::{
    Operator,
    feed::{self, LOG},
    operator::{CONSUMER, CONSUMERS, LETTERS},
    replays::{REPLAYS, dry_run, following},
};

const COMPARISON: &str = "/api/v1/operations/replica/comparison";

/// Every answer about consumers and what they could not apply.
pub(crate) async fn record(examples: &mut Examples) {
    let operator = Operator::new().await;
    let following = "update insurance_replica.consumers
        set log_id = '0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11', position = 12345,
            source_position = 12345, generation = 1, generations = 1, mode = 'follow',
            caught_up_at = clock_timestamp()";
    operator.0.database.execute(following).await;
    record_consumers(examples, &operator).await;
    record_letters(examples, &operator).await;
    record_retries(examples, &operator).await;
    let found = "insert into insurance_replica.comparisons
            values (date_trunc('hour', now()), 'equal', 4000), (date_trunc('hour', now()), 'different', 1);
        insert into insurance_replica.differences (outcome, fields) values ('different', '{model}')";
    operator.0.database.execute(found).await;
    let found = operator.get(COMPARISON).await;
    examples.answer("get_replica_comparison", "found", &found);
    record_replays(examples).await;
    refuse_foreign_keys(examples, &operator).await;
}

async fn record_consumers(examples: &mut Examples, operator: &Operator) {
    let all = operator.get(CONSUMERS).await;
    examples.answer("list_consumers", "following", &all);
    examples.answer("get_consumer", "following", &operator.get(CONSUMER).await);
    let none = format!("{CONSUMERS}/none");
    examples.problem("get_consumer", &operator.get(&none).await);
    let undecodable = format!("{CONSUMERS}/%FF");
    examples.problem("get_consumer", &operator.get(&undecodable).await);
    let order = |mode: &str, reason: &str| json!({ "mode": mode, "reason": reason, "owner": "on-call team" });
    for (name, mode, reason) in [
        ("pause", "paused", "Vehicle is restored"),
        ("snapshot", "snapshot", "Vehicle was restored"),
        ("follow", "follow", "the restore is over"),
    ] {
        let body = order(mode, reason);
        examples.request("set_consumer", name, &body);
        examples.answer("set_consumer", name, &operator.order(&body).await);
    }
    let body = order("paused", "");
    examples.problem("set_consumer", &operator.order(&body).await);
    let body = json!({ "mode": "paused", "reason": "r", "owner": "" });
    examples.problem("set_consumer", &operator.order(&body).await);
    let body = order("stopped", "r");
    examples.problem("set_consumer", &operator.order(&body).await);
    let body = order("paused", "r");
    let unknown = operator.ask(Method::PUT, &none, &body).await;
    examples.problem("set_consumer", &unknown);
}

async fn record_letters(examples: &mut Examples, operator: &Operator) {
    let unknown_letters = format!("{CONSUMERS}/none/dead-letters");
    let [first, second, third] = [1, 2, 3].map(|number| operator.park(number, "parked"));
    let [first, second, third] = [first.await, second.await, third.await];
    let list = "list_dead_letters";
    let page = operator.get(&format!("{LETTERS}?limit=2")).await;
    examples.answer(list, "parked", &page);
    for query in ["status=open", "limit=0", "after=1", "more=1"] {
        let refused = operator.get(&format!("{LETTERS}?{query}")).await;
        examples.problem(list, &refused);
    }
    examples.problem(list, &operator.get(&unknown_letters).await);
    let of = |id: &str| format!("{LETTERS}/{id}");
    let missing = of("0192f3c4-5b8f-7a60-9d5c-000000000009");
    examples.answer(
        "get_dead_letter",
        "parked",
        &operator.get(&of(&first)).await,
    );
    examples.problem("get_dead_letter", &operator.get(&missing).await);
    examples.problem("get_dead_letter", &operator.get(&of("1")).await);
    let note = json!({ "note": "corrected at the source" });
    for (operation, action, id, name, body) in [
        ("resolve_dead_letter", "resolve", &first, "resolved", &note),
        (
            "discard_dead_letter",
            "discard",
            &second,
            "discarded",
            &note,
        ),
        (
            "retry_dead_letter",
            "retry",
            &third,
            "retrying",
            &Value::Null,
        ),
    ] {
        if !body.is_null() {
            examples.request(operation, "note", body);
        }
        let done = operator.post(&format!("{}/{action}", of(id)), body).await;
        examples.answer(operation, name, &done);
        let closed = operator
            .post(&format!("{}/{action}", of(&first)), body)
            .await;
        examples.problem(operation, &closed);
        let unknown = operator.post(&format!("{missing}/{action}"), body).await;
        examples.problem(operation, &unknown);
        let no_id = operator.post(&format!("{}/{action}", of("1")), body).await;
        examples.problem(operation, &no_id);
        if !body.is_null() {
            let empty = json!({ "note": "" });
            let refused = operator.post(&format!("{}/{action}", of(id)), &empty).await;
            examples.problem(operation, &refused);
        }
    }
}

async fn record_retries(examples: &mut Examples, operator: &Operator) {
    let (operation, path) = ("retry_dead_letters", format!("{LETTERS}/retry"));
    let retry = |limit: u64, reason: &str| json!({ "limit": limit, "reason": reason });
    operator.park(4, "parked").await;
    let body = retry(100, "the release is good");
    examples.request(operation, "oldest", &body);
    examples.answer(operation, "oldest", &operator.post(&path, &body).await);
    for body in [retry(0, "r"), retry(1, "")] {
        examples.problem(operation, &operator.post(&path, &body).await);
    }
    let unknown = format!("{CONSUMERS}/none/dead-letters/retry");
    examples.problem(operation, &operator.post(&unknown, &body).await);
}

async fn refuse_foreign_keys(examples: &mut Examples, operator: &Operator) {
    let letter = format!("{LETTERS}/0192f3c4-5b8f-7a60-9d5c-000000000001");
    for (operation, method, path) in [
        ("list_consumers", Method::GET, CONSUMERS.to_owned()),
        ("get_consumer", Method::GET, CONSUMER.to_owned()),
        ("set_consumer", Method::PUT, CONSUMER.to_owned()),
        ("list_dead_letters", Method::GET, LETTERS.to_owned()),
        (
            "retry_dead_letters",
            Method::POST,
            format!("{LETTERS}/retry"),
        ),
        ("get_dead_letter", Method::GET, letter.clone()),
        ("retry_dead_letter", Method::POST, format!("{letter}/retry")),
        (
            "resolve_dead_letter",
            Method::POST,
            format!("{letter}/resolve"),
        ),
        (
            "discard_dead_letter",
            Method::POST,
            format!("{letter}/discard"),
        ),
        ("start_replay", Method::POST, REPLAYS.to_owned()),
        ("list_replays", Method::GET, REPLAYS.to_owned()),
        ("get_replay", Method::GET, format!("{REPLAYS}/{LOG}")),
        ("cancel_replay", Method::DELETE, format!("{REPLAYS}/{LOG}")),
        ("get_replica_comparison", Method::GET, COMPARISON.to_owned()),
    ] {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header("x-api-key", API_KEY);
        let refused = operator
            .0
            .api
            .send(request.body(axum::body::Body::empty()).unwrap());
        examples.problem(operation, &refused.await);
    }
}

/// Every answer about replays. Nobody has the lease, so that none goes on by itself.
async fn record_replays(examples: &mut Examples) {
    let (operation, missing) = ("start_replay", format!("{REPLAYS}/{LOG}"));
    let operator = following(feed::of(30).await, 30).await;
    let nobody = "update insurance.workers set leased_until = 'infinity' where worker = 'replays'";
    operator.0.database.execute(nobody).await;
    let dry = dry_run(&json!({ "fromPosition": 1, "reason": "trust, but verify" }));
    examples.request(operation, "dry_run", &dry);
    let started = operator.post(REPLAYS, &dry).await;
    examples.answer(operation, "dry_run", &started);
    let replay = started.header("location").to_owned();
    examples.problem(operation, &operator.post(REPLAYS, &dry).await);
    examples.answer("list_replays", "pending", &operator.get(REPLAYS).await);
    examples.answer("get_replay", "pending", &operator.get(&replay).await);
    let end = async |replay: &str| operator.ask(Method::DELETE, replay, &Value::Null).await;
    examples.answer("cancel_replay", "cancelled", &end(&replay).await);
    examples.problem("cancel_replay", &end(&replay).await);
    let rebuild = json!({ "consumer": "vehicle_replica", "mode": "rebuild",
                          "reason": "the dry run found differences" });
    examples.request(operation, "rebuild", &rebuild);
    examples.problem(operation, &operator.post(REPLAYS, &rebuild).await);
    let follows = "update insurance_replica.consumers set mode = 'follow'";
    operator.0.database.execute(follows).await;
    let rebuilding = operator.post(REPLAYS, &rebuild).await;
    examples.answer(operation, "rebuild", &rebuilding);
    let restored = "update insurance_replica.consumers set log_id = gen_random_uuid()";
    operator.0.database.execute(restored).await;
    let needed = end(rebuilding.header("location")).await;
    examples.problem("cancel_replay", &needed);
    examples.problem(operation, &operator.post(REPLAYS, &dry).await);
    for id in [&*missing, &format!("{REPLAYS}/1")] {
        examples.problem("cancel_replay", &end(id).await);
        examples.problem("get_replay", &operator.get(id).await);
    }
    record_refused_replays(examples).await;
}

async fn record_refused_replays(examples: &mut Examples) {
    let operation = "start_replay";
    let operator = following(feed::of(30).await, 30).await;
    for members in [
        json!({}),
        json!({ "fromPosition": 1, "reason": "" }),
        json!({ "fromPosition": 1, "until": "2026-01-02T00:00:00Z" }),
        json!({ "from": "2026-01-02T00:00:00Z", "untilPosition": 1 }),
        json!({ "from": "2026-01-02" }),
        json!({ "fromPosition": 1, "mode": "all" }),
        json!({ "fromPosition": 31 }),
        json!({ "fromPosition": 1, "consumer": "none" }),
    ] {
        let refused = operator.post(REPLAYS, &dry_run(&members)).await;
        examples.problem(operation, &refused);
    }
    operator.0.vehicle.script(|_| Reply::status(500));
    let from_one = dry_run(&json!({ "fromPosition": 1 }));
    examples.problem(operation, &operator.post(REPLAYS, &from_one).await);
    let large = following(feed::far(1_000_001, 1).await, 1).await;
    let position = "update insurance_replica.consumers set position = 1000001";
    large.0.database.execute(position).await;
    examples.problem(operation, &large.post(REPLAYS, &from_one).await);
}
