//! The `threadpilot` program as a user runs it.

mod faults;
mod running;
mod start;
mod stop;
mod survive;
