use async_nats::{
    ConnectError,
    jetstream::{
        context::{CreateStreamError, GetStreamError, PublishError},
        stream::RawMessageError,
    },
};

/// Why events are not published now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The database was away or refused a statement.
    #[error(transparent)]
    Database(#[from] service_database::Error),
    /// An event cannot be put into words.
    #[error("an event is no JSON")]
    Unreadable(#[source] serde_json::Error),
    /// No server lets us in.
    #[error("the broker cannot be reached")]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error("the connection to the broker broke")]
    Lost,
    /// The server does not say what it has.
    #[error("the stream cannot be looked at")]
    Look(#[from] GetStreamError),
    /// The server does not give an event of the stream.
    #[error("an event of the stream cannot be read")]
    Event(#[from] RawMessageError),
    /// The server does not give the events that follow.
    #[error("the stream cannot be read")]
    Read(#[source] async_nats::Error),
    /// The server refuses the stream, as where another one has its subjects.
    #[error("the stream cannot be made")]
    Create(#[from] CreateStreamError),
    /// The server keeps the subjects for the stream of a former log.
    #[error("the subjects of the former log's stream cannot be taken")]
    TakeSubjects(#[source] CreateStreamError),
    /// The server refuses an event, or did not acknowledge it in time.
    #[error("an event was not acknowledged")]
    Publish(#[from] PublishError),
    /// Somebody else has written to the stream.
    #[error("somebody else has written to the stream")]
    Overtaken,
    /// The log has become another one, or another process has taken the lease.
    #[error("the log or the lease has changed")]
    Changed,
    /// Events of this stream are not in the log: it was restored, or never ours.
    #[error(
        "the last event of the stream {0} is not in the log at its place: run verify-log, then new-log"
    )]
    Diverged(String),
    /// The stream deletes events by itself.
    #[error(
        "the stream {0} deletes events by their age, their use or for want of room: it has to keep them"
    )]
    Forgetful(String),
    /// Messages of the stream were deleted, or others were written to it: it is not the whole log.
    #[error("the stream {0} does not have each event up to its last one once: delete it")]
    Incomplete(String),
}

impl Error {
    /// Whether only people can help.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Diverged(_) | Self::Forgetful(_) | Self::Incomplete(_)
        )
    }

    /// Whether it passes without a word: everything is looked at anew.
    pub(crate) fn is_passing(&self) -> bool {
        let is_busy = matches!(self, Self::Database(service_database::Error::Busy));
        is_busy || matches!(self, Self::Overtaken | Self::Changed)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
