//! What MCP demands of a client on a stream, clause by clause; the numbers are those of the checklist in the wire notes.
//!
//! Each test plays a server that records every line which the client writes. [`volley_tests::record::Record::check`] goes
//! over all of them at the end of every test, so that a rule which holds always is tried in all situations at once.

#![forbid(unsafe_code)]

mod era;
mod flow;
mod framing;
mod handshake;
mod jsonrpc;
mod play;
mod process;
mod results;
mod schema;
mod server_requests;
