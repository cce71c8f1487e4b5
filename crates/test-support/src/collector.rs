use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes};
use tokio::net::TcpListener;

/// A trace collector: takes OTLP over HTTP and keeps what it was sent.
#[derive(Debug)]
pub struct Collector {
    /// Where it takes them: the setting `telemetry.otlp_endpoint`.
    pub endpoint: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

/// A span, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Trace id in hexadecimal.
    pub trace_id: String,
    /// Span id in hexadecimal.
    pub id: String,
    /// Span id of the parent in hexadecimal; empty for a root.
    pub parent: String,
    /// Name.
    pub name: String,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
    /// Attributes that are texts.
    pub attributes: BTreeMap<String, String>,
    /// Whether its status is an error.
    pub failed: bool,
}

impl Collector {
    /// Listens on a port that the system chooses.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = bodies.clone();
        let take = async move |body: Bytes| kept.lock().unwrap().push(body);
        let router = Router::new().fallback(take);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, bodies }
    }

    /// Everything that was sent, as far as it is text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bodies.lock().unwrap().concat()).into_owned()
    }

    /// The spans that were sent: `ExportTraceServiceRequest` of opentelemetry-proto.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for body in self.bodies.lock().unwrap().iter() {
            for resource in members(body).remove(&1).unwrap_or_default() {
                for scope in members(resource).remove(&2).unwrap_or_default() {
                    let sent = members(scope).remove(&2).unwrap_or_default();
                    spans.extend(sent.into_iter().map(Span::read));
                }
            }
        }
        spans
    }
}

impl Span {
    fn read(bytes: &[u8]) -> Self {
        let members = members(bytes);
        let only = |number| members.get(&number).map_or(&[][..], |values| values[0]);
        let links = members.get(&13).into_iter().flatten();
        let links = links.map(|link| {
            let link = self::members(link);
            (hex(link[&1][0]), hex(link[&2][0]))
        });
        let attributes = members.get(&9).into_iter().flatten();
        let attributes = attributes.filter_map(|attribute| {
            let attribute = self::members(attribute);
            let value = self::members(attribute.get(&2)?[0]);
            Some((text(attribute[&1][0]), text(value.get(&1)?[0])))
        });
        Self {
            attributes: attributes.collect(),
            links: links.collect(),
            trace_id: hex(only(1)),
            id: hex(only(2)),
            parent: hex(only(4)),
            name: text(only(5)),
            // `Status { code: STATUS_CODE_ERROR }`: member 3, a variable-length 2.
            failed: only(15).ends_with(&[3 << 3, 2]),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The length-delimited members of a protobuf message, by their numbers.
fn members(mut bytes: &[u8]) -> BTreeMap<u64, Vec<&[u8]>> {
    let mut members = BTreeMap::<_, Vec<_>>::new();
    while !bytes.is_empty() {
        let tag = variable(&mut bytes);
        let length = match tag & 7 {
            0 => {
                variable(&mut bytes);
                continue;
            }
            1 => 8,
            2 => usize::try_from(variable(&mut bytes)).unwrap(),
            5 => 4,
            kind => panic!("wire type {kind}"),
        };
        let (value, rest) = bytes.split_at(length);
        bytes = rest;
        members.entry(tag >> 3).or_default().push(value);
    }
    members
}

/// A variable-length integer, seven bits a byte.
fn variable(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}
