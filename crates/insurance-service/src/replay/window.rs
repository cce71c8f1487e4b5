//! Which part of the log a dry run is about.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use uuid::Uuid;
use vehicle_client::{Feed, FeedError, FeedPage, FeedStart};

/// The first and the last place of a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) log_id: Uuid,
    pub(crate) from: i64,
    pub(crate) until: i64,
    /// Time between the two events.
    pub(crate) lasts: Duration,
}

/// Why there is no window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WindowError {
    /// No event is in it.
    Empty,
    /// Vehicle has another log than the copy is of.
    OtherLog,
    /// Vehicle did not say.
    Feed(FeedError),
}

impl From<FeedError> for WindowError {
    fn from(error: FeedError) -> Self {
        Self::Feed(error)
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) start: FeedStart,
    /// The last place, or the moment before which events are looked at; all there are without it.
    pub(crate) end: Option<End>,
    /// The log of the copy and the last place that it has.
    pub(crate) copy: (Uuid, i64),
}

#[derive(Clone, Debug)]
pub(crate) enum End {
    Position(i64),
    Before(String),
}

/// Looks where the window begins and ends: the copy cannot be compared with what it does not have
/// yet.
pub(crate) async fn find_window(feed: &Feed, wanted: &Wanted) -> Result<Window, WindowError> {
    let (log, copied) = wanted.copy;
    let first = Placed::first_of(&look(feed, &wanted.start, log).await?)?;
    let end = match &wanted.end {
        None => copied,
        Some(End::Position(position)) => *position,
        Some(End::Before(moment)) => {
            let page = look(feed, &FeedStart::Since(moment.clone()), log).await?;
            match Placed::first_of(&page) {
                Ok(next) => next.position - 1,
                Err(_) => page.log_position,
            }
        }
    };
    let until = end.min(copied);
    if until < first.position {
        return Err(WindowError::Empty);
    }
    let page = look(feed, &FeedStart::Position(until), log).await?;
    let last = Placed::first_of(&page)?;
    Ok(Window {
        log_id: log,
        from: first.position,
        until,
        lasts: last.time.duration_since(first.time).unwrap_or_default(),
    })
}

async fn look(feed: &Feed, start: &FeedStart, log: Uuid) -> Result<FeedPage, WindowError> {
    let page = feed.events(start, 1, Duration::ZERO).await?;
    if page.log_id == log {
        Ok(page)
    } else {
        Err(WindowError::OtherLog)
    }
}

/// Where an event is in the log, and when it was written.
struct Placed {
    position: i64,
    time: SystemTime,
}

impl Placed {
    fn first_of(page: &FeedPage) -> Result<Self, WindowError> {
        #[derive(Deserialize)]
        struct Envelope {
            sequence: String,
            time: String,
        }
        let first = page.events.first().ok_or(WindowError::Empty)?;
        let broken = FeedError::Contract("an event has no place or time");
        let envelope: Envelope = serde_json::from_str(first.get()).map_err(|_| broken.clone())?;
        let position = envelope.sequence.parse().map_err(|_| broken.clone())?;
        let time = humantime::parse_rfc3339(&envelope.time).map_err(|_| broken)?;
        Ok(Self { position, time })
    }
}
