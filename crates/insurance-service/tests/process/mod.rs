//! The Insurance service's binary, as an operator runs it: commands, exit codes, sockets, signals,
//! log lines and traces.

mod binary;
mod commands;
mod log;
mod overload;
mod privacy;
mod stop;
mod trace;
mod worst_case;
