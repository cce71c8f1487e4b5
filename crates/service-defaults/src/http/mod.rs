//! HTTP: the edge around a service's routes, and what handlers take from it.

pub mod access;
pub(crate) mod admission;
pub mod assembly;
pub mod cors;
pub(crate) mod credentials;
pub(crate) mod edge;
pub mod extract;
pub(crate) mod head;
pub mod health;
pub mod limits;
pub mod management;
pub(crate) mod mount;
pub(crate) mod observe;
pub mod openapi;
pub mod problem;
pub(crate) mod problem_page;
pub mod query;
pub mod rate_limit;
pub mod request_context;
pub mod scope;
pub(crate) mod secure;
pub mod surface;
pub mod swagger;
