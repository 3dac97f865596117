//! What a client has written, line by line, and the rules that hold whatever the script.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// One line that the client wrote.
#[derive(Clone, Debug)]
pub struct Line {
    /// The connection it came on.
    pub connection: usize,
    /// As it came, with its line feed.
    pub bytes: Vec<u8>,
    /// What it says; null if it is no JSON.
    pub message: Value,
}

/// All lines of all connections, in the order in which they were read.
#[derive(Clone, Debug)]
pub struct Record {
    lines: Vec<Line>,
}

impl Line {
    pub(crate) fn new(connection: usize, bytes: Vec<u8>) -> Self {
        let message = serde_json::from_slice(&bytes).unwrap_or_default();
        Self { connection, bytes, message }
    }

    /// The method of a request or notification; empty for anything else.
    pub fn method(&self) -> &str {
        self.message["method"].as_str().unwrap_or_default()
    }

    /// Is it a request?
    pub fn is_request(&self) -> bool {
        self.message.get("method").is_some() && self.message.get("id").is_some()
    }

    /// Is it a response?
    pub fn is_response(&self) -> bool {
        self.message.get("method").is_none()
    }

    /// The member of `params._meta` with this name after `io.modelcontextprotocol/`.
    pub fn meta(&self, name: &str) -> &Value {
        &self.message["params"]["_meta"][format!("io.modelcontextprotocol/{name}")]
    }
}

impl Record {
    pub(crate) fn new(lines: Vec<Line>) -> Self {
        Self { lines }
    }

    /// All lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The lines of one connection.
    pub fn on(&self, connection: usize) -> Vec<&Line> {
        self.lines.iter().filter(|line| line.connection == connection).collect()
    }

    /// The messages with this method.
    pub fn with(&self, method: &str) -> Vec<&Value> {
        self.lines.iter().filter(|line| line.method() == method).map(|line| &line.message).collect()
    }

    /// The responses.
    pub fn responses(&self) -> Vec<&Value> {
        self.lines.iter().filter(|line| line.is_response()).map(|line| &line.message).collect()
    }

    /// How many connections have said anything.
    pub fn connections(&self) -> usize {
        self.lines.iter().map(|line| line.connection).collect::<HashSet<_>>().len()
    }

    /// The rules of JSON-RPC, of framing and of the two openings, which no script excuses.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
        let mut ids = HashSet::new();
        let mut of_connection: HashMap<usize, Conversation> = HashMap::new();
        for line in &self.lines {
            let shown = String::from_utf8_lossy(&line.bytes);
            // A transport may die in the middle of a line, and only there.
            if !line.bytes.ends_with(b"\n") {
                let last = self.on(line.connection).last().map(|last| &last.bytes) == Some(&line.bytes);
                assert!(last, "half a line, and then more: {shown}");
                continue;
            }
            if let Value::Array(elements) = &line.message {
                let conversation = of_connection.entry(line.connection).or_default();
                assert!(conversation.initialized_sent, "no array before the handshake is done: {shown}");
                check_array(elements, &shown, &mut ids);
                continue;
            }
            assert!(line.message.is_object(), "one line, one message: {shown}");
            assert_eq!(line.message["jsonrpc"], "2.0", "{shown}");
            assert!(line.message.get("params").is_none_or(Value::is_object), "params are an object: {shown}");
            if line.is_request() {
                let id = line.message["id"].as_u64().unwrap_or_else(|| panic!("an integer id: {shown}"));
                assert!(id < 1 << 53, "exact in a double: {shown}");
                assert!(ids.insert(id), "an id used twice: {shown}");
            }
            of_connection.entry(line.connection).or_default().hear(line, &shown);
        }
    }
}

/// The rules of an array (MCP 2025-03-26): at least two, since one is sent alone; requests only, none of them `initialize`.
///
/// # Panics
/// If one is broken.
pub fn check_array(elements: &[Value], shown: &str, ids: &mut HashSet<u64>) {
    assert!(elements.len() > 1, "an array of {}: {shown}", elements.len());
    for element in elements {
        assert_eq!(element["jsonrpc"], "2.0", "{shown}");
        assert!(element.get("params").is_none_or(Value::is_object), "{shown}");
        assert!(element["method"].is_string(), "requests share an array with requests only: {shown}");
        assert_ne!(element["method"], "initialize", "{shown}");
        let id = element["id"].as_u64().unwrap_or_else(|| panic!("an integer id: {shown}"));
        assert!(id < 1 << 53, "exact in a double: {shown}");
        assert!(ids.insert(id), "an id used twice: {shown}");
    }
}

/// Where one connection stands, as a strict server would see it.
#[derive(Default)]
struct Conversation {
    initialize_sent: bool,
    initialized_sent: bool,
    enveloped: bool,
}

impl Conversation {
    fn hear(&mut self, line: &Line, shown: &str) {
        let enveloped = !line.meta("protocolVersion").is_null();
        match line.method() {
            "server/discover" => {
                assert!(enveloped && !self.initialize_sent, "a probe is modern and comes first: {shown}")
            }
            "initialize" => {
                assert!(
                    !enveloped && !self.initialize_sent && !self.enveloped,
                    "initialize once, in its era: {shown}"
                );
                let offered = line.message["params"]["protocolVersion"].as_str();
                assert!(
                    offered.is_some_and(|offered| offered < "2026-07-28"),
                    "a legacy version is offered: {shown}"
                );
                self.initialize_sent = true;
            }
            "notifications/initialized" => {
                assert!(
                    self.initialize_sent && !self.initialized_sent,
                    "initialized follows initialize, once: {shown}"
                );
                self.initialized_sent = true;
            }
            _ if line.is_response() => assert!(!self.enveloped, "a modern client never responds: {shown}"),
            _ if self.initialize_sent => {
                assert!(
                    self.initialized_sent || line.method() == "ping",
                    "nothing before the handshake is done: {shown}"
                );
                assert!(!enveloped, "eras are not mixed on a connection: {shown}");
            }
            _ if line.is_request() => {
                assert!(enveloped, "without a handshake each request says its version: {shown}");
                assert!(line.meta("clientCapabilities").is_object(), "and its capabilities: {shown}");
                assert!(line.meta("clientInfo")["name"].is_string(), "and who it is: {shown}");
                self.enveloped = true;
            }
            // A notification needs no envelope.
            _ => {}
        }
    }
}
