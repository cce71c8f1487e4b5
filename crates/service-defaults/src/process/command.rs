//! The command line of a service, from what was typed to the exit code.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::{CommandFactory, FromArgMatches};
use settings::{Arguments, Sources};
use tokio::net::TcpListener;

use super::{
    Process, ProcessError,
    check::{self, Output},
    healthcheck::{self, Unhealthy},
    service::Service,
    tasks::OnEnd,
};
use crate::{chain, settings::Settings, telemetry::Telemetry};

/// Exit code for settings that cannot be used (`EX_CONFIG` of sysexits.h).
const EXIT_SETTINGS: u8 = 78;

/// The exit codes of a service, with what they say.
pub const EXIT_CODES: [(u8, &str); 4] = [
    (0, "it did what it was told"),
    (1, "it failed, or the service is not healthy"),
    (2, "the command line makes no sense"),
    (EXIT_SETTINGS, "the settings cannot be used"),
];

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
    /// The command line of a service, with its help.
    pub fn command_of<S: Service>() -> clap::Command {
        let name = S::NAME;
        let codes = EXIT_CODES.map(|(code, meaning)| format!("\n  {code:<2}  {meaning}"));
        let variables = name.to_ascii_uppercase();
        let examples = format!(
            "Examples:\n  \
               {name}-service check --config {name}.toml\n  \
               {name}-service migrate --secrets secrets.json\n  \
               {variables}__SERVER__PORT=8080 {name}-service --secrets secrets.json\n  \
               {variables}__SERVER__PORT=8080 {name}-service --healthcheck\n\n\
             Exit codes:{}",
            codes.concat()
        );
        let command = <Self as CommandFactory>::command();
        command.about(S::ABOUT).after_help(examples)
    }

    /// What this process was called with; ends it where that makes no sense or asks for help.
    fn of<S: Service>() -> Self {
        // Both end the process themselves.
        let matches = Self::command_of::<S>().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// What a service's binary can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Subcommand)]
pub enum Command {
    /// Serve the API (the default)
    #[default]
    Serve,
    /// Bring the database schema up to date; waits for the server
    Migrate {
        /// Only say which steps are missing and what they would find, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
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
    /// Recompute the event log and say where it is not what it was
    VerifyLog {
        /// A checkpoint that was exported and kept elsewhere; may be given several times
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
    },
    /// Compare what is stored now with what the events say, and name what differs
    VerifyState,
    /// Give the event log a new id, after a restore or a failover that lost events
    NewLog(NewLog),
    /// Ask the running service whether it is ready: the option `--healthcheck`
    #[command(skip)]
    Healthcheck,
}

/// What `new-log` is told.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct NewLog {
    /// Why, for those who wonder later; names no person
    #[arg(long, value_name = "TEXT")]
    pub because: String,
    /// A checkpoint that was exported and kept elsewhere, the newest one and an older one at least;
    /// given several times
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Vec<PathBuf>,
    /// Also where no checkpoint shows that events were lost
    #[arg(long)]
    pub even_if_whole: bool,
    /// Also where none of the checkpoints agrees with what is left of the log
    #[arg(long)]
    pub even_if_none_agrees: bool,
}

/// How another process has started this one.
#[derive(Debug, Default)]
pub struct Start {
    /// The socket to serve on, instead of the one that the settings name.
    pub listener: Option<TcpListener>,
    /// The id of the process without which this one stops.
    pub parent: Option<u32>,
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
        let (_, warnings) = sources.read::<Settings<S::Settings>>();
        say(&mut std::io::stderr(), &check::warning_lines(&warnings));
        return ExitCode::SUCCESS;
    }
    if command == Command::Healthcheck {
        let (healthy, warnings) = healthcheck::ask::<S::Settings>(sources).await;
        let (code, why) = match healthy {
            Ok(()) => (ExitCode::SUCCESS, String::new()),
            Err(Unhealthy::Settings(error)) => return refuse(service, &error, &warnings),
            Err(error) => (ExitCode::FAILURE, format!("{service}: {}\n", chain(&error))),
        };
        let warnings = check::warning_lines(&warnings);
        say(&mut std::io::stderr(), &format!("{why}{warnings}"));
        return code;
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
        Command::Migrate { dry_run: false } => S::migrate(&settings.service).await,
        Command::Migrate { dry_run: true } => {
            let preview = S::preview_migration(&settings.service).await;
            preview.map(|preview| say(&mut std::io::stdout(), &preview))
        }
        Command::Seed => S::seed(&settings.service).await,
        Command::VerifyLog { checkpoint } => {
            let report = S::verify_log(&settings.service, &checkpoint).await;
            report.map(|report| say(&mut std::io::stdout(), &report))
        }
        Command::VerifyState => {
            let report = S::verify_state(&settings.service).await;
            report.map(|report| say(&mut std::io::stdout(), &report))
        }
        Command::NewLog(wanted) => {
            let report = S::new_log(&settings.service, &wanted).await;
            report.map(|report| say(&mut std::io::stdout(), &report))
        }
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
    } else {
        // Reports that nothing was reloaded, and ends.
        process.follow_settings().await;
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
