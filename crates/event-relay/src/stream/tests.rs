use std::time::Duration;

use contracts::CloudEvent;
use futures_util::future::join;
use serde_json::value::RawValue;
use settings::parse;
use test_support::Nats;
use tokio::time::sleep;

use super::*;
use crate::StreamReader;

/// The shortest that a server takes.
const DUPLICATE_WINDOW: Duration = Duration::from_millis(100);

fn event(position: i64) -> (Place, CloudEvent) {
    let id = Uuid::from_u128(u128::from(position.unsigned_abs()));
    let event = CloudEvent {
        specversion: "1.0",
        id: id.to_string(),
        source: "/local/vehicle".to_owned(),
        r#type: "vehicle.changed.v1".to_owned(),
        subject: "vehicle/ABC123".to_owned(),
        time: "2026-11-21T10:15:30.123456Z".to_owned(),
        datacontenttype: "application/json",
        sequence: format!("{position:020}"),
        partitionkey: "vehicle/ABC123".to_owned(),
        aggregateversion: position,
        correlationid: "none".to_owned(),
        causationid: None,
        traceparent: None,
        authtype: "system",
        authid: "database/x".to_owned(),
        method: None,
        data: RawValue::from_string("{}".to_owned()).unwrap(),
    };
    ((position, id), event)
}

async fn broker(nats: &Nats) -> Broker {
    let settings = format!("url = \"{}\"", nats.url());
    let settings = parse("relay.nats", &settings).unwrap();
    Broker::connect(&settings, "vehicle").await.unwrap()
}

async fn open(broker: &Broker) -> Opened {
    let log = Uuid::from_u128(1);
    broker.open("vehicle", log, &[], 1).await.unwrap()
}

/// A process that was stopped for longer than the server knows ids, and goes on.
#[tokio::test]
async fn a_publisher_that_was_overtaken_is_refused_also_when_its_ids_are_forgotten() {
    let Some(nats) = Nats::start() else { return };
    let (slow, fast) = (broker(&nats).await, broker(&nats).await);
    let window = Config {
        duplicate_window: DUPLICATE_WINDOW,
        ..config(&stream_name("vehicle", Uuid::from_u128(1)), "vehicle", 1)
    };
    slow.context.create_stream(window).await.unwrap();
    let (mut before, mut opened) = (open(&slow).await, open(&fast).await);
    let events = || (1..=3).map(event).collect();
    fast.publish(&mut opened, events()).await.unwrap();
    sleep(DUPLICATE_WINDOW * 3).await;
    let refused = slow.publish(&mut before, events()).await;
    assert!(matches!(refused, Err(Error::Overtaken)), "{refused:?}");
    // Within the window the server would answer with the old sequence.
    let refused = slow.publish(&mut before, vec![event(3), event(4)]).await;
    assert!(matches!(refused, Err(Error::Overtaken)), "{refused:?}");
    let now = open(&slow).await;
    assert_eq!((now.sequence, now.last), (3, Some(event(3).0)));
}

/// What was sent on it may be lost, and the client would go on with another one by itself.
#[tokio::test]
async fn a_broken_connection_ends_a_publication_that_is_under_way() {
    let Some(mut nats) = Nats::start() else {
        return;
    };
    let broker = broker(&nats).await;
    let mut opened = open(&broker).await;
    let mut events = (1..).map(event);
    let publishing = async {
        loop {
            let next = events.next().into_iter().collect();
            if let Err(error) = broker.publish(&mut opened, next).await {
                return error;
            }
        }
    };
    let (error, ()) = join(publishing, async { nats.kill() }).await;
    assert!(matches!(error, Error::Lost), "{error:?}");
}

#[tokio::test]
async fn an_event_is_read_as_the_feed_has_it() {
    let Some(nats) = Nats::start() else { return };
    let broker = broker(&nats).await;
    let mut opened = open(&broker).await;
    let changed = CloudEvent {
        subject: "vehicle/ÅÄÖ 1%".to_owned(),
        causationid: Some("0192f3c4".to_owned()),
        data: RawValue::from_string(r#"{"make":"Škoda","modelYear":null}"#.to_owned()).unwrap(),
        ..event(1).1
    };
    let gone = CloudEvent {
        method: Some("DELETE"),
        data: RawValue::from_string("null".to_owned()).unwrap(),
        ..event(2).1
    };
    let written = [changed.clone(), gone.clone()];
    let events = vec![(event(1).0, changed), (event(2).0, gone)];
    broker.publish(&mut opened, events).await.unwrap();
    let settings = parse("relay.nats", &format!("url = \"{}\"", nats.url())).unwrap();
    let mut reader = StreamReader::new(settings, "insurance", "vehicle");
    let read = reader.events(Uuid::from_u128(1), None, 10, PATIENCE).await;
    let read = read.unwrap();
    assert_eq!(
        read.iter().map(|it| it.position).collect::<Vec<_>>(),
        [1, 2]
    );
    for (read, written) in read.iter().zip(written) {
        let read: serde_json::Value = serde_json::from_str(read.text.get()).unwrap();
        assert_eq!(read, serde_json::to_value(written).unwrap());
    }
}

#[tokio::test]
async fn a_stream_that_was_purged_before_the_next_event_is_refused() {
    let Some(nats) = Nats::start() else { return };
    let broker = broker(&nats).await;
    let mut opened = open(&broker).await;
    let events = (1..=3).map(event).collect();
    broker.publish(&mut opened, events).await.unwrap();
    assert!(broker.is_whole(&opened).await.unwrap());
    let stream = broker.stream(&opened.name).await.unwrap().unwrap();
    stream.purge().await.unwrap();
    // The sequence goes on after a purge, so the server takes it.
    broker.publish(&mut opened, vec![event(4)]).await.unwrap();
    assert!(!broker.is_whole(&opened).await.unwrap());
    let refused = broker.open("vehicle", Uuid::from_u128(1), &[], 1).await;
    assert!(matches!(refused, Err(Error::Incomplete(it)) if it == opened.name));
}

#[tokio::test]
async fn a_stream_that_deletes_by_itself_or_that_holds_what_is_not_ours_is_refused() {
    let Some(nats) = Nats::start() else { return };
    let broker = broker(&nats).await;
    // Each of another log: the server may still delete the files of the one before.
    let mut logs = (1..).map(Uuid::from_u128);
    let keeps = config("", "vehicle", 1);
    let makes_room = Config {
        discard: DiscardPolicy::Old,
        ..keeps.clone()
    };
    for forgetful in [
        Config {
            max_age: Duration::from_hours(1),
            ..keeps.clone()
        },
        Config {
            max_messages_per_subject: 1,
            ..keeps.clone()
        },
        Config {
            max_messages: 1_000,
            ..makes_room.clone()
        },
        Config {
            max_bytes: 1 << 20,
            ..makes_room.clone()
        },
    ] {
        let log = logs.next().unwrap();
        let name = stream_name("vehicle", log);
        let stream = Config {
            name: name.clone(),
            ..forgetful
        };
        broker.context.create_stream(stream).await.unwrap();
        let refused = broker.open("vehicle", log, &[], 1).await;
        assert!(matches!(refused, Err(Error::Forgetful(_))));
        broker.context.delete_stream(&name).await.unwrap();
    }
    // Without a limit nothing is deleted.
    let log = logs.next().unwrap();
    let name = stream_name("vehicle", log);
    let stream = Config {
        name: name.clone(),
        ..makes_room
    };
    broker.context.create_stream(stream).await.unwrap();
    let opened = broker.open("vehicle", log, &[], 1).await.unwrap();
    assert_eq!(opened.last, None);
    let sent = broker.context.publish("threadpilot.vehicle.x", "".into());
    sent.await.unwrap().await.unwrap();
    let refused = broker.open("vehicle", log, &[], 1).await;
    assert!(matches!(refused, Err(Error::Diverged(it)) if it == name));
}
