//! HTTP connections without sockets, for tests: requests go in, answers come out, time is moved
//! by hand.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::args::Options;
use super::super::world::{ConnectionKey, Owner, Turn, World};
use super::{Http, Hub, Service, Talk, broadcast, handle_due, release};

/// A server and its connections, by number.
pub(in super::super) struct WebPeer {
    pub(in super::super) world: World,
    pub(in super::super) hub: Hub,
    wires: Vec<Option<Http>>,
    /// What was written on each connection and not looked at yet.
    written: Vec<Vec<u8>>,
    service: Service,
    /// The connections that were woken, in that order.
    pub(in super::super) order: Vec<usize>,
}

/// One answer of the server.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Reply {
    pub(in super::super) status: u16,
    pub(in super::super) head: String,
    pub(in super::super) body: String,
    /// The end of the body was there.
    pub(in super::super) is_whole: bool,
}

/// A request that is being put together.
pub(in super::super) struct Ask {
    method: &'static str,
    path: String,
    fields: String,
    body: String,
}

impl WebPeer {
    /// A server started with these words.
    pub(in super::super) fn new(words: &[&str]) -> Self {
        Self::of(Service::Endpoint, words)
    }

    pub(in super::super) fn of(service: Service, words: &[&str]) -> Self {
        let options = Options::from_words(words).expect("valid words");
        let world = World::new(&options, Instant::now());
        Self { world, hub: Hub::new(), wires: Vec::new(), written: Vec::new(), service, order: Vec::new() }
    }

    fn open(&mut self, connection: usize) {
        while self.wires.len() <= connection {
            let talk = Talk::new(key(self.wires.len()), self.service);
            self.wires.push(Some(Http::new(talk, &self.world)));
            self.written.push(Vec::new());
        }
    }

    fn with(&mut self, connection: usize, work: impl FnOnce(&mut Http, &mut Hub, &mut Turn<'_>)) {
        self.open(connection);
        let Some(wire) = &mut self.wires[connection] else { return };
        let owner = Owner::Connection(key(connection));
        let out = &mut self.written[connection];
        work(
            wire,
            &mut self.hub,
            &mut Turn { world: &mut self.world, out, out_bytes_full: usize::MAX, owner },
        );
    }

    /// Lets bytes arrive, and everybody write who has something to write.
    pub(in super::super) fn send(&mut self, connection: usize, bytes: &[u8]) {
        self.with(connection, |wire, hub, turn| wire.take(bytes, hub, turn));
        self.settle();
    }

    fn settle(&mut self) {
        for (method, params) in std::mem::take(&mut self.world.broadcasts) {
            broadcast(&mut self.hub, &mut self.world, &method, &params);
        }
        release(&mut self.hub, &mut self.world, false);
        while let Some(woken) = self.world.woken.pop() {
            self.with(woken.index as usize, Http::go_on);
            self.order.push(woken.index as usize);
        }
    }

    /// The bytes written on a connection since the last look.
    pub(in super::super) fn bytes(&mut self, connection: usize) -> Vec<u8> {
        self.open(connection);
        std::mem::take(&mut self.written[connection])
    }

    /// The answers on a connection since the last look.
    pub(in super::super) fn replies(&mut self, connection: usize) -> Vec<Reply> {
        Reply::parse_all(&self.bytes(connection))
    }

    /// The one answer to a request.
    pub(in super::super) fn ask(&mut self, connection: usize, ask: &Ask) -> Reply {
        self.send(connection, &ask.bytes());
        let mut replies = self.replies(connection);
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.remove(0)
    }

    /// Opens a session under this revision and gives its id.
    pub(in super::super) fn session(&mut self, revision: &str) -> String {
        let reply = self.initialize(revision);
        assert_eq!(reply.first()["result"]["protocolVersion"], revision);
        reply.field("mcp-session-id").expect("a session").to_owned()
    }

    fn initialize(&mut self, revision: &str) -> Reply {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{{}},"clientInfo":{{"name":"p","version":"0"}}}}}}"#
        );
        self.ask(0, &Ask::post(&body))
    }

    /// Lets so much time pass.
    pub(in super::super) fn wait(&mut self, ms: u64) {
        self.world.now += Duration::from_millis(ms);
        while let Some(job) = self.world.timers.pop_due(self.world.now) {
            let Owner::Exchange(exchange) = job.owner else { continue };
            if let Some(woken) = handle_due(&mut self.hub, &mut self.world, exchange, job.work) {
                self.with(woken.index as usize, Http::go_on);
            }
        }
        self.settle();
    }

    /// The client closes a connection.
    pub(in super::super) fn close(&mut self, connection: usize) {
        if let Some(wire) = &mut self.wires[connection] {
            wire.handle_end(&mut self.hub, &mut self.world);
            wire.abandon(&mut self.hub, &mut self.world);
        }
        self.wires[connection] = None;
        self.settle();
    }

    /// Whether the server closes a connection.
    pub(in super::super) fn is_ending(&self, connection: usize) -> bool {
        self.wires[connection].as_ref().is_none_or(Http::is_ending)
    }
}

impl Ask {
    pub(in super::super) fn new(method: &'static str, path: &str) -> Self {
        Self { method, path: path.to_owned(), fields: "host: localhost:1\r\n".into(), body: String::new() }
    }

    /// What any client posts.
    pub(in super::super) fn post(body: &str) -> Self {
        let mut ask = Self::new("POST", "/mcp").with("content-type", "application/json");
        ask = ask.with("accept", "application/json, text/event-stream");
        ask.body = body.to_owned();
        ask
    }

    /// A modern request with all it must carry. `params` lack their braces.
    pub(in super::super) fn modern(id: &str, method: &str, params: &str) -> Self {
        let comma = if params.is_empty() { "" } else { "," };
        Self::post(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}{comma}{META}}}}}"#
        ))
        .with("mcp-protocol-version", MODERN)
        .with("mcp-method", method)
    }

    /// A modern call of a tool.
    pub(in super::super) fn modern_call(id: &str, tool: &str, arguments: &str) -> Self {
        let params = format!(r#""name":"{tool}","arguments":{{{arguments}}}"#);
        Self::modern(id, "tools/call", &params).with("mcp-name", tool)
    }

    /// A legacy call of a tool.
    pub(in super::super) fn call(session: &str, id: &str, tool: &str, arguments: &str) -> Self {
        Self::post(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{{arguments}}}}}}}"#
        ))
        .with("mcp-session-id", session)
    }

    /// A request for a stream.
    pub(in super::super) fn stream(session: &str) -> Self {
        Self::new("GET", "/mcp").with("accept", "text/event-stream").with("mcp-session-id", session)
    }

    pub(in super::super) fn with_body(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }

    pub(in super::super) fn with(mut self, field: &str, value: &str) -> Self {
        self.fields.push_str(&format!("{field}: {value}\r\n"));
        self
    }

    pub(in super::super) fn without(mut self, field: &str) -> Self {
        let kept = self.fields.split_inclusive("\r\n").filter(|line| !line.starts_with(&format!("{field}:")));
        self.fields = kept.collect();
        self
    }

    pub(in super::super) fn bytes(&self) -> Vec<u8> {
        let Self { method, path, fields, body } = self;
        let length = body.len();
        format!("{method} {path} HTTP/1.1\r\n{fields}content-length: {length}\r\n\r\n{body}").into_bytes()
    }
}

impl Reply {
    fn parse_all(bytes: &[u8]) -> Vec<Self> {
        let mut text = std::str::from_utf8(bytes).expect("text");
        let mut replies = Vec::new();
        while !text.is_empty() {
            let (head, rest) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text}"));
            let status = head[9..12].parse().expect("a status");
            let mut reply = Self { status, head: head.to_owned(), body: String::new(), is_whole: true };
            text = rest;
            if let Some(length) = reply.field("content-length") {
                let length: usize = length.parse().expect("a length");
                reply.is_whole = length <= text.len();
                reply.body = text[..length.min(text.len())].to_owned();
                text = &text[length.min(text.len())..];
            } else if reply.field("transfer-encoding").is_some() {
                text = reply.take_chunks(text);
            } else if status != 204 {
                reply.body = std::mem::take(&mut text).to_owned();
            }
            replies.push(reply);
        }
        replies
    }

    fn take_chunks<'a>(&mut self, mut text: &'a str) -> &'a str {
        while let Some((size, rest)) = text.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).expect("a size");
            self.body.push_str(&rest[..size]);
            text = &rest[size + 2..];
            if size == 0 {
                return text;
            }
        }
        self.is_whole = false;
        text
    }

    pub(in super::super) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body as one message.
    pub(in super::super) fn message(&self) -> Value {
        assert_eq!(self.field("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The first message, in whichever form.
    pub(in super::super) fn first(&self) -> Value {
        let is_stream = self.field("content-type") == Some("text/event-stream");
        if is_stream { self.events().remove(0) } else { self.message() }
    }

    /// The messages of a stream.
    pub(in super::super) fn events(&self) -> Vec<Value> {
        assert_eq!(self.field("content-type"), Some("text/event-stream"), "{self:?}");
        events(&self.body)
    }

    /// The code of its error.
    pub(in super::super) fn code(&self) -> i64 {
        self.message()["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {self:?}"))
    }

    /// The text of its result.
    pub(in super::super) fn text(&self) -> String {
        text(&self.message()).to_owned()
    }

    /// The id of its last event that has one.
    pub(in super::super) fn last_event(&self) -> &str {
        self.body.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().expect("an id")
    }
}

/// The messages among these events.
pub(in super::super) fn events(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

/// The text of a result.
pub(in super::super) fn text(message: &Value) -> &str {
    message["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {message}"))
}

fn key(connection: usize) -> ConnectionKey {
    ConnectionKey { index: connection as u32, generation: 0 }
}

pub(in super::super) use super::super::peer::{META, MODERN};
