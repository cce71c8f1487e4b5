//! What the readiness makes of its checks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use service_defaults::{
    health::{Check, CheckStatus, Readiness},
    lifecycle::Shutdown,
};
use tokio::time::{Instant, advance};

#[tokio::test(start_paused = true)]
async fn a_check_that_does_not_end_fails_after_a_second() {
    let readiness = Readiness::new(Shutdown::default())
        .with_check("slow", std::future::pending)
        .with_check("good", async || Check::pass("good"));
    let asked = Instant::now();
    let report = readiness.report().await;
    assert_eq!(asked.elapsed(), Duration::from_secs(1));
    assert!(!report.ready);
    let status: Vec<_> = report.checks.iter().map(|check| check.status).collect();
    let [fail, pass] = [CheckStatus::Fail, CheckStatus::Pass];
    assert_eq!(status, [fail, pass, pass]);
}

#[tokio::test(start_paused = true)]
async fn a_report_is_given_again_for_a_quarter_of_a_second() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let readiness = Readiness::new(Shutdown::default()).with_check("counts", move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Check::pass("counts") }
    });
    for (pause, expected) in [(0, 1), (249, 1), (1, 2), (249, 2)] {
        advance(Duration::from_millis(pause)).await;
        readiness.report().await;
        assert_eq!(asked.load(Ordering::Relaxed), expected);
    }
}
