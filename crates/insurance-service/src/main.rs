//! The Insurance service's binary.

use std::process::ExitCode;

use clap::Parser;
use service_defaults::process::{self, CommandLine};

fn main() -> ExitCode {
    process::block_on(insurance_service::run(CommandLine::parse()))
}
