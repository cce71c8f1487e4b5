use std::{
    fmt::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// A Vehicle on a real socket that answers as it is told and counts what reaches it.
#[derive(Clone, Debug)]
pub struct FakeVehicle {
    address: SocketAddr,
    state: Arc<State>,
}

type Script = Box<dyn Fn(&Request) -> Reply + Send>;

struct State {
    script: Mutex<Script>,
    requests: Mutex<Vec<Request>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    ended: Notify,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("State").finish_non_exhaustive()
    }
}

/// A request that reached the fake.
#[derive(Clone, Debug)]
pub struct Request {
    /// 0 for the first.
    pub number: usize,
    /// Method.
    pub method: String,
    /// Path as it was sent.
    pub path: String,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

/// What the fake does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers with this status, these more headers and this body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Answers like this, but only after a time.
    After(Duration, Box<Reply>),
    /// Writes these bytes and closes the connection.
    Raw(Vec<u8>),
    /// Begins an answer of 200 and writes its body without end.
    Endless,
    /// Never answers.
    Hang,
    /// Closes the connection without an answer.
    Close,
}

impl Reply {
    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Answer(
            status,
            vec![("content-type", "application/json".into())],
            body.to_string(),
        )
    }

    /// An answer with this status and nothing to it.
    pub fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), String::new())
    }

    /// What a Vehicle in good health says: every number is a Volvo, but those that begin with `Z`
    /// are not found.
    pub fn healthy(request: &Request) -> Self {
        if request.method == "POST" {
            let asked: Value = serde_json::from_str(&request.body).unwrap();
            let asked = asked["registrationNumbers"].as_array().unwrap().iter();
            let numbers: Vec<_> = asked.map(|number| number.as_str().unwrap()).collect();
            let (not_found, found): (Vec<_>, Vec<_>) = numbers
                .into_iter()
                .partition(|number| number.starts_with('Z'));
            let vehicles: Vec<_> = found.into_iter().map(vehicle).collect();
            let body = json!({ "vehicles": vehicles, "notFound": not_found, "invalid": [] });
            return Self::json(200, &body);
        }
        let number = request.path.rsplit('/').next().unwrap();
        if number.starts_with('Z') {
            return Self::json(404, &json!({ "code": "vehicle_not_found" }));
        }
        Self::json(200, &vehicle(number))
    }
}

fn vehicle(number: &str) -> Value {
    json!({ "registrationNumber": number, "make": "Volvo", "model": "XC60", "modelYear": 2021 })
}

impl Request {
    /// A header, if it was sent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl FakeVehicle {
    /// Starts a fake that answers by this script.
    pub async fn start(script: impl Fn(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            script: Mutex::new(Box::new(script)),
            requests: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            ended: Notify::new(),
        });
        let serving = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = serving.clone();
                tokio::spawn(async move { converse(stream, &state).await });
            }
        });
        Self { address, state }
    }

    /// Starts one in good health.
    pub async fn healthy() -> Self {
        Self::start(Reply::healthy).await
    }

    /// Answers by this script from now on.
    pub fn script(&self, script: impl Fn(&Request) -> Reply + Send + 'static) {
        *self.state.script.lock().unwrap() = Box::new(script);
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// How many requests there were so far.
    pub fn calls(&self) -> usize {
        self.state.requests.lock().unwrap().len()
    }

    /// The most requests that were in flight at once.
    pub fn most_in_flight(&self) -> usize {
        self.state.most_in_flight.load(Ordering::SeqCst)
    }

    /// Waits until no request is in flight: each was answered or given up by its caller.
    pub async fn idle(&self) {
        loop {
            let ended = self.state.ended.notified();
            if self.state.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}

struct InFlight<'a>(&'a State);

impl<'a> InFlight<'a> {
    fn enter(state: &'a State) -> Self {
        let now = state.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_in_flight.fetch_max(now, Ordering::SeqCst);
        Self(state)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.notify_waiters();
    }
}

async fn converse(mut stream: TcpStream, state: &State) {
    let mut buffer = Vec::new();
    while let Some(mut request) = read(&mut stream, &mut buffer).await {
        let _in_flight = InFlight::enter(state);
        {
            let mut requests = state.requests.lock().unwrap();
            request.number = requests.len();
            requests.push(request.clone());
        }
        let reply = (state.script.lock().unwrap())(&request);
        if !answer(&mut stream, reply).await {
            return;
        }
    }
}

/// Carries out a reply; whether the connection can take another request.
async fn answer(stream: &mut TcpStream, mut reply: Reply) -> bool {
    while let Reply::After(pause, then) = reply {
        tokio::select! {
            () = tokio::time::sleep(pause) => reply = *then,
            () = gone(stream) => return false,
        }
    }
    match reply {
        Reply::Answer(status, headers, body) => {
            let mut text = format!("HTTP/1.1 {status} Scripted\r\n");
            for (name, value) in headers {
                write!(text, "{name}: {value}\r\n").unwrap();
            }
            write!(text, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
            stream.write_all(text.as_bytes()).await.is_ok()
        }
        Reply::Raw(bytes) => {
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
        Reply::After(..) => unreachable!("unwrapped above"),
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
        method,
        path,
        headers,
        body,
    })
}
