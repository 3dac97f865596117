//! The embedded target: a real MCP server to measure against, and a rude one on request.
//!
//! It exists so that a load test needs nothing but this binary, and so that every fault the
//! engine must survive can be produced on purpose. It writes the wire with its own code: it
//! shares no line with the engine, so that a bug in the engine cannot agree with itself.
//!
//! One thread, one event loop, any number of connections. A message goes through the rooms
//!
//! ```text
//! bytes -> connection -> lines -----> session -> scan, cursor (echo, spliced) -> output -> bytes
//!            (tls)    \-> websocket -/       \-> envelope -> protocol, listen
//!                      \-> http -----/                      scripts -> fixtures
//!                                                           calls -> tools -> chaos -/
//!                                                                  \-> timer (answers owed later) -/
//! ```
//!
//! `session` and everything it calls knows no socket: messages in, messages out, one a line, the
//! time is an argument. The rooms before it know how each transport frames its messages, and
//! `http` also which conversation a request belongs to.
//! Clauses: MCP revisions 2024-11-05 to 2026-07-28.

mod args;
mod behaviour;
mod calls;
mod chaos;
mod connection;
mod cursor;
mod envelope;
mod fixtures;
mod http;
mod lines;
mod listen;
mod listener;
mod owed;
#[cfg(test)]
mod peer;
mod protocol;
mod quantity;
mod reply;
mod revision;
mod scan;
mod scripts;
mod server;
mod session;
mod slots;
mod stdio;
mod subscription;
mod timer;
mod tls;
mod tools;
mod web_args;
mod websocket;
mod world;

use std::process::ExitCode;

pub(crate) use args::ServeArgs;

/// Runs the target until it is told to end, or until a fault it was asked for ends it.
///
/// Exit codes: 0 after a signal, the end of stdin or the end of the parent; 1 when the machine
/// refused something (a port in use); 2 when the arguments contradict each other; 3 when
/// `--die-after` came true.
pub(crate) fn serve(args: ServeArgs) -> ExitCode {
    let options = match args.parse() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("loadgen serve: {error}");
            return ExitCode::from(2);
        }
    };
    match server::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadgen serve: {error}");
            ExitCode::FAILURE
        }
    }
}
