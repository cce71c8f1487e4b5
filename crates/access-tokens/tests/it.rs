//! Tokens of an issuer on a real socket.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the failure that is wanted"
)]

mod issuer;
