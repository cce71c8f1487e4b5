use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use futures_util::FutureExt;
use http::{Method, Request, header::HOST};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{Answer, Remote, client::keyed};

/// Somebody who calls a service at its socket over connections that are kept. Clones share them.
#[derive(Clone, Debug)]
pub struct Caller {
    address: SocketAddr,
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// Resets itself when it is dropped: of a connection that is closed the service cannot tell
/// whether its caller still waits.
#[derive(Debug)]
struct Connection {
    requests: SendRequest<Body>,
    _driver: JoinSet<()>,
}

impl Caller {
    /// A caller of this service.
    pub fn of(Remote(address): Remote) -> Self {
        Self {
            address,
            idle: Arc::default(),
        }
    }

    /// `GET` with the test key. The connection is reset when the future is dropped.
    pub async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    /// `GET` with the test key and more headers, likewise.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        loop {
            let mut connection = self.connection().await;
            let request = headers
                .iter()
                .fold(keyed(Method::GET, path), |request, (name, value)| {
                    request.header(*name, *value)
                });
            let request = request.body(Body::empty()).unwrap();
            match exchange(&mut connection.requests, self.address, request).await {
                // The service closed an idle connection before the request was sent.
                Err(error) if error.is_canceled() => {}
                answer => {
                    self.idle.lock().unwrap().push(connection);
                    return answer.unwrap();
                }
            }
        }
    }

    async fn connection(&self) -> Connection {
        loop {
            let kept = self.idle.lock().unwrap().pop();
            let Some(mut kept) = kept else {
                return self.connect().await;
            };
            // The service closes those that are idle for long.
            if kept.requests.ready().await.is_ok() {
                return kept;
            }
        }
    }

    async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_zero_linger().unwrap();
        let (requests, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(connection.map(drop));
        Connection {
            requests,
            _driver: driver,
        }
    }
}

/// A new connection, which ends when it is dropped.
pub(crate) async fn connect(address: SocketAddr) -> hyper::Result<SendRequest<Body>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends a request, with a `Host` if it has none, and reads the whole answer.
pub(crate) async fn exchange(
    connection: &mut SendRequest<Body>,
    address: SocketAddr,
    mut request: Request<Body>,
) -> hyper::Result<Answer> {
    let host = address.to_string().parse().unwrap();
    request.headers_mut().entry(HOST).or_insert(host);
    let (parts, body) = connection.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    })
}
