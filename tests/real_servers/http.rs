//! The real servers over HTTP: which transport and which era a bare URL means is found out, and each era is spoken when told.

use std::time::{Duration, Instant};

use volley::{Client, Config, Era, Revision};

use crate::{
    servers::{EVERYTHING, FASTMCP, PYTHON, RMCP, Server, TS2},
    volleys::{calls, has_echo, must_not_fail, volley},
};

/// Starts the server, then for each way to reach it connects, lists, calls and closes; prints how long each took.
///
/// A way is what stands before the port, what stands behind it, and the revision insisted on.
fn works(server: &Server, transport: &str, ways: &[(&str, &str, Option<Revision>)]) {
    let running = server.listen(transport);
    for (before, behind, pinned) in ways {
        let url = format!("{before}127.0.0.1:{}{behind}", running.port());
        let config = Config::builder().in_flight(IN_FLIGHT);
        let config =
            pinned.iter().copied().fold(config, volley::ConfigBuilder::revision).build().expect("valid");
        pollster::block_on(async {
            let started = Instant::now();
            let client = Client::connect(url.as_str(), config)
                .await
                .unwrap_or_else(|error| panic!("{} at {url}, told {pinned:?}: {error}", server.name));
            let connected = started.elapsed();
            let revision =
                client.server_info().expect("the server was asked").revision().expect("a revision");
            // HTTP+SSE is of the handshake era, whatever else the server speaks.
            let finds = if transport == "sse" { Era::Legacy } else { server.finds };
            match pinned {
                Some(pinned) => assert_eq!(revision, *pinned),
                None => assert_eq!(revision.era(), finds, "{}: found {revision}", server.name),
            }

            has_echo(&client).await;
            let calls = calls();
            let took = volley(&client, server, calls, must_not_fail, |_| ()).await;

            let started = Instant::now();
            client.close().await;
            let closed = started.elapsed();
            let stats = client.stats();
            println!(
                "{:10} {transport:9} {:4} {revision}: ready after {:.2} s, {calls} calls in {:.2} s = {:.0} calls/s over {} sockets, closed in {:.0} ms",
                server.name,
                if pinned.is_some() { "told" } else { "auto" },
                connected.as_secs_f64(),
                took.as_secs_f64(),
                calls as f64 / took.as_secs_f64(),
                stats.http_sockets,
                closed.as_secs_f64() * 1e3,
            );
            // The list of tools was a call too.
            assert_eq!((stats.submitted, stats.answered, stats.live), (calls + 1, calls + 1, 0), "{stats:?}");
            assert_eq!(
                (stats.late, stats.unknown, stats.malformed, stats.disconnects, stats.sessions_lost),
                (0, 0, 0, 0, 0),
                "{stats:?}"
            );
            let replaced = stats.http_idle_closed + stats.http_idle_retired;
            assert!(stats.http_sockets <= u64::from(IN_FLIGHT) + SOCKETS_BESIDES + replaced, "{stats:?}");
            assert!(closed < CLOSE_MAX, "closing took {closed:?}");
        });
    }
}

const LEGACY: Option<Revision> = Some(Revision::V2025_11_25);
const MODERN: Option<Revision> = Some(Revision::V2026_07_28);
const BOTH: [(&str, &str, Option<Revision>); 3] =
    [("http://", "/mcp", None), ("http://", "/mcp", LEGACY), ("http://", "/mcp", MODERN)];
const SSE: [(&str, &str, Option<Revision>); 3] = [
    ("http://", "/sse", None),
    ("sse+http://", "/sse", None),
    ("http://", "/sse", Some(Revision::V2024_11_05)),
];

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn everything_answers_each_call_over_streamable_http() {
    let ways = [
        ("http://", "/mcp", None),
        ("http://", "/mcp", LEGACY),
        ("http://", "/mcp", Some(Revision::V2025_03_26)),
    ];
    works(&EVERYTHING, "http", &ways);
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn everything_answers_each_call_over_http_and_sse() {
    works(&EVERYTHING, "sse", &SSE);
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn python_answers_each_call_over_streamable_http_in_both_eras() {
    works(&PYTHON, "http", &BOTH);
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn python_answers_each_call_in_json_without_sessions() {
    works(&PYTHON, "http-json", &BOTH);
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn python_answers_each_call_over_http_and_sse() {
    works(&PYTHON, "sse", &SSE);
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn fastmcp_answers_each_call_over_streamable_http_in_both_eras() {
    works(&FASTMCP, "http", &BOTH);
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn ts2_answers_each_call_over_streamable_http_in_both_eras() {
    works(&TS2, "http", &BOTH);
}

#[test]
#[ignore = "one of the real servers; `just real-servers` runs it"]
fn rmcp_answers_each_call_over_streamable_http_in_both_eras() {
    works(&RMCP, "http", &BOTH);
}

#[test]
#[ignore = "one of the real servers; `just real-servers` runs it"]
fn rmcp_answers_each_call_in_json_without_sessions() {
    works(&RMCP, "http-json", &BOTH);
}

const IN_FLIGHT: u32 = 64;
/// Opening, errands, and the stream of events.
const SOCKETS_BESIDES: u64 = 4;
const CLOSE_MAX: Duration = Duration::from_secs(3);
