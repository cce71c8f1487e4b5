use std::{
    collections::HashMap,
    fmt::Display,
    time::{Duration, SystemTime},
};

use access_tokens::{ClientToken, NoToken, OwnToken};
use bytes::Bytes;
use contracts::{BatchRequest, MAX_DEADLINE_MS, X_DEADLINE_MS};
use futures_util::future::BoxFuture;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use opentelemetry::{propagation::TextMapPropagator, trace::TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use url::Url;

use super::{Transport, connector::Connector, contract, retry_after::retry_after};
use crate::{
    Answer, Attempt, BuildError, Failure, FailureKind, Options, Strategy,
    call::Origin,
    observe::{ABORTED, Instruments},
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: &str = "traceparent";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// HTTP to Vehicle: sends one call and reads its answer, bounded in size. Its caller bounds the
/// time.
///
/// On the client of `hyper-util`, on which reqwest stands, too: reqwest parses each URL three times
/// and clones each header map twice, for redirects that nobody follows.
pub(crate) struct HttpTransport {
    client: Client<Connector, Full<Bytes>>,
    /// Of every request.
    headers: HeaderMap,
    /// Where the vehicles are, to be followed by a number or `batch`.
    vehicles: Uri,
    max_answer_bytes: usize,
    /// Where Vehicle knows us by a token.
    token: Option<ClientToken>,
    instruments: Instruments,
}

impl HttpTransport {
    pub(crate) fn new(
        options: &Options,
        token: Option<ClientToken>,
        user_agent: &'static str,
        instruments: Instruments,
    ) -> Result<Self, BuildError> {
        let mut headers = options.key_headers()?;
        headers.insert(ACCEPT, JSON);
        headers.insert(USER_AGENT, HeaderValue::from_static(user_agent));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.idle_connection_timeout)
            .build(Connector::new(options)?);
        Ok(Self {
            client,
            headers,
            vehicles: vehicles(&options.base_url)?,
            max_answer_bytes: options.max_answer_bytes,
            token,
            instruments,
        })
    }

    fn request(&self, attempt: &Attempt) -> Result<Request<Full<Bytes>>, http::Error> {
        let request = match attempt.call.strategy {
            Strategy::Single => {
                let number = utf8_percent_encode(attempt.numbers[0].as_str(), NON_ALPHANUMERIC);
                let mut request = Request::new(Full::default());
                *request.uri_mut() = self.route(number)?;
                *request.headers_mut() = self.headers.clone();
                request
            }
            Strategy::Batch => {
                let numbers = attempt.numbers.iter();
                let body = BatchRequest {
                    registration_numbers: numbers.map(|number| Some(number.to_string())).collect(),
                };
                // Texts are always JSON.
                let body = serde_json::to_vec(&body).unwrap_or_default();
                let mut request = Request::new(Full::from(body));
                *request.method_mut() = Method::POST;
                *request.uri_mut() = self.route("batch")?;
                *request.headers_mut() = self.headers.clone();
                request.headers_mut().insert(CONTENT_TYPE, JSON);
                request
            }
        };
        Ok(request)
    }

    /// A route below the vehicles.
    fn route(&self, last: impl Display) -> Result<Uri, http::Error> {
        let mut parts = self.vehicles.clone().into_parts();
        parts.path_and_query = Some(format!("{}{last}", self.vehicles.path()).parse()?);
        Ok(Uri::from_parts(parts)?)
    }

    async fn exchange(&self, attempt: &Attempt) -> Result<Answer, Failure> {
        // Nothing that Vehicle did; our numbers make good URLs.
        let request = self.request(attempt);
        let mut request = request.map_err(|_| Failure::lasting(FailureKind::ContractViolation))?;
        add_context(request.headers_mut(), &attempt.call.origin, attempt.until);
        if let Some(token) = &attempt.token {
            request.headers_mut().insert(AUTHORIZATION, token.header());
        }
        // Recorded also when this future is dropped, by the attempt's time limit or a panic.
        let mut record = Record {
            instruments: &self.instruments,
            method: match attempt.call.strategy {
                Strategy::Single => "GET",
                Strategy::Batch => "POST",
            },
            status: None,
            started: Instant::now(),
            until: attempt.until,
        };
        let sent = self.client.request(request).await;
        let response = sent
            .inspect_err(|_| record.status = Some(Err("connection")))
            .map_err(|_| {
                // No answer began: refused, reset, no route, or no connection in time.
                Failure::transient(FailureKind::Connection)
            })?;
        record.status = Some(Ok(response.status().as_u16()));
        if let (StatusCode::UNAUTHORIZED, Some(own), Some(token)) =
            (response.status(), &self.token, &attempt.token)
            && own.refused(token)
        {
            return Err(Failure::renewal());
        }
        self.read(attempt, response).await
    }

    async fn read(
        &self,
        attempt: &Attempt,
        response: Response<Incoming>,
    ) -> Result<Answer, Failure> {
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
    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, Failure> {
        let body = Limited::new(response.into_body(), self.max_answer_bytes);
        let body = body.collect().await;
        body.map(Collected::to_bytes)
            .map_err(|_| Failure::lasting(FailureKind::ContractViolation))
    }
}

impl Transport for HttpTransport {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(async move { self.exchange(&attempt).await })
    }

    fn token(&self) -> BoxFuture<'_, Result<Option<OwnToken>, NoToken>> {
        Box::pin(async move {
            match &self.token {
                Some(own) => own.get().await.map(Some),
                None => Ok(None),
            }
        })
    }
}

/// Where the vehicles are: the base URL's path stays.
fn vehicles(base_url: &Url) -> Result<Uri, BuildError> {
    let mut url = base_url.clone();
    // Fails only for URLs that cannot be a base, which the settings refuse.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["api", "v1", "vehicles", ""]);
    }
    url.as_str().parse().map_err(|_| BuildError::Url)
}

/// Adds for which request it is and how long it is waited for.
fn add_context(headers: &mut HeaderMap, origin: &Origin, until: Instant) {
    headers.insert(X_DEADLINE_MS, remaining_ms(until).into());
    if let Ok(id) = HeaderValue::from_str(&origin.request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    let span = tracing::Span::current();
    let mut carrier = HashMap::new();
    if !span.is_disabled() {
        let recorded = span.context();
        if recorded.span().span_context().is_valid() {
            TraceContextPropagator::new().inject_context(&recorded, &mut carrier);
        }
    }
    let traceparent = carrier
        .get(TRACEPARENT)
        .map_or(&*origin.traceparent, String::as_str);
    if let Ok(value) = HeaderValue::from_str(traceparent) {
        headers.insert(TRACEPARENT, value);
    }
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

struct Record<'a> {
    instruments: &'a Instruments,
    method: &'static str,
    /// Unknown until an answer begins or the connection fails.
    status: Option<Result<u16, &'static str>>,
    started: Instant,
    until: Instant,
}

impl Drop for Record<'_> {
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
