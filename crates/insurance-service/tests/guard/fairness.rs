//! Callers in a hurry take nothing from those who wait.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use test_support::{FakeVehicle, Reply};
use tokio::time::sleep;

use crate::service::{Service, WITHOUT_BREAKER, WITHOUT_CACHE};

const PERSONS: usize = 2_000;

#[tokio::test]
async fn a_patient_caller_gets_no_less_beside_hurried_ones_than_beside_patient_ones() {
    let mut rounds = Vec::new();
    // A dozen calls are a small sample of a share: three quarters of it in one round of five tell
    // an equal share from one that others took.
    while rounds.len() < 5 {
        let (hurried, patient) = tokio::join!(enriched(true), enriched(false));
        rounds.push((hurried, patient));
        if patient > 0 && 4 * hurried >= 3 * patient {
            return;
        }
    }
    panic!("beside hurried and beside patient ones: {rounds:?}");
}

/// The cars that one patient caller gets in a while beside nine others.
async fn enriched(hurried: bool) -> usize {
    let vehicle =
        FakeVehicle::start(|request| Reply::healthy(request).worked_on(Duration::from_millis(300)))
            .await;
    let settings = [&WITHOUT_BREAKER[..], &WITHOUT_CACHE].concat();
    let service = Service::start(&vehicle, PERSONS, &settings).await;
    let (next, enriched) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (next, got, service) = (&next, &enriched, &service);
    let person = move || next.fetch_add(1, Ordering::SeqCst) % PERSONS;
    let others = (0..9).map(|_| async move {
        loop {
            if hurried {
                let time = Duration::from_millis(100);
                service.hurried_answer(person(), time).await;
            } else {
                service.answer(person()).await;
            }
        }
    });
    let patient = async {
        loop {
            let policy = service.policy(person()).await;
            got.fetch_add(usize::from(policy.is_enriched()), Ordering::SeqCst);
        }
    };
    tokio::select! {
        _ = join_all(others) => unreachable!("they ask for ever"),
        () = patient => unreachable!("it asks for ever"),
        () = sleep(Duration::from_secs(8)) => {}
    }
    enriched.into_inner()
}
