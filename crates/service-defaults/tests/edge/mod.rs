//! The layers around a service's routes, each seen to do its work.

mod access;
mod admission;
mod bodies;
mod browser;
mod deadline;
mod document;
mod failure;
mod health;
mod identity;
mod limits;
mod observation;
mod rate_limit;
pub(crate) mod sample;
mod tokens;
