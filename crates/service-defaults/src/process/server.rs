//! The HTTP/1.1 server: bounded connections, time limits on receiving a request's head and on
//! sending an answer, and a stop that no request in flight notices.
//!
//! `axum::serve` has none of these. Plain HTTP speaks HTTP/1.1 only, because detecting HTTP/2 by
//! its preface has no time limit in hyper-util: a client that sends half of it would stay forever.

mod attentive;
pub(crate) mod descriptors;
mod exchange;
mod listener;
mod repolled;
mod settings;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{attentive::Attentive, exchange::Exchange, repolled::Repolled};
pub use self::{
    listener::listen,
    settings::{ServerError, ServerSettings},
};
use crate::{assembly::Application, lifecycle::Shutdown};

/// Room for the largest head that `[limits]` can allow, so that our own limits answer first.
pub(crate) const HEAD_BUFFER_BYTES: usize = 128 * 1024;
const MAX_HEADERS: usize = 256;
/// Pause after a failed accept (descriptors used up), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long idle connections stay open once nobody listens: a request that its caller had sent by
/// then may still be on its way, and would be lost.
const LAST_REQUESTS: Duration = Duration::from_millis(500);

/// The port that a request came in by; an extension of every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenerPort(pub(crate) u16);

/// Serves the application until the stop begins, then for the drain delay, then until the requests in
/// flight are done or the shutdown timeout is over.
pub async fn serve(
    listener: TcpListener,
    application: Application,
    settings: &ServerSettings,
    shutdown: Shutdown,
) -> Result<(), ServerError> {
    let port = listener.local_addr().map_or(settings.port, |at| at.port());
    let server = Server {
        application,
        port: ListenerPort(port),
        tls: settings.tls()?,
        header_read_timeout: settings.header_read_timeout,
        send_timeout: settings.send_timeout,
        closing: CancellationToken::new(),
        cut: CancellationToken::new(),
        connections: TaskTracker::new(),
        places: Arc::new(Semaphore::new(settings.max_connections)),
    };
    tokio::select! {
        never = server.accept(&listener) => match never {},
        () = async { shutdown.begun().await; sleep(settings.drain_delay).await } => {}
    }
    server.accept_last(listener);
    server.stop(settings.shutdown_timeout).await;
    Ok(())
}

struct Server {
    application: Application,
    port: ListenerPort,
    tls: Option<TlsAcceptor>,
    header_read_timeout: Duration,
    send_timeout: Duration,
    closing: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
    places: Arc<Semaphore>,
}

impl Server {
    async fn accept(&self, listener: &TcpListener) -> Infallible {
        loop {
            // Held by the connection; while none is left, new ones wait in the listen queue.
            let Ok(place) = self.places.clone().acquire_owned().await else {
                continue;
            };
            match listener.accept().await {
                Ok((stream, _)) => self.spawn(stream, place),
                Err(error) => {
                    tracing::warn!(%error, "no connection accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Listens no more, but serves those who wait: their requests may have been sent already.
    fn accept_last(&self, listener: TcpListener) {
        for stream in listener::close(listener) {
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                return;
            };
            self.spawn(stream, place);
        }
    }

    /// Lets the connections end.
    async fn stop(&self, limit: Duration) {
        self.connections.close();
        let ended = timeout(limit, async {
            let last_requests = LAST_REQUESTS.min(limit / 2);
            if timeout(last_requests, self.connections.wait())
                .await
                .is_err()
            {
                self.closing.cancel();
                self.connections.wait().await;
            }
        });
        if ended.await.is_err() {
            let open = self.connections.len();
            tracing::warn!(
                open,
                "connections were cut at the end of server.shutdown_timeout"
            );
            self.cut.cancel();
            self.connections.wait().await;
        }
    }

    fn spawn(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let (application, port) = (self.application.clone(), self.port);
        let closing = self.closing.clone();
        let (tls, limit) = (self.tls.clone(), self.header_read_timeout);
        // Small answers must not wait for a full packet; a failure only costs latency.
        let _ = stream.set_nodelay(true);
        // hyper has no such limit, and a caller that asks and never reads would hold its
        // connection for ever.
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.send_timeout));
        let stream = Box::pin(stream);
        let conversation = async move {
            let _place = place;
            match tls {
                None => converse(stream, application, port, limit, closing).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = timeout(limit, tls.accept(stream)).await {
                        converse(stream, application, port, limit, closing).await;
                    }
                }
            }
        };
        let cut = self.cut.clone();
        let conversation = async move { cut.run_until_cancelled(conversation).await };
        self.connections.spawn(Repolled::new(conversation));
    }
}

/// Serves one connection to its end. Its errors are the peer's: gone, slow or not speaking HTTP.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    application: Application,
    port: ListenerPort,
    header_read_timeout: Duration,
    closing: CancellationToken,
) {
    let exchange = Arc::<Exchange>::default();
    let stream = Attentive::new(stream, exchange.clone(), header_read_timeout);
    let service = service_fn(move |request| exchange.answer(application.clone(), port, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_read_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(HEAD_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        // A request that has arrived is read before the connection is told to close.
        biased;
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
