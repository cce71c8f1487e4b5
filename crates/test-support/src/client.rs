use axum::{Router, body::Body, response::Response};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header::HOST, request::Builder};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::{ServiceExt, util::MapResponse};

use crate::API_KEY;

/// A service behind its real edge, called without a socket.
#[derive(Clone, Debug)]
pub struct Api(pub MapResponse<Router, fn(Response) -> Response>);

/// An answer that was read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
}

impl Api {
    /// `GET` with the test key.
    pub async fn get(&self, path: &str) -> Answer {
        send(self, keyed(Method::GET, path)).await
    }

    /// `GET` without a key.
    pub async fn get_open(&self, path: &str) -> Answer {
        send(self, keyless(Method::GET, path)).await
    }

    /// `GET` with the test key and more headers.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = keyed(Method::GET, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(self, request).await
    }

    /// `POST` of JSON with the test key.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string()).await
    }

    /// `POST` with the test key of a text that is declared to be JSON.
    pub async fn post_text(&self, path: &str, body: &str) -> Answer {
        let request = keyed(Method::POST, path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }

    /// Any request, as it is but with a `Host`.
    pub async fn send(&self, mut request: Request<Body>) -> Answer {
        let host = HeaderValue::from_static("localhost");
        request.headers_mut().entry(HOST).or_insert(host);
        let response = self.0.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The problem document without what differs from run to run, for snapshots.
    pub fn problem(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{}",
            self.text()
        );
        let mut problem = self.json();
        for member in ["requestId", "traceId"] {
            let value = problem[member].as_str().unwrap();
            assert!(!value.is_empty(), "{member} is empty");
            problem[member] = Value::from("…");
        }
        assert_eq!(problem["status"], self.status.as_u16());
        problem
    }
}

/// A request without a key.
pub fn keyless(method: Method, path: &str) -> Builder {
    Request::builder().method(method).uri(path)
}

/// A request with the test key.
pub fn keyed(method: Method, path: &str) -> Builder {
    keyless(method, path).header("x-api-key", API_KEY)
}

/// Sends a request that has no body.
pub async fn send(api: &Api, request: Builder) -> Answer {
    api.send(request.body(Body::empty()).unwrap()).await
}
