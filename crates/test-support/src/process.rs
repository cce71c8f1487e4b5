use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use serde_json::Value;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{Remote, TestDatabase};

/// A service's binary with an environment of its own.
#[derive(Clone, Debug)]
pub struct Binary {
    program: &'static str,
    prefix: String,
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
}

/// The binary while it serves. Killed when it was not stopped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    /// Where it listens.
    pub at: Remote,
    seen: Vec<Value>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: Option<i32>,
    /// Every line of stdout.
    pub lines: Vec<Value>,
}

impl Binary {
    /// A service's program on a database, on a port that the system chooses.
    pub fn new(program: &'static str, database: &TestDatabase) -> Self {
        let binary = Self {
            program,
            prefix: database.service().to_ascii_uppercase(),
            variables: database.variables(),
            arguments: Vec::new(),
        };
        binary.with("SERVER__PORT", "0")
    }

    /// With this setting, by its variable without the service's prefix.
    #[must_use]
    pub fn with(mut self, setting: &str, value: &str) -> Self {
        let name = format!("{}__{setting}", self.prefix);
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    /// With these settings.
    #[must_use]
    pub fn with_all(self, settings: &[(&str, &str)]) -> Self {
        settings
            .iter()
            .fold(self, |binary, (setting, value)| binary.with(setting, value))
    }

    /// With a variable that is none of the service's own.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With one more argument.
    #[must_use]
    pub fn with_argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .env_clear()
            .envs(self.variables.iter().cloned())
            .args(&self.arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, command: &str) -> Output {
        self.run_with(&[command]).await
    }

    /// Runs a command with its options to its end.
    pub async fn run_with(&self, command: &[&str]) -> Output {
        let mut run = self.command();
        run.args(command);
        spawn_blocking(move || run.output().unwrap()).await.unwrap()
    }

    /// Serves; returns once it listens.
    pub async fn serve(&self) -> Running {
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
    pub fn wait_for(&mut self, message: &str) -> Value {
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
    pub fn stop(mut self) -> JoinHandle<Ended> {
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
        if thread::panicking() {
            // What it said may tell why its test fails.
            self.lines.try_iter().for_each(|line| eprintln!("{line}"));
        }
        // Has ended already, if its test stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
