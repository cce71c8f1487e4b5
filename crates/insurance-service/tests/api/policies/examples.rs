use http::Method;
use insurance_service::Look;
use serde_json::{Value, json};
use test_support::{API_KEY, Answer, Examples, FakeVehicle, LOG, Reply, record_log};

use super::{Desk, desk::day, expiry::worker};

const POLICIES: &str = "/api/v1/policies";
const ERASURES: &str = "/api/v1/operations/erasures";

/// Every answer about policies, on days that are far enough for every run.
pub(crate) async fn record(examples: &mut Examples) {
    let desk = Desk::open().await;
    let (id, tag) = record_drafts(examples, &desk).await;
    let tag = record_transitions(examples, &desk, id, &tag).await;
    record_changes(examples, &desk, id, &tag).await;
    record_reads(examples, &desk, id).await;
    record_cancellation(examples, &desk, id).await;
    record_events(examples).await;
    record_prices(examples, &desk).await;
    record_erasures(examples, &desk).await;
    let policy = format!("{POLICIES}/{id}");
    for (operation, method, path) in [
        ("draft_policy", Method::POST, POLICIES),
        ("list_policies", Method::GET, POLICIES),
        ("list_prices", Method::GET, "/api/v1/prices"),
        ("erase_person", Method::POST, ERASURES),
        ("set_price", Method::PUT, "/api/v1/prices/car/2030-07-01"),
        ("get_policy", Method::GET, &*policy),
        ("patch_policy", Method::PATCH, &*policy),
        (
            "move_policy",
            Method::POST,
            &*format!("{policy}/transitions"),
        ),
        ("change_policy", Method::POST, &*format!("{policy}/changes")),
    ] {
        let key = [("x-api-key", API_KEY)];
        let refused = desk.ask(method, path, &key, None).await;
        examples.problem(operation, &refused);
    }
}

fn draft(car: Option<&str>, product: &str) -> Value {
    json!({
        "personalIdentityNumber": "199001011234", "product": product,
        "carRegistrationNumber": car, "validFrom": "2030-01-01", "validUntil": null,
    })
}

async fn record_drafts(examples: &mut Examples, desk: &Desk) -> (i64, String) {
    let (operation, key) = ("draft_policy", "draft-4f1d0a2b9c");
    let body = draft(Some("GHI789"), "car");
    examples.request(operation, "car", &body);
    let drafted = desk.post(POLICIES, key, "", &body).await;
    examples.answer(operation, "car", &drafted);
    let other = desk.post(POLICIES, key, "", &draft(None, "pet")).await;
    examples.problem(operation, &other);
    let early = json!({
        "personalIdentityNumber": "199001011234", "product": "pet",
        "validFrom": "2019-01-01", "validUntil": "2019-02-01",
    });
    for body in [
        draft(None, "car"),
        draft(Some("GHI789"), "pet"),
        draft(None, "boat"),
        early,
    ] {
        examples.problem(operation, &desk.send(POLICIES, "", &body).await);
    }
    let bare = desk.ask(Method::POST, POLICIES, &[], Some(&body)).await;
    examples.problem(operation, &bare);
    let short = desk.post(POLICIES, "short", "", &body).await;
    examples.problem(operation, &short);
    let mut lock = desk.0.database.lock("insurance_events.events").await;
    examples.problem(operation, &desk.send(POLICIES, "", &body).await);
    lock.release().await;

    let operation = "patch_policy";
    let id = drafted.json()["insuranceId"].as_i64().unwrap();
    let path = format!("{POLICIES}/{id}");
    let body = json!({ "validUntil": "2031-01-01" });
    examples.request(operation, "end", &body);
    let send = async |path: &str, tag: &str, body: &Value| {
        let tag = [("if-match", tag)];
        let headers = &tag[..usize::from(!tag[0].1.is_empty())];
        desk.ask(Method::PATCH, path, headers, Some(body)).await
    };
    let stale = drafted.header("etag");
    let patched = send(&path, stale, &body).await;
    examples.answer(operation, "end", &patched);
    let tag = patched.header("etag").to_owned();
    examples.problem(operation, &send(&path, stale, &body).await);
    examples.problem(operation, &send(&path, "", &body).await);
    examples.problem(operation, &send(&path, "*", &body).await);
    examples.problem(operation, &send("/api/v1/policies/1", &tag, &body).await);
    examples.problem(operation, &send("/api/v1/policies/x", &tag, &body).await);
    let reversed = json!({ "validUntil": "2029-01-01" });
    examples.problem(operation, &send(&path, &tag, &reversed).await);
    let active = desk.policy(1_000_000).await.header("etag").to_owned();
    let late = send("/api/v1/policies/1000000", &active, &body).await;
    examples.problem(operation, &late);
    // Of a person that was erased.
    let (erased, tag_of_erased) = desk.draft("DEF999").await;
    let erase = format!(
        "update insurance.insurances set personal_identity_number = null where insurance_id = {erased}"
    );
    desk.0.database.execute(&erase).await;
    let gone = send(&format!("{POLICIES}/{erased}"), &tag_of_erased, &body).await;
    examples.problem(operation, &gone);
    (id, tag)
}

async fn record_transitions(examples: &mut Examples, desk: &Desk, id: i64, tag: &str) -> String {
    let operation = "move_policy";
    let path = format!("{POLICIES}/{id}/transitions");
    let to = |status: &str| json!({ "to": status, "reason": "requested_by_customer" });
    let activate = to("active");
    examples.problem(operation, &desk.send(&path, tag, &to("suspended")).await);
    examples.problem(operation, &desk.send(&path, "", &activate).await);
    examples.problem(operation, &desk.send(&path, "\"0\"", &activate).await);
    let missing = "/api/v1/policies/1/transitions";
    examples.problem(operation, &desk.send(missing, tag, &activate).await);
    desk.0
        .vehicle
        .script(|_| Reply::json(404, &json!({ "code": "vehicle_not_found" })));
    examples.problem(operation, &desk.send(&path, tag, &activate).await);
    desk.0.vehicle.script(|_| Reply::status(500));
    examples.problem(operation, &desk.send(&path, tag, &activate).await);
    desk.0.vehicle.script(Reply::healthy);
    examples.request(operation, "activate", &activate);
    let active = desk.send(&path, tag, &activate).await;
    examples.answer(operation, "activate", &active);
    let mut tag = active.header("etag").to_owned();
    for (name, status) in [("suspend", "suspended"), ("resume", "active")] {
        examples.request(operation, name, &to(status));
        let moved = desk.send(&path, &tag, &to(status)).await;
        examples.answer(operation, name, &moved);
        moved.header("etag").clone_into(&mut tag);
    }
    let day =
        |day: &str| json!({ "to": "cancelled", "reason": "vehicle_sold", "effectiveOn": day });
    let far = desk.send(&path, &tag, &day("2032-01-01")).await;
    examples.problem(operation, &far);
    let (other, draft_tag) = desk.draft("JKL012").await;
    let path = format!("{POLICIES}/{other}/transitions");
    let day = json!({ "to": "active", "reason": "other", "effectiveOn": "2030-01-01" });
    examples.problem(operation, &desk.send(&path, &draft_tag, &day).await);
    let past = json!({ "validFrom": "2020-02-02", "carRegistrationNumber": "JKL012" });
    let past = desk.draft_with(past).await;
    let other = past.json()["insuranceId"].as_i64().unwrap();
    let past = desk.go(other, past.header("etag"), "active").await;
    examples.problem(operation, &past);
    let twin = desk.send(POLICIES, "", &draft(Some("GHI789"), "car")).await;
    let second = twin.json()["insuranceId"].as_i64().unwrap();
    let covered = desk.go(second, twin.header("etag"), "active").await;
    examples.problem(operation, &covered);
    tag
}

async fn record_changes(examples: &mut Examples, desk: &Desk, id: i64, tag: &str) {
    let operation = "change_policy";
    let path = format!("{POLICIES}/{id}/changes");
    let change = json!({ "effectiveOn": "2030-06-01", "carRegistrationNumber": "JKL012" });
    examples.request(operation, "car", &change);
    examples.problem(operation, &desk.send(&path, "", &change).await);
    examples.problem(operation, &desk.send(&path, "\"0\"", &change).await);
    let missing = "/api/v1/policies/1/changes";
    examples.problem(operation, &desk.send(missing, tag, &change).await);
    let nothing = json!({ "effectiveOn": "2030-06-01" });
    examples.problem(operation, &desk.send(&path, tag, &nothing).await);
    desk.0.vehicle.script(|_| Reply::status(500));
    examples.problem(operation, &desk.send(&path, tag, &change).await);
    desk.0.vehicle.script(Reply::healthy);
    examples.answer(operation, "car", &desk.send(&path, tag, &change).await);
    let (draft, tag) = desk.draft("GHI789").await;
    let early = desk.change(draft, &tag, &change).await;
    examples.problem(operation, &early);
}

async fn record_cancellation(examples: &mut Examples, desk: &Desk, id: i64) {
    let cancel = json!({ "to": "cancelled", "reason": "requested_by_customer" });
    let tag = desk.policy(id).await.header("etag").to_owned();
    let path = format!("{POLICIES}/{id}/transitions");
    examples.request("move_policy", "cancel", &cancel);
    let cancelled = desk.send(&path, &tag, &cancel).await;
    examples.answer("move_policy", "cancel", &cancelled);
}

async fn record_reads(examples: &mut Examples, desk: &Desk, id: i64) {
    let path = format!("{POLICIES}/{id}");
    let found = desk.get(&path).await;
    examples.answer("get_policy", "active", &found);
    let known = [("if-none-match", found.header("etag"))];
    let same = desk.ask(Method::GET, &path, &known, None).await;
    examples.answer("get_policy", "unchanged", &same);
    examples.problem("get_policy", &desk.get("/api/v1/policies/1").await);
    examples.problem("get_policy", &desk.get("/api/v1/policies/x").await);
    let page = desk
        .get("/api/v1/policies?carRegistrationNumber=GHI789&status=active")
        .await;
    examples.answer("list_policies", "car", &page);
    examples.problem("list_policies", &desk.get(POLICIES).await);
    for query in [
        "carRegistrationNumber=A",
        "status=boat",
        "status=draft&after=x",
        "status=draft&limit=0",
        "status=draft&more=1",
    ] {
        let refused = desk.get(&format!("{POLICIES}?{query}")).await;
        examples.problem("list_policies", &refused);
    }
    let prices = desk.get("/api/v1/prices").await;
    examples.answer("list_prices", "all", &prices);
}

/// The events of a policy's life, and the first ones of the log.
async fn record_events(examples: &mut Examples) {
    let desk = Desk::with(FakeVehicle::healthy().await, &LOG).await;
    let new = [
        ("idempotency-key", "draft-4f1d0a2b9c"),
        ("x-request-id", "order-41"),
    ];
    let body = draft(Some("GHI789"), "car");
    let drafted = desk.ask(Method::POST, POLICIES, &new, Some(&body)).await;
    let policy = format!("{POLICIES}/{}", drafted.json()["insuranceId"]);
    let mut tag = drafted.header("etag").to_owned();
    let moves = format!("{policy}/transitions");
    let to = |status: &str| json!({ "to": status, "reason": "requested_by_customer" });
    let mut sold = to("cancelled");
    sold["effectiveOn"] = json!("2030-06-01");
    for (method, path, body) in [
        (
            Method::PATCH,
            &policy,
            json!({ "validUntil": "2031-01-01" }),
        ),
        (Method::POST, &moves, to("active")),
        (Method::POST, &moves, to("suspended")),
        (Method::POST, &moves, to("active")),
        (Method::POST, &moves, sold),
    ] {
        let key = super::desk::key();
        let mut headers = vec![("if-match", tag.as_str()), ("x-request-id", "order-42")];
        if method == Method::POST {
            headers.push(("idempotency-key", &key));
        }
        let answer = desk.ask(method, path, &headers, Some(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("etag").clone_into(&mut tag);
    }
    let first = "/api/v1/events?types=price.set.v1,policy.imported.v1&limit=4";
    let first = placed(&desk, first, 4).await;
    examples.answer("get_events", "first_ones", &first);
    let ends = record_ends(&desk).await;
    examples.answer("get_events", "ends", &ends);
    let subject = policy.replace("/api/v1/policies", "policy");
    let log = (&desk.0.database, &desk.0.api);
    record_log(examples, log, (&subject, 6)).await;
}

/// What dates and somebody by hand make of policies.
async fn record_ends(desk: &Desk) -> Answer {
    desk.0
        .database
        .execute(
            "insert into insurance.insurances
                 (insurance_id, personal_identity_number, product, monthly_cost, valid_until,
                  cancelled_on)
             values (11, '197001019999', 'pet', 10, '2024-01-01', '2024-01-01'),
                 (12, '197001019999', 'pet', 10, '2024-01-01', null),
                 (13, '197001019999', 'pet', 10, null, null)",
        )
        .await;
    // The service's own worker may be at it.
    let mut worker = worker(&desk.0.database);
    while worker.look("2024-01-01".parse().unwrap()).await.unwrap() == Look::Leased {
        tokio::task::yield_now().await;
    }
    desk.0
        .database
        .execute(
            "delete from insurance.covers where insurance_id = 13;
             delete from insurance.insurances where insurance_id = 13;
             insert into insurance_events.events (event_id, aggregate_type, aggregate_id, version,
                 event_type, actor, correlation_id, data)
             values (gen_random_uuid(), 'policy', '13', 2, 'policy.removed.v1', 'database/admin',
                 'none', 'null')",
        )
        .await;
    let ends = "/api/v1/events?types=policy.ended.v1,policy.expired.v1,policy.removed.v1";
    placed(desk, ends, 3).await
}

/// The page, once it has so many events.
async fn placed(desk: &Desk, path: &str, events: usize) -> Answer {
    let key = [("x-api-key", LOG[0].1)];
    loop {
        let page = desk.ask(Method::GET, path, &key, None).await;
        if page.json().as_array().unwrap().len() == events {
            break page;
        }
        tokio::task::yield_now().await;
    }
}

async fn record_prices(examples: &mut Examples, desk: &Desk) {
    let operation = "set_price";
    let body = json!({ "monthlyCost": 35.5 });
    examples.request(operation, "car", &body);
    let set = desk.set_price("car", "2030-07-01", 35.5).await;
    examples.answer(operation, "set", &set);
    let again = desk.set_price("car", "2030-07-01", 35.5).await;
    examples.answer(operation, "again", &again);
    for (product, day, cost) in [
        ("car", "2030-07-01", 36.0),
        ("car", "2020-02-01", 36.0),
        ("boat", "2030-07-01", 36.0),
        ("car", "2030-02-30", 36.0),
        ("car", "2030-07-02", 1e10),
    ] {
        examples.problem(operation, &desk.set_price(product, day, cost).await);
    }
    let mut lock = desk.0.database.lock("insurance_events.events").await;
    examples.problem(operation, &desk.set_price("pet", "2030-07-01", 11.0).await);
    lock.release().await;
}

/// With what becomes of the answers that were kept.
async fn record_erasures(examples: &mut Examples, desk: &Desk) {
    let operation = "erase_person";
    let person = "197001017777";
    let of_person = json!({
        "personalIdentityNumber": person, "product": "car", "carRegistrationNumber": "CCC333",
        "validFrom": day(0), "validUntil": null,
    });
    let [drafting, moving, changing] = [
        "erased-draft-0001",
        "erased-move-00001",
        "erased-change-001",
    ];
    let drafted = desk.post(POLICIES, drafting, "", &of_person).await;
    let id = drafted.json()["insuranceId"].as_i64().unwrap();
    let transitions = format!("{POLICIES}/{id}/transitions");
    let active = json!({ "to": "active", "reason": "other" });
    let first = drafted.header("etag");
    let active_one = desk.post(&transitions, moving, first, &active).await;
    let to_change = format!("{POLICIES}/{id}/changes");
    let other_car = json!({ "effectiveOn": day(1), "carRegistrationNumber": "CCC444" });
    let second = active_one.header("etag");
    let changed = desk.post(&to_change, changing, second, &other_car).await;

    let erase = async |key: &str, body: &Value| {
        let key = [("idempotency-key", key)];
        let key = &key[..usize::from(!key[0].1.is_empty())];
        desk.administer(Method::POST, ERASURES, key, body).await
    };
    let body = json!({ "personalIdentityNumber": person });
    examples.problem(operation, &erase("erase-00000000001", &body).await);
    desk.go(id, changed.header("etag"), "cancelled").await;
    examples.request(operation, "person", &body);
    let erased = erase("erase-4f1d0a2b9c-1", &body).await;
    examples.answer(operation, "erased", &erased);
    let other = json!({ "personalIdentityNumber": "197001010000" });
    examples.problem(operation, &erase("erase-4f1d0a2b9c-1", &other).await);
    examples.problem(operation, &erase("", &body).await);
    examples.problem(operation, &erase("short", &body).await);
    let invalid = json!({ "personalIdentityNumber": "1" });
    examples.problem(operation, &erase("erase-00000000002", &invalid).await);

    let gone = desk.post(POLICIES, drafting, "", &of_person).await;
    examples.problem("draft_policy", &gone);
    let gone = desk.post(&transitions, moving, first, &active).await;
    examples.problem("move_policy", &gone);
    let gone = desk.post(&to_change, changing, second, &other_car).await;
    examples.problem("change_policy", &gone);
}
