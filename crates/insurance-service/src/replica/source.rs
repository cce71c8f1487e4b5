//! Where the events come from that a copy follows: Vehicle's feed, or the stream that Vehicle's relay
//! fills.
//!
//! A stream may be behind Vehicle's log, and after a restore it has events that the log does not. So
//! with each page Vehicle is asked whether its log has the last event, and how far it is. Where the
//! stream is of no use, the feed is read.

use std::time::Duration;

use event_relay::{NatsSettings, StreamReader};
use service_defaults::chain;
use tokio::time::{Instant, timeout};
use uuid::Uuid;
use vehicle_client::{Feed, FeedError, FeedPage, FeedStart};

use super::{observe::Instruments, store::State};

/// How long the broker may take, with the wait for an event.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the feed is read once the stream was of no use.
const REST: Duration = Duration::from_mins(1);

/// Vehicle's events, wherever they are read.
pub(super) struct Source {
    feed: Feed,
    stream: Option<Stream>,
}

struct Stream {
    reader: StreamReader,
    instruments: Instruments,
    /// Until when the feed is read, where the stream was of no use.
    rests_until: Option<Instant>,
}

impl Source {
    /// The stream, where a broker is set.
    pub(super) fn new(feed: Feed, nats: &NatsSettings, instruments: Instruments) -> Self {
        let stream = nats.is_set().then(|| Stream {
            reader: StreamReader::new(nats.clone(), "insurance", "vehicle"),
            instruments,
            rests_until: None,
        });
        Self { feed, stream }
    }

    pub(super) fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(super) fn reads_stream(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(|it| it.rests_until.is_none())
    }

    /// The next events, so many at most; at the end of the log it waits so long for one. A copy that is
    /// being filled follows the feed.
    pub(super) async fn events(
        &mut self,
        from: &State,
        limit: u16,
        wait: Duration,
    ) -> Result<FeedPage, FeedError> {
        if let Some(stream) = &mut self.stream
            && from.filling.is_none()
            && stream.is_due()
            && let Some(page) = Box::pin(stream.events(&self.feed, from, limit, wait)).await?
        {
            return Ok(page);
        }
        self.feed.events(&after(from.event_id), limit, wait).await
    }
}

fn after(event: Option<Uuid>) -> FeedStart {
    event.map_or(FeedStart::Beginning, FeedStart::After)
}

impl Stream {
    fn is_due(&self) -> bool {
        self.rests_until.is_none_or(|it| it <= Instant::now())
    }

    /// `None` where the feed is to be read.
    async fn events(
        &mut self,
        feed: &Feed,
        from: &State,
        limit: u16,
        wait: Duration,
    ) -> Result<Option<FeedPage>, FeedError> {
        let Some(log_id) = from.log_id else {
            return Ok(None);
        };
        let last = from.event_id.map(|id| (from.position, id));
        let reading = self.reader.events(log_id, last, limit, wait);
        let events = match timeout(PATIENCE, Box::pin(reading)).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => return Ok(self.rest(&chain(&error))),
            Err(_) => return Ok(self.rest("the broker does not answer in time")),
        };
        let last = events.last().map(|it| (it.position, it.id)).or(last);
        let start = after(last.map(|(_, id)| id));
        let end = match feed.events(&start, 1, Duration::ZERO).await {
            Err(FeedError::UnknownEvent) if !events.is_empty() => {
                return Ok(self.rest("the stream has events that Vehicle's log does not have"));
            }
            end => end?,
        };
        let position = last.map_or(0, |(position, _)| position);
        let is_behind = events.is_empty() && end.log_position > position;
        // That the log is another one is the consumer's to notice.
        if end.log_id == log_id && is_behind {
            return Ok(None);
        }
        if self.rests_until.take().is_some() {
            tracing::info!("Vehicle's events are read from the broker again");
        }
        Ok(Some(FeedPage {
            next: last.map(|(_, id)| id),
            events: events.into_iter().map(|it| it.text).collect(),
            ..end
        }))
    }

    fn rest(&mut self, error: &str) -> Option<FeedPage> {
        if self.rests_until.is_none() {
            tracing::warn!(error, "Vehicle's events are read from its feed");
        }
        self.rests_until = Some(Instant::now() + REST);
        self.instruments.fell_back();
        None
    }
}
