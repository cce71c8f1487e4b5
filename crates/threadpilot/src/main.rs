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

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
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
