//! What MCP demands of a client, point by point; the numbers are those of the table in `docs/protocol.md`.
//!
//! Each test plays a server that records all that the client says: line by line here, over HTTP and on every way at once in
//! [`http`]. [`volley_tests::record::Record::check`] and [`seen::check`] go over all of it at the end of every test, so that a
//! rule which holds always is tried in all situations at once.

#![forbid(unsafe_code)]

mod checklist;
mod era;
mod flow;
mod framing;
mod handshake;
mod http;
mod jsonrpc;
mod play;
mod process;
mod results;
mod schema;
mod seen;
mod server_requests;
mod ways;
