//! What may become of a policy, as functions without I/O: the service decides by them, and a check
//! folds the event log with them.

mod dates;
#[allow(dead_code, reason = "the routes that decide by it come next")]
mod decide;
#[allow(dead_code, reason = "as above")]
mod state;

pub(crate) use dates::today;
