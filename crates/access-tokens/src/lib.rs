//! Access tokens of an OpenID provider (RFC 9068), verified by its published keys (RFC 7517) and the
//! rules of RFC 8725; and this service's own ones, fetched with client credentials (RFC 6749).
//!
//! The keys are fetched when a service starts and refreshed behind: no request waits for the
//! provider. What is read from a token is only what the service acts on: who it is about, in a form
//! that names no person, and its scopes.

mod algorithm;
mod client_token;
mod fetch;
mod instruments;
mod kept_keys;
mod key_set;
mod refused;
mod settings;
mod subject;
mod tokens;

pub use self::{
    client_token::{ClientToken, ClientTokenSettings, NoToken, OwnToken},
    fetch::{BuildError, LONGEST_FETCH, usable_certificates},
    kept_keys::KeysState,
    refused::Refused,
    settings::{ScopeSettings, TokenSettings, usable_endpoint},
    tokens::{Bearer, Tokens},
};
