//! The public API against real sockets, pipes and processes: our own target, the official Rust SDK's server, and servers
//! that play a script where something must be seen that no real server shows.

#![forbid(unsafe_code)]

mod authorization;
mod batches;
mod calls;
mod crowds;
mod eras;
mod fairness;
mod http2;
mod http2_losses;
mod inbound;
mod interceptors;
mod lists;
mod long_answers;
mod many;
mod oauth;
mod overflow;
mod protocol;
mod rounds;
mod runtime;
mod servers;
mod sessions;
mod subscriptions;
mod tasks;
mod time;
mod tls;
mod websocket;
