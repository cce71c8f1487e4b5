use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Stdio,
    time::Duration,
};

use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{interval, timeout},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_threadpilot");

/// A folder for a stack's data that the account which runs PostgreSQL for root can enter.
pub(crate) fn data_dir() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Time enough for a machine that is busy with other tests, and answers that say which way they
/// came.
const PATIENT: [(&str, &str); 12] = [
    ("VEHICLE__DATABASE__ACQUIRE_TIMEOUT", "9s"),
    ("VEHICLE__DATABASE__STATEMENT_TIMEOUT", "30s"),
    ("VEHICLE__SERVER__REQUEST_DEADLINE", "60s"),
    ("INSURANCE__DATABASE__ACQUIRE_TIMEOUT", "9s"),
    ("INSURANCE__DATABASE__STATEMENT_TIMEOUT", "30s"),
    ("INSURANCE__SERVER__REQUEST_DEADLINE", "90s"),
    ("INSURANCE__ENRICHMENT__DEADLINE", "50s"),
    ("INSURANCE__VEHICLE_CLIENT__QUEUE_WAIT", "10s"),
    ("INSURANCE__VEHICLE_CLIENT__CONNECT_TIMEOUT", "10s"),
    ("INSURANCE__VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "20s"),
    ("INSURANCE__VEHICLE_CLIENT__BREAKER__WINDOW", "10m"),
    ("INSURANCE__VEHICLE_CLIENT__CACHE__ENABLED", "false"),
];

/// The program with any free ports and its data in this folder.
pub(crate) fn command(data_dir: &Path, options: &[&str]) -> Command {
    prepared(std::process::Command::new(PROGRAM), data_dir, options)
}

/// The same, started by a shell with this umask.
pub(crate) fn command_with_umask(umask: &str, data_dir: &Path, options: &[&str]) -> Command {
    let mut shell = std::process::Command::new("sh");
    let script = "umask \"$1\" && shift && exec \"$@\"";
    shell.args(["-c", script, "sh", umask, PROGRAM]);
    prepared(shell, data_dir, options)
}

fn prepared(mut command: std::process::Command, data_dir: &Path, options: &[&str]) -> Command {
    command
        .args(["--vehicle-port", "0", "--insurance-port", "0", "--data-dir"])
        .arg(data_dir)
        .args(options)
        .env_remove("THREADPILOT_DATABASE_URL")
        .envs(PATIENT)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Signals to its group must not reach the tests.
        .process_group(0);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    command
}

/// A stack that says that it runs.
pub(crate) struct Running {
    pub(crate) process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) vehicle: String,
    pub(crate) insurance: String,
    pub(crate) key: String,
    pub(crate) operations_key: String,
    pub(crate) toggles: String,
    pub(crate) curls: Vec<String>,
    /// What it has said so far.
    pub(crate) said: Vec<String>,
}

impl Running {
    pub(crate) async fn start(data_dir: &Path, options: &[&str]) -> Self {
        Self::of(command(data_dir, options).spawn().unwrap()).await
    }

    /// The stack that this process has started, once it runs.
    pub(crate) async fn of(mut process: Child) -> Self {
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (mut said, mut curls) = (Vec::new(), Vec::new());
        while curls.len() < 3 {
            let Some(line) = lines.next_line().await.unwrap() else {
                let mut complaint = String::new();
                process
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut complaint)
                    .await
                    .unwrap();
                panic!("ended early: {}\n{complaint}", said.join("\n"));
            };
            if line.trim_start().starts_with("curl ") {
                curls.push(line.trim().to_owned());
            }
            said.push(line);
        }
        let after = |name: &str| {
            let line = said
                .iter()
                .find(|line| line.trim_start().starts_with(name))
                .unwrap();
            line.split_whitespace()
                .last()
                .unwrap()
                .trim_end_matches("/swagger/")
                .to_owned()
        };
        Self {
            vehicle: after("Vehicle "),
            insurance: after("Insurance "),
            key: after("X-Api-Key "),
            operations_key: after("Operations "),
            toggles: after("Toggles "),
            process,
            lines,
            curls,
            said,
        }
    }

    /// Waits until it has printed a line with these words; the line.
    pub(crate) async fn says(&mut self, words: &str) -> String {
        let found = timeout(PATIENCE, async {
            loop {
                let line = self.lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("ended before it said: {words}"));
                self.said.push(line.clone());
                if line.contains(words) {
                    return line;
                }
            }
        });
        found.await.unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(pid(self.process.id().unwrap()), signal).unwrap();
    }

    /// What Ctrl-C in a terminal does.
    pub(crate) fn interrupt(&self) {
        interrupt(&self.process);
    }

    /// Waits for the end; the exit code, `None` after a signal.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        while self.lines.next_line().await.unwrap().is_some() {}
        self.process.wait().await.unwrap().code()
    }

    /// The answer of a `GET` with the key: its status and text.
    pub(crate) async fn get(&self, client: &Client, url: &str) -> (u16, String) {
        let response = client
            .get(url)
            .header("x-api-key", &self.key)
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

/// What Ctrl-C in a terminal does.
pub(crate) fn interrupt(process: &Child) {
    kill_process_group(pid(process.id().unwrap()), Signal::INT).unwrap();
}

pub(crate) fn kill(id: u32) {
    kill_process(pid(id), Signal::KILL).unwrap();
}

/// Waits until the program has printed a line with these words.
pub(crate) async fn said(process: &mut Child, words: &str) {
    let mut lines = BufReader::new(process.stdout.as_mut().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains(words) {
            return;
        }
    }
    panic!("ended before it said: {words}");
}

/// The processes that this program, by its process number, has started as services.
pub(crate) fn services_of(program: u32) -> Vec<u32> {
    let words = format!(" --parent {program}");
    processes()
        .into_iter()
        .filter(|(_, line)| {
            line.contains(" service ") && format!("{line} ").contains(&format!("{words} "))
        })
        .map(|(id, _)| id)
        .collect()
}

/// The process of one service of this program.
pub(crate) fn service_of(program: u32, service: &str) -> Option<u32> {
    process_with(&format!(" service {service} --parent {program} "))
}

/// The process that keeps the private PostgreSQL server on this data.
pub(crate) fn keeper_of(data_dir: &Path) -> Option<u32> {
    process_with(&format!(" {} kept ", postmaster(data_dir, 3)))
}

/// The process whose command line has these words.
fn process_with(words: &str) -> Option<u32> {
    let found = processes()
        .into_iter()
        .find(|(_, line)| format!("{line} ").contains(words));
    found.map(|(id, _)| id)
}

/// Every process with its command line.
fn processes() -> Vec<(u32, String)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        let output = std::process::Command::new("ps")
            .args(["-axo", "pid=,args="])
            .output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        return text
            .lines()
            .filter_map(|line| line.trim_start().split_once(' '))
            .map(|(id, line)| (id.parse().unwrap(), line.to_owned()))
            .collect();
    };
    entries
        .filter_map(|entry| {
            let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let line = fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?;
            Some((id, line.replace('\0', " ")))
        })
        .collect()
}

/// Far more than anything waited for takes; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until something is so.
pub(crate) async fn until(done: impl AsyncFn() -> bool) {
    let mut looks = interval(Duration::from_millis(20));
    timeout(PATIENCE, async {
        while !done().await {
            looks.tick().await;
        }
    })
    .await
    .unwrap();
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

/// The process number of the private PostgreSQL server that runs on this data.
pub(crate) fn server_pid(data_dir: &Path) -> u32 {
    postmaster(data_dir, 0)
}

/// A number that the server has written down: in line 0 its process, in line 3 its port.
fn postmaster(data_dir: &Path, line: usize) -> u32 {
    let text = fs::read_to_string(data_dir.join("pg/data/postmaster.pid")).unwrap();
    text.lines().nth(line).unwrap().parse().unwrap()
}

pub(crate) fn is_alive(id: u32) -> bool {
    test_kill_process(pid(id)).is_ok()
}

/// A client that trusts this certificate, or only plain HTTP.
pub(crate) fn client(certificate: Option<&Path>) -> Client {
    // Fails only when another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = Client::builder().no_proxy();
    if let Some(path) = certificate {
        let pem = fs::read(path).unwrap();
        client = client.tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()]);
    }
    client.build().unwrap()
}
