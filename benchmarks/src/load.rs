//! Sends requests over kept connections and compares every answer with what it has to be.
//!
//! Closed loop, or with `--rate` open loop: latency counts from when a request was due, not from
//! when a connection was free for it. Prints `begin` and `end` around the time that counts, then
//! one line of JSON.

mod exchange;
mod tally;

use std::{
    io::{Write, stdout},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use tokio::{
    runtime,
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout_at},
};

use self::{
    exchange::{Exchange, Outcome, ask},
    tally::Tally,
};

/// What was under way at the end may still take as long.
const GRACE: Duration = Duration::from_secs(2);
const PAUSE_AFTER_REFUSED_CONNECTION: Duration = Duration::from_millis(10);
const PACE: Duration = Duration::from_micros(200);

#[derive(clap::Args)]
pub(crate) struct Options {
    address: SocketAddr,
    /// One request a line: method, path, key, body, status and answer, between tabs
    requests: PathBuf,
    #[arg(long)]
    connections: usize,
    /// Seconds that count
    #[arg(long)]
    seconds: f64,
    /// Seconds before them
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Requests a second; without it each connection asks again at once
    #[arg(long)]
    rate: Option<f64>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&options.requests)?;
    let exchanges: anyhow::Result<Vec<_>> = text.lines().map(Exchange::parse).collect();
    let begin = Instant::now() + Duration::from_secs_f64(options.warm_up);
    let run = Arc::new(Run {
        address: options.address,
        exchanges: exchanges?,
        started: Instant::now(),
        begin,
        end: begin + Duration::from_secs_f64(options.seconds),
        rate: options.rate,
        next: AtomicUsize::new(0),
        due: Semaphore::new(0),
        unsent: AtomicU64::new(0),
    });
    // One thread leaves the other core to the service where a few connections do.
    let threads = if options.connections < 16 { 1 } else { 2 };
    let mut workers = Vec::new();
    for thread in 0..threads {
        let connections = (options.connections + thread) / threads;
        let run = run.clone();
        workers.push(thread::spawn(move || run.drive(connections)));
    }
    let pacer = run.clone();
    let pacer = thread::spawn(move || pacer.pace());
    run.tell_time()?;
    let mut tally = Tally::default();
    for worker in workers {
        match worker.join() {
            Ok(part) => tally.add(part?),
            Err(_) => bail!("a thread has panicked"),
        }
    }
    ensure!(pacer.join().is_ok(), "the pacing thread has panicked");
    writeln!(
        stdout(),
        "{}",
        tally.json(options.seconds, run.unsent.load(Ordering::Relaxed))
    )?;
    Ok(())
}

struct Run {
    address: SocketAddr,
    exchanges: Vec<Exchange>,
    started: Instant,
    begin: Instant,
    end: Instant,
    rate: Option<f64>,
    next: AtomicUsize,
    due: Semaphore,
    unsent: AtomicU64,
}

impl Run {
    fn tell_time(&self) -> anyhow::Result<()> {
        for (what, at) in [("begin", self.begin), ("end", self.end)] {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            writeln!(stdout(), "{what}")?;
            stdout().flush()?;
        }
        Ok(())
    }

    /// Lets requests go when they are due. A timer of the runtime has only milliseconds.
    fn pace(&self) {
        let Some(rate) = self.rate else { return };
        let mut given = 0;
        while Instant::now() < self.end {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count of requests within some seconds"
            )]
            let due = (self.started.elapsed().as_secs_f64() * rate) as usize;
            self.due.add_permits(due - given);
            given = due;
            thread::sleep(PACE);
        }
        self.due.close();
        let left = given.saturating_sub(self.next.load(Ordering::Relaxed));
        self.unsent.store(left as u64, Ordering::Relaxed);
    }

    fn drive(self: &Arc<Self>, connections: usize) -> anyhow::Result<Tally> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut tally = Tally::default();
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for _ in 0..connections {
                tasks.spawn(self.clone().keep_asking());
            }
            while let Some(part) = tasks.join_next().await {
                tally.add(part?);
            }
            Ok(tally)
        })
    }

    /// The next request and when it was due; none at the end.
    async fn next(&self) -> Option<(&Exchange, Instant)> {
        if self.rate.is_some() {
            self.due.acquire().await.ok()?.forget();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = match self.rate {
            #[expect(clippy::cast_precision_loss, reason = "far under 2^52 requests")]
            Some(rate) => self.started + Duration::from_secs_f64(number as f64 / rate),
            None => Instant::now(),
        };
        let exchange = &self.exchanges[number % self.exchanges.len()];
        (due < self.end).then_some((exchange, due))
    }

    async fn keep_asking(self: Arc<Self>) -> Tally {
        let mut tally = Tally::default();
        let mut connection = None;
        while let Some((exchange, due)) = self.next().await {
            let asked = ask(self.address, &mut connection, exchange);
            let Ok(outcome) = timeout_at((self.end + GRACE).into(), asked).await else {
                tally.unanswered += 1;
                break;
            };
            let now = Instant::now();
            if (self.begin..self.end).contains(&now) {
                tally.count(&outcome, now - self.begin, now - due);
            } else if now >= self.end && self.rate.is_some() {
                tally.late += 1;
            }
            if matches!(outcome, Outcome::Broken) {
                connection = None;
                sleep(PAUSE_AFTER_REFUSED_CONNECTION).await;
            }
        }
        tally
    }
}
