use async_nats::HeaderValue;
use event_log::{EventLog, Sequencer, Step};
use test_support::{Nats, TestDatabase, until};

use crate::support::{Bed, messages, places, relay_settings};

/// Whatever the table says, and beyond the time for which the broker knows ids.
#[tokio::test]
async fn a_relay_goes_on_after_the_last_event_of_the_stream() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    bed.make_stream(-1).await;
    for (noted, events) in [("0", 200), ("150", 350), ("1000000", 351)] {
        bed.place();
        bed.append(events - u32::try_from(bed.logged().await.len()).unwrap())
            .await;
        let note = format!("update insurance_events.relays set position = {noted}");
        bed.database.execute(&note).await;
        bed.relay();
        bed.assert_complete(events as usize).await;
        bed.cut().await;
        bed.forget_ids().await;
    }
}

#[tokio::test]
async fn a_stream_that_somebody_deletes_or_empties_is_filled_from_the_log() {
    let Some(bed) = Bed::publishing_anew(300).await else {
        return;
    };
    let (context, name) = (bed.jetstream().await, bed.name().await);
    context.delete_stream(&name).await.unwrap();
    bed.append(1).await;
    bed.assert_complete(301).await;
    // Noticed without an event that follows.
    let stream = context.get_stream(&name).await.unwrap();
    stream.purge().await.unwrap();
    context.delete_stream(&name).await.unwrap();
    bed.make_stream(-1).await;
    bed.assert_complete(301).await;
    bed.forget_ids().await;
    stream.purge().await.unwrap();
    bed.assert_complete(301).await;
}

#[tokio::test]
async fn a_stream_that_lacks_events_is_refused_until_it_is_deleted() {
    let Some(bed) = Bed::publishing_anew(10).await else {
        return;
    };
    let (context, name) = (bed.jetstream().await, bed.name().await);
    let stream = context.get_stream(&name).await.unwrap();
    stream.purge().keep(1).await.unwrap();
    bed.append(1).await;
    bed.until("refused").await;
    context.delete_stream(&name).await.unwrap();
    bed.assert_complete(11).await;
    bed.until("publishing").await;
}

/// The broker takes no event again whose id it still knows.
#[tokio::test]
async fn a_stream_that_cannot_be_filled_yet_is_seen_as_waiting_and_behind() {
    let Some(bed) = Bed::publishing(10).await else {
        return;
    };
    let stream = bed.jetstream().await.get_stream(bed.name().await).await;
    stream.unwrap().purge().await.unwrap();
    bed.until("waiting").await;
    bed.until_measured("relay_lag_events", &[("relay", "nats")], 10)
        .await;
}

/// Events were lost by a restore, and other ones have their positions now.
#[tokio::test]
async fn a_restored_log_is_published_only_into_a_stream_of_its_own() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    bed.place();
    bed.append(50).await;
    bed.relay();
    bed.assert_complete(50).await;
    bed.cut().await;
    let backup = bed.database.copy().await;
    bed.place();
    bed.relay();
    bed.append(50).await;
    bed.assert_complete(100).await;
    let (former, before) = (bed.name().await, bed.logged().await);

    // Under a relay that runs; the sequencer goes on as well.
    bed.database.restore(&backup).await;
    bed.append(80).await;
    bed.until("refused").await;
    let context = bed.jetstream().await;
    assert_eq!(places(&messages(&context, &former).await), before);
    // One that starts finds the same.
    bed.cut().await;
    bed.place();
    bed.relay();
    bed.until("refused").await;
    assert_eq!(places(&messages(&context, &former).await), before);

    bed.renew().await;
    bed.assert_complete(130).await;
    assert_ne!(bed.name().await, former);
    assert_eq!(places(&messages(&context, &former).await), before);
    bed.until("publishing").await;
}

#[tokio::test]
async fn an_event_has_its_attributes_in_headers_and_its_data_as_they_were_written() {
    let Some(nats) = Nats::start() else { return };
    let database = TestDatabase::new("vehicle", vehicle_service::SCHEMA).await;
    database
        .execute(
            "insert into vehicle.vehicles (registration_number, make, model, model_year)
                 values ('ÅÄÖ123', 'Volvo', 'V60', 2020);
             delete from vehicle.vehicles where registration_number = 'ÅÄÖ123'",
        )
        .await;
    let meter = opentelemetry::global::meter("test");
    let log = EventLog::new("vehicle");
    let settings = format!(
        "url = \"{}\"\nuser = \"vehicle_service\"\npassword = \"test\"\nacquire_timeout = \"10s\"",
        database.url()
    );
    let pool = settings::parse("database", &settings).unwrap();
    let pool = service_database::Database::new(&pool).unwrap();
    let mut sequencer = Sequencer::new(log.clone(), pool.clone(), &meter);
    while !matches!(sequencer.step().await.unwrap(), Step::Idle) {}
    let settings = relay_settings(&nats.url());
    let mut relay = event_relay::Relay::new(log, pool, settings, "/local/vehicle", &meter);
    let relaying = tokio::spawn(async move { relay.run().await });

    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let found = until(async || {
        let stream = context.stream_by_subject("threadpilot.vehicle.>").await;
        let found = messages(&context, &stream.ok()?).await;
        let [.., registered, gone] = &found[..] else {
            return None;
        };
        let is_last = gone.subject.ends_with("deregistered.v1");
        is_last.then(|| [registered.clone(), gone.clone()])
    })
    .await;
    relaying.abort();
    let [registered, gone] = &found;
    assert_eq!(
        &*registered.subject,
        "threadpilot.vehicle.vehicle.registered.v1"
    );
    let header = |name| registered.headers.get(name).map(HeaderValue::as_str);
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-source", "/local/vehicle"),
        ("ce-type", "vehicle.registered.v1"),
        // RFC 3986: no header is sure to take more than ASCII.
        ("ce-subject", "vehicle/%C3%85%C3%84%C3%96123"),
        ("ce-partitionkey", "vehicle/%C3%85%C3%84%C3%96123"),
        ("ce-datacontenttype", "application/json"),
        ("ce-correlationid", "none"),
        ("ce-authtype", "system"),
    ] {
        assert_eq!(header(name), Some(value), "{name}");
    }
    assert_eq!(header("Nats-Msg-Id"), header("ce-id"));
    assert_eq!(header("ce-sequence").map(str::len), Some(20));
    assert_eq!(header("ce-causationid"), None);
    let data: serde_json::Value = serde_json::from_slice(&registered.payload).unwrap();
    assert_eq!(data["registrationNumber"], "ÅÄÖ123");
    assert_eq!(gone.headers.get("ce-method").unwrap().as_str(), "DELETE");
    assert_eq!(&*gone.payload, b"null");
}
