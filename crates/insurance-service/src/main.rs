//! The Insurance service's binary.

use std::process::ExitCode;

use clap::Parser;
use service_defaults::process::CommandLine;

#[tokio::main]
async fn main() -> ExitCode {
    insurance_service::run(CommandLine::parse()).await
}
