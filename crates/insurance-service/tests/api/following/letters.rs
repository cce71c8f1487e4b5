//! Events that have no effect are put aside, and the others go on.

use insurance_service::{Consumer, Turn};
use tokio_util::sync::CancellationToken;

use super::{Pair, texts, within};

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

/// That the copy lacks what they told is over with a later event of the car, or with another copy.
#[tokio::test]
async fn a_letter_that_an_operator_closed_stays_as_it_is_and_is_superseded_later() {
    let pair = Pair::new().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    for number in ["ABC123", "DEF456"] {
        pair.tell_nonsense(number).await;
    }
    pair.caught_up(&mut consumer).await;
    let discard = "update insurance_replica.dead_letters
        set status = 'discarded', closed_at = now(), closed_by = 'key/operator', note = 'given up'";
    pair.insurance.execute(discard).await;
    let old = "update insurance_replica.dead_letters set closed_at = now() - interval '90 days'";
    pair.insurance.execute(old).await;
    let lacking = "select coalesce(string_agg(registration_number, ' '), '')
        from insurance_replica.dead_letters where superseded_at is null";
    let change = "update vehicle.vehicles set model = 'new' where registration_number = 'ABC123'";
    pair.vehicle.execute(change).await;
    // One that sweeps at once: what is in doubt stays.
    pair.end_lease().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    assert_eq!(texts(&pair.insurance, lacking).await, ["DEF456"]);
    let bodies = "select length(event)::text from insurance_replica.dead_letters";
    assert_eq!(texts(&pair.insurance, bodies).await, ["0"]);
    assert_eq!(
        pair.letters().await,
        ["DEF456 contract discarded 0 given up"]
    );
    let order = "update insurance_replica.consumers set mode = 'snapshot'";
    pair.insurance.execute(order).await;
    pair.end_lease().await;
    pair.until(&mut pair.consumer(), "generation", "2").await;
    assert_eq!(texts(&pair.insurance, lacking).await, [""]);
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
        due(&pair).await;
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
                where registration_number = 'GHI789'";
            pair.vehicle.execute(change).await;
            consumer.turn(&told).await.unwrap();
        }
    })
    .await;
    pair.caught_up(consumer).await;
}

/// Time passes.
async fn due(pair: &Pair) {
    let due = "update insurance_replica.dead_letters set next_try_at = now()
        where status = 'retrying'";
    pair.insurance.execute(due).await;
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
    // Once with its page, and three times alone.
    for _ in 0..4 {
        let living = pair.living();
        let blocked = "select count(*)::text from pg_stat_activity
            where datname = current_database() and wait_event = 'advisory'";
        within(async { while texts(&pair.insurance, blocked).await != ["1"] {} }).await;
        assert_eq!(pair.letters().await, [""; 0]);
        pair.kill(living).await;
    }
    // It is the event's turn to be put aside. It was innocent: tried again by itself, it has its
    // effect.
    sqlx::raw_sql("select pg_advisory_unlock(7)")
        .execute(&mut hold)
        .await
        .unwrap();
    until_letters(
        &pair,
        &mut pair.consumer(),
        "DEF456 crash resolved 2 applied",
    )
    .await;
    pair.assert_equal().await;
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
