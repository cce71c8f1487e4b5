mod connection;
mod reply;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::Notify,
    time::{Instant, sleep, timeout},
};

pub use reply::{Gate, Reply};

/// A Vehicle on a real socket that answers as it is told and counts what reaches it.
#[derive(Clone, Debug)]
pub struct FakeVehicle {
    address: SocketAddr,
    state: Arc<State>,
}

/// Most requests that are kept for a look; all are counted.
const KEPT: usize = 20_000;

/// What has not come by then is a failure of the test, and not a test that hangs.
const LONGEST_WAIT: Duration = Duration::from_mins(2);

type Script = Box<dyn FnMut(&Request) -> Reply + Send>;

struct State {
    script: Mutex<Script>,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    calls: AtomicUsize,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    at_work: AtomicUsize,
    most_at_work: AtomicUsize,
    changed: Notify,
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
    /// When it had come.
    pub at: Instant,
    /// Method.
    pub method: String,
    /// Path as it was sent.
    pub path: String,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Request {
    /// A header, if it was sent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The numbers that a batch request asks for.
    pub fn numbers(&self) -> Vec<String> {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        let numbers = body["registrationNumbers"].as_array().unwrap().iter();
        numbers
            .map(|number| number.as_str().unwrap().to_owned())
            .collect()
    }
}

impl FakeVehicle {
    /// Starts a fake that answers by this script.
    pub async fn start(script: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            script: Mutex::new(Box::new(script)),
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            at_work: AtomicUsize::new(0),
            most_at_work: AtomicUsize::new(0),
            changed: Notify::new(),
        });
        let serving = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let state = serving.clone();
                tokio::spawn(async move { connection::converse(stream, &state).await });
            }
        });
        Self { address, state }
    }

    /// Starts one in good health.
    pub async fn healthy() -> Self {
        Self::start(Reply::healthy).await
    }

    /// Answers by this script from now on.
    pub fn script(&self, script: impl FnMut(&Request) -> Reply + Send + 'static) {
        *self.state.script.lock().unwrap() = Box::new(script);
    }

    /// Its socket.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far, in their order. Panics where there were more than it keeps.
    pub fn requests(&self) -> Vec<Request> {
        let requests = self.state.requests.lock().unwrap();
        assert_eq!(requests.len(), self.calls(), "not all requests were kept");
        requests.clone()
    }

    /// How many connections there were so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many requests there were so far.
    pub fn calls(&self) -> usize {
        self.state.calls.load(Ordering::SeqCst)
    }

    /// The most requests that were in flight at once.
    pub fn most_in_flight(&self) -> usize {
        self.state.most_in_flight.load(Ordering::SeqCst)
    }

    /// The most requests that were worked on at once: [`Reply::worked_on`].
    pub fn most_at_work(&self) -> usize {
        self.state.most_at_work.load(Ordering::SeqCst)
    }

    /// Waits until this many requests have come, all told.
    pub async fn reached(&self, calls: usize) {
        self.until(|| self.calls() >= calls).await;
    }

    /// Waits until no request is in flight: each was answered or given up by its caller.
    pub async fn idle(&self) {
        self.until(|| self.state.in_flight.load(Ordering::SeqCst) == 0)
            .await;
    }

    async fn until(&self, reached: impl Fn() -> bool) {
        let wait = async {
            loop {
                let changed = self.state.changed.notified();
                if reached() {
                    return;
                }
                changed.await;
            }
        };
        timeout(LONGEST_WAIT, wait)
            .await
            .expect("what was waited for never came");
    }
}

impl State {
    /// Works for this long, whoever waits for it.
    fn work(self: &Arc<Self>, time: Duration) {
        let now = self.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_work.fetch_max(now, Ordering::SeqCst);
        let state = self.clone();
        tokio::spawn(async move {
            sleep(time).await;
            state.at_work.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// Notes a request down and asks the script what to do with it.
    fn take(&self, mut request: Request) -> (InFlight<'_>, Reply) {
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let in_flight = InFlight(self);
        {
            let mut requests = self.requests.lock().unwrap();
            request.number = self.calls.fetch_add(1, Ordering::SeqCst);
            if request.number < KEPT {
                requests.push(request.clone());
            }
        }
        self.changed.notify_waiters();
        let reply = (self.script.lock().unwrap())(&request);
        (in_flight, reply)
    }
}

struct InFlight<'a>(&'a State);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}
