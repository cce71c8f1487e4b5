use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use contracts::{BatchRequest, MAX_DEADLINE_MS, X_DEADLINE_MS};
use futures_util::future::BoxFuture;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use opentelemetry::{propagation::TextMapPropagator, trace::TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use reqwest::{Client, Response, redirect::Policy};
use tokio::time::Instant;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use url::Url;

use super::{Transport, contract, retry_after::retry_after};
use crate::{
    Answer, Attempt, BuildError, Failure, FailureKind, Options, Strategy,
    call::Origin,
    observe::{ABORTED, Instruments},
};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: &str = "traceparent";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// HTTP to Vehicle: sends one call and reads its answer, bounded in size. Its caller bounds the
/// time.
#[derive(Clone)]
pub(crate) struct HttpTransport(Arc<Inner>);

struct Inner {
    client: Client,
    base_url: Url,
    max_answer_bytes: usize,
    instruments: Instruments,
}

impl HttpTransport {
    pub(crate) fn new(
        options: &Options,
        user_agent: &str,
        instruments: Instruments,
    ) -> Result<Self, BuildError> {
        // Fails only when the process has a TLS implementation already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = options.key_header()?;
        let headers = HeaderMap::from_iter([(X_API_KEY, key), (ACCEPT, JSON)]);
        let mut client = Client::builder()
            .default_headers(headers)
            .user_agent(user_agent)
            .redirect(Policy::none())
            // A proxy of the environment would see every plate and was never asked for.
            .no_proxy()
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(options.idle_connection_timeout);
        if let Some(certificates) = options.certificates()? {
            client = client.tls_certs_only(certificates);
        }
        Ok(Self(Arc::new(Inner {
            client: client.build()?,
            base_url: options.base_url.clone(),
            max_answer_bytes: options.max_answer_bytes,
            instruments,
        })))
    }
}

impl Transport for HttpTransport {
    fn send(&self, attempt: Attempt) -> BoxFuture<'static, Result<Answer, Failure>> {
        let inner = self.0.clone();
        Box::pin(async move { inner.send(&attempt).await })
    }
}

impl Inner {
    async fn send(&self, attempt: &Attempt) -> Result<Answer, Failure> {
        let started = Instant::now();
        let (method, request) = match attempt.call.strategy {
            Strategy::Single => {
                let number = attempt.numbers[0].as_str();
                ("GET", self.client.get(self.route(&["vehicles", number])))
            }
            Strategy::Batch => {
                let numbers = attempt
                    .numbers
                    .iter()
                    .map(|number| Some(number.to_string()))
                    .collect();
                let body = serde_json::to_vec(&BatchRequest {
                    registration_numbers: numbers,
                })
                .map_err(|_| Failure::lasting(FailureKind::ContractViolation))?;
                let request = self.client.post(self.route(&["vehicles", "batch"]));
                ("POST", request.header(CONTENT_TYPE, JSON).body(body))
            }
        };
        // Recorded also when this future is dropped, by the attempt's time limit or a panic.
        let mut record = Record {
            instruments: self.instruments.clone(),
            method,
            status: None,
            started,
            until: attempt.until,
        };
        let sent = request
            .headers(headers(&attempt.call.origin, attempt.until))
            .send()
            .await;
        let response = sent
            .inspect_err(|_| record.status = Some(Err("connection")))
            .map_err(|_| {
                // No answer began: refused, reset, no route, or no connection in time.
                Failure::transient(FailureKind::Connection)
            })?;
        record.status = Some(Ok(response.status().as_u16()));
        self.read(attempt, response).await
    }

    async fn read(&self, attempt: &Attempt, response: Response) -> Result<Answer, Failure> {
        let status = response.status();
        let after = retry_after(response.headers(), SystemTime::now());
        let single = attempt.call.strategy == Strategy::Single;
        match status {
            StatusCode::OK if single => {
                contract::single(&attempt.numbers[0], &self.body(response).await?)
            }
            StatusCode::OK => contract::batch(&attempt.numbers, &self.body(response).await?),
            StatusCode::NOT_FOUND if single => {
                contract::single_not_found(&attempt.numbers[0], &self.body(response).await?)
            }
            status => Err(failure(status, after, attempt.until)),
        }
    }

    /// The whole body, or a violation when it is too large or breaks off.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let violation = Failure::lasting(FailureKind::ContractViolation);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| violation)? {
            if body.len() + chunk.len() > self.max_answer_bytes {
                return Err(violation);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// A route of Vehicle; every segment is percent-encoded.
    fn route(&self, segments: &[&str]) -> Url {
        let mut url = self.base_url.clone();
        // Fails only for URLs that cannot be a base, which the settings refuse.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(segments);
        }
        url
    }
}

fn headers(origin: &Origin, until: Instant) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(X_DEADLINE_MS, remaining_ms(until).into());
    if let Ok(id) = HeaderValue::from_str(&origin.request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    let recorded = tracing::Span::current().context();
    let traceparent = if recorded.span().span_context().is_valid() {
        let mut carrier = std::collections::HashMap::new();
        TraceContextPropagator::new().inject_context(&recorded, &mut carrier);
        carrier.remove(TRACEPARENT)
    } else {
        Some(origin.traceparent.to_string())
    };
    if let Some(Ok(value)) = traceparent.as_deref().map(HeaderValue::from_str) {
        headers.insert(TRACEPARENT, value);
    }
    headers
}

/// The whole milliseconds that the attempt has left.
fn remaining_ms(until: Instant) -> u64 {
    let remaining = until.saturating_duration_since(Instant::now());
    u64::try_from(remaining.as_millis()).map_or(MAX_DEADLINE_MS, |ms| ms.min(MAX_DEADLINE_MS))
}

/// What an answer without vehicles says.
fn failure(status: StatusCode, after: Option<Duration>, until: Instant) -> Failure {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Failure::refusal(FailureKind::Unauthorized)
        }
        StatusCode::REQUEST_TIMEOUT => {
            Failure::transient(FailureKind::Timeout).with_retry_after(after)
        }
        // Vehicle stopped as it was told to. Its `Retry-After` would keep back calls that have
        // time.
        StatusCode::SERVICE_UNAVAILABLE if remaining_ms(until) == 0 => {
            Failure::transient(FailureKind::Timeout)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            Failure::transient(FailureKind::RateLimited).with_retry_after(after)
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Failure::transient(FailureKind::ServerError).with_retry_after(after)
        }
        status if status.is_server_error() => {
            Failure::lasting(FailureKind::ServerError).with_retry_after(after)
        }
        // Other refusals, redirects and other successes are nothing that Vehicle's contract has
        // for a well-formed question.
        status if status.is_client_error() => Failure::refusal(FailureKind::ContractViolation),
        _ => Failure::lasting(FailureKind::ContractViolation),
    }
}

struct Record {
    instruments: Instruments,
    method: &'static str,
    /// Unknown until an answer begins or the connection fails.
    status: Option<Result<u16, &'static str>>,
    started: Instant,
    until: Instant,
}

impl Drop for Record {
    fn drop(&mut self) {
        let status = self.status.unwrap_or(match Instant::now() {
            now if now >= self.until => Err("timeout"),
            _ => Err(ABORTED),
        });
        self.instruments
            .requested(self.method, status, self.started.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;
    use tokio::time::Instant;

    use super::failure;
    use crate::{FailureKind, failure::Nature};

    #[test]
    fn a_vehicle_that_stopped_in_time_keeps_no_other_call_back() {
        let after = Some(Duration::from_secs(5));
        for (left, kind, retry_after) in [
            (Duration::ZERO, FailureKind::Timeout, None),
            (Duration::from_micros(900), FailureKind::Timeout, None),
            (Duration::from_mins(1), FailureKind::ServerError, after),
        ] {
            let until = Instant::now() + left;
            let failure = failure(StatusCode::SERVICE_UNAVAILABLE, after, until);
            assert_eq!((failure.kind, failure.retry_after), (kind, retry_after));
            assert_eq!(failure.nature, Nature::Transient);
        }
    }
}
