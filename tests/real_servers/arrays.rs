//! JSON-RPC arrays and the real servers at 2025-03-26: those of the TypeScript SDKs execute them over HTTP; all others refuse them or
//! drop them without a word, and get the same calls one by one.
//!
//! Every answer has to be its own call's. The servers that are ours count what they execute (`count`, `executions`): each message
//! once, whatever way it came.

use std::time::{Duration, Instant};

use serde_json::json;
use volley::{Arrays, Client, Config, Endpoint, Revision, Stats, ToolCall};
use volley_tests::processes::Mark;

use crate::{
    servers::{EVERYTHING, FASTMCP, PYTHON, RMCP, Server, TS2},
    volleys::calls,
};

/// What a server does with arrays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Arrayed {
    Executes,
    RefusesOrDrops,
}

/// Calls in one batch, which is what the TypeScript SDKs take.
const BATCH: u64 = 100;

/// Calls one by one, which say how much the arrays are worth.
const FOR_COMPARISON: u64 = 5_000;

/// Batches under way at a time.
const BATCHES: usize = 2;

/// Makes so many calls in batches, checks each outcome, and says how fast it was. Returns the counters.
async fn batches(client: &Client, server: &Server, tool: &str, round: &str, calls: u64) -> (Stats, Duration) {
    let message = |n: u64| format!("{round} {n} \u{1F3D0}");
    let started = Instant::now();
    let mut firsts = (0..calls).step_by(BATCH as usize);
    let mut out = std::collections::VecDeque::new();
    loop {
        while out.len() < BATCHES
            && let Some(first) = firsts.next()
        {
            let last = (first + BATCH).min(calls);
            let batch = (first..last)
                .map(|n| ToolCall::new(tool, &json!({"message": message(n)})).expect("an object"))
                .fold(client.batch(), volley::Batch::call);
            out.push_back((first, batch.send()));
        }
        let Some((first, answers)) = out.pop_front() else { break };
        for (n, outcome) in (first..).zip(answers.await) {
            let result = outcome.unwrap_or_else(|error| panic!("call {n}: {error} ({:?})", error.fate()));
            let prefix = if tool == "echo" { server.prefix } else { "" };
            assert_eq!(result.text(), format!("{prefix}{}", message(n)), "the answer to call {n}");
        }
    }
    (client.stats(), started.elapsed())
}

fn config(arrays: Arrays) -> Config {
    Config::builder()
        .revision(Revision::V2025_03_26)
        .arrays(arrays)
        .in_flight(IN_FLIGHT)
        .timeout(Duration::from_secs(60))
        .build()
        .expect("valid")
}

const IN_FLIGHT: u32 = BATCH as u32 * BATCHES as u32;

/// Calls in arrays as far as they go, then the same one by one, and prints both.
fn works(server: &Server, transport: &str, endpoint: impl Fn() -> Endpoint, does: Arrayed, tool: &str) {
    pollster::block_on(async {
        let mut counted = 0;
        for (arrays, calls) in [(Arrays::Explicit, calls()), (Arrays::Never, calls().min(FOR_COMPARISON))] {
            let client = Client::connect(endpoint(), config(arrays)).await.expect("the server answers");
            let (stats, took) = batches(&client, server, tool, &format!("{arrays:?}"), calls).await;
            println!(
                "{:10} {transport:9} arrays {arrays:?}: {calls} calls in {:.2} s = {:.0} calls/s, {} of them in {} arrays; {} probes, {} refused, {} fell back, {} HTTP requests",
                server.name,
                took.as_secs_f64(),
                calls as f64 / took.as_secs_f64(),
                stats.calls_in_arrays,
                stats.arrays_sent,
                stats.array_probes,
                stats.arrays_refused,
                stats.array_fallbacks,
                stats.http_requests,
            );
            assert_eq!((stats.failed, stats.late, stats.malformed), (0, 0, 0), "{stats:?}");
            assert_eq!((stats.answered, stats.arrays_refused), (calls, 0), "{stats:?}");
            match (arrays, does) {
                (Arrays::Explicit, Arrayed::Executes) => {
                    assert!(stats.calls_in_arrays > calls / 2, "{stats:?}");
                }
                (Arrays::Explicit, Arrayed::RefusesOrDrops) => {
                    assert_eq!((stats.arrays_sent, stats.array_probes), (0, 1), "{stats:?}");
                }
                _ => assert_eq!((stats.arrays_sent, stats.array_probes), (0, 0), "{stats:?}"),
            }
            if tool == "count" {
                let said = client.call_tool("executions", &json!({})).await.expect("a count").text();
                // Over stdio each client has a process of its own.
                counted = if transport == "stdio" { calls } else { counted + calls };
                assert_eq!(said, format!("{counted} 0"), "each message was executed once");
            }
            client.close().await;
        }
    });
}

fn over_http(server: &Server, transport: &str, does: Arrayed, tool: &str) {
    let running = server.listen(transport);
    let url = format!("http://127.0.0.1:{}/mcp", running.port());
    works(server, transport, || url.parse().expect("a URL"), does, tool);
}

fn over_stdio(server: &Server, tool: &str) {
    let mark = Mark::new();
    works(server, "stdio", || server.stdio(&mark), Arrayed::RefusesOrDrops, tool);
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn typescript_2_executes_arrays_over_http() {
    over_http(&TS2, "http", Arrayed::Executes, "count");
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn everything_executes_arrays_over_http() {
    over_http(&EVERYTHING, "http", Arrayed::Executes, "echo");
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn python_refuses_arrays_over_http_and_gets_each_call_once() {
    over_http(&PYTHON, "http", Arrayed::RefusesOrDrops, "count");
    over_http(&PYTHON, "http-json", Arrayed::RefusesOrDrops, "count");
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn fastmcp_refuses_arrays_over_http() {
    over_http(&FASTMCP, "http", Arrayed::RefusesOrDrops, "echo");
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn rmcp_refuses_arrays_over_http_and_gets_each_call_once() {
    over_http(&RMCP, "http", Arrayed::RefusesOrDrops, "count");
    over_http(&RMCP, "http-json", Arrayed::RefusesOrDrops, "count");
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn every_server_over_stdio_drops_or_refuses_arrays_and_gets_each_call_once() {
    over_stdio(&TS2, "count");
    over_stdio(&EVERYTHING, "echo");
    over_stdio(&PYTHON, "count");
    over_stdio(&RMCP, "count");
}
