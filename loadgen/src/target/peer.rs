//! A session without sockets, for tests: lines go in, values come out, time is moved by hand.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::args::Options;
use super::session::Session;
use super::world::{ConnectionKey, Owner, Turn, World};

/// A client and its server in one place.
pub(super) struct Peer {
    pub(super) session: Session,
    pub(super) world: World,
}

impl Peer {
    /// A server started with these words.
    pub(super) fn new(words: &[&str]) -> Self {
        let options = Options::from_words(words).expect("valid words");
        Self { session: Session::new(), world: World::new(&options, Instant::now()) }
    }

    /// A server that was greeted under this revision.
    pub(super) fn opened(revision: &str, words: &[&str]) -> Self {
        let mut peer = Self::new(words);
        if revision != MODERN {
            let answers = peer.say(&format!(
                r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{{}},"clientInfo":{{"name":"p","version":"0"}}}}}}"#
            ));
            assert_eq!(answers[0]["result"]["protocolVersion"], Value::from(revision));
        } else {
            assert_eq!(peer.ask("d", "server/discover", "")["result"]["resultType"], "complete");
        }
        peer
    }

    /// The lines that come back, as bytes, when these bytes arrive.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut turn =
            Turn { world: &mut self.world, out: &mut out, out_bytes_full: usize::MAX, owner: OWNER };
        assert_eq!(self.session.take_lines(bytes, &mut turn), bytes.len());
        self.session.flush_shuffled(&mut turn);
        out
    }

    /// The messages that come back when this line arrives.
    pub(super) fn say(&mut self, line: &str) -> Vec<Value> {
        values(&self.raw(format!("{line}\n").as_bytes()))
    }

    /// The one answer to a request in the form of the session's era. `params` lack their braces.
    pub(super) fn ask(&mut self, id: &str, method: &str, params: &str) -> Value {
        let comma = if params.is_empty() { "" } else { "," };
        let legacy = matches!(self.session.era, super::session::Era::Legacy(_));
        let meta = if legacy { String::new() } else { format!("{comma}{META}") };
        let line =
            format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"{method}","params":{{{params}{meta}}}}}"#);
        let mut answers = self.say(&line);
        assert_eq!(answers.len(), 1, "{line} -> {answers:?}");
        answers.remove(0)
    }

    /// What this client is told of a notification to everybody.
    pub(super) fn hear(&mut self, method: &str, params: &Value) -> Vec<Value> {
        let mut out = Vec::new();
        let mut turn =
            Turn { world: &mut self.world, out: &mut out, out_bytes_full: usize::MAX, owner: OWNER };
        self.session.hear(method, params, &mut turn);
        values(&out)
    }

    /// The one answer to a call of a tool.
    pub(super) fn call(&mut self, tool: &str, arguments: &str) -> Value {
        self.ask("c", "tools/call", &format!(r#""name":"{tool}","arguments":{{{arguments}}}"#))
    }

    /// The messages that come when so much time has passed.
    pub(super) fn wait(&mut self, ms: u64) -> Vec<Value> {
        self.world.now += Duration::from_millis(ms);
        let mut out = Vec::new();
        while let Some(job) = self.world.timers.pop_due(self.world.now) {
            let mut turn =
                Turn { world: &mut self.world, out: &mut out, out_bytes_full: usize::MAX, owner: OWNER };
            self.session.handle_due(job.work, &mut turn);
        }
        values(&out)
    }
}

/// The JSON lines among these lines.
pub(super) fn values(lines: &[u8]) -> Vec<Value> {
    lines.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

pub(super) const MODERN: &str = "2026-07-28";
pub(super) const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
const OWNER: Owner = Owner::Connection(ConnectionKey { index: 0, generation: 0 });
