use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::exchange::{Exchange, Stage};

/// How long a caller that sends no more is worked for. Most of them are gone, and nobody should
/// work for those; the others get what can be answered in a moment.
const HALF_CLOSED: Duration = Duration::from_millis(250);

/// A stream that knows about the requests on it, for two things that hyper does not do:
///
/// - A caller that sends no more may still wait for its answer, or be gone; TCP does not tell
///   these apart. It counts as gone when the answer is not made within [`HALF_CLOSED`].
/// - An answer to a request that was not read to its end is lost when the connection is closed at
///   once: the system resets a connection with unread bytes. So what still comes is read and
///   dropped until the caller closes too, for `linger` at most (RFC 9112, 9.6).
pub(super) struct Attentive<S> {
    stream: S,
    exchange: Arc<Exchange>,
    linger: Duration,
    /// Something was sent since the first byte of the present request.
    answered: bool,
    ended: bool,
    shut: bool,
    /// Ends the work for a caller that sends no more.
    answering: Timer,
    /// Ends the wait for a caller to take its answer or to close.
    lingering: Timer,
}

#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ends this long after the first look.
    fn poll(&mut self, time: Duration, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep(time)));
        sleep.as_mut().poll(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Attentive<S> {
    pub(super) fn new(stream: S, exchange: Arc<Exchange>, linger: Duration) -> Self {
        Self {
            stream,
            exchange,
            linger,
            answered: false,
            ended: false,
            shut: false,
            answering: Timer::default(),
            lingering: Timer::default(),
        }
    }

    fn written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.answered |= matches!(written, Poll::Ready(Ok(1..)));
        written
    }

    /// Reads and drops until the caller has ended as well, or for as long as is waited for it.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.lingering.poll(self.linger, context).is_ready() {
                return Poll::Ready(());
            }
            let mut bytes = [0; 8192];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Attentive<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ended {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
            if buffer.filled().len() > before {
                if self.exchange.received() {
                    self.answered = false;
                }
                return Poll::Ready(Ok(()));
            }
            self.ended = true;
            self.exchange.half_close();
        }
        if self.exchange.is_body_unread() {
            return Poll::Ready(Ok(()));
        }
        match self.exchange.stage() {
            Stage::Idle => Poll::Ready(Ok(())),
            Stage::Answering => self.answering.poll(HALF_CLOSED, context).map(Ok),
            Stage::Sending => {
                // The next request has a time of its own.
                self.answering = Timer::default();
                let linger = self.linger;
                self.lingering.poll(linger, context).map(Ok)
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Attentive<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.exchange.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.shut = true;
        }
        if self.answered && !self.ended && self.exchange.is_unread() {
            ready!(self.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}
