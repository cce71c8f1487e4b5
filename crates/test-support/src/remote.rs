use std::net::SocketAddr;

use axum::body::Body;
use http::{Method, Request};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    API_KEY, Answer,
    caller::{connect, exchange},
    client::keyed,
};

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

    /// `GET` with another key.
    pub async fn get_as(&self, key: &str, path: &str) -> Answer {
        let request = Request::builder().uri(path).header("x-api-key", key);
        self.send(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    /// So many times `GET` with the test key, all at once.
    pub async fn flood(&self, path: &'static str, requests: usize) -> Vec<Answer> {
        let at = *self;
        let asked = (0..requests).map(|_| async move { at.get(path).await });
        asked.collect::<JoinSet<_>>().join_all().await
    }

    /// `POST` with the test key of a body that is announced and never sent: the answer's head.
    pub async fn post_without_its_body(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nX-Api-Key: {API_KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(answer).unwrap()
    }

    /// Any request, as it is, with a `Host` if it has none. Fails when the connection does.
    pub async fn send(&self, request: Request<Body>) -> hyper::Result<Answer> {
        exchange(&mut connect(self.0).await?, self.0, request).await
    }
}
