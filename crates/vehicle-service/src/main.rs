//! The Vehicle service's binary.

use std::process::ExitCode;

use vehicle_service::VehicleService;

fn main() -> ExitCode {
    service_defaults::process::main::<VehicleService>()
}
