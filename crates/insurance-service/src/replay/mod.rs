//! Replays: looks at the past of Vehicle's feed, or a new copy of everything, at an operator's wish.
//!
//! A dry run reads a part of the log and compares it with the copy; nothing is changed. A rebuild is
//! the consumer's own snapshot, with an id to watch it and to cancel it by. [`store`] keeps both, so
//! that a process that dies leaves them to another one.

mod compare;
pub(crate) mod store;
pub(crate) mod window;
mod worker;

use std::time::Duration;

use settings::Figure;

pub(crate) use worker::Worker;

/// Events of a page of a dry run. A cancellation is obeyed after one.
const PAGE: u16 = 1_000;
/// Events that may be asked for without a word more.
pub(crate) const MOST_EVENTS: i64 = 1_000_000;

/// How long Vehicle may take for a page.
const LONGEST_PAGE: Duration = Duration::from_secs(10);
/// How long the comparison of a page may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How long the largest dry run takes that nobody has to confirm.
pub(crate) fn longest() -> Figure {
    let pages = u32::try_from(MOST_EVENTS).unwrap_or(u32::MAX) / u32::from(PAGE);
    Figure::duration(
        "replay_duration_at_worst",
        pages * (LONGEST_PAGE + LIMIT),
        format_args!(
            "{MOST_EVENTS} events / {PAGE} of a page x (10s for Vehicle's answer + 5s to compare it)"
        ),
    )
}
