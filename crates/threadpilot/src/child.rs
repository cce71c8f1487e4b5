//! A service as a process of its own, started of this same program.
//!
//! The parent has opened the listening socket and hands it over as standard input, so that a
//! taken port is told before anything starts and no port can be lost in between.

use std::{
    fs::{self, File},
    io::{self, Write, stdin},
    net::TcpListener,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use insurance_service::InsuranceSettings;
use rustix::process::{Pid, Signal, kill_process};
use service_defaults::{
    process::{self, Command, Process},
    settings::Arguments,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use vehicle_service::VehicleSettings;

use crate::{error::Error, options::ServiceName};

/// How long a service may take to stop by itself, over its own `server.shutdown_timeout`.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const LOG_LINES: usize = 12;

/// Runs as one of the services, on the socket that is standard input.
pub(crate) async fn run(service: ServiceName, parent: u32, config: Option<PathBuf>) -> ExitCode {
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
    match service {
        ServiceName::Vehicle => {
            let sources = vehicle_service::sources(arguments);
            let serve = |process: Process<VehicleSettings>, _| async move {
                process.shutdown().with_parent(parent);
                vehicle_service::serve(&process, Some(listener)).await
            };
            process::run(vehicle_service::NAME, sources, Command::Serve, serve).await
        }
        ServiceName::Insurance => {
            let sources = insurance_service::sources(arguments);
            let serve = |process: Process<InsuranceSettings>, _| async move {
                process.shutdown().with_parent(parent);
                insurance_service::serve(&process, Some(listener)).await
            };
            process::run(insurance_service::NAME, sources, Command::Serve, serve).await
        }
    }
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
    /// Starts the service and waits until it serves.
    pub(crate) async fn start(
        name: ServiceName,
        listener: TcpListener,
        variables: Vec<(String, String)>,
        config: Option<PathBuf>,
        log: PathBuf,
    ) -> Result<Self, Error> {
        let cannot = |error| Error::Spawn(name.as_str(), error);
        let program = std::env::current_exe().map_err(cannot)?;
        let lines = File::create(&log).map_err(Error::file(&log))?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(["service", name.as_str(), "--parent"])
            .arg(std::process::id().to_string())
            .args(config.iter().flat_map(|path| [Path::new("--config"), path]))
            .envs(variables)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::piped())
            .stderr(lines.try_clone().map_err(Error::file(&log))?)
            .kill_on_drop(true);
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
            Err(_) => Err(service.ended().await),
        }
    }

    /// Waits until the service ends, which it does not do by itself when all is well.
    pub(crate) async fn ended(&mut self) -> Error {
        // Whatever the status: nobody asked it to end.
        let _ = self.process.wait().await;
        let _ = timeout(STOP_TIMEOUT, &mut self.copying).await;
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let skipped = text.lines().count().saturating_sub(LOG_LINES);
        let end = text.lines().skip(skipped).collect::<Vec<_>>().join("\n");
        Error::ServiceStopped {
            service: self.name.as_str(),
            log: self.log.clone(),
            end,
        }
    }

    /// Asks the service to stop and waits for it.
    pub(crate) async fn stop(mut self) {
        self.signal();
        if timeout(STOP_TIMEOUT, self.process.wait()).await.is_err() {
            // A second signal ends it at once.
            self.signal();
            let _ = timeout(STOP_TIMEOUT, self.process.wait()).await;
        }
    }

    fn signal(&self) {
        let pid = self
            .process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Fails only when it has ended, which is what is wanted.
            let _ = kill_process(pid, Signal::TERM);
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
