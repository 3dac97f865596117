//! Faults: servers that die, hang, lie, flood and cheat, over real sockets and pipes, with real signals.
//!
//! Each test ends with books that balance: every call that the engine took on was answered, failed or cancelled, once, and
//! none is left. What belongs to one fault is in one file; the servers are `loadgen serve` with a switch, or a
//! [`ByteServer`](volley_tests::byte_server::ByteServer) where the bytes themselves are the fault.

#![forbid(unsafe_code)]

mod array_limits;
mod arrays;
mod chaos;
mod ctrl_c;
mod dropped;
mod endings;
mod good_bye;
mod handlers;
mod health;
mod http_answers;
mod http_cancelled;
mod http_chaos;
mod http_events;
mod http_floods;
mod http_listening;
mod http_refusals;
mod http_sessions;
mod http_sockets;
mod http_steps;
mod killed;
mod long_lines;
mod process_trees;
mod rooms;
mod silence;
mod stderr;
mod unreachable;

use std::process::Command;

use serde_json::Value;
use volley::{Client, Config, ConfigBuilder, Endpoint, Error};

const MIB: u64 = 1 << 20;

/// What a client may take beside what a test allows it: chunks, threads, and what its allocator keeps.
const RSS_BESIDES: u64 = 24 * MIB;

/// Runs a client in a process of its own, whose memory is nobody else's, and gives its report.
fn report_of_a_process(words: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_fault-client"))
        .args(words)
        .output()
        .expect("the client can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a report")
}

/// Connects with these settings, or says why not.
async fn try_connect(
    endpoint: Endpoint,
    configure: impl FnOnce(ConfigBuilder) -> ConfigBuilder,
) -> Result<Client, Error> {
    Client::connect(endpoint, configure(Config::builder()).build()?).await
}

/// Connects with these settings.
async fn connect(endpoint: Endpoint, configure: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Client {
    try_connect(endpoint, configure).await.expect("the server can be reached")
}
