//! One write after the other, each on its own connection: a policy is suspended or resumed, with its
//! event and under a key, and a plain row is updated. In turn, so that a busy machine costs both.
//! Prints one line of JSON, in microseconds.

use std::{
    io::{Read, Write, stdout},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::answer::Answer;

/// Before those that count: caches are empty, and statements are not prepared.
const WARM_UP: usize = 100;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Insurance
    ours: SocketAddr,
    /// The limit `update`
    plain: SocketAddr,
    /// Key of a caller who may write
    key: String,
    /// The first of some policies that are active
    first: i64,
    /// Their entity tag, which names no policy
    tag: String,
    #[arg(long)]
    policies: usize,
    #[arg(long)]
    pairs: usize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let (mut ours, mut plain) = (Caller::new(options.ours)?, Caller::new(options.plain)?);
    let (mut changes, mut updates) = (Vec::new(), Vec::new());
    let mut tags = vec![options.tag.clone(); options.policies];
    for number in 0..WARM_UP + options.pairs {
        let place = number % options.policies;
        let (policy, tag) = (options.first + i64::try_from(place)?, &mut tags[place]);
        let to = if (number / options.policies).is_multiple_of(2) {
            "suspended"
        } else {
            "active"
        };
        let headers = format!(
            "x-api-key: {}\r\nif-match: {tag}\r\nidempotency-key: {}\r\n",
            options.key,
            key(number)
        );
        let path = format!("/api/v1/policies/{policy}/transitions");
        let body = format!(r#"{{"to":"{to}","reason":"other"}}"#);
        let (change, next) = ours.post(&path, &headers, &body)?;
        *tag = next.context("no entity tag")?;
        let path = format!("/rows/{policy}");
        let (update, _) = plain.post(&path, "", &body)?;
        if number >= WARM_UP {
            changes.push(change);
            updates.push(update);
        }
    }
    let told = json!({ "ours_us": percentiles(changes), "plain_us": percentiles(updates) });
    Ok(writeln!(stdout(), "{told}")?)
}

/// In letters, because many digits might be a person's.
fn key(number: usize) -> String {
    let digits = format!("{number:08}").into_bytes();
    let letters = digits.iter().map(|digit| char::from(digit + (b'a' - b'0')));
    format!("a-write-{}", letters.collect::<String>())
}

fn percentiles(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |hundredths: usize| {
        let time = times.get(times.len() * hundredths / 100);
        time.map(Duration::as_micros)
    };
    json!({ "p50": at(50), "p99": at(99) })
}

struct Caller {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Caller {
    fn new(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let buffer = Vec::new();
        Ok(Self { stream, buffer })
    }

    /// How long the answer took, and its entity tag.
    fn post(
        &mut self,
        path: &str,
        headers: &str,
        body: &str,
    ) -> anyhow::Result<(Duration, Option<String>)> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        let asked = Instant::now();
        self.stream.write_all(request.as_bytes())?;
        self.buffer.clear();
        let mut part = [0; 4096];
        loop {
            let length = self.stream.read(&mut part)?;
            ensure!(length > 0, "{path}: the connection was closed");
            self.buffer.extend_from_slice(&part[..length]);
            if let Some(answer) = Answer::parse(&self.buffer)? {
                let took = asked.elapsed();
                let text = String::from_utf8_lossy(answer.body);
                ensure!(answer.status == 200, "{path}: {} {text}", answer.status);
                return Ok((took, answer.header("etag").map(str::to_owned)));
            }
        }
    }
}
