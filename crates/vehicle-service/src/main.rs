//! The Vehicle service's binary.

use std::process::ExitCode;

use clap::Parser;
use service_defaults::process::{self, CommandLine};

fn main() -> ExitCode {
    process::block_on(vehicle_service::run(CommandLine::parse()))
}
