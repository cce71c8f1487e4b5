use std::{fmt::Write, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use super::{InFlight, Reply, Request, State};

/// Serves one connection to its end.
pub(super) async fn converse(mut stream: TcpStream, state: &Arc<State>) {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer).await {
        let (in_flight, reply) = state.take(request);
        if let Reply::WorkedOn(time, _) = &reply {
            state.work(*time);
        }
        if !answer(&mut stream, reply, in_flight).await {
            return;
        }
    }
}

/// Carries out a reply; whether the connection can take another request.
async fn answer(stream: &mut TcpStream, mut reply: Reply, in_flight: InFlight<'_>) -> bool {
    loop {
        let then = match reply {
            Reply::After(pause, then) | Reply::WorkedOn(pause, then) => tokio::select! {
                () = sleep(pause) => then,
                () = gone(stream) => return false,
            },
            Reply::Held(gate, then) => tokio::select! {
                () = gate.passed() => then,
                () = gone(stream) => return false,
            },
            ready => {
                reply = ready;
                break;
            }
        };
        reply = *then;
    }
    match reply {
        Reply::Answer(status, headers, body) => {
            let mut text = format!("HTTP/1.1 {status} Scripted\r\n");
            for (name, value) in headers {
                write!(text, "{name}: {value}\r\n").unwrap();
            }
            if !matches!(status, 204 | 304) {
                write!(text, "content-length: {}\r\n", body.len()).unwrap();
            }
            write!(text, "\r\n{body}").unwrap();
            // Before its last byte: whoever reads that may send the next request at once.
            drop(in_flight);
            stream.write_all(text.as_bytes()).await.is_ok()
        }
        Reply::Dribble(pause, body) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let mut written = stream.write_all(head.as_bytes()).await;
            for byte in body.into_bytes() {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = gone(stream) => return false,
                }
                written = written.and(stream.write_all(&[byte]).await);
            }
            written.is_ok()
        }
        Reply::Raw(bytes) => {
            drop(in_flight);
            // The caller may be gone; then there is nobody to answer.
            let _ = stream.write_all(&bytes).await;
            false
        }
        Reply::Endless => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
            let mut written = stream.write_all(head.as_bytes()).await;
            while written.is_ok() {
                written = stream.write_all(&[b' '; 4096]).await;
            }
            false
        }
        Reply::Hang => {
            gone(stream).await;
            false
        }
        Reply::Close => false,
        Reply::After(..) | Reply::WorkedOn(..) | Reply::Held(..) => unreachable!("unwrapped above"),
    }
}

/// Waits until the caller closes the connection.
async fn gone(stream: &mut TcpStream) {
    let mut rest = [0; 64];
    while let Ok(1..) = stream.read(&mut rest).await {}
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse().unwrap());
    while buffer.len() < head_end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(buffer[head_end..head_end + length].to_vec()).unwrap();
    buffer.drain(..head_end + length);
    Some(Request {
        number: 0,
        at: Instant::now(),
        method,
        path,
        headers,
        body,
    })
}
