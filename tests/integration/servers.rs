//! The servers that the tests run against, and the calls whose answers can only be their own.

use std::process::Command;

use volley::{Client, Config, ConfigBuilder, Endpoint, Error, RawAnswer, Revision, Stats, ToolCall};
use volley_tests::{
    processes::Mark,
    target::{self, Target},
};

/// A server over one transport.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) endpoint: Endpoint,
    _process: Option<Target>,
}

impl Server {
    fn running(name: &'static str, process: Target) -> Self {
        let endpoint = process.endpoint();
        Self { name, endpoint, _process: Some(process) }
    }

    /// Our own target over TCP, with these switches.
    pub(crate) fn target(switches: &[&str]) -> Self {
        Self::running("target over tcp", Target::tcp(switches))
    }

    /// Our own target over all transports.
    pub(crate) fn targets() -> [Self; 3] {
        let stdio = target::stdio(&Mark::new(), &[]);
        [
            Self::target(&[]),
            Self::running("target over unix", Target::unix(&[])),
            Self { name: "target over stdio", endpoint: stdio, _process: None },
        ]
    }

    /// A process that was started otherwise.
    pub(crate) fn of(name: &'static str, process: Target) -> Self {
        Self::running(name, process)
    }

    /// The official Rust SDK's server over TCP.
    pub(crate) fn rmcp() -> Self {
        let started = Target::launch(Command::new(RMCP).args(["tcp", "127.0.0.1:0"]));
        Self::running("rmcp over tcp", started.expect("rmcp listens"))
    }

    /// The official Rust SDK's server over all transports.
    pub(crate) fn rmcps() -> [Self; 3] {
        let socket = std::env::temp_dir().join(format!("volley-rmcp-{}.sock", Mark::new().as_str()));
        let unix = Target::launch(Command::new(RMCP).arg("unix").arg(socket));
        [
            Self::rmcp(),
            Self::running("rmcp over unix", unix.expect("rmcp listens")),
            Self {
                name: "rmcp over stdio",
                endpoint: volley::Command::new(RMCP).arg("stdio").into(),
                _process: None,
            },
        ]
    }

    /// A client of it.
    pub(crate) fn connect(&self, config: ConfigBuilder) -> Client {
        let config = config.build().expect("a valid configuration");
        pollster::block_on(Client::connect(self.endpoint.clone(), config))
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// The default configuration, in this revision.
pub(crate) fn pinned(revision: Option<Revision>) -> ConfigBuilder {
    match revision {
        Some(revision) => Config::builder().revision(revision),
        None => Config::builder(),
    }
}

/// What the call of this number says, in characters that JSON escapes and UTF-8 spreads.
pub(crate) fn message(n: u64) -> String {
    format!("call {n} \"\\\n\t\u{1F3D0} äß {n}")
}

/// Calls of `echo`, each with an argument that no other has.
pub(crate) fn echoes(count: u64) -> impl Iterator<Item = ToolCall> {
    (0..count).map(echo)
}

/// The call of this number.
pub(crate) fn echo(n: u64) -> ToolCall {
    ToolCall::new("echo", &serde_json::json!({"message": message(n)})).expect("an object")
}

/// Keeps account of which calls have had their own answer.
pub(crate) struct Account {
    ended: Vec<bool>,
}

impl Account {
    pub(crate) fn new(count: u64) -> Self {
        Self { ended: vec![false; count as usize] }
    }

    /// The call of this number was answered with this text.
    pub(crate) fn enter(&mut self, n: u64, text: &str) {
        assert_eq!(text, message(n), "the answer to call {n}");
        assert!(!std::mem::replace(&mut self.ended[n as usize], true), "call {n} ended twice");
    }

    /// As [`Self::enter`], of an undecoded outcome.
    pub(crate) fn enter_raw(&mut self, n: u64, outcome: Result<RawAnswer, Error>) {
        let answer = outcome.unwrap_or_else(|error| panic!("call {n}: {error}"));
        self.enter(n, &answer.tool_result().expect("a tool's result").text());
    }

    /// Every call has ended, and the client's own counters say the same: so many calls, some others, and nothing odd.
    pub(crate) fn close(self, stats: &Stats, others: u64) {
        let missing = self.ended.iter().filter(|ended| !**ended).count();
        assert_eq!(missing, 0, "calls without an answer");
        adds_up(stats);
        assert_eq!(stats.answered, self.ended.len() as u64 + others);
        for (what, count) in [
            ("failed", stats.failed),
            ("cancelled", stats.cancelled),
            ("late", stats.late),
            ("unknown", stats.unknown),
            ("lenient ids", stats.lenient_ids),
            ("malformed", stats.malformed),
            ("noise", stats.noise_lines),
        ] {
            assert_eq!(count, 0, "{what}: {stats:?}");
        }
    }
}

/// Every call has ended, each in one way.
pub(crate) fn adds_up(stats: &Stats) {
    assert_eq!(stats.live, 0, "{stats:?}");
    assert_eq!(stats.submitted, stats.answered + stats.failed + stats.cancelled, "{stats:?}");
}

const RMCP: &str = env!("CARGO_BIN_EXE_rmcp-server");
