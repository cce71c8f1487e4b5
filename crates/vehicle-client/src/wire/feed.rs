//! Vehicle's register and its feed of changes, for those who keep a copy.
//!
//! Apart from the lookups: not through their guard, which counts what requests wait for, and with
//! limits of its own. Each reader asks for one page at a time.

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

use access_tokens::{ClientToken, NoToken};
use bytes::Bytes;
use contracts::{RegistrationNumber, VehiclePage, VersionedVehicle, X_DEADLINE_MS};
use http::{
    HeaderMap, HeaderValue, Request, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
    response::Parts,
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;
use tokio::time::timeout;
use uuid::Uuid;

use super::{connector::Connector, retry_after::retry_after};
use crate::{BuildError, Options};

const EVENTS: &str = "application/cloudevents-batch+json";
const JSON: &str = "application/json";
/// Longest time for a page beside what Vehicle was asked to wait for events.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest page in bytes: 1,000 events with their envelopes, and Vehicle's 1 MiB of data.
const LARGEST_PAGE: usize = 4 << 20;

/// Reads Vehicle's register and its feed. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Feed {
    client: Client<Connector, Full<Bytes>>,
    /// Of every request.
    headers: HeaderMap,
    /// Where Vehicle knows us by a token.
    token: Option<ClientToken>,
    /// Where Vehicle is, ending with `/api/v1`.
    base: Uri,
}

/// Where a page of events begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedStart {
    /// With the first event of the log.
    Beginning,
    /// After this event.
    After(Uuid),
    /// With the event at this place.
    Position(i64),
    /// With the first event that got its place at this moment or later (RFC 3339, UTC).
    Since(String),
}

/// A page of events.
#[derive(Clone, Debug)]
pub struct FeedPage {
    /// Which log they are in. Another one after a restore that lost events.
    pub log_id: Uuid,
    /// The last place of the log.
    pub log_position: i64,
    /// After which event the next page begins; `None` where nothing was read yet.
    pub next: Option<Uuid>,
    /// The events as they were sent; none at the end of the log.
    pub events: Vec<Box<RawValue>>,
    /// What was changed longer ago than this, before the page was asked for, has its place in the
    /// log. Zero of a Vehicle that does not say so.
    pub behind: Duration,
}

/// A page of the register.
#[derive(Clone, Debug)]
pub struct RegisterPage {
    /// The log of its changes.
    pub log_id: Uuid,
    /// The last event before the page was read; `None` where there is none.
    pub last_event: Option<Uuid>,
    /// The place of that event; `None` of a Vehicle that does not say so.
    pub position: Option<i64>,
    /// The vehicles, each once.
    pub vehicles: Vec<VersionedVehicle>,
    /// After which number the next page begins; `None` at the end.
    pub next: Option<RegistrationNumber>,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The log does not have the event that was named: it was restored, or is another one.
    #[error("Vehicle's log does not have the event that was read last")]
    UnknownEvent,
    /// No answer came in time.
    #[error("Vehicle did not answer in time")]
    Timeout,
    /// No connection, or it broke.
    #[error("there is no connection to Vehicle")]
    Connection,
    /// The key or token is not known or lacks the scopes `feed` and `read`.
    #[error("Vehicle refuses our key or token: it needs the scopes feed and read")]
    Unauthorized,
    /// Vehicle was not asked: there is no token for it.
    #[error("there is no token for Vehicle")]
    NoToken(#[from] NoToken),
    /// Vehicle has no time now (429, 503).
    #[error("Vehicle has no time")]
    Busy {
        /// When to ask again, where Vehicle says so.
        retry_after: Option<Duration>,
    },
    /// Another status.
    #[error("Vehicle answered with the status {0}")]
    Status(u16),
    /// The answer breaks its contract.
    #[error("Vehicle's answer breaks its contract: {0}")]
    Contract(&'static str),
}

impl FeedError {
    /// The name in metrics and answers.
    pub fn label(&self) -> &'static str {
        match self {
            Self::UnknownEvent => "unknown_event",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Unauthorized | Self::NoToken(_) => "unauthorized",
            Self::Busy { .. } => "busy",
            Self::Status(_) => "server_error",
            Self::Contract(_) => "contract_violation",
        }
    }
}

impl Feed {
    /// Connects when it is first needed, as Vehicle's caller with this user agent, and with the token
    /// of [`VehicleClient`](crate::VehicleClient) where there is one.
    pub fn new(
        options: &Options,
        user_agent: &'static str,
        token: Option<ClientToken>,
    ) -> Result<Self, BuildError> {
        let mut headers = options.key_headers()?;
        headers.insert(USER_AGENT, HeaderValue::from_static(user_agent));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.idle_connection_timeout)
            .build(Connector::new(options)?);
        let mut base = options.base_url.clone();
        // Fails only for URLs that cannot be a base, which the settings refuse.
        if let Ok(mut path) = base.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]);
        }
        Ok(Self {
            client,
            headers,
            token,
            base: base.as_str().parse().map_err(|_| BuildError::Url)?,
        })
    }

    /// The next events, `limit` of 1 to 1,000 at most. At the end of the log it waits so long for
    /// one.
    pub async fn events(
        &self,
        start: &FeedStart,
        limit: u16,
        wait: Duration,
    ) -> Result<FeedPage, FeedError> {
        let mut query = format!("limit={limit}&timeout={}", wait.as_millis());
        // Writing to a text never fails.
        let _ = match start {
            FeedStart::Beginning => Ok(()),
            FeedStart::After(id) => write!(query, "&lastEventId={id}"),
            FeedStart::Position(position) => write!(query, "&fromPosition={position}"),
            FeedStart::Since(moment) => {
                let moment = utf8_percent_encode(moment, NON_ALPHANUMERIC);
                write!(query, "&since={moment}")
            }
        };
        let (parts, body) = self.get("events", &query, EVENTS, wait + PATIENCE).await?;
        let broken = FeedError::Contract;
        let events: Vec<Box<RawValue>> =
            serde_json::from_slice(&body).map_err(|_| broken("the page is no list"))?;
        let page = FeedPage {
            log_id: log_id(&parts)?,
            log_position: log_position(&parts)?.ok_or(broken("there is no Log-Position"))?,
            next: uuid(&parts, "next-event-id")?,
            events,
            behind: behind(&parts)?,
        };
        if page.events.len() > limit.into() {
            return Err(broken("there are more events than were asked for"));
        }
        if page.next.is_none() && !page.events.is_empty() {
            return Err(broken("there is no Next-Event-Id"));
        }
        Ok(page)
    }

    /// The next vehicles of the register in their order, `limit` of 1 to 1,000 at most.
    pub async fn vehicles(
        &self,
        after: Option<&RegistrationNumber>,
        limit: u16,
    ) -> Result<RegisterPage, FeedError> {
        let mut query = format!("limit={limit}");
        if let Some(after) = after {
            let after = utf8_percent_encode(after.as_str(), NON_ALPHANUMERIC);
            // Writing to a text never fails.
            let _ = write!(query, "&after={after}");
        }
        let (parts, body) = self.get("vehicles", &query, JSON, PATIENCE).await?;
        let broken = FeedError::Contract;
        let page: VehiclePage =
            serde_json::from_slice(&body).map_err(|_| broken("the page holds no vehicles"))?;
        let mut numbers: Vec<_> = page
            .vehicles
            .iter()
            .map(|it| &it.vehicle.registration_number)
            .collect();
        if page.next.is_some() && page.next.as_ref() != numbers.last().copied() {
            return Err(broken("the next page does not begin after this one"));
        }
        if page.next.is_some() && page.next.as_ref() == after {
            return Err(broken("the page was sent before"));
        }
        if numbers.len() > limit.into() {
            return Err(broken("there are more vehicles than were asked for"));
        }
        numbers.sort_unstable();
        if numbers.windows(2).any(|two| two[0] == two[1]) {
            return Err(broken("a vehicle is there twice"));
        }
        if page.vehicles.iter().any(|it| it.version < 1) {
            return Err(broken("a version is below 1"));
        }
        Ok(RegisterPage {
            log_id: log_id(&parts)?,
            last_event: uuid(&parts, "feed-position")?,
            position: log_position(&parts)?,
            vehicles: page.vehicles,
            next: page.next,
        })
    }

    async fn get(
        &self,
        route: &str,
        query: &str,
        kind: &'static str,
        limit: Duration,
    ) -> Result<(Parts, Bytes), FeedError> {
        let mut uri = self.base.clone().into_parts();
        let path = format!("{}/{route}?{query}", self.base.path());
        uri.path_and_query = path.parse().ok();
        let mut request = Request::new(Full::default());
        // Nothing that Vehicle did; what we ask makes good URLs.
        *request.uri_mut() = Uri::from_parts(uri).map_err(|_| FeedError::Connection)?;
        *request.headers_mut() = self.headers.clone();
        let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let headers = request.headers_mut();
        headers.insert(X_DEADLINE_MS, milliseconds.into());
        headers.insert(ACCEPT, HeaderValue::from_static(kind));
        let exchange = timeout(limit, self.exchange(request, kind)).await;
        exchange.unwrap_or(Err(FeedError::Timeout))
    }

    async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
        kind: &'static str,
    ) -> Result<(Parts, Bytes), FeedError> {
        let token = match &self.token {
            None => None,
            Some(own) => Some((own, own.get().await?)),
        };
        if let Some((_, token)) = &token {
            request.headers_mut().insert(AUTHORIZATION, token.header());
        }
        let sent = self.client.request(request).await;
        let (parts, body) = sent.map_err(|_| FeedError::Connection)?.into_parts();
        if let (StatusCode::UNAUTHORIZED, Some((own, token))) = (parts.status, &token) {
            // The next page is asked for with another one.
            own.refused(token);
        }
        match parts.status {
            StatusCode::OK => {}
            StatusCode::GONE => return Err(FeedError::UnknownEvent),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(FeedError::Unauthorized);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let retry_after = retry_after(&parts.headers, SystemTime::now());
                return Err(FeedError::Busy { retry_after });
            }
            status => return Err(FeedError::Status(status.as_u16())),
        }
        let sent_as = parts.headers.get(CONTENT_TYPE);
        if sent_as.is_none_or(|it| !it.as_bytes().starts_with(kind.as_bytes())) {
            return Err(FeedError::Contract("the page is of another type"));
        }
        let body = Limited::new(body, LARGEST_PAGE).collect().await;
        let body = body.map_err(|error| match error.downcast_ref() {
            Some(LengthLimitError { .. }) => FeedError::Contract("the page is larger than 4 MiB"),
            None => FeedError::Connection,
        });
        Ok((parts, body?.to_bytes()))
    }
}

fn header<'a>(parts: &'a Parts, name: &str) -> Result<Option<&'a str>, FeedError> {
    let text = parts.headers.get(name).map(HeaderValue::to_str);
    text.transpose()
        .map_err(|_| FeedError::Contract("a header is no text"))
}

fn uuid(parts: &Parts, name: &str) -> Result<Option<Uuid>, FeedError> {
    let id = header(parts, name)?.map(Uuid::parse_str);
    id.transpose()
        .map_err(|_| FeedError::Contract("an id is no UUID"))
}

fn log_id(parts: &Parts) -> Result<Uuid, FeedError> {
    uuid(parts, "log-id")?.ok_or(FeedError::Contract("there is no Log-Id"))
}

fn log_position(parts: &Parts) -> Result<Option<i64>, FeedError> {
    let position = header(parts, "log-position")?.map(str::parse::<u64>);
    let position = position.map(|it| it.ok().and_then(|it| i64::try_from(it).ok()));
    let broken = FeedError::Contract("the Log-Position is no place");
    position.map(|it| it.ok_or(broken)).transpose()
}

fn behind(parts: &Parts) -> Result<Duration, FeedError> {
    let behind = header(parts, "log-behind-ms")?.map(str::parse);
    let behind = behind.transpose();
    let behind = behind.map_err(|_| FeedError::Contract("the Log-Behind-Ms is no number"))?;
    Ok(Duration::from_millis(behind.unwrap_or_default()))
}
