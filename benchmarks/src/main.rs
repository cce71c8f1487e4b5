//! The parts of the benchmark kit that are not Python: PostgreSQL, load, limits and the requests
//! whose instructions are counted. `benchmarks/run.py` and `benchmarks/instructions.py` call them.

mod database;
mod edge;
mod instructions;
mod limits;
mod load;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
enum Part {
    /// Run a private PostgreSQL until standard input ends
    Database(database::Options),
    /// Send requests and compare every answer
    Load(load::Options),
    /// Serve what the machine and the libraries allow
    Limit(limits::Options),
    /// Send requests through the edge, in this process
    Instructions(instructions::Options),
}

fn main() -> ExitCode {
    let result = match Part::parse() {
        Part::Database(options) => database::run(&options),
        Part::Load(options) => load::run(&options),
        Part::Limit(options) => return limits::run(options),
        Part::Instructions(options) => instructions::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => limits::failed(&error),
    }
}
