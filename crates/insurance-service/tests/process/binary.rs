use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use insurance_service::{NAME, SCHEMA};
use serde_json::Value;
use test_support::{API_KEY, FakeVehicle, Remote, TestDatabase};
use tokio::task::{JoinHandle, spawn_blocking};

/// The binary with an environment of its own.
#[derive(Clone)]
pub(crate) struct Binary {
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
}

/// The binary while it serves. Killed when a test fails before it was stopped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    pub(crate) at: Remote,
    seen: Vec<Value>,
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Every line of stdout.
    pub(crate) lines: Vec<Value>,
}

impl Binary {
    /// With what it needs to start, on a port that the system chooses.
    pub(crate) fn new(database: &TestDatabase, vehicle: &FakeVehicle) -> Self {
        let mut binary = Self {
            variables: database.variables(),
            arguments: Vec::new(),
        };
        for (name, value) in [
            ("SERVER__PORT", "0"),
            ("SERVER__DRAIN_DELAY", "200ms"),
            ("VEHICLE_CLIENT__BASE_URL", &vehicle.url()),
            ("VEHICLE_CLIENT__API_KEY", API_KEY),
            ("DATABASE__ACQUIRE_TIMEOUT", "9s"),
            ("DATABASE__STATEMENT_TIMEOUT", "9s"),
            ("SERVER__REQUEST_DEADLINE", "30s"),
            ("ENRICHMENT__DEADLINE", "9s"),
            ("VEHICLE_CLIENT__CONNECT_TIMEOUT", "4s"),
            ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "4s"),
            ("VEHICLE_CLIENT__QUEUE_WAIT", "5s"),
            ("VEHICLE_CLIENT__CACHE__ENABLED", "false"),
            ("VEHICLE_CLIENT__RETRY_BUDGET__RETRIES_PER_SECOND", "1000"),
        ] {
            binary = binary.with(name, value);
        }
        binary
    }

    /// With the sample data and this Vehicle.
    pub(crate) async fn seeded(vehicle: &FakeVehicle) -> Self {
        Self::new(&TestDatabase::new(NAME, SCHEMA).await, vehicle)
    }

    #[must_use]
    pub(crate) fn with(mut self, setting: &str, value: &str) -> Self {
        let name = format!("INSURANCE__{setting}");
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    #[must_use]
    pub(crate) fn with_argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_insurance-service"));
        command
            .env_clear()
            .envs(self.variables.iter().cloned())
            .args(&self.arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, command: &str) -> Output {
        self.run_with(&[command]).await
    }

    /// Runs a command with its options to its end.
    pub(crate) async fn run_with(&self, command: &[&str]) -> Output {
        let mut run = self.command();
        run.args(command);
        spawn_blocking(move || run.output().unwrap()).await.unwrap()
    }

    /// Serves; returns once it listens.
    pub(crate) async fn serve(&self) -> Running {
        let mut command = self.command();
        spawn_blocking(move || {
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let stdout = BufReader::new(child.stdout.take().unwrap());
            let (sender, lines) = mpsc::channel();
            thread::spawn(move || {
                for line in stdout.lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
            let mut running = Running {
                child,
                lines,
                at: Remote(SocketAddr::from(([127, 0, 0, 1], 0))),
                seen: Vec::new(),
            };
            let address = running.wait_for("listening")["address"].clone();
            running.at = Remote(address.as_str().unwrap().parse().unwrap());
            running
        })
        .await
        .unwrap()
    }
}

impl Running {
    /// Waits for a log line with this message.
    pub(crate) fn wait_for(&mut self, message: &str) -> Value {
        loop {
            let line = self.lines.recv().unwrap_or_else(|_| {
                panic!("it ended without saying `{message}`: {:?}", self.seen);
            });
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            self.seen.push(line.clone());
            if line["message"] == message {
                return line;
            }
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(mut self) -> JoinHandle<Ended> {
        spawn_blocking(move || {
            let id = self.child.id().to_string();
            let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
            assert!(sent.success());
            let code = self.child.wait().unwrap().code();
            let mut lines = std::mem::take(&mut self.seen);
            lines.extend(self.lines.iter().map(|line| {
                serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))
            }));
            Ended { code, lines }
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Has ended already, unless its test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
