//! The Insurance service's binary.

use std::process::ExitCode;

use insurance_service::InsuranceService;

fn main() -> ExitCode {
    service_defaults::process::main::<InsuranceService>()
}
