use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use http::{Method, Request, header::HOST};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{Answer, Remote, client::keyed};

/// Somebody who calls a service at its socket over connections that are kept. Clones share them.
#[derive(Clone, Debug)]
pub struct Caller {
    address: SocketAddr,
    idle: Arc<Mutex<Vec<SendRequest<Body>>>>,
}

impl Caller {
    /// A caller of this service.
    pub fn of(Remote(address): Remote) -> Self {
        Self {
            address,
            idle: Arc::default(),
        }
    }

    /// `GET` with the test key. The connection is closed when the future is dropped.
    pub async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    /// `GET` with the test key and more headers, likewise.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut connection = self.connection().await;
        let request = headers
            .iter()
            .fold(keyed(Method::GET, path), |request, (name, value)| {
                request.header(*name, *value)
            });
        let request = request.body(Body::empty()).unwrap();
        let answer = exchange(&mut connection, self.address, request)
            .await
            .unwrap();
        self.idle.lock().unwrap().push(connection);
        answer
    }

    async fn connection(&self) -> SendRequest<Body> {
        loop {
            let kept = self.idle.lock().unwrap().pop();
            let Some(mut kept) = kept else {
                return connect(self.address).await.unwrap();
            };
            // The service closes those that are idle for long.
            if kept.ready().await.is_ok() {
                return kept;
            }
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
