//! Which part of the log a dry run is about.

use serde_json::json;

use super::{REPLAYS, code, dry_run, following};
use crate::api::consumers::feed;

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
