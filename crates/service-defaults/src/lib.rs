//! What every service of the house does alike at its edge: settings, telemetry, problem answers,
//! extractors, API keys, limits, health and a server that stops gracefully.
//!
//! Nothing here knows what a service is about. A service mounts its routes on
//! [`surface`]s; `edge.rs` lists the layers that a request to one passes, in their order.

pub mod api_keys;
pub mod assembly;
pub mod check;
pub mod cors;
mod edge;
mod error_chain;
pub mod extract;
mod head;
pub mod health;
mod healthcheck;
mod ids;
pub mod lifecycle;
pub mod limits;
pub mod management;
pub mod metrics;
mod observe;
pub mod openapi;
pub mod problem;
mod problem_page;
pub mod process;
pub mod rate_limit;
pub mod request_context;
pub mod scope;
mod secure;
pub mod server;
pub mod service;
pub mod settings;
pub mod surface;
pub mod swagger;
pub mod tasks;
pub mod telemetry;
mod tls;
mod worst_case;

pub use error_chain::chain;
pub use tls::install_crypto_provider;
