use std::net::SocketAddr;

use axum::body::Body;
use http::{Method, Request};

use crate::{
    Answer,
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

    /// Any request, as it is, with a `Host`. Fails when the connection does.
    pub async fn send(&self, request: Request<Body>) -> hyper::Result<Answer> {
        exchange(&mut connect(self.0).await?, self.0, request).await
    }
}
