//! A copy of all vehicles.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use sqlx::PgConnection;
use test_support::{Answer, keyless, send};
use tokio::time::timeout;

use super::service::Service;

pub(crate) const FOLLOWER: [(&str, &str); 2] = [
    ("API_KEYS__FOLLOWER__KEY", "feed-key-0123456789"),
    ("API_KEYS__FOLLOWER__SCOPES", "feed"),
];

pub(crate) async fn get(service: &Service, path: &str) -> Answer {
    let request = keyless(Method::GET, path).header("x-api-key", FOLLOWER[0].1);
    send(&service.api, request).await
}

#[tokio::test]
async fn pages_of_every_size_hold_every_vehicle_once() {
    let service = Service::with(&FOLLOWER).await;
    let fill = "insert into vehicle.vehicles (registration_number)
        values ('ÅÄÖ'), ('AA'), ('ZZZ999'), ('A0'), ('BATCH')";
    service.database.execute(fill).await;
    let all = get(&service, "/api/v1/vehicles").await;
    assert_eq!(all.status, 200, "{}", all.text());
    assert_eq!(all.header("cache-control"), "no-store");
    let all = all.json();
    assert_eq!(all["next"], Value::Null);
    let all = all["vehicles"].as_array().unwrap();
    assert_eq!(all.len(), 8);
    let volvo = all
        .iter()
        .find(|it| it["registrationNumber"] == "ABC123")
        .unwrap();
    let expected = json!({"registrationNumber":"ABC123","make":"Volvo","model":"XC60","modelYear":2021,"version":1});
    assert_eq!(volvo, &expected);
    for limit in 1..=9 {
        let (mut read, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/vehicles?limit={limit}{after}");
            let page = get(&service, &path).await.json();
            read.extend(page["vehicles"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else {
                break;
            };
            let next = next
                .replace('Å', "%C3%85")
                .replace('Ä', "%C3%84")
                .replace('Ö', "%C3%96");
            after = format!("&after={next}");
        }
        assert_eq!(&read, all, "{limit}");
    }
}

#[tokio::test]
async fn the_copy_names_the_log_and_its_last_event_from_before_the_page() {
    let service = Service::with(&FOLLOWER).await;
    let mut connection = service.database.connect().await;
    let log: String = sqlx::query_scalar("select log_id::text from vehicle_events.head")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    // The sequencer of the service gives the events of the sample data their places.
    let third = placed(&mut connection, 3).await;
    // The page waits for the table, and another event comes meanwhile.
    let mut table = service.database.lock("vehicle.vehicles").await;
    let meanwhile = async {
        table.queued(1).await;
        let insert = "insert into vehicle_events.events (event_id, aggregate_type, aggregate_id,
                 version, event_type, actor, correlation_id, data)
             values (gen_random_uuid(), 'vehicle', 'NEW123', 1, 'vehicle.changed.v1', 'key/x', 'none', 'null')";
        service.database.execute(insert).await;
        placed(&mut connection, 4).await;
        table.release().await;
    };
    let (page, ()) = tokio::join!(get(&service, "/api/v1/vehicles"), meanwhile);
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(page.header("log-id"), log);
    assert_eq!(page.header("feed-position"), third);
    assert_eq!(page.header("log-position"), "3");
}

/// The event at a position, once it is there.
async fn placed(connection: &mut PgConnection, position: i64) -> String {
    let select = "select event_id::text from vehicle_events.log where position = $1";
    let placed = async {
        loop {
            let found = sqlx::query_scalar(select).bind(position);
            if let Some(event) = found.fetch_optional(&mut *connection).await.unwrap() {
                return event;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), placed).await.unwrap()
}

#[tokio::test]
async fn a_page_that_nobody_gave_is_refused() {
    let service = Service::with(&FOLLOWER).await;
    for (query, code) in [
        ("limit=0", "invalid_limit"),
        ("limit=1001", "invalid_limit"),
        ("limit=-1", "invalid_limit"),
        ("after=%3F", "invalid_after"),
        ("page=2", "unknown_parameter"),
        ("limit=1&limit=2", "unknown_parameter"),
    ] {
        let answer = get(&service, &format!("/api/v1/vehicles?{query}")).await;
        assert_eq!(answer.problem()["code"], code, "{query}");
    }
}
