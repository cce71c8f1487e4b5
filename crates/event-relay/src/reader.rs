//! Reads the stream that the relay of another service fills.

use std::time::Duration;

use async_nats::jetstream::{
    consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
    stream::{Info, LastRawMessageErrorKind, Stream},
};
use futures_util::StreamExt;
use serde_json::value::RawValue;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    error::Error,
    message::{Place, event, place},
    settings::{NatsSettings, stream_name, subjects},
    stream::{Broker, last_event},
};

/// How long an answer may take, beside the time that an event is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Largest page in bytes, as of the feed.
const LARGEST_PAGE: usize = 4 << 20;
/// How long the server remembers where a reader is that asks for nothing.
const REMEMBERED: Duration = Duration::from_secs(30);

/// An event of a stream.
#[derive(Clone, Debug)]
pub struct StreamEvent {
    /// Its position in the log.
    pub position: i64,
    /// Its id.
    pub id: Uuid,
    /// The event in the structured JSON form of `CloudEvents`, as the feed has it.
    pub text: Box<RawValue>,
}

/// Why there are no events.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The broker is away or slow, or refuses us or what we ask.
    #[error("the stream of events cannot be read")]
    Broker(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no stream of the log, or it does not have the event that was read last yet.
    #[error("the stream is missing, or is not so far yet")]
    Behind,
    /// The stream has other events than the log, or lacks the one that follows.
    #[error("the stream lacks events of the log")]
    Gap,
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Broker(error.into())
    }
}

/// Reads the events of a service's log from its stream, in their order and without gaps. Where it is
/// is up to whoever asks; the server keeps nothing of it for long.
pub struct StreamReader {
    settings: NatsSettings,
    /// Who reads.
    name: &'static str,
    /// Whose events.
    service: &'static str,
    cursor: Option<Cursor>,
}

/// Where the server will go on.
struct Cursor {
    broker: Broker,
    consumer: Consumer<pull::Config>,
    log_id: Uuid,
    after: Option<Place>,
}

impl StreamReader {
    /// Connects when it is first needed.
    pub fn new(settings: NatsSettings, name: &'static str, service: &'static str) -> Self {
        Self {
            settings,
            name,
            service,
            cursor: None,
        }
    }

    /// The events of this log after this one (position and id), so many at most; waits so long for
    /// the first one.
    pub async fn events(
        &mut self,
        log_id: Uuid,
        after: Option<(i64, Uuid)>,
        limit: u16,
        wait: Duration,
    ) -> Result<Vec<StreamEvent>, ReadError> {
        let cursor = self.cursor.take();
        let kept = cursor.filter(|it| (it.log_id, it.after) == (log_id, after));
        let mut read = match kept {
            Some(cursor) => cursor.read(limit, wait).await,
            None => Err(ReadError::Gap),
        };
        // The stream may have been filled again, and have the event elsewhere.
        if matches!(read, Err(ReadError::Gap)) {
            let cursor = self.open(log_id, after).await?;
            read = cursor.read(limit, wait).await;
        }
        let (events, cursor) = read?;
        self.cursor = cursor;
        Ok(events)
    }

    /// Connects, and finds the place after this event.
    async fn open(&self, log_id: Uuid, after: Option<Place>) -> Result<Cursor, ReadError> {
        let broker = Broker::connect(&self.settings, self.name).await?;
        let opening = async {
            let name = stream_name(self.service, log_id);
            let stream = broker.stream(&name).await?.ok_or(ReadError::Behind)?;
            let start_sequence = self.sequence_of(&stream, after).await? + 1;
            let config = pull::Config {
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
                ack_policy: AckPolicy::None,
                inactive_threshold: REMEMBERED,
                num_replicas: 1,
                memory_storage: true,
                ..pull::Config::default()
            };
            let made = Box::pin(stream.create_consumer(config)).await;
            made.map_err(|error| ReadError::from(Error::Read(error.into())))
        };
        let consumer = broker.within(Box::pin(opening)).await?;
        Ok(Cursor {
            broker,
            consumer,
            log_id,
            after,
        })
    }

    /// The sequence that this event has in the stream; without one, that before the first event. A
    /// stream that was emptied and filled again does not begin with sequence 1.
    async fn sequence_of(
        &self,
        stream: &Stream<Info>,
        after: Option<Place>,
    ) -> Result<u64, ReadError> {
        let empty = || (stream.cached_info().state.last_sequence, 0);
        let last = Box::pin(last_event(stream, &subjects(self.service))).await?;
        let (sequence, end) = last.map_or_else(empty, |(sequence, (end, _))| (sequence, end));
        let position = after.map_or(0, |(position, _)| position);
        let behind = u64::try_from(end - position).map_err(|_| ReadError::Behind)?;
        let sequence = sequence.checked_sub(behind).ok_or(ReadError::Gap)?;
        if let Some(after) = after {
            let found = match stream.get_raw_message(sequence).await {
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => None,
                found => place(&found.map_err(Error::from)?.headers),
            };
            if found != Some(after) {
                return Err(ReadError::Gap);
            }
        }
        Ok(sequence)
    }
}

impl Cursor {
    /// The next events, and where they end; `None` where what follows was skipped.
    async fn read(
        mut self,
        limit: u16,
        wait: Duration,
    ) -> Result<(Vec<StreamEvent>, Option<Self>), ReadError> {
        // It waits for the first message, and takes what else is there.
        let fetch = self
            .consumer
            .fetch()
            .max_messages(limit.into())
            .max_bytes(LARGEST_PAGE)
            .expires(wait);
        let reading = async {
            let mut batch = fetch
                .messages()
                .await
                .map_err(|it| Error::Read(it.into()))?;
            let mut messages = Vec::new();
            while let Some(message) = batch.next().await {
                match message {
                    Ok(message) => messages.push(message),
                    // It is the next page's, as where there is no room for it in this one.
                    Err(_) if !messages.is_empty() => break,
                    Err(error) => return Err(Error::Read(error)),
                }
            }
            Ok(messages)
        };
        let read = timeout(wait + PATIENCE, self.broker.within(Box::pin(reading))).await;
        let messages = read.unwrap_or(Err(Error::Lost))?;
        let mut events = Vec::with_capacity(messages.len());
        for message in &messages {
            let headers = message.headers.as_ref();
            let follows = |it: &Place| it.0 == self.after.map_or(1, |(position, _)| position + 1);
            let Some((position, id)) = headers.and_then(place).filter(follows) else {
                break;
            };
            let text = headers.map(|headers| event(headers, &message.payload));
            let Some(Ok(text)) = text else { break };
            events.push(StreamEvent { position, id, text });
            self.after = Some((position, id));
        }
        let has_all = events.len() == messages.len();
        if events.is_empty() && !has_all {
            return Err(ReadError::Gap);
        }
        Ok((events, has_all.then_some(self)))
    }
}
