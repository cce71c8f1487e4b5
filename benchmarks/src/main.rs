//! The parts of the benchmark kit that are not Python: PostgreSQL, load, limits, writes, tokens
//! and the requests whose instructions are counted. `benchmarks/run.py` and `benchmarks/instructions.py` call them.

mod answer;
mod changes;
mod database;
mod edge;
mod instructions;
mod limits;
mod load;
mod tokens;
mod writes;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
enum Part {
    /// Run a private PostgreSQL until standard input ends
    Database(database::Options),
    /// Run statements until they have succeeded so often
    Changes(changes::Options),
    /// Send requests and compare every answer
    Load(load::Options),
    /// Serve what the machine and the libraries allow
    Limit(limits::Options),
    /// Change a policy and a plain row in turn
    Writes(writes::Options),
    /// Verify a token again and again
    Tokens(tokens::Options),
    /// Send requests through the edge, in this process
    Instructions(instructions::Options),
}

fn main() -> ExitCode {
    let result = match Part::parse() {
        Part::Database(options) => database::run(&options),
        Part::Changes(options) => changes::run(&options),
        Part::Load(options) => load::run(&options),
        Part::Limit(options) => return limits::run(options),
        Part::Writes(options) => writes::run(&options),
        Part::Tokens(options) => tokens::run(&options),
        Part::Instructions(options) => instructions::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => limits::failed(&error),
    }
}
