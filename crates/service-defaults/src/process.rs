//! One service process from its command line to its exit code.

use std::{io::Write, process::ExitCode, time::Duration};

use ::settings::{Gauges, Loaded, log};
use clap::{CommandFactory, FromArgMatches};
use opentelemetry::metrics::Meter;
use tokio::net::TcpListener;

use crate::{
    api_keys::KeyRing,
    assembly::{self, Assembled, Parts},
    chain,
    check::{self, Output},
    health::{Check, Readiness},
    healthcheck::{self, Unhealthy},
    lifecycle::Shutdown,
    metrics::{Metrics, MetricsError},
    server::{self, ServerError, descriptors},
    service::Service,
    settings::{Arguments, Checked, Live, Settings, SettingsError, Sources},
    surface::Routes,
    tasks::{OnEnd, Tasks},
    telemetry::{Telemetry, TelemetryError},
};

/// Exit code for settings that cannot be used (`EX_CONFIG` of sysexits.h).
const EXIT_SETTINGS: u8 = 78;

const EXIT_CODES: &str = "\
Exit codes:
  0   it did what it was told
  1   it failed, or the service is not healthy
  2   the command line makes no sense
  78  the settings cannot be used";

/// The command line of a service.
#[derive(Debug, clap::Parser)]
#[command(version)]
pub struct CommandLine {
    /// Where settings come from.
    #[command(flatten)]
    pub settings: Arguments,
    /// Instead of a command, ask the service that runs with these settings whether it is ready;
    /// exit code 0 or 1 within 2 s
    #[arg(long)]
    pub healthcheck: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl CommandLine {
    /// What this process was called with; ends it where that makes no sense or asks for help.
    fn of<S: Service>() -> Self {
        let name = S::NAME;
        let variables = name.to_ascii_uppercase();
        let examples = format!(
            "Examples:\n  \
               {name}-service check --config {name}.toml\n  \
               {name}-service migrate --secrets secrets.json\n  \
               {variables}__SERVER__PORT=8080 {name}-service --secrets secrets.json\n  \
               {variables}__SERVER__PORT=8080 {name}-service --healthcheck\n\n{EXIT_CODES}"
        );
        let command = <Self as CommandFactory>::command();
        let command = command.about(S::ABOUT).after_help(examples);
        // Both end the process themselves.
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// What a service's binary can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Subcommand)]
pub enum Command {
    /// Serve the API (the default)
    #[default]
    Serve,
    /// Bring the database schema up to date; waits for the server
    Migrate,
    /// Insert the sample data where it is missing
    Seed,
    /// Print every setting with its meaning, its default and its bounds, as a TOML file
    Settings,
    /// Check the settings and say what is wrong with them, or what they allow at worst
    Check {
        /// For whom to write
        #[arg(long, value_enum, default_value_t)]
        output: Output,
        /// How long whom the service calls may work on a call that we gave up
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "5s")]
        work: Duration,
    },
    /// Ask the running service whether it is ready: the option `--healthcheck`
    #[command(skip)]
    Healthcheck,
}

/// A service's settings and everything that it shares with the others at its edge. Clones share
/// it.
pub struct Process<S> {
    service: &'static str,
    sources: Sources,
    settings: Live<S>,
    metrics: Metrics,
    keys: KeyRing,
    shutdown: Shutdown,
    tasks: Tasks,
}

// Derived, it would ask for settings that can be cloned.
impl<S> Clone for Process<S> {
    fn clone(&self) -> Self {
        Self {
            service: self.service,
            sources: self.sources.clone(),
            settings: self.settings.clone(),
            metrics: self.metrics.clone(),
            keys: self.keys.clone(),
            shutdown: self.shutdown.clone(),
            tasks: self.tasks.clone(),
        }
    }
}

/// How another process has started this one.
#[derive(Debug, Default)]
pub struct Start {
    /// The socket to serve on, instead of the one that the settings name.
    pub listener: Option<TcpListener>,
    /// The id of the process without which this one stops.
    pub parent: Option<u32>,
}

/// Why a service did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Its settings cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Its metrics cannot be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Its logs or traces cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// It cannot listen.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// It cannot be told to stop.
    #[error("signals cannot be received")]
    Signals(#[from] std::io::Error),
    /// A background task ended, without which it is of no use.
    #[error("the background task `{0}` has ended")]
    Task(&'static str),
}

impl<S: Checked> Process<S> {
    /// Loads the settings of the service of this name.
    pub fn new(service: &'static str, sources: Sources) -> Result<Self, ProcessError> {
        let loaded = sources.read().0?;
        Self::started(service, sources, loaded)
    }

    fn started(
        service: &'static str,
        sources: Sources,
        loaded: Loaded<Settings<S>>,
    ) -> Result<Self, ProcessError> {
        let keys = KeyRing::new(&loaded.settings.common.api_keys);
        let metrics = Metrics::new(service)?;
        Gauges::new(metrics.meter()).record(&loaded.settings.worst_case());
        let (settings, shutdown) = (Live::new(loaded), Shutdown::default());
        let tasks = Tasks::new(shutdown.clone());
        Ok(Self {
            service,
            sources,
            settings,
            metrics,
            keys,
            shutdown,
            tasks,
        })
    }

    /// The settings in force, also after a reload.
    pub fn live(&self) -> &Live<S> {
        &self.settings
    }

    /// The settings in force now.
    pub fn settings(&self) -> std::sync::Arc<Settings<S>> {
        self.settings.snapshot()
    }

    /// Makes instruments of this service.
    pub fn meter(&self) -> &Meter {
        self.metrics.meter()
    }

    /// Tells when the service is stopping, or makes it stop.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// What the process does beside requests.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// A readiness that already knows about stopping and about settings that were not taken.
    pub fn readiness(&self) -> Readiness {
        let settings = self.settings.clone();
        Readiness::new(self.shutdown.clone()).with_check("settings", move || {
            // Why they were refused is for the log: readiness is open to everyone.
            let waiting = settings.awaiting_restart();
            let check = match settings.last_error() {
                Some(_) => Check::warn("settings", "refused; the last good ones are in force"),
                None if waiting.is_empty() => Check::pass("settings"),
                None => {
                    let detail = format!("a restart is needed for {}", waiting.join(", "));
                    Check::warn("settings", detail)
                }
            };
            std::future::ready(check)
        })
    }

    /// Puts the edge around the service's routes.
    pub fn assemble(&self, routes: Routes, readiness: &Readiness) -> Assembled {
        assembly::assemble(
            routes,
            &Parts {
                settings: &self.settings().common,
                keys: &self.keys,
                metrics: &self.metrics,
                readiness,
                shutdown: &self.shutdown,
            },
        )
    }

    /// Follows the settings files, for as long as it is polled.
    pub fn follow_settings(&self) -> impl Future<Output = ()> + Send + use<S> {
        let (keys, gauges) = (self.keys.clone(), Gauges::new(self.meter()));
        let apply = move |settings: &Settings<S>| {
            keys.replace(&settings.common.api_keys);
            let figures = settings.worst_case();
            gauges.record(&figures);
            log(&figures);
        };
        let (sources, meter) = (self.sources.clone(), self.meter().clone());
        self.settings.clone().follow(sources, meter, apply)
    }

    /// Serves until a signal, on this socket or on the one that the settings name.
    pub async fn serve(
        &self,
        assembled: Assembled,
        listener: Option<TcpListener>,
    ) -> Result<(), ProcessError> {
        let common = &self.settings().common;
        let settings = &descriptors::prepare(common);
        let listener = match listener {
            Some(listener) => listener,
            None => settings.bind()?,
        };
        self.shutdown.on_signals()?;
        let address = listener.local_addr()?;
        let management = match assembled.management {
            None => None,
            Some(router) => {
                let port = common.management.port;
                Some((settings.bind_port("management.port", port)?, router))
            }
        };
        log(&self.settings().worst_case());
        let of = |(listener, _): &(TcpListener, _)| listener.local_addr();
        let other = management.as_ref().map(of).transpose()?;
        let other = other.map(tracing::field::display);
        tracing::info!(service = self.service, %address, management = other, "listening");
        let serve =
            |listener, router| server::serve(listener, router, settings, self.shutdown.clone());
        let served = match management {
            None => serve(listener, assembled.public).await,
            Some((other, router)) => {
                tokio::try_join!(serve(listener, assembled.public), serve(other, router))
                    .map(|_| ())
            }
        };
        let until = self.shutdown.begun_at() + settings.drain_delay + settings.shutdown_timeout;
        self.tasks.stop(until).await;
        served?;
        if let Some(task) = self.tasks.failed() {
            return Err(ProcessError::Task(task));
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Runs a program to its exit code, and waits for nothing that it has given up by then: a look-up
/// in DNS or the reading of a file may stall for as long as it likes.
pub fn block_on(program: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let said = format!("cannot start: {}\n", chain(&error));
            say(&mut std::io::stderr(), &said);
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(program);
    runtime.shutdown_background();
    code
}

/// Runs a service as a program: the command of its command line, to the exit code.
pub fn main<S: Service>() -> ExitCode {
    let CommandLine {
        settings,
        healthcheck,
        command,
    } = CommandLine::of::<S>();
    let command = if healthcheck {
        Command::Healthcheck
    } else {
        command.unwrap_or_default()
    };
    block_on(run::<S>(S::sources(settings), command, Start::default()))
}

/// Runs one command of a service: settings, then telemetry, then the command, then a flush.
pub async fn run<S: Service>(sources: Sources, command: Command, start: Start) -> ExitCode {
    let service = S::NAME;
    if command == Command::Settings {
        let reference = sources.reference::<Settings<S::Settings>>();
        say(&mut std::io::stdout(), &reference);
        return ExitCode::SUCCESS;
    }
    if command == Command::Healthcheck {
        return match healthcheck::ask::<S::Settings>(sources).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(Unhealthy::Settings(error)) => refuse(service, &error, &[]),
            Err(error) => {
                let said = format!("{service}: {}\n", chain(&error));
                say(&mut std::io::stderr(), &said);
                ExitCode::FAILURE
            }
        };
    }
    let (loaded, warnings) = sources.read();
    let process = loaded.map_err(ProcessError::from);
    let process = process.and_then(|loaded| Process::started(service, sources, loaded));
    let process: Process<S::Settings> = match process {
        Ok(process) => process,
        Err(ProcessError::Settings(error))
            if matches!(
                command,
                Command::Check {
                    output: Output::Json,
                    ..
                }
            ) =>
        {
            say(
                &mut std::io::stdout(),
                &check::bad(service, &error, &warnings),
            );
            return ExitCode::from(EXIT_SETTINGS);
        }
        Err(error) => return refuse(service, &error, &warnings),
    };
    let settings = process.settings();
    if let Command::Check { output, work } = command {
        let said = check::good(service, &settings, &warnings, work, output);
        say(&mut std::io::stdout(), &said);
        return ExitCode::SUCCESS;
    }
    let (log, traces) = (&settings.common.log, &settings.common.telemetry);
    let telemetry = match Telemetry::install(service, log, traces) {
        Ok(telemetry) => telemetry,
        Err(error) => return refuse(service, &error, &warnings),
    };
    telemetry.observe(process.meter());
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let result = match command {
        Command::Serve => serve::<S>(&process, start).await,
        Command::Migrate => S::migrate(&settings.service).await,
        Command::Seed => S::seed(&settings.service).await,
        Command::Check { .. } | Command::Healthcheck | Command::Settings => Ok(()),
    };
    process.metrics.shut_down();
    if let Err(error) = &result {
        tracing::error!(error = chain(error), "ended with an error");
    }
    // The exporter's own thread sends what is left; waiting for it would block this one.
    let flushed = tokio::task::spawn_blocking(|| telemetry.shut_down()).await;
    if result.is_ok() && flushed.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn serve<S: Service>(process: &Process<S::Settings>, start: Start) -> Result<(), S::Error> {
    if let Some(parent) = start.parent {
        process.shutdown.with_parent(parent);
    }
    let assembled = S::build(process)?;
    if process.sources.has_files() {
        let following = process.clone();
        process
            .tasks
            .spawn("settings", OnEnd::Restart, move |told| {
                let follow = following.follow_settings();
                async move {
                    told.run_until_cancelled(follow).await;
                }
            });
    }
    Ok(process.serve(assembled, start.listener).await?)
}

fn refuse(service: &str, error: &dyn std::error::Error, warnings: &[String]) -> ExitCode {
    let (why, warnings) = (chain(error), check::warning_lines(warnings));
    say(
        &mut std::io::stderr(),
        &format!("{service}: cannot start\n{why}\n{warnings}"),
    );
    ExitCode::from(EXIT_SETTINGS)
}

/// Before telemetry is there, and for `check`, words go to the terminal directly.
fn say(to: &mut impl Write, words: &str) {
    // With nobody listening there is nobody to tell.
    let _ = to.write_all(words.as_bytes());
}
