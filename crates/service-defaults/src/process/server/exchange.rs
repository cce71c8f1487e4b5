use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderValue, Request, header::CONNECTION},
    response::Response,
};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use tower::ServiceExt;

use super::ListenerPort;
use crate::assembly::Application;

/// Where the request on a connection stands. Shared by the connection's stream, which sees bytes,
/// and its service, which sees requests and answers.
#[derive(Default)]
pub(super) struct Exchange {
    stage: AtomicU8,
    /// Bytes have come that belong to a request that has not ended, perhaps to the next one.
    unread: AtomicBool,
    /// The body of the request that is being answered has not been read to its end.
    body_unread: AtomicBool,
    /// The caller sends no more.
    half_closed: AtomicBool,
}

/// What is owed to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No answer.
    Idle,
    /// A request waits for its answer.
    Answering,
    /// The answer is on its way into the socket.
    Sending,
}

const IDLE: u8 = Stage::Idle as u8;
const ANSWERING: u8 = Stage::Answering as u8;
const SENDING: u8 = Stage::Sending as u8;

/// All of it happens in the connection's own task.
const ORDER: Ordering = Ordering::Relaxed;

impl Exchange {
    /// What is owed to the caller.
    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(ORDER) {
            IDLE => Stage::Idle,
            ANSWERING => Stage::Answering,
            _ => Stage::Sending,
        }
    }

    /// Everything that was written is with the system.
    pub(super) fn flushed(&self) {
        let _ = self.stage.compare_exchange(SENDING, IDLE, ORDER, ORDER);
    }

    /// Bytes have come: whether they are the first of a request.
    pub(super) fn received(&self) -> bool {
        !self.unread.swap(true, ORDER)
    }

    /// Whether a request has not been read to its end.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(ORDER)
    }

    /// Whether the request that is being answered has not been read to its end.
    pub(super) fn is_body_unread(&self) -> bool {
        self.body_unread.load(ORDER)
    }

    fn body_was_read(&self, to_its_end: bool) {
        self.unread.store(!to_its_end, ORDER);
        self.body_unread.store(!to_its_end, ORDER);
    }

    /// The caller sends no more.
    pub(super) fn half_close(&self) {
        self.half_closed.store(true, ORDER);
    }

    /// Has the application answer a request, which is told the port that it came in by.
    pub(super) fn answer(
        self: &Arc<Self>,
        application: Application,
        port: ListenerPort,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        let exchange = self.clone();
        self.stage.store(ANSWERING, ORDER);
        self.body_was_read(request.body().is_end_stream());
        let mut request = request.map(|body| {
            let exchange = exchange.clone();
            Body::new(Watched { body, exchange })
        });
        request.extensions_mut().insert(port);
        async move {
            let mut response = application.oneshot(request).await?;
            // The rest of the request would be taken for the next one.
            if exchange.is_body_unread() || exchange.half_closed.load(ORDER) {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            exchange.stage.store(SENDING, ORDER);
            Ok(response)
        }
    }
}

/// A request's body that says when it was read to its end.
struct Watched {
    body: Incoming,
    exchange: Arc<Exchange>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.exchange.body_was_read(true);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
