use std::time::Duration;

use contracts::RegistrationNumber;
use futures_util::FutureExt;
use tokio::time::{Instant, advance};

use super::{Group, LEAST_TIME};
use crate::{Answer, Failure, FailureKind, observe::LookupLog};

const SECOND: Duration = Duration::from_secs(1);
const FAILURE: Failure = Failure::transient(FailureKind::ServerError);

fn number(text: &str) -> RegistrationNumber {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_is_worth_it_for_the_one_with_most_time_who_waits_now() {
    let (now, number) = (Instant::now(), number("ABC123"));
    let (group, short) = Group::new(&number, now + LEAST_TIME, 1, LookupLog::default());
    assert!(group.begin_attempt().is_some());
    advance(Duration::from_millis(1)).await;
    let long = group.join(&number, now + SECOND).unwrap();
    assert!(group.begin_attempt().is_some());
    drop(long);
    assert!(group.begin_attempt().is_none());
    // It ends now, and whoever comes begins another.
    assert!(group.join(&number, now + SECOND).is_none());
    drop(short);
    assert!(!group.is_awaited());
}

#[tokio::test(start_paused = true)]
async fn nobody_outwaits_a_deadline_and_all_are_told_what_comes_before() {
    let (now, number) = (Instant::now(), number("ABC123"));
    let (group, first) = Group::new(&number, now + SECOND, 1, LookupLog::default());
    let second = group.join(&number, now + 2 * SECOND).unwrap();
    let timeout = Failure::lasting(FailureKind::Timeout);
    assert_eq!(first.result().await.unwrap_err(), timeout);
    assert_eq!(now.elapsed(), SECOND);
    group.end(Ok(Answer::new().into()));
    assert!(second.result().await.is_ok());
    assert!(group.join(&number, now + 9 * SECOND).is_none());
}

#[tokio::test(start_paused = true)]
async fn who_has_no_time_for_a_call_after_a_pause_is_told_why_and_the_others_wait() {
    let (now, number) = (Instant::now(), number("ABC123"));
    let until = now + SECOND;
    let (group, hurried) = Group::new(&number, until, 1, LookupLog::default());
    let mut patient = Box::pin(group.join(&number, until + LEAST_TIME).unwrap().result());
    assert!(group.hold(until, FAILURE));
    let told = hurried.result().now_or_never();
    assert_eq!(told.unwrap().unwrap_err(), FAILURE);
    assert!(patient.as_mut().now_or_never().is_none());
    // Once it is out, who comes late may still be answered in time.
    let out = group.begin_attempt();
    let late = group.join(&number, until).unwrap();
    assert!(late.result().now_or_never().is_none());
    drop(out);
    // Without anybody who has the time it ends, and whoever comes begins another.
    drop(patient);
    assert!(!group.hold(until, FAILURE));
    assert!(group.join(&number, until + SECOND).is_none());
}

#[tokio::test(start_paused = true)]
async fn who_comes_during_a_pause_is_told_what_is_left_of_it() {
    let (now, number) = (Instant::now(), number("ABC123"));
    let failure = FAILURE.with_retry_after(Some(9 * SECOND));
    let (group, _patient) = Group::new(&number, now + 60 * SECOND, 1, LookupLog::default());
    assert!(group.hold(now + 9 * SECOND, failure));
    advance(4 * SECOND).await;
    let late = group.join(&number, now + 5 * SECOND).unwrap();
    let told = late.result().now_or_never().unwrap().unwrap_err();
    assert_eq!(told, FAILURE.with_retry_after(Some(5 * SECOND)));
}

#[tokio::test(start_paused = true)]
async fn whose_time_ends_before_the_next_attempt_is_told_the_failure_of_the_last() {
    let (now, number) = (Instant::now(), number("ABC123"));
    let (group, waiter) = Group::new(&number, now + 5 * SECOND, 1, LookupLog::default());
    let late = group.join(&number, now + 6 * SECOND).unwrap();
    group.failed(FAILURE.with_retry_after(Some(7 * SECOND)));
    // Its turn does not come.
    let failure = waiter.result().await.unwrap_err();
    assert_eq!(failure, FAILURE.with_retry_after(Some(2 * SECOND)));
    assert_eq!(now.elapsed(), 5 * SECOND);
    let mut out = group.begin_attempt().unwrap();
    out.sent();
    let timeout = Failure::lasting(FailureKind::Timeout);
    assert_eq!(late.result().await.unwrap_err(), timeout);
}

#[tokio::test(start_paused = true)]
async fn a_number_that_is_gathered_already_is_not_added_twice() {
    let deadline = Instant::now() + SECOND;
    let (group, first) = Group::new(&number("AAA111"), deadline, 2, LookupLog::default());
    let _again = group.add(&number("AAA111"), deadline).unwrap();
    drop(first);
    let _other = group.add(&number("BBB222"), deadline).unwrap();
    let out = group.begin_attempt().unwrap();
    assert_eq!(*out.numbers, ["AAA111", "BBB222"].map(number));
}

#[tokio::test(start_paused = true)]
async fn a_number_is_left_out_when_nobody_waits_for_it_and_then_cannot_be_joined() {
    let deadline = Instant::now() + SECOND;
    let numbers = ["AAA111", "BBB222", "CCC333"].map(number);
    let (group, _first) = Group::new(&numbers[0], deadline, 3, LookupLog::default());
    let leaving = group.add(&numbers[1], deadline).unwrap();
    let _last = group.add(&numbers[2], deadline).unwrap();
    assert!(group.add(&number("DDD444"), deadline).is_none());
    drop(leaving);
    let out = group.begin_attempt().unwrap();
    assert_eq!(*out.numbers, [numbers[0].clone(), numbers[2].clone()]);
    assert!(group.join(&numbers[1], deadline).is_none());
    assert!(group.join(&numbers[2], deadline).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_batch_takes_numbers_until_it_is_sent_and_then_no_more() {
    let deadline = Instant::now() + SECOND;
    let (group, _waiter) = Group::new(&number("AAA111"), deadline, 3, LookupLog::default());
    // One that was not let out was never in flight.
    drop(group.begin_attempt());
    let _second = group.add(&number("BBB222"), deadline).unwrap();
    let mut out = group.begin_attempt().unwrap();
    assert_eq!(*out.numbers, ["AAA111", "BBB222"].map(number));
    assert!(group.add(&number("CCC333"), deadline).is_none());
    out.sent();
    drop(out);
    // It waits for a retry, which is for what it has.
    assert!(group.add(&number("CCC333"), deadline).is_none());
    assert!(group.join(&number("BBB222"), deadline).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_set_is_waited_for_from_one_place_and_left_as_a_whole() {
    let deadline = Instant::now() + SECOND;
    let numbers = ["AAA111", "BBB222"].map(number);
    let (group, mut waiter) = Group::new(&numbers[0], deadline, 2, LookupLog::default());
    assert!(waiter.add(&numbers[1]));
    assert!(!waiter.add(&number("CCC333")) && !waiter.join(&number("CCC333")));
    assert!(numbers.iter().all(|number| group.is_awaited_for(number)));
    drop(waiter);
    assert!(!numbers.iter().any(|number| group.is_awaited_for(number)));
    assert!(!group.is_awaited());
    // Who stays is waited for though nobody is there.
    let (group, waiter) = Group::new(&numbers[0], deadline, 1, LookupLog::default());
    waiter.stay();
    assert!(group.is_awaited_for(&numbers[0]));
    assert!(group.abandoned().now_or_never().is_none());
    assert!(group.begin_attempt().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_call_is_abandoned_when_the_last_one_leaves_unless_it_is_in_flight() {
    let (deadline, number) = (Instant::now() + SECOND, number("ABC123"));
    let (group, waiter) = Group::new(&number, deadline, 1, LookupLog::default());
    let mut abandoned = Box::pin(group.abandoned());
    assert!(abandoned.as_mut().now_or_never().is_none());
    let out = group.begin_attempt();
    drop(waiter);
    assert!(abandoned.as_mut().now_or_never().is_none());
    let joined = group.join(&number, deadline).unwrap();
    drop(out);
    assert!(abandoned.as_mut().now_or_never().is_none());
    drop(joined);
    assert!(abandoned.now_or_never().is_some());
    assert!(group.join(&number, deadline).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_sent_after_all_was_never_in_flight() {
    let deadline = Instant::now() + SECOND;
    let (left, stays) = (number("AAA111"), number("BBB222"));
    let (group, leaver) = Group::new(&left, deadline, 2, LookupLog::default());
    let waiter = group.add(&stays, deadline).unwrap();
    group.failed(FAILURE);
    drop(leaver);
    let out = group.begin_attempt().unwrap();
    assert_eq!(*out.numbers, [stays]);
    assert!(group.join(&left, deadline).is_none());
    drop(out);
    assert!(group.join(&left, deadline).is_some());
    assert_eq!(waiter.result().await.unwrap_err(), FAILURE);
}
