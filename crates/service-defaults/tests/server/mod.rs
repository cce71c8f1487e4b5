//! The server over real sockets, with callers that are slow, silent, greedy or cut off.

mod bodies;
mod connections;
mod heads;
mod slow_callers;
mod stop;
mod support;
mod tls;
