//! The servers of the official SDKs that are not written in Rust, over stdio: the era found by itself, the tools listed, and
//! 20,000 calls at 64 in flight of which every answer is its own; then a close that leaves no process.
//!
//! They need what `tests/real-servers/install` installs, so they run only when asked for:
//!
//! ```text
//! cargo test --release -p volley-tests --test real_servers -- --ignored --nocapture --test-threads 1
//! ```
//!
//! Each prints how fast it was. That is a measure of the servers: the engine waits for them nearly all of the time.

#![forbid(unsafe_code)]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::json;
use volley::{Client, Config, Endpoint, Era, Revision, ToolCall};
use volley_tests::processes::{MARK, Mark};

/// A server out of `servers.txt`.
struct Server {
    name: &'static str,
    /// What its `echo` puts before the message.
    prefix: &'static str,
    /// The era that a client finds by itself.
    finds: Era,
}

const EVERYTHING: Server = Server { name: "everything", prefix: "Echo: ", finds: Era::Legacy };
const PYTHON: Server = Server { name: "python", prefix: "", finds: Era::Modern };
const TS2: Server = Server { name: "ts2", prefix: "", finds: Era::Modern };

impl Server {
    /// The command that `servers.txt` has for stdio. Its paths are relative to the folder of that file.
    fn command(&self, mark: &Mark) -> Endpoint {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("real-servers");
        let list = std::fs::read_to_string(folder.join("servers.txt")).expect("the list of servers");
        let line = list
            .lines()
            .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
            .find(|fields| fields[0] == self.name && fields.get(1) == Some(&"stdio"))
            .unwrap_or_else(|| panic!("servers.txt does not start {} over stdio", self.name));
        assert_eq!(
            line[2].contains("modern"),
            self.finds == Era::Modern,
            "{}: eras {:?}",
            self.name,
            line[2]
        );
        let mut words = line[3].split_whitespace();
        let program = match words.next().expect("a command") {
            // The program is looked up before the child has changed its folder.
            path if path.contains('/') => folder.join(path),
            name => PathBuf::from(name),
        };
        assert!(
            folder.join(".env").exists(),
            "the servers are not installed: run tests/real-servers/install, or `just real-servers`"
        );
        volley::Command::new(program).args(words).current_dir(folder).env(MARK, mark.as_str()).into()
    }
}

/// Connects, lists, calls, closes; prints how long each took.
fn works(server: &Server, pinned: Option<Revision>) {
    let mark = Mark::new();
    let config = Config::builder();
    let config = pinned.into_iter().fold(config, volley::ConfigBuilder::revision).build().expect("valid");
    pollster::block_on(async {
        let started = Instant::now();
        let client = Client::connect(server.command(&mark), config).await.expect("the server starts");
        let connected = started.elapsed();
        let info = client.server_info().expect("the server was asked");
        let revision = info.revision().expect("a revision");
        match pinned {
            Some(pinned) => assert_eq!(revision, pinned),
            None => assert_eq!(revision.era(), server.finds, "{}: found {revision}", server.name),
        }

        let tools = client.list_tools().await.expect("a list of tools");
        let echo = tools.iter().find(|tool| tool.name == "echo").expect("a tool named echo");
        assert_eq!(echo.input_schema["properties"]["message"]["type"], "string");

        let message = |n: u64| format!("call {n} of {CALLS}, \"{n}\" \u{1F3D0}");
        let calls =
            (0..CALLS).map(|n| ToolCall::new("echo", &json!({"message": message(n)})).expect("an object"));
        let mut ended = vec![false; CALLS as usize];
        let started = Instant::now();
        let mut bulk = client.bulk(calls);
        while let Some((n, outcome)) = bulk.next().await {
            let answer = outcome.unwrap_or_else(|error| panic!("call {n}: {error}"));
            let result = answer.tool_result().unwrap_or_else(|error| panic!("call {n}: {error}"));
            assert!(!result.is_error, "call {n}: {result:?}");
            assert_eq!(result.text(), format!("{}{}", server.prefix, message(n)), "the answer to call {n}");
            assert!(!std::mem::replace(&mut ended[n as usize], true), "call {n} ended twice");
        }
        let took = started.elapsed();
        assert!(ended.iter().all(|ended| *ended));

        assert!(!mark.processes().is_empty(), "the server runs");
        let started = Instant::now();
        client.close().await;
        let closed = started.elapsed();
        assert!(mark.processes().is_empty(), "processes {:?} are left", mark.processes());
        let stats = client.stats();
        // The list of tools was a call too.
        assert_eq!((stats.submitted, stats.answered, stats.live), (CALLS + 1, CALLS + 1, 0), "{stats:?}");
        assert_eq!(
            (stats.late, stats.unknown, stats.malformed, stats.disconnects),
            (0, 0, 0, 0),
            "{stats:?}"
        );
        println!(
            "{:10} {:4} {revision}: ready after {:.2} s, {} tools, {CALLS} calls in {:.2} s = {:.0} calls/s, closed in {:.0} ms",
            server.name,
            if pinned.is_some() { "told" } else { "auto" },
            connected.as_secs_f64(),
            tools.len(),
            took.as_secs_f64(),
            CALLS as f64 / took.as_secs_f64(),
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
fn ts2_answers_each_call_in_both_eras() {
    works(&TS2, None);
    works(&TS2, Some(Revision::V2025_11_25));
}

const CALLS: u64 = 20_000;
/// Two graces of half a second and a kill, with room.
const CLOSE_MAX: Duration = Duration::from_secs(3);
