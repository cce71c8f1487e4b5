//! The stream of one log on one connection. The futures of the client are large, hence boxed.

use std::time::Duration;

use async_nats::{
    ConnectOptions, Event as ConnectionEvent,
    jetstream::{
        ErrorCode,
        context::{Context, ContextBuilder, GetStreamErrorKind, PublishErrorKind},
        stream::{
            Config, DiscardPolicy, Info, LastRawMessageErrorKind, RetentionPolicy, StorageType,
            Stream,
        },
    },
};
use contracts::CloudEvent;
use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    error::Error,
    message::{Place, message, place, subject},
    settings::{NatsSettings, stream_name, subjects},
};

/// How long a server may take to let us in, and to acknowledge the next event.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the broker.
pub(crate) struct Broker {
    context: Context,
    /// Cancelled when the connection breaks: what was sent on it may be lost.
    lost: CancellationToken,
}

/// Where a stream is.
pub(crate) struct Opened {
    pub(crate) name: String,
    service: &'static str,
    /// The last sequence that was given in it.
    sequence: u64,
    /// Its last event; `None` in an empty one.
    pub(crate) last: Option<Place>,
}

impl Broker {
    /// As the program of this name.
    pub(crate) async fn connect(settings: &NatsSettings, name: &str) -> Result<Self, Error> {
        let lost = CancellationToken::new();
        let told = lost.clone();
        let mut options = ConnectOptions::new()
            .name(format!("threadpilot-{name}"))
            .connection_timeout(PATIENCE)
            // The stream is looked at anew after each connection. The library goes on without that
            // where it connects by itself, and for ever unless it is told otherwise.
            .max_reconnects(settings.url.len())
            .ignore_discovered_servers()
            .event_callback(move |event| {
                if event == ConnectionEvent::Disconnected {
                    told.cancel();
                }
                async {}
            });
        if !settings.user.is_empty() {
            let password = settings.password.expose().to_owned();
            options = options.user_and_password(settings.user.clone(), password);
        }
        if !settings.ca_certificate.is_empty() {
            options = options.add_root_certificates(settings.ca_certificate.as_str().into());
        }
        if !settings.tls_certificate.is_empty() {
            let files = (&settings.tls_certificate, &settings.tls_private_key);
            options = options.require_tls(true);
            options = options.add_client_certificate(files.0.into(), files.1.into());
        }
        let client = Box::pin(options.connect(settings.url.to_vec())).await?;
        let context = ContextBuilder::new().timeout(PATIENCE).build(client);
        Ok(Self { context, lost })
    }

    /// Does something with the broker, for as long as the connection holds.
    pub(crate) async fn within<T, E: From<Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let done = self.lost.run_until_cancelled(work).await;
        done.unwrap_or(Err(Error::Lost.into()))
    }

    /// The stream of a log. One that is missing is made, and takes the subjects from those of the logs
    /// that this one goes on from.
    pub(crate) async fn open(
        &self,
        service: &'static str,
        log_id: Uuid,
        former: &[Uuid],
        replicas: usize,
    ) -> Result<Opened, Error> {
        let name = stream_name(service, log_id);
        let opening = async {
            let stream = if let Some(stream) = self.stream(&name).await? {
                stream
            } else {
                for log_id in former {
                    self.take_subjects(service, *log_id).await?;
                }
                let config = config(&name, service, replicas);
                Box::pin(self.context.create_stream(config)).await?
            };
            let info = stream.cached_info();
            if forgets(&info.config) {
                return Err(Error::Forgetful(name.clone()));
            }
            // The sequence first: whatever is written after this look makes it wrong.
            let sequence = info.state.last_sequence;
            let last = Box::pin(last_event(&stream, &subjects(service))).await?;
            if last.is_some_and(|(written, _)| written > sequence) {
                return Err(Error::Overtaken);
            }
            let last = last.map(|(_, place)| place);
            if !is_whole(info, last) {
                return Err(Error::Incomplete(name.clone()));
            }
            Ok((sequence, last))
        };
        let (sequence, last) = self.within(Box::pin(opening)).await?;
        Ok(Opened {
            name,
            service,
            sequence,
            last,
        })
    }

    /// Whether the stream still has what was published, and nothing else.
    pub(crate) async fn is_whole(&self, opened: &Opened) -> Result<bool, Error> {
        let stream = self.within(self.stream(&opened.name)).await?;
        Ok(stream.is_some_and(|it| is_whole(it.cached_info(), opened.last)))
    }

    /// The stream of this name; `None` where there is none.
    pub(crate) async fn stream(&self, name: &str) -> Result<Option<Stream<Info>>, Error> {
        match Box::pin(self.context.get_stream(name)).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(answer)
                    if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(error.into()),
            },
        }
    }

    /// Two streams cannot have a subject in common. The stream of a former log keeps its events, and
    /// its name as its subject, as it must have one.
    async fn take_subjects(&self, service: &str, former: Uuid) -> Result<(), Error> {
        let name = stream_name(service, former);
        if let Some(stream) = self.stream(&name).await? {
            let mut config = stream.cached_info().config.clone();
            if config.subjects != [name.as_str()] {
                config.subjects = vec![name];
                let updated = Box::pin(self.context.update_stream(config)).await;
                updated.map_err(Error::TakeSubjects)?;
            }
        }
        Ok(())
    }

    /// Publishes events that follow the last one, and waits until the broker has them. All are on their
    /// way at once; where one is refused, those behind it are, too.
    pub(crate) async fn publish(
        &self,
        opened: &mut Opened,
        events: Vec<(Place, CloudEvent)>,
    ) -> Result<(), Error> {
        let Some(last) = events.last().map(|(place, _)| *place) else {
            return Ok(());
        };
        let publishing = async {
            let mut acknowledgements = Vec::with_capacity(events.len());
            for (after, (_, event)) in (opened.sequence..).zip(events) {
                let subject = subject(opened.service, &event);
                let message = message(event, &opened.name, after);
                let sent = self.context.send_publish(subject, message).await?;
                acknowledgements.push(async move {
                    match sent.await {
                        // A duplicate has the sequence that it got when it was new.
                        Ok(ack) if ack.sequence == after + 1 => Ok(ack.sequence),
                        Ok(_) => Err(Error::Overtaken),
                        Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                            Err(Error::Overtaken)
                        }
                        Err(error) => Err(error.into()),
                    }
                });
            }
            try_join_all(acknowledgements).await
        };
        let sequences = self.within(Box::pin(publishing)).await?;
        opened.sequence = sequences.last().copied().unwrap_or(opened.sequence);
        opened.last = Some(last);
        Ok(())
    }
}

/// It keeps everything, and refuses what has no room instead of deleting what is old.
fn config(name: &str, service: &str, replicas: usize) -> Config {
    Config {
        name: name.to_owned(),
        subjects: vec![subjects(service)],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: replicas,
        allow_direct: true,
        ..Config::default()
    }
}

/// Whether a stream deletes events by itself.
fn forgets(config: &Config) -> bool {
    let has_room = config.max_bytes <= 0 && config.max_messages <= 0;
    let by_room = config.discard != DiscardPolicy::New && !has_room;
    by_room
        || config.max_messages_per_subject > 0
        || !config.max_age.is_zero()
        || config.retention != RetentionPolicy::Limits
}

/// Positions have no gaps and begin at 1, and a stream has the whole log: it has as many messages as
/// its last event's position says.
fn is_whole(info: &Info, last: Option<Place>) -> bool {
    let position = last.map_or(0, |(position, _)| position);
    i64::try_from(info.state.messages) == Ok(position)
}

/// The last event of a stream, and its sequence there. One that is not ours has no place in the log,
/// which is told as such.
pub(crate) async fn last_event(
    stream: &Stream<Info>,
    subjects: &str,
) -> Result<Option<(u64, Place)>, Error> {
    let last = match stream.get_last_raw_message_by_subject(subjects).await {
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
        last => last?,
    };
    let place = place(&last.headers).ok_or_else(|| {
        let name = stream.cached_info().config.name.clone();
        Error::Diverged(name)
    });
    Ok(Some((last.sequence, place?)))
}

#[cfg(test)]
mod tests;
