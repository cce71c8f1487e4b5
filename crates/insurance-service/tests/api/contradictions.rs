//! Settings that contradict each other are refused, each with the setting, the figure that it comes
//! to and the bound that this breaks.

use super::settings::refusal;

/// The changed settings | the setting that is named | the figure | the bound.
const CASES: &str = "
# An answer, all of it, within its request.
SERVER__REQUEST_DEADLINE=2900ms | enrichment.deadline | = 3s, | server.request_deadline = 2s 900ms
ENRICHMENT__DEADLINE=9001ms | enrichment.deadline | 9s 1ms + 1s for the database | server.request_deadline = 10s
ENRICHMENT__DEADLINE=10s | enrichment.deadline | = 11s, | server.request_deadline = 10s
DATABASE__STATEMENT_TIMEOUT=7501ms | enrichment.deadline | = 10s 1ms, | server.request_deadline = 10s
DATABASE__ACQUIRE_TIMEOUT=8s | enrichment.deadline | database.acquire_timeout 8s + database.statement_timeout 500ms + 250ms | server.request_deadline = 10s
DATABASE__STATEMENT_TIMEOUT=10s | database.statement_timeout | = 10s 500ms, | server.request_deadline = 10s
DATABASE__ACQUIRE_TIMEOUT=9500ms | database.statement_timeout | = 10s 250ms, | server.request_deadline = 10s
SERVER__REQUEST_DEADLINE=500ms | database.statement_timeout | = 1s, | server.request_deadline = 500ms
# Every attempt within the enrichment's deadline.
VEHICLE_CLIENT__ATTEMPT_TIMEOUT=1001ms | vehicle_client.attempt_timeout | up to 2s 2ms | enrichment.deadline = 2s
VEHICLE_CLIENT__MAX_RETRIES=5 | vehicle_client.attempt_timeout | up to 3s | enrichment.deadline = 2s
VEHICLE_CLIENT__MAX_RETRIES=4 | vehicle_client.attempt_timeout | up to 2s 500ms | enrichment.deadline = 2s
ENRICHMENT__DEADLINE=999ms | vehicle_client.attempt_timeout | up to 1s | enrichment.deadline = 999ms
VEHICLE_CLIENT__ATTEMPT_TIMEOUT=500000000000y | vehicle_client.attempt_timeout | up to  | enrichment.deadline = 2s
VEHICLE_CLIENT__QUEUE_WAIT=2s | vehicle_client.queue_wait | = 2s 500ms, | enrichment.deadline = 2s
VEHICLE_CLIENT__QUEUE_WAIT=1501ms | vehicle_client.queue_wait | = 2s 1ms, | enrichment.deadline = 2s
VEHICLE_CLIENT__QUEUE_WAIT=10s | vehicle_client.queue_wait | = 10s 500ms, | enrichment.deadline = 2s
ENRICHMENT__DEADLINE=10ms | vehicle_client.queue_wait | = 750ms, | enrichment.deadline = 10ms
# One attempt.
VEHICLE_CLIENT__CONNECT_TIMEOUT=501ms | vehicle_client.connect_timeout | 501ms | vehicle_client.attempt_timeout = 500ms
VEHICLE_CLIENT__ATTEMPT_TIMEOUT=200ms | vehicle_client.connect_timeout | 250ms | vehicle_client.attempt_timeout = 200ms
# A batch that Vehicle takes and whose answer we do.
VEHICLE_CLIENT__MAX_BATCH_SIZE=501 | vehicle_client.max_batch_size | 501 | 1..=500
VEHICLE_CLIENT__MAX_BATCH_SIZE=0 | vehicle_client.max_batch_size | 0 | 1..=500
VEHICLE_CLIENT__MAX_ANSWER_BYTES=1024 | vehicle_client.max_batch_size | 50 vehicles take 3450 bytes | vehicle_client.max_answer_bytes = 1024
VEHICLE_CLIENT__MAX_BATCH_SIZE=500, VEHICLE_CLIENT__MAX_ANSWER_BYTES=34499 | vehicle_client.max_batch_size | 500 vehicles take 34500 bytes | vehicle_client.max_answer_bytes = 34499
# Caps under which nothing goes out.
VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_SINGLE=0 | vehicle_client.max_degree_of_parallelism_single | 0 | 1..=1000
VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_BATCH=0 | vehicle_client.max_degree_of_parallelism_batch | 0 | 1..=1000
DATABASE__MAX_CONNECTIONS=0 | database.max_connections | 0 | 1..=1000
SERVER__MAX_CONNECTIONS=1000 | limits.max_requests_in_progress | 1024 | server.max_connections = 1000
# Retries.
VEHICLE_CLIENT__RETRY_BUDGET__RETRIES_PER_GOOD_CALL=1.1 | vehicle_client.retry_budget.retries_per_good_call | 1.1 | 0..=1
# What is kept.
VEHICLE_CLIENT__CACHE__SOFT_STALE=59s | vehicle_client.cache.soft_stale | 59s | vehicle_client.cache.fresh = 1m
VEHICLE_CLIENT__CACHE__FRESH=11m | vehicle_client.cache.soft_stale | 10m | vehicle_client.cache.fresh = 11m
VEHICLE_CLIENT__CACHE__HARD_STALE=599s | vehicle_client.cache.hard_stale | 9m 59s | vehicle_client.cache.soft_stale = 10m
VEHICLE_CLIENT__CACHE__NEGATIVE=61s | vehicle_client.cache.negative | 1m 1s | vehicle_client.cache.fresh = 1m
VEHICLE_CLIENT__CACHE__FRESH=29s | vehicle_client.cache.negative | 30s | vehicle_client.cache.fresh = 29s
# The strategy and the copy.
ENRICHMENT__STRATEGY=replica | enrichment.strategy | replica needs a copy | replica.enabled = false
ENRICHMENT__STRATEGY=replica_then_batch | enrichment.strategy | replica_then_batch needs a copy | replica.enabled = false
ENRICHMENT__STRATEGY=single, FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL=true | feature_toggles.enable_batch_vehicle_call | true, and | enrichment.strategy = single
ENRICHMENT__STRATEGY=batch, FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL=false | feature_toggles.enable_batch_vehicle_call | false, and | enrichment.strategy = batch
REPLICA__ENABLED=true, ENRICHMENT__STRATEGY=replica_then_single, FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL=true | feature_toggles.enable_batch_vehicle_call | true, and | enrichment.strategy = replica_then_single
REPLICA__MAX_AGE=24h | replica.max_age | 1day is not under | replica.unusable_after = 1day
REPLICA__NATS__URL=nats://nats:4222 | replica.nats.url | is set | replica.enabled = false
REPLICA__UNUSABLE_AFTER=60s | replica.max_age | 1m is not under | replica.unusable_after = 1m
# The breaker.
VEHICLE_CLIENT__BREAKER__MINIMUM_CALLS=131 | vehicle_client.breaker.minimum_calls | 131 slow calls are never seen: at most 130 | vehicle_client.breaker.window = 10s
VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_SINGLE=1, VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_BATCH=2, VEHICLE_CLIENT__BREAKER__WINDOW=3s | vehicle_client.breaker.minimum_calls | at most 16 of 400ms | vehicle_client.breaker.window = 3s
VEHICLE_CLIENT__BREAKER__WINDOW=1s | vehicle_client.breaker.minimum_calls | 20 slow calls are never seen: at most 15 | vehicle_client.breaker.window = 1s
";

#[test]
fn each_contradiction_is_refused_with_setting_figure_and_bound() {
    let cases = CASES.lines().filter(|line| line.contains(" | "));
    assert!(cases.clone().count() >= 42);
    for case in cases {
        let [changes, setting, figure, bound] =
            case.split(" | ").collect::<Vec<_>>().try_into().unwrap();
        let changes: Vec<_> = changes
            .split(", ")
            .map(|change| change.split_once('=').unwrap())
            .collect();
        let refusal = refusal(&changes);
        let named = format!("{setting}: ");
        let told =
            |line: &str| line.starts_with(&named) && line.contains(figure) && line.contains(bound);
        assert!(refusal.lines().any(told), "{case}\n{refusal}");
    }
}

#[test]
fn what_just_fits_is_good() {
    for changes in [
        [("SERVER__REQUEST_DEADLINE", "3s")],
        [("ENRICHMENT__DEADLINE", "9s")],
        [("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "925ms")],
        [("VEHICLE_CLIENT__QUEUE_WAIT", "1500ms")],
        [("VEHICLE_CLIENT__CONNECT_TIMEOUT", "500ms")],
        [("VEHICLE_CLIENT__BREAKER__MINIMUM_CALLS", "130")],
        [("VEHICLE_CLIENT__MAX_ANSWER_BYTES", "3450")],
        [("VEHICLE_CLIENT__CACHE__NEGATIVE", "60s")],
        [("SERVER__MAX_CONNECTIONS", "1024")],
        // The toggle says otherwise only by its default.
        [("ENRICHMENT__STRATEGY", "batch")],
        [("REPLICA__MAX_AGE", "86399s")],
    ] {
        assert_eq!(refusal(&changes), "", "{changes:?}");
    }
    // The copy alone makes no calls that the toggle could be about.
    let alone = [
        ("REPLICA__ENABLED", "true"),
        ("ENRICHMENT__STRATEGY", "replica"),
        ("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", "true"),
    ];
    assert_eq!(refusal(&alone), "");
}
