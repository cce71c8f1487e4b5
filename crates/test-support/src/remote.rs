use std::net::SocketAddr;

use axum::body::Body;
use http::{Method, Request, header::HOST};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{Answer, client::keyed};

/// A service at its socket, called over a new connection each time.
#[derive(Clone, Copy, Debug)]
pub struct Remote(pub SocketAddr);

impl Remote {
    /// `GET` with the test key.
    pub async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    /// `GET` with the test key and more headers.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = keyed(Method::GET, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    /// Any request, as it is, with a `Host`. Fails when the connection does.
    pub async fn send(&self, mut request: Request<Body>) -> hyper::Result<Answer> {
        let host = self.0.to_string().parse().unwrap();
        request.headers_mut().insert(HOST, host);
        let stream = TcpStream::connect(self.0).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        drop(sender);
        connection.await.unwrap()?;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }
}
