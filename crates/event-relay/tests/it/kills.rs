use std::{
    env,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use event_log::{EventLog, Sequencer};
use service_database::Database;
use test_support::until;
use tokio::time::sleep;

use crate::support::{Bed, relay, relay_settings};

/// What the process with a relay is told.
const DATABASE: &str = "RELAY_TEST_DATABASE";
const BROKER: &str = "RELAY_TEST_BROKER";
/// Between an event and the next one.
const PACE: Duration = Duration::from_millis(3);

fn told(name: &str) -> String {
    env::var_os(name).unwrap().into_string().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by other tests, who kill it"]
async fn a_process_with_a_relay() {
    let (log, meter) = (
        EventLog::new("insurance"),
        opentelemetry::global::meter("test"),
    );
    let settings = relay_settings(&told(BROKER));
    let mut relay = relay(&log, &told(DATABASE), settings, &meter);
    let settings = format!(
        "url = \"{}\"\nuser = \"insurance_service\"\npassword = \"test\"\nmax_connections = 2",
        told(DATABASE)
    );
    let database = Database::new(&settings::parse("database", &settings).unwrap()).unwrap();
    let sequencer = Sequencer::new(log, database, &meter);
    tokio::join!(sequencer.run(), relay.run());
}

fn start(bed: &Bed) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "kills::a_process_with_a_relay", "--ignored"])
        .env(DATABASE, bed.database.url())
        .env(BROKER, bed.nats.url())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill(process: &mut Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

/// Kills the relay's process and the broker again and again while events come.
async fn survive(kills: u32) {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    bed.make_stream(-1).await;
    let mut process = start(&bed);
    let ends = AtomicBool::new(false);
    let database = bed.database.connect().await;
    let insert = async {
        let mut database = database;
        let mut events = 0_usize;
        while !ends.load(Relaxed) {
            let insert =
                "insert into insurance_events.events (event_id, aggregate_type, aggregate_id,
                    version, event_type, actor, correlation_id, data)
                select gen_random_uuid(), 'policy', gen_random_uuid()::text, 1, 'policy.drafted.v1',
                    'key/desk', 'none', '{}' from generate_series(1, 2)";
            sqlx::raw_sql(insert).execute(&mut database).await.unwrap();
            events += 2;
            sleep(PACE).await;
        }
        events
    };
    let release = "update insurance_events.relays set leased_until = '-infinity'";
    let mut published = 0;
    let kill_both = async {
        for turn in 0..kills {
            // Until something more was published, so that each kill hits work.
            published = until_more(&bed, published).await;
            sleep(Duration::from_millis(u64::from(turn * 7 % 40))).await;
            if turn.is_multiple_of(2) {
                kill(&mut process);
                // By the clock it takes 15 seconds.
                bed.database.execute(release).await;
                process = start(&bed);
            } else {
                bed.nats.start_again();
            }
        }
        ends.store(true, Relaxed);
    };
    let (events, ()) = tokio::join!(insert, kill_both);
    bed.assert_complete(events).await;
    kill(&mut process);
}

/// Waits until the stream has more messages than these, and says how many.
async fn until_more(bed: &Bed, messages: u64) -> u64 {
    let name = bed.name().await;
    until(async || {
        let client = async_nats::connect(bed.nats.url()).await.ok()?;
        let context = async_nats::jetstream::new(client);
        let stream = context.get_stream(&name).await.ok()?;
        let found = stream.cached_info().state.messages;
        (found > messages).then_some(found)
    })
    .await
}

#[tokio::test]
async fn no_event_is_lost_or_doubled_where_relay_and_broker_are_killed() {
    survive(6).await;
}

#[tokio::test]
#[ignore = "takes half a minute or more"]
async fn no_event_is_lost_or_doubled_in_fifty_kills_of_each() {
    survive(100).await;
}
