//! A service as a process of its own, started of this same program.
//!
//! The parent has opened the listening socket and hands it over as standard input, so that a
//! taken port is told before anything starts and no port can be lost in between.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write, stdin},
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use insurance_service::InsuranceService;
use rustix::process::{Pid, Signal, kill_process};
use service_defaults::{
    process::{self, Command},
    server, service,
};
use settings::Arguments;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use vehicle_service::VehicleService;

use crate::{error::Error, fault::Database, options::ServiceName, supervisor::Start};

/// How long a service may take to stop by itself, over its own `server.shutdown_timeout`.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const LOG_LINES: usize = 12;
/// Nothing listens on this port.
const UNREACHABLE_DATABASE: &str = "postgres://127.0.0.1:1/threadpilot";

/// Runs as one of the services, on the socket that is standard input.
pub(crate) async fn run(service: ServiceName, parent: u32, config: Option<PathBuf>) -> ExitCode {
    // A paused process would never see that its parent is gone. It fails on no kernel of today.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
    let listener = match inherited_listener() {
        Ok(listener) => listener,
        Err(error) => {
            crate::screen::complain(&Error::Spawn(service.as_str(), error));
            return ExitCode::FAILURE;
        }
    };
    let arguments = Arguments {
        config,
        secrets: None,
    };
    let start = process::Start {
        listener: Some(listener),
        parent: Some(parent),
    };
    match service {
        ServiceName::Vehicle => serve::<VehicleService>(arguments, start).await,
        ServiceName::Insurance => serve::<InsuranceService>(arguments, start).await,
    }
}

async fn serve<S: service::Service>(arguments: Arguments, start: process::Start) -> ExitCode {
    process::run::<S>(S::sources(arguments), Command::Serve, start).await
}

fn inherited_listener() -> io::Result<tokio::net::TcpListener> {
    let socket: OwnedFd = stdin().as_fd().try_clone_to_owned()?;
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// A running service.
pub(crate) struct Service {
    name: ServiceName,
    process: Child,
    log: PathBuf,
    copying: JoinHandle<()>,
}

impl Service {
    /// Opens the listening socket of a service; port 0 is any free one.
    pub(crate) fn listen(name: ServiceName, address: SocketAddr) -> Result<TcpListener, Error> {
        let port = address.port();
        server::listen(address)
            .and_then(tokio::net::TcpListener::into_std)
            .map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => Error::PortTaken {
                    port,
                    service: name.as_str(),
                },
                _ => Error::Listen { port, source },
            })
    }

    /// Starts the service and waits until it serves.
    pub(crate) async fn start(
        start: &Start,
        database: Database,
        listener: TcpListener,
    ) -> Result<Self, Error> {
        let (name, log) = (start.name, start.log.clone());
        let cannot = |error| Error::Spawn(name.as_str(), error);
        let program = std::env::current_exe().map_err(cannot)?;
        let mut lines = OpenOptions::new();
        let lines = lines
            .append(true)
            .create(true)
            .open(&log)
            .map_err(Error::file(&log))?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(["service", name.as_str(), "--parent"])
            .arg(std::process::id().to_string())
            .args(
                start
                    .config
                    .iter()
                    .flat_map(|path| [Path::new("--config"), path]),
            )
            .envs(start.variables.iter().cloned())
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::piped())
            .stderr(lines.try_clone().map_err(Error::file(&log))?)
            .kill_on_drop(true);
        if database == Database::Unreachable {
            let variable = format!("{}__DATABASE__URL", name.as_str().to_ascii_uppercase());
            command.env(variable, UNREACHABLE_DATABASE);
        }
        let mut process = command.spawn().map_err(cannot)?;
        let (serves, serving) = oneshot::channel();
        let output = process.stdout.take();
        let copying = tokio::spawn(async move {
            if let Some(output) = output {
                copy(output, lines, serves).await;
            }
        });
        let mut service = Self {
            name,
            process,
            log,
            copying,
        };
        match serving.await {
            Ok(()) => Ok(service),
            // The service ended before it served.
            Err(_) => Err(service.failure().await),
        }
    }

    /// Waits until the service ends, which it does not do by itself when all is well; says how.
    pub(crate) async fn ended(&mut self) -> String {
        let how = match self.process.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let _ = timeout(STOP_TIMEOUT, &mut self.copying).await;
        how
    }

    async fn failure(&mut self) -> Error {
        // Its log tells why.
        self.ended().await;
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let skipped = text.lines().count().saturating_sub(LOG_LINES);
        let end = text.lines().skip(skipped).collect::<Vec<_>>().join("\n");
        Error::ServiceStopped {
            service: self.name.as_str(),
            log: self.log.clone(),
            end,
        }
    }

    /// Stops the process, not the service: the kernel goes on taking connections for it.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Undoes [`Self::pause`].
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends the service at once.
    pub(crate) async fn kill(mut self) {
        // Fails only when it has ended, which is what is wanted.
        let _ = self.process.kill().await;
    }

    /// Asks the service to stop and waits for it.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        self.resume();
        if timeout(STOP_TIMEOUT, self.process.wait()).await.is_err() {
            // A second signal ends it at once.
            self.signal(Signal::TERM);
            let _ = timeout(STOP_TIMEOUT, self.process.wait()).await;
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self
            .process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Fails only when it has ended, which is what is wanted.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Copies a service's log to its file; tells when the service says that it listens.
async fn copy(output: tokio::process::ChildStdout, mut file: File, serves: oneshot::Sender<()>) {
    let mut serves = Some(serves);
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // A full disk must not stop a service by a pipe that nobody reads.
        let _ = writeln!(file, "{line}");
        if line.contains("\"message\":\"listening\"")
            && let Some(serves) = serves.take()
        {
            let _ = serves.send(());
        }
    }
}
