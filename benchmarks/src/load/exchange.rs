//! One request and one answer on a connection.

use std::{fmt::Write, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::answer::Answer;

/// Stands in an expected answer for what differs each time, such as a request id.
const ANYTHING: char = '\u{1}';

/// A request and its answer.
pub(super) struct Exchange {
    request: Vec<u8>,
    status: u16,
    /// The answer's parts between what may be anything.
    parts: Vec<Vec<u8>>,
}

impl Exchange {
    pub(super) fn parse(line: &str) -> anyhow::Result<Self> {
        let fields: Vec<_> = line.split('\t').collect();
        let [method, path, key, body, status, answer] = fields[..] else {
            anyhow::bail!("six fields are due in {line}");
        };
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n");
        if !key.is_empty() {
            write!(request, "x-api-key: {key}\r\n")?;
        }
        if !body.is_empty() {
            let length = body.len();
            write!(
                request,
                "content-type: application/json\r\ncontent-length: {length}\r\n"
            )?;
        }
        write!(request, "\r\n{body}")?;
        Ok(Self {
            request: request.into_bytes(),
            status: status.parse()?,
            parts: answer
                .split(ANYTHING)
                .map(|part| part.as_bytes().to_vec())
                .collect(),
        })
    }

    fn is_answered_by(&self, body: &[u8]) -> bool {
        let [first, others @ ..] = self.parts.as_slice() else {
            return false;
        };
        let Some(mut rest) = body.strip_prefix(first.as_slice()) else {
            return false;
        };
        let Some((last, between)) = others.split_last() else {
            return rest.is_empty();
        };
        for part in between {
            let place = rest.windows(part.len()).position(|window| window == part);
            let Some(place) = place else { return false };
            rest = &rest[place + part.len()..];
        }
        rest.ends_with(last)
    }
}

/// What became of a request.
pub(super) enum Outcome {
    Good,
    /// 503 or 429 instead.
    Refused,
    Wrong,
    /// No connection, or it broke.
    Broken,
}

/// A connection and what was read from it.
pub(super) type Connection = (TcpStream, Vec<u8>);

/// Sends a request, on a new connection where there is none, and compares the answer.
pub(super) async fn ask(
    address: SocketAddr,
    connection: &mut Option<Connection>,
    exchange: &Exchange,
) -> Outcome {
    let (mut stream, mut buffer) = match connection.take() {
        Some(connection) => connection,
        None => match TcpStream::connect(address).await {
            Ok(stream) if stream.set_nodelay(true).is_ok() => (stream, Vec::with_capacity(4096)),
            _ => return Outcome::Broken,
        },
    };
    if stream.write_all(&exchange.request).await.is_err() {
        return Outcome::Broken;
    }
    buffer.clear();
    let answer = loop {
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return Outcome::Broken,
            Ok(_) => {}
        }
        match Answer::parse(&buffer) {
            Ok(Some(answer)) => break answer,
            Ok(None) => {}
            Err(_) => return Outcome::Broken,
        }
    };
    let outcome = match answer.status {
        status if status == exchange.status && exchange.is_answered_by(answer.body) => {
            Outcome::Good
        }
        429 | 503 if exchange.status != answer.status => Outcome::Refused,
        _ => Outcome::Wrong,
    };
    if !answer.closes() {
        *connection = Some((stream, buffer));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::Exchange;

    #[test]
    fn only_the_answer_that_is_due_is_taken() {
        let exchange =
            Exchange::parse("GET\t/\t\t\t200\t{\"id\":\"\u{1}\",\"age\":\u{1}}").unwrap();
        for (answer, is_due) in [
            ("{\"id\":\"7\",\"age\":0}", true),
            ("{\"id\":\"\",\"age\":12}", true),
            ("{\"id\":\"7\",\"years\":0}", false),
            ("{\"id\":\"7\",\"age\":0", false),
            (" {\"id\":\"7\",\"age\":0}", false),
        ] {
            assert_eq!(
                exchange.is_answered_by(answer.as_bytes()),
                is_due,
                "{answer}"
            );
        }
    }
}
