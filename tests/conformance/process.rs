//! Clauses 9, 10 and 67: a server that is a child process, played by a shell that writes down what it hears.
//!
//! How long a close takes has no upper bound here: it waits for all children of the process that are being ended, those of
//! the other tests too.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use volley::{Config, Endpoint, blocking::Client};
use volley_tests::{
    processes::{MARK, Mark},
    target,
};

use crate::play::{all_answered, call, text};

/// A server of the handshake era that keeps a log of its stdin; `after` is what it does when that has ended.
const SERVER: &str = r#"
while IFS= read -r line; do
    printf '%s\n' "$line" >> "$LOG"
    id=$(printf '%s' "$line" | sed -n 's/^{"jsonrpc":"2.0","id":\([0-9]*\),.*/\1/p')
    case $line in
        *'"initialize"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}\n' "$id" ;;
        *'"tools/call"'*)
            echo "error: $id is being called" >&2
            message=$(printf '%s' "$line" | sed -n 's/.*"message":\("[^"]*"\).*/\1/p')
            printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":%s}]}}\n' "$id" "$message" ;;
        *'"id"'*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}\n' "$id" ;;
    esac
done
echo EOF >> "$LOG"
"#;

/// A child, its log, and a mark that finds it.
struct Child {
    mark: Mark,
    log: PathBuf,
    endpoint: Endpoint,
}

impl Child {
    /// `before` and `after` stand around the loop that serves.
    fn new(before: &str, after: &str) -> Self {
        let mark = Mark::new();
        let log = std::env::temp_dir().join(format!("volley-child-{}.log", mark.as_str()));
        let script = format!("{before}\n{SERVER}\n{after}");
        let command =
            volley::Command::new("sh").args(["-c", &script]).env("LOG", &log).env(MARK, mark.as_str());
        Self { mark, log, endpoint: command.into() }
    }

    /// Connects, makes some calls, closes; gives how long the closing took and the lines of the log.
    fn serve_and_close(self) -> (Duration, Vec<String>) {
        let config = Config::builder().close_grace(GRACE).build().unwrap();
        let client = Client::connect(self.endpoint.clone(), config).unwrap();
        all_answered(&client, 20);
        assert_eq!(self.mark.processes().len(), 1);
        let since = Instant::now();
        client.close();
        let took = since.elapsed();
        assert_eq!(self.mark.processes(), [0_u32; 0], "nothing is left when close returns");
        let log = std::fs::read_to_string(&self.log).unwrap();
        let _ = std::fs::remove_file(&self.log);
        (took, log.lines().map(str::to_owned).collect())
    }
}

/// Quietly: a shell has words about a `sleep` that was ended with it, and nobody hears them any more.
const STAY: &str = "exec 2>/dev/null; while :; do sleep 0.01; done";

const GRACE: Duration = Duration::from_millis(300);

#[test]
fn must_09_nothing_but_messages_is_written_to_the_servers_stdin() {
    let (_, log) = Child::new("", "").serve_and_close();
    let (end, lines) = log.split_last().unwrap();
    assert_eq!(end, "EOF");
    assert_eq!(lines.len(), 23, "probe, initialize, initialized, and 20 calls: {lines:#?}");
    for line in lines {
        let message: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        assert!(message["method"].is_string(), "{line}");
    }
}

#[test]
fn must_10_stderr_is_drained_and_is_no_failure() {
    // Ten times what a pipe holds before the first answer, and more with each call.
    for flood in ["640k", "4m"] {
        let mark = Mark::new();
        let client =
            Client::connect(target::stdio(&mark, &["--stderr-flood", flood]), Config::default()).unwrap();
        all_answered(&client, 5_000);
        let stats = client.stats();
        client.close();
        assert_eq!((stats.answered, stats.failed, stats.disconnects), (5_000, 0, 0), "{stats:?}");
    }
}

#[test]
fn must_67_a_server_that_ends_with_its_stdin_is_not_sent_a_signal() {
    let (_, log) = Child::new("trap 'echo TERM >> \"$LOG\"' TERM", "").serve_and_close();
    assert_eq!(log.last().unwrap(), "EOF");
}

#[test]
fn must_67_a_server_that_stays_after_its_stdin_is_asked_to_end() {
    let before = "trap 'echo TERM >> \"$LOG\"; exit 0' TERM";
    let (took, log) = Child::new(before, STAY).serve_and_close();
    assert_eq!(log[log.len() - 2..], ["EOF", "TERM"], "in this order");
    assert!(took >= GRACE, "{took:?}");
}

#[test]
fn must_67_a_server_that_stays_after_being_asked_is_killed() {
    let before = "trap 'echo TERM >> \"$LOG\"' TERM";
    let (took, log) = Child::new(before, STAY).serve_and_close();
    assert_eq!(log[log.len() - 2..], ["EOF", "TERM"], "in this order");
    assert!(took >= 2 * GRACE, "{took:?}");
}

#[test]
fn must_67_calls_in_flight_end_before_the_server_does() {
    let child = Child::new("", "");
    let client = Client::connect(child.endpoint.clone(), Config::default()).unwrap();
    let first = client.call(call(1)).unwrap();
    assert_eq!(first.text(), text(1));
    let unanswered = client.as_async().request("notifications/none", &json!({}));
    client.close();
    // Answered or ended, but ended.
    let _ = pollster::block_on(unanswered);
    assert_eq!(child.mark.processes(), [0_u32; 0]);
    let _ = std::fs::remove_file(&child.log);
}
