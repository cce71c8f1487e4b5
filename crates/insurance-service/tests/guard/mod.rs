//! What the guard around Vehicle promises, seen from both sides of the real binary: its answers,
//! and what reaches a scripted Vehicle. The settings are the documented ones but where a test
//! says otherwise.

mod at_work;
mod breaker;
mod cap;
mod counters;
mod deadline;
mod failures;
mod gone;
mod hostile;
mod load;
mod outage;
mod retry_after;
mod service;
mod sharing;
mod toggles;
