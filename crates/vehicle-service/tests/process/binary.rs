use std::{
    net::SocketAddr,
    process::{Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use test_support::TestDatabase;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::{
        mpsc::{UnboundedReceiver, unbounded_channel},
        watch,
    },
};

use super::caller::within;

/// The binary with the variables of a database and nothing else of this process's environment.
pub(crate) fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vehicle-service"));
    command.args(arguments).env_clear();
    configured(command, variables)
}

/// With these variables of the service.
fn configured(mut command: Command, variables: &[(&str, &str)]) -> Command {
    command
        .envs(
            variables
                .iter()
                .map(|(name, value)| (format!("VEHICLE__{name}"), value)),
        )
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs the binary on a database to its end.
pub(crate) async fn run(
    database: &TestDatabase,
    arguments: &[&str],
    more: &[(&str, &str)],
) -> Output {
    let mut command = command(arguments, more);
    within(on(&mut command, database).output()).await.unwrap()
}

/// Gives a command what it needs for a database, as far as a test has not said otherwise.
fn on<'a>(command: &'a mut Command, database: &TestDatabase) -> &'a mut Command {
    for (name, value) in database.variables() {
        if !command.as_std().get_envs().any(|(set, _)| set == &*name) {
            command.env(name, value);
        }
    }
    command
}

/// What a program wrote.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A binary that serves.
pub(crate) struct Serving {
    child: Child,
    lines: UnboundedReceiver<String>,
    stalled: watch::Sender<bool>,
    /// Every line so far.
    pub(crate) log: Vec<String>,
    pub(crate) address: SocketAddr,
}

impl Serving {
    /// Starts on a port that the system chooses, and waits until it listens.
    pub(crate) async fn start(database: &TestDatabase, more: &[(&str, &str)]) -> Self {
        Self::spawn(command(&["serve"], &Self::variables(more)), database).await
    }

    /// Starts under a limit on open files, a soft one (`-S`), or a hard and a soft one (none).
    pub(crate) async fn start_with_open_files(
        kind: &str,
        limit: u32,
        database: &TestDatabase,
    ) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("ulimit {kind} -n {limit} && exec \"$0\" serve");
        shell
            .args(["-c", &script, env!("CARGO_BIN_EXE_vehicle-service")])
            .env_clear();
        Self::spawn(configured(shell, &Self::variables(&[])), database).await
    }

    fn variables<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let patient = [
            ("SERVER__PORT", "0"),
            ("DATABASE__ACQUIRE_TIMEOUT", "10s"),
            ("DATABASE__STATEMENT_TIMEOUT", "10s"),
            ("SERVER__REQUEST_DEADLINE", "30s"),
        ];
        [&patient, more].concat()
    }

    /// Starts this command on a database, and waits until it listens.
    pub(crate) async fn spawn(mut command: Command, database: &TestDatabase) -> Self {
        let mut child = on(&mut command, database)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, lines) = unbounded_channel();
        let (stalled, mut stall) = watch::channel(false);
        tokio::spawn(async move {
            while let Some(line) = stdout.next_line().await.unwrap() {
                // Ends with the test, which drops the sender.
                let _ = stall.wait_for(|stalled| !stalled).await;
                // Nobody wants the log of a test that has ended.
                let _ = sender.send(line);
            }
        });
        let mut serving = Self {
            child,
            lines,
            stalled,
            log: Vec::new(),
            address: ([127, 0, 0, 1], 0).into(),
        };
        let listening = serving.until_line("listening").await;
        serving.address = listening["address"].as_str().unwrap().parse().unwrap();
        serving
    }

    /// Reads the log until a line has this message.
    pub(crate) async fn until_line(&mut self, message: &str) -> Value {
        within(async {
            loop {
                let line = self.lines.recv().await.expect("the log has ended");
                self.log.push(line.clone());
                let line: Value = serde_json::from_str(&line).unwrap();
                if line["message"] == message {
                    return line;
                }
            }
        })
        .await
    }

    /// Reads no further line of the log.
    pub(crate) fn stop_reading(&self) {
        self.stalled.send_replace(true);
    }

    /// Waits for the end without reading the log: the exit code.
    pub(crate) async fn code(&mut self) -> Option<i32> {
        within(self.child.wait()).await.unwrap().code()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits for the end: the exit code and the whole log.
    pub(crate) async fn end(mut self) -> (Option<i32>, Vec<String>) {
        within(async {
            while let Some(line) = self.lines.recv().await {
                self.log.push(line);
            }
            (self.child.wait().await.unwrap().code(), self.log)
        })
        .await
    }
}
