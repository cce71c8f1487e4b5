//! The Insurance service through its real router, with its real database and a Vehicle on a real
//! socket.

mod capture;
mod causes;
mod consumers;
mod contradictions;
mod document;
mod enrichment;
mod examples;
mod explanation;
mod metrics;
mod operations;
mod operations_guard;
mod operations_refusals;
mod policies;
mod privacy;
mod profile;
mod real_vehicle;
mod refusals;
mod replica;
mod replica_comparison;
mod service;
mod settings;
mod strategy;
mod strict;
mod toggles;
mod unreadable;
