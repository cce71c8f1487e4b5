//! The consumer dies, again and again.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Pair, texts, within};

/// Changes of every kind, by direct SQL.
fn change(round: u32) -> String {
    let some = |of: u32| format!("hashtext(registration_number || '{round}') % {of} = 0");
    match round % 5 {
        0 => format!("update vehicle.vehicles set model = 'M{round}' where {}", some(20)),
        1 => format!("delete from vehicle.vehicles where {}", some(30)),
        2 => format!(
            "insert into vehicle.vehicles (registration_number, make)
             select 'T' || n, 'R{round}' from generate_series(10000, 10199) n where n % 7 = {round} % 7
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

/// How often it dies, beside so many changes each time. The full size is the benchmark's.
const DEATHS: u32 = 6;
const CHANGES: u32 = 2;

#[tokio::test]
async fn the_copy_is_what_vehicle_has_and_nothing_comes_twice_whoever_dies() {
    let pair = Pair::new().await;
    let load = "insert into vehicle.vehicles (registration_number, make)
        select 'T' || n, 'Saab' from generate_series(10000, 10199) n";
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
    for death in 0..DEATHS {
        let living = pair.living();
        for round in 0..CHANGES {
            pair.vehicle.execute(&change(CHANGES * death + round)).await;
        }
        // Not what it does, but that it is cut off somewhere.
        sleep(Duration::from_millis(10 + u64::from(37 * death % 150))).await;
        pair.kill(living).await;
    }
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    // One that died thrice with the same event in hand has put it aside for a while.
    let told = CancellationToken::new();
    let open = "select count(*)::text from insurance_replica.dead_letters
        where status in ('parked', 'retrying')";
    within(async {
        while texts(&pair.insurance, open).await != ["0"] {
            let due = "update insurance_replica.dead_letters set next_try_at = now()
                where status = 'retrying'";
            pair.insurance.execute(due).await;
            consumer.turn(&told).await.unwrap();
        }
    })
    .await;
    // Whatever the copies before it have seen.
    let delete = "delete from vehicle.vehicles where registration_number in (
        select max(registration_number) from vehicle.vehicles)";
    pair.vehicle.execute(delete).await;
    pair.caught_up(&mut consumer).await;
    pair.assert_equal().await;
    let twice = "select count(*)::text from (
        select from public.effects group by generation, number, version having count(*) > 1) twice";
    assert_eq!(texts(&pair.insurance, twice).await, ["0"]);
    let tombstones = "select (count(*) > 0)::text from insurance_replica.vehicles
        where deleted_at is not null and make is null";
    assert_eq!(texts(&pair.insurance, tombstones).await, ["true"]);
}
