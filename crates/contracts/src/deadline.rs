/// Request header of both services: how long the caller still waits for the answer, in whole
/// milliseconds, rounded down, as 1 to 9 decimal digits.
///
/// The time is relative on purpose, so that the clocks of two machines are never compared. A
/// service takes the smaller of it and its own limit; with 0 the caller is gone already, and the
/// request is refused instead of worked on.
pub const X_DEADLINE_MS: &str = "X-Deadline-Ms";

/// The largest value of [`X_DEADLINE_MS`]: over eleven days, in nine digits.
pub const MAX_DEADLINE_MS: u64 = 999_999_999;
