//! The local stack in one command: a private PostgreSQL, both schemas with the sample data, and
//! both services. What ends by itself is started again; Ctrl-C stops everything.

mod certificate;
mod child;
mod error;
mod fault;
mod folder;
mod keyboard;
mod options;
mod postgres;
mod screen;
mod stack;
mod supervisor;
mod variables;

use std::process::ExitCode;

use clap::Parser;
use options::{Options, Role};
use service_defaults::process;

fn main() -> ExitCode {
    process::block_on(run(Options::parse()))
}

async fn run(options: Options) -> ExitCode {
    match options.role {
        Some(Role::Service {
            name,
            parent,
            config,
        }) => child::run(name, parent, config).await,
        None => match stack::run(&options).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                screen::complain(&error);
                ExitCode::FAILURE
            }
        },
    }
}
