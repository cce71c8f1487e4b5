//! The Vehicle service's binary.

use std::process::ExitCode;

use clap::Parser;
use service_defaults::process::CommandLine;

#[tokio::main]
async fn main() -> ExitCode {
    vehicle_service::run(CommandLine::parse()).await
}
