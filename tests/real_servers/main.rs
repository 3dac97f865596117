//! The servers of the official SDKs: the transport and the era found by themselves, the tools listed, and 20,000 calls at 64 in
//! flight of which every answer is its own; over stdio a close that leaves no process, over HTTP sessions that are killed in
//! mid-run, and nginx in between.
//!
//! They need what `tests/real-servers/install` installs, so they run only when asked for:
//!
//! ```text
//! cargo test --release -p volley-tests --test real_servers -- --ignored --nocapture --test-threads 1
//! ```
//!
//! `VOLLEY_REAL_CALLS` sets another number of calls. Each prints how fast it was. That is a measure of the servers: the engine
//! waits for them nearly all of the time.

#![forbid(unsafe_code)]

mod arrays;
mod http;
mod nginx;
mod servers;
mod session_tap;
mod sessions;
mod volleys;
mod windows;

use std::time::{Duration, Instant};

use servers::{EVERYTHING, FASTMCP, PYTHON, Server, TS2};
use volley::{Client, Config, Revision};
use volley_tests::processes::Mark;
use volleys::{calls, has_echo, must_not_fail, volley};

/// Connects, lists, calls, closes over stdio; prints how long each took.
fn works(server: &Server, pinned: Option<Revision>) {
    let mark = Mark::new();
    let config = Config::builder();
    let config = pinned.into_iter().fold(config, volley::ConfigBuilder::revision).build().expect("valid");
    pollster::block_on(async {
        let started = Instant::now();
        let client = Client::connect(server.stdio(&mark), config).await.expect("the server starts");
        let connected = started.elapsed();
        let revision = client.server_info().expect("the server was asked").revision().expect("a revision");
        match pinned {
            Some(pinned) => assert_eq!(revision, pinned),
            None => assert_eq!(revision.era(), server.finds, "{}: found {revision}", server.name),
        }

        let tools = has_echo(&client).await;
        let calls = calls();
        let took = volley(&client, server, calls, must_not_fail, |_| ()).await;

        assert!(!mark.processes().is_empty(), "the server runs");
        let started = Instant::now();
        client.close().await;
        let closed = started.elapsed();
        assert!(mark.processes().is_empty(), "processes {:?} are left", mark.processes());
        let stats = client.stats();
        // The list of tools was a call too.
        assert_eq!((stats.submitted, stats.answered, stats.live), (calls + 1, calls + 1, 0), "{stats:?}");
        assert_eq!(
            (stats.late, stats.unknown, stats.malformed, stats.disconnects),
            (0, 0, 0, 0),
            "{stats:?}"
        );
        println!(
            "{:10} {:4} {revision}: ready after {:.2} s, {tools} tools, {calls} calls in {:.2} s = {:.0} calls/s, closed in {:.0} ms",
            server.name,
            if pinned.is_some() { "told" } else { "auto" },
            connected.as_secs_f64(),
            took.as_secs_f64(),
            calls as f64 / took.as_secs_f64(),
            closed.as_secs_f64() * 1e3,
        );
        assert!(closed < CLOSE_MAX, "closing took {closed:?}");
    });
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn everything_answers_each_call_in_the_era_it_speaks() {
    works(&EVERYTHING, None);
    works(&EVERYTHING, Some(Revision::V2025_11_25));
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn python_answers_each_call_in_both_eras() {
    works(&PYTHON, None);
    works(&PYTHON, Some(Revision::V2025_11_25));
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn fastmcp_answers_each_call_in_both_eras() {
    works(&FASTMCP, None);
    works(&FASTMCP, Some(Revision::V2025_11_25));
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn ts2_answers_each_call_in_both_eras() {
    works(&TS2, None);
    works(&TS2, Some(Revision::V2025_11_25));
}

/// Two graces of half a second and a kill, with room.
const CLOSE_MAX: Duration = Duration::from_secs(3);
