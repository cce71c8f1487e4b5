//! The copy of Vehicle's cars, kept by following the real Vehicle.

use std::{future::Future, time::Duration};

use insurance_service::{Consumer, NAME, SCHEMA, Turn, TurnError};
use service_database::Database;
use sqlx::AssertSqlSafe;
use test_support::{API_KEY, FakeVehicle, Reply, Request, TestDatabase, metric};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use vehicle_client::{Feed, FeedError, Options};

use super::real_vehicle::{insurance_on, serve_vehicle};

/// Vehicle at a socket, and the database of Insurance.
struct Pair {
    vehicle: TestDatabase,
    insurance: TestDatabase,
    url: String,
}

impl Pair {
    async fn new() -> Self {
        let vehicle = TestDatabase::new(vehicle_service::NAME, vehicle_service::SCHEMA).await;
        Self {
            url: serve_vehicle(&vehicle).await,
            vehicle,
            insurance: TestDatabase::new(NAME, SCHEMA).await,
        }
    }

    /// A consumer as each process has one.
    fn consumer(&self) -> Consumer {
        let database = format!(
            "url = \"{}\"\nuser = \"insurance_service\"\npassword = \"test\"\n\
             max_connections = 1\nacquire_timeout = \"10s\"\nstatement_timeout = \"10s\"",
            self.insurance.url()
        );
        let database = settings::parse("database", &database).unwrap();
        let database = Database::new(&database).unwrap();
        let options = format!(
            "api_key = \"{API_KEY}\"\nbase_url = \"{}\"\nconnect_timeout = \"500ms\"",
            self.url
        );
        let options: Options = settings::parse("vehicle_client", &options).unwrap();
        let feed = Feed::new(&options, "test/1").unwrap();
        Consumer::by_hand(database, feed, &opentelemetry::global::meter("test"))
    }

    /// Lets a consumer go on until it has everything and fills nothing.
    async fn caught_up(&self, consumer: &mut Consumer) {
        let told = CancellationToken::new();
        within(async {
            while !self.is_caught_up().await {
                consumer.turn(&told).await.unwrap();
            }
        })
        .await;
    }

    async fn is_caught_up(&self) -> bool {
        let head = "select position::text || ' true' from vehicle_events.head
            where not exists (select from vehicle_events.unplaced)";
        let head = texts(&self.vehicle, head).await;
        head.len() == 1
            && self
                .state("position || ' ' || (filling is null and generation > 0)")
                .await
                == head[0]
    }

    async fn state(&self, columns: &str) -> String {
        let sql = format!("select ({columns})::text from insurance_replica.consumers");
        texts(&self.insurance, &sql).await.remove(0)
    }

    /// What both have.
    async fn assert_equal(&self) {
        let columns =
            "registration_number || ' ' || coalesce(make, '-') || ' ' || coalesce(model, '-')
            || ' ' || coalesce(model_year::text, '-') || ' ' || version";
        let source = format!("select {columns} from vehicle.vehicles order by registration_number");
        let copy = format!(
            "select {columns} from insurance_replica.vehicles
             where generation = (select generation from insurance_replica.consumers)
                 and deleted_at is null order by registration_number"
        );
        let (source, copy) = (
            texts(&self.vehicle, &source).await,
            texts(&self.insurance, &copy).await,
        );
        assert!(
            source == copy,
            "{} and {} vehicles, and they differ",
            source.len(),
            copy.len()
        );
    }

    /// As if the lease had ended by the clock.
    async fn end_lease(&self) {
        let end = "update insurance.workers set leased_until = '-infinity'";
        self.insurance.execute(end).await;
    }

    /// Tells what Vehicle never would.
    async fn tell_nonsense(&self, number: &str) {
        let tell = format!(
            "insert into vehicle_events.events
                 (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, data)
             values (gen_random_uuid(), 'vehicle', '{number}', nextval('vehicle.versions'),
                 'vehicle.inspected.v1', 'test', 'none', '{{}}')"
        );
        self.vehicle.execute(&tell).await;
    }

    async fn letters(&self) -> Vec<String> {
        let letters = "select concat_ws(' ', registration_number, reason, status, attempts, note)
            from insurance_replica.dead_letters order by position";
        texts(&self.insurance, letters).await
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_mins(5), work).await.unwrap()
}

async fn texts(database: &TestDatabase, sql: &str) -> Vec<String> {
    let mut connection = database.connect().await;
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

/// Changes of every kind, by direct SQL.
fn change(round: u32) -> String {
    let some = |of: u32| format!("hashtext(registration_number || '{round}') % {of} = 0");
    match round % 5 {
        0 => format!("update vehicle.vehicles set model = 'M{round}' where {}", some(20)),
        1 => format!("delete from vehicle.vehicles where {}", some(30)),
        2 => format!(
            "insert into vehicle.vehicles (registration_number, make)
             select 'T' || n, 'R{round}' from generate_series(10000, 12499) n where n % 7 = {round} % 7
             on conflict do nothing"
        ),
        3 => format!("update vehicle.vehicles set model_year = 1990 + {round} % 30"),
        _ => format!(
            "update vehicle.vehicles set registration_number = 'N' || substr(registration_number, 2)
             where registration_number like 'T%' and {} and not exists (
                 select from vehicle.vehicles other
                 where other.registration_number = 'N' || substr(vehicles.registration_number, 2))",
            some(50)
        ),
    }
}

#[tokio::test]
async fn the_copy_is_what_vehicle_has_and_nothing_comes_twice_whoever_dies() {
    let pair = Pair::new().await;
    let load = "insert into vehicle.vehicles (registration_number, make)
        select 'T' || n, 'Saab' from generate_series(10000, 12499) n";
    pair.vehicle.execute(load).await;
    // Each effect, in its transaction.
    pair.insurance
        .execute(
            "create table public.effects (generation bigint, number text, version bigint, position bigint);
             create function public.note() returns trigger language plpgsql security definer as $$
             begin
                 insert into public.effects
                 values (new.generation, new.registration_number, new.version, new.position);
                 return null;
             end $$;
             create trigger note after insert or update on insurance_replica.vehicles
             for each row execute function public.note()",
        )
        .await;
    let changes = async {
        for round in 0..40 {
            pair.vehicle.execute(&change(round)).await;
        }
    };
    let deaths = async {
        for death in 0..25 {
            let mut consumer = pair.consumer();
            let living = tokio::spawn(async move {
                let told = CancellationToken::new();
                // Not what it does, but that it is cut off somewhere.
                while consumer.turn(&told).await.is_ok() {}
            });
            sleep(Duration::from_millis(10 + 37 * death % 150)).await;
            living.abort();
            pair.end_lease().await;
        }
    };
    within(Box::pin(async { tokio::join!(changes, deaths) })).await;
    pair.end_lease().await;
    pair.caught_up(&mut pair.consumer()).await;
    pair.assert_equal().await;
    let twice = "select count(*)::text from (
        select from public.effects group by generation, number, version having count(*) > 1) twice";
    assert_eq!(texts(&pair.insurance, twice).await, ["0"]);
    assert_eq!(pair.letters().await, [""; 0]);
    let tombstones = "select (count(*) > 0)::text from insurance_replica.vehicles
        where deleted_at is not null and make is null";
    assert_eq!(texts(&pair.insurance, tombstones).await, ["true"]);
}

#[tokio::test]
async fn an_older_version_never_wins_and_events_that_come_again_have_no_effect() {
    let pair = Pair::new().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    let change = "update vehicle.vehicles set model = 'new' where registration_number = 'ABC123'";
    pair.vehicle.execute(change).await;
    pair.vehicle
        .execute("delete from vehicle.vehicles where registration_number = 'DEF456'")
        .await;
    pair.caught_up(&mut consumer).await;
    pair.assert_equal().await;
    // It reads the log from its beginning, as if it had forgotten all.
    let forget = "update insurance_replica.consumers set event_id = null, position = 0";
    pair.insurance.execute(forget).await;
    let newer = "update insurance_replica.vehicles set version = version + 1000, make = 'kept'
        where registration_number = 'ABC123'";
    pair.insurance.execute(newer).await;
    pair.end_lease().await;
    pair.caught_up(&mut pair.consumer()).await;
    let rows = "select registration_number || coalesce(make, '') || (deleted_at is null)
        from insurance_replica.vehicles where registration_number in ('ABC123', 'DEF456') order by 1";
    assert_eq!(
        texts(&pair.insurance, rows).await,
        ["ABC123kepttrue", "DEF456false"]
    );
}

#[tokio::test]
async fn one_consumes_at_a_time_and_one_that_was_overtaken_has_no_effect() {
    let pair = Pair::new().await;
    let (mut first, mut second) = (pair.consumer(), pair.consumer());
    pair.caught_up(&mut first).await;
    let told = CancellationToken::new();
    assert_eq!(second.turn(&told).await.unwrap(), Turn::Leased);
    pair.end_lease().await;
    let before = pair.state("position").await;
    let overtake =
        "update insurance.workers set fence = fence + 1 where worker = 'vehicle_replica'";
    pair.insurance.execute(overtake).await;
    pair.vehicle
        .execute("delete from vehicle.vehicles where registration_number = 'ABC123'")
        .await;
    assert_eq!(first.turn(&told).await.unwrap(), Turn::Leased);
    assert_eq!(pair.state("position").await, before);
    pair.caught_up(&mut second).await;
    pair.assert_equal().await;
    assert_eq!(first.turn(&told).await.unwrap(), Turn::Leased);
}

#[tokio::test]
async fn another_log_is_copied_beside_the_old_copy_which_is_swept_afterwards() {
    let pair = Pair::new().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    assert_eq!(pair.state("generation").await, "1");
    let age = pair.state("caught_up_at").await;
    let told = CancellationToken::new();
    for (generation, lost) in [
        // Restored, and `new-log`.
        (2, "vehicle_events.head set log_id = gen_random_uuid()"),
        // Failed over: the event that was read last is not there.
        (
            3,
            "insurance_replica.consumers set event_id = gen_random_uuid()",
        ),
    ] {
        let database = if generation == 2 {
            &pair.vehicle
        } else {
            &pair.insurance
        };
        database.execute(&format!("update {lost}")).await;
        let change = format!("update vehicle.vehicles set model = 'L{generation}'");
        pair.vehicle.execute(&change).await;
        pair.end_lease().await;
        let mut consumer = pair.consumer();
        within(async {
            while pair.state("filling is null").await == "true" {
                consumer.turn(&told).await.unwrap();
            }
        })
        .await;
        // Read as it was, and as old as it is.
        assert_eq!(pair.state("generation").await, (generation - 1).to_string());
        let read = format!(
            "select (count(*) > 2)::text from insurance_replica.vehicles where generation = {generation} - 1"
        );
        assert_eq!(texts(&pair.insurance, &read).await, ["true"]);
        if generation == 2 {
            assert_eq!(pair.state("caught_up_at").await, age);
        }
        pair.caught_up(&mut consumer).await;
        assert_eq!(
            pair.state("generation || mode").await,
            format!("{generation}follow")
        );
        pair.assert_equal().await;
        pair.end_lease().await;
        let mut consumer = pair.consumer();
        pair.vehicle
            .execute("update vehicle.vehicles set model = 'swept'")
            .await;
        pair.caught_up(&mut consumer).await;
        let old = format!(
            "select count(*)::text from insurance_replica.vehicles where generation < {generation}"
        );
        assert_eq!(texts(&pair.insurance, &old).await, ["0"]);
    }
}

#[tokio::test]
async fn a_new_snapshot_is_filled_while_the_copy_that_is_read_is_followed() {
    let pair = Pair::new().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    let load = "insert into vehicle.vehicles (registration_number)
        select 'T' || n from generate_series(10000, 11499) n";
    pair.vehicle.execute(load).await;
    pair.caught_up(&mut consumer).await;
    let order = "update insurance_replica.consumers set mode = 'snapshot'";
    pair.insurance.execute(order).await;
    pair.end_lease().await;
    let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
    // The first page of two is there; then cars of both pages change.
    within(async {
        while pair.state("filled").await != "1000" {
            consumer.turn(&told).await.unwrap();
        }
    })
    .await;
    let change = "update vehicle.vehicles set model = 'new';
        delete from vehicle.vehicles where registration_number in ('ABC123', 'T11499')";
    pair.vehicle.execute(change).await;
    let read = "select count(*)::text from insurance_replica.vehicles
        where generation = 1 and model = 'new'";
    within(async {
        while texts(&pair.insurance, read).await == ["0"] {
            consumer.turn(&told).await.unwrap();
        }
    })
    .await;
    pair.caught_up(&mut consumer).await;
    assert_eq!(pair.state("generation").await, "2");
    pair.assert_equal().await;
}

#[tokio::test]
async fn what_breaks_the_contract_is_put_aside_until_a_later_event_of_the_car() {
    let pair = Pair::new().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    pair.tell_nonsense("ABC123").await;
    pair.vehicle
        .execute("update vehicle.vehicles set model = 'new' where registration_number = 'DEF456'")
        .await;
    pair.caught_up(&mut consumer).await;
    pair.assert_equal().await;
    assert_eq!(pair.letters().await, ["ABC123 contract parked 0"]);
    pair.vehicle
        .execute("update vehicle.vehicles set model = 'later'")
        .await;
    pair.caught_up(&mut consumer).await;
    assert_eq!(
        pair.letters().await,
        ["ABC123 contract resolved 0 superseded"]
    );
}

#[tokio::test]
async fn an_event_whose_statement_fails_is_tried_again_and_holds_up_no_other() {
    let pair = Pair::new().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    let fail = "create function public.fail() returns trigger language plpgsql as $$
        begin raise exception 'no'; end $$;
        create trigger fail before insert or update on insurance_replica.vehicles
        for each row when (new.registration_number = 'ABC123') execute function public.fail()";
    pair.insurance.execute(fail).await;
    pair.vehicle
        .execute("update vehicle.vehicles set model = 'new'")
        .await;
    pair.caught_up(&mut consumer).await;
    assert_eq!(pair.letters().await, ["ABC123 effect retrying 1"]);
    let followed = "select count(*)::text from insurance_replica.vehicles where model = 'new'";
    let others = "select (count(*) - 1)::text from vehicle.vehicles";
    assert_eq!(
        texts(&pair.insurance, followed).await,
        texts(&pair.vehicle, others).await
    );
    for tried in ["effect retrying 2", "effect retrying 3", "effect parked 4"] {
        // Time passes.
        let due = "update insurance_replica.dead_letters set next_try_at = now()";
        pair.insurance.execute(due).await;
        until_letters(&pair, &mut consumer, &format!("ABC123 {tried}")).await;
    }
    let again = "drop trigger fail on insurance_replica.vehicles;
        update insurance_replica.dead_letters set status = 'retrying', next_try_at = now()";
    pair.insurance.execute(again).await;
    until_letters(&pair, &mut consumer, "ABC123 effect resolved 5 applied").await;
    pair.assert_equal().await;
}

/// Goes on until there is this letter. Each change of a car ends the wait for the next event.
async fn until_letters(pair: &Pair, consumer: &mut Consumer, letter: &str) {
    let told = CancellationToken::new();
    within(async {
        while pair.letters().await != [letter] {
            let change = "update vehicle.vehicles set model_year = 1990 + (model_year + 1) % 30
                where registration_number = 'DEF456'";
            pair.vehicle.execute(change).await;
            consumer.turn(&told).await.unwrap();
        }
    })
    .await;
    pair.caught_up(consumer).await;
}

#[tokio::test]
async fn an_event_that_kills_the_process_is_put_aside_and_the_others_are_not() {
    let pair = Pair::new().await;
    pair.caught_up(&mut pair.consumer()).await;
    // The process dies while it has this car in hand.
    let wait = "create function public.wait() returns trigger language plpgsql as $$
        begin perform pg_advisory_xact_lock(7); return new; end $$;
        create trigger wait before insert or update on insurance_replica.vehicles
        for each row when (new.registration_number = 'DEF456') execute function public.wait()";
    pair.insurance.execute(wait).await;
    let mut hold = pair.insurance.connect().await;
    sqlx::raw_sql("select pg_advisory_lock(7)")
        .execute(&mut hold)
        .await
        .unwrap();
    pair.vehicle
        .execute("update vehicle.vehicles set model = 'new'")
        .await;
    let kill = "select count(pg_terminate_backend(pid, 10000))::text from pg_stat_activity
        where datname = current_database() and wait_event = 'advisory'";
    // Once with its page, and three times alone.
    for _ in 0..4 {
        pair.end_lease().await;
        let mut consumer = pair.consumer();
        let living = tokio::spawn(async move {
            let told = CancellationToken::new();
            while consumer.turn(&told).await.is_ok() {}
        });
        let blocked = "select count(*)::text from pg_stat_activity
            where datname = current_database() and wait_event = 'advisory'";
        within(async { while texts(&pair.insurance, blocked).await != ["1"] {} }).await;
        assert_eq!(pair.letters().await, [""; 0]);
        living.abort();
        texts(&pair.insurance, kill).await;
    }
    pair.end_lease().await;
    pair.caught_up(&mut pair.consumer()).await;
    assert_eq!(pair.letters().await, ["DEF456 crash parked 0"]);
    let followed = "select count(*)::text from insurance_replica.vehicles where model = 'new'";
    let others = "select (count(*) - 1)::text from vehicle.vehicles";
    assert_eq!(
        texts(&pair.insurance, followed).await,
        texts(&pair.vehicle, others).await
    );
}

#[tokio::test]
async fn too_many_dead_letters_stop_the_consumer_until_an_operator_says_otherwise() {
    let pair = Pair::new().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    pair.insurance
        .execute(
            "insert into insurance_replica.dead_letters
                 (dead_letter_id, consumer, event_id, position, reason, detail, event)
             select gen_random_uuid(), 'vehicle_replica', gen_random_uuid(), n, 'contract', '', ''
             from generate_series(1, 1000) n",
        )
        .await;
    pair.tell_nonsense("ABC123").await;
    pair.vehicle
        .execute("update vehicle.vehicles set model = 'new'")
        .await;
    let told = CancellationToken::new();
    within(async { while consumer.turn(&told).await.unwrap() != Turn::Paused {} }).await;
    let stopped = pair
        .state("mode || ' ' || mode_by || ' ' || last_error")
        .await;
    assert_eq!(
        stopped,
        "paused worker/vehicle_replica too_many_dead_letters"
    );
    assert_eq!(consumer.turn(&told).await.unwrap(), Turn::Paused);
    let resume = "update insurance_replica.consumers set mode = 'follow', last_error = null";
    pair.insurance.execute(resume).await;
    pair.caught_up(&mut consumer).await;
    pair.assert_equal().await;
}

/// A Vehicle that has no cars and tells these events.
fn telling(request: &Request, events: &[String]) -> Reply {
    let id = |number: usize| format!("00000000-0000-7000-8000-{number:012}");
    let path = request.path.as_str();
    let kind = "application/json".to_owned();
    if path.starts_with("/api/v1/vehicles") {
        let body = "{\"vehicles\":[],\"next\":null}".to_owned();
        return Reply::Answer(200, vec![("content-type", kind), ("log-id", id(0))], body);
    }
    let named = path.split_once("lastEventId=00000000-0000-7000-8000-");
    let after = named.map_or(0, |(_, number)| number[..12].parse().unwrap());
    let (_, limit) = path.split_once("limit=").unwrap();
    let limit = limit.split('&').next().unwrap().parse().unwrap();
    let page: Vec<_> = events.iter().skip(after).take(limit).cloned().collect();
    let headers = vec![
        (
            "content-type",
            "application/cloudevents-batch+json".to_owned(),
        ),
        ("log-id", id(0)),
        ("log-position", events.len().to_string()),
        ("next-event-id", id(after + page.len())),
    ];
    Reply::Answer(200, headers, format!("[{}]", page.join(",")))
}

#[tokio::test]
async fn events_of_two_cars_that_cannot_be_read_stop_the_consumer() {
    let unreadable = |place: u32, number: &str| {
        format!("{{\"sequence\":\"{place:020}\",\"subject\":\"vehicle/{number}\"}}")
    };
    let twice = [("ABC123", "ABC123"), ("ABC123", "DEF456")];
    for (index, (first, second)) in twice.into_iter().enumerate() {
        let events = [unreadable(1, first), unreadable(2, second)];
        let vehicle = FakeVehicle::start(move |request| telling(request, &events)).await;
        let pair = Pair {
            url: vehicle.url(),
            vehicle: TestDatabase::empty(vehicle_service::NAME).await,
            insurance: TestDatabase::new(NAME, SCHEMA).await,
        };
        let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
        let ends = ["2 follow", "1 paused unreadable_events"][index];
        let state = "concat_ws(' ', position, mode, last_error)";
        within(async {
            while pair.state(state).await != ends {
                consumer.turn(&told).await.unwrap();
            }
        })
        .await;
        let parked = ["ABC123 unreadable parked 0"; 2];
        assert_eq!(pair.letters().await, parked[index..]);
    }
}

#[tokio::test]
async fn a_page_that_breaks_its_contract_has_no_effect() {
    let event = "{\"sequence\":\"1\"}".to_owned();
    for (from, to) in [
        ("application/cloudevents-batch+json", "text/html"),
        ("log-id", "x-log-id"),
        ("log-position", "x-log-position"),
        ("next-event-id", "x-next-event-id"),
        ("[{", "{"),
    ] {
        let events = [event.clone()];
        let vehicle = FakeVehicle::start(move |request| match telling(request, &events) {
            Reply::Answer(status, headers, body) if request.path.contains("events") => {
                let broken = headers.into_iter().map(|(name, value)| {
                    let name = if name == from { to } else { name };
                    (name, value.replace(from, to))
                });
                Reply::Answer(status, broken.collect(), body.replace(from, to))
            }
            reply => reply,
        });
        let vehicle = vehicle.await;
        let pair = Pair {
            url: vehicle.url(),
            vehicle: TestDatabase::empty(vehicle_service::NAME).await,
            insurance: TestDatabase::new(NAME, SCHEMA).await,
        };
        let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
        let error = within(async {
            loop {
                if let Err(error) = consumer.turn(&told).await {
                    return error;
                }
            }
        })
        .await;
        let broken = matches!(error, TurnError::Feed(FeedError::Contract(_)));
        assert!(broken, "{to}: {error:?}");
        assert_eq!(pair.state("position").await, "0", "{to}");
        assert_eq!(pair.letters().await, [""; 0], "{to}");
    }
}

#[tokio::test]
async fn a_pause_is_obeyed_by_the_page_in_hand() {
    let pair = Pair::new().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    let before = pair.state("position").await;
    // The page is asked for, and the pause comes before its effect.
    let mut lock = pair.insurance.lock("insurance_replica.consumers").await;
    pair.vehicle
        .execute("update vehicle.vehicles set model = 'new'")
        .await;
    let told = CancellationToken::new();
    let pause = async {
        lock.queued(1).await;
        let pausing = pair
            .insurance
            .execute("update insurance_replica.consumers set mode = 'paused'");
        tokio::join!(pausing, async {
            lock.queued(2).await;
            lock.release().await;
        });
    };
    let (turn, ()) = within(Box::pin(async {
        tokio::join!(consumer.turn(&told), pause)
    }))
    .await;
    turn.unwrap();
    assert_eq!(consumer.turn(&told).await.unwrap(), Turn::Paused);
    let after = pair.state("position").await;
    pair.insurance
        .execute("update insurance_replica.consumers set mode = 'follow'")
        .await;
    pair.caught_up(&mut consumer).await;
    pair.assert_equal().await;
    assert_eq!(after, before);
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
    within(async {
        while !api.get("/readyz").await.text().contains(pass) {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let metrics = api.get("/metrics").await.text();
    assert!(metric(&metrics, "feed_events_total", &[("outcome", "applied")]) > 0);
    assert_eq!(metric(&metrics, "replica_lag_events", &[]), 0);
    let lag = metrics
        .lines()
        .find(|line| line.starts_with("replica_lag_seconds"));
    let (_, seconds) = lag.unwrap().rsplit_once(' ').unwrap();
    assert!(seconds.parse::<f64>().unwrap() < 60.0, "{seconds}");
    let none = [("consumer", "vehicle_replica"), ("reason", "contract")];
    assert_eq!(metric(&metrics, "dead_letters_open", &none), 0);
    assert_eq!(metric(&metrics, "consumer_restarts_total", &none[..1]), 0);
}
