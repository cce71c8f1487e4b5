//! What every service of the house does alike: HTTP, the process around it, and its telemetry.
//!
//! Nothing here knows what a service is about. A [`Service`](service::Service) mounts its routes on
//! [`surface`]s; `http/edge.rs` lists the steps that a request to one passes, in their order.

mod error_chain;
mod http;
mod json;
pub mod process;
pub mod settings;
pub mod telemetry;
mod tls;
mod worst_case;

pub use error_chain::chain;
pub use tls::install_crypto_provider;

pub(crate) use crate::http::credentials;
pub use crate::http::{
    access, assembly, cors, extract, health, limits, management, openapi, problem, query,
    rate_limit, request_context, scope, surface, swagger,
};
pub use process::{check, lifecycle, server, service, tasks};
pub use telemetry::metrics;
