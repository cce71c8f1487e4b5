//! What every service of the house does alike at its edge: settings, telemetry, problem answers,
//! extractors, API keys, limits, health and a server that stops gracefully.
//!
//! Nothing here knows what a service is about. [`edge`] is the place that lists the layers a
//! request passes, in their order.

pub mod api_keys;
pub mod check;
pub mod cors;
pub mod edge;
pub mod extract;
mod head;
pub mod health;
mod healthcheck;
mod ids;
pub mod lifecycle;
pub mod limits;
pub mod metrics;
pub mod openapi;
pub mod problem;
mod problem_page;
pub mod process;
pub mod rate_limit;
pub mod request_context;
pub mod scope;
pub mod server;
pub mod settings;
pub mod telemetry;
pub mod worst_case;
