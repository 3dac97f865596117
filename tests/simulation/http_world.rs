//! A world over HTTP/1.1: one engine core with its pool of lanes, sockets in memory, a server that answers any of its requests next, in
//! any form, and a clock that is moved.
//!
//! Smaller than the world of streams (`world.rs`): one connection, one server that keeps to the protocol. What it may do to a response
//! is cut it anywhere, delay it past others, give it a length, chunks or events, refuse, break the socket in the middle, or end before the
//! answer and be asked to go on; and it may forget its session. There are no tokens. The ledger
//! is the calls' own list: what may become of each is known from what was sent and what was broken.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fastrand::Rng;
use serde_json::{Value, json};
use volley::{
    Config, ErrorKind, Fate, Revision,
    internals::exchange::{Core, End, Told, Wait},
};

use crate::world::MS;

/// What the server does, in percent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Of moments in which a socket's request is answered.
    pub(crate) answers: u32,
    /// Of answers that break off with their socket, somewhere.
    pub(crate) breaks: u32,
    /// Of calls that are refused with 503.
    pub(crate) refuses: u32,
    /// Of sockets that cannot be opened.
    pub(crate) fails_to_open: u32,
    /// Of answers in a stream of events that notifications precede.
    pub(crate) chatter: u32,
    /// Of calls of a session whose stream ends after an event with an id: the answer comes to who asks for what follows it.
    pub(crate) puts_off: u32,
    /// Of moments in which the session is forgotten.
    pub(crate) forgets: u32,
}

pub(crate) const CALM: Habits =
    Habits { answers: 70, breaks: 0, refuses: 0, fails_to_open: 0, chatter: 0, puts_off: 0, forgets: 0 };

/// One call, as its caller knows it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) shared: bool,
    pub(crate) cancelled: bool,
    pub(crate) due: u64,
    /// The server has read its request.
    pub(crate) asked: u32,
    pub(crate) end: Option<End>,
}

/// One socket, from the server's side.
#[derive(Debug, Default)]
struct Socket {
    request: Vec<u8>,
    /// Bytes of the response that were not delivered.
    response: Vec<u8>,
    /// A call whose answer is due.
    pending: Option<u64>,
    /// It was asked for what follows an event, or for what the server starts: only events are an answer.
    is_get: bool,
    /// It ends when `response` is delivered.
    ends: bool,
    /// Notifications in `response`, in order, which have to be told.
    says: Vec<Vec<u8>>,
}

/// See the module.
pub(crate) struct HttpWorld {
    pub(crate) core: Core,
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    pub(crate) habits: Habits,
    pub(crate) calls: Vec<Call>,
    pub(crate) in_flight: u32,
    sockets: BTreeMap<u32, Socket>,
    /// Lines whose sockets are being opened.
    dialling: BTreeSet<u32>,
    unreleased: Vec<u64>,
    /// Ids of calls that the server was told are cancelled.
    pub(crate) cancellations: Vec<u64>,
    /// Notifications of the caller that the server read.
    pub(crate) notes_read: u64,
    /// Those that were of a session that it had forgotten.
    pub(crate) notes_refused: u64,
    /// Notifications of the server that were told, and delivered whole.
    pub(crate) told: Vec<Vec<u8>>,
    pub(crate) said: u64,
    /// Notifications that the server has made: no two are alike, also of a call that it is asked to go on with twice.
    notes: u64,
    pub(crate) dials: usize,
    /// Requests of which something had left, and which the server has not read; all that may have been one of these.
    pub(crate) notes_unread: u64,
    /// Streams that the server was asked to go on with.
    pub(crate) taken_up: u64,
    in_session: bool,
    /// The number of the session that the server knows.
    session: u64,
    /// Most bytes that one read delivers; 0 draws it each time.
    pub(crate) piece: usize,
}

impl HttpWorld {
    pub(crate) fn new(revision: Revision, in_flight: u32, habits: Habits, seed: u64) -> Self {
        let config = Config::builder()
            .in_flight(in_flight)
            .revision(revision)
            .listen(true)
            .orphan_debt(Duration::from_millis(50))
            .backoff(Duration::from_millis(5), Duration::from_millis(200))
            .build()
            .expect("a valid configuration");
        let endpoint = "http://localhost:1/mcp".parse().expect("an endpoint");
        let core = Core::over(&endpoint, &config, seed);
        Self {
            core,
            rng: Rng::with_seed(seed),
            now: MS,
            habits,
            calls: Vec::new(),
            in_flight,
            sockets: BTreeMap::new(),
            dialling: BTreeSet::new(),
            unreleased: Vec::new(),
            cancellations: Vec::new(),
            notes_read: 0,
            notes_refused: 0,
            told: Vec::new(),
            said: 0,
            notes: 0,
            dials: 0,
            notes_unread: 0,
            taken_up: 0,
            in_session: revision < Revision::V2026_07_28,
            session: 1,
            piece: 0,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    // What callers do.

    pub(crate) fn call(&mut self, shared: bool, timeout_ms: u64) -> bool {
        let tag = self.calls.len() as u64;
        let timeout = Duration::from_millis(timeout_ms);
        let wait = Wait { timeout, at_most: timeout, progress: false };
        let body = format!(r#""method":"tools/call","params":{{"name":"echo","arguments":{{"n":{tag}}}"#);
        let id = if shared {
            self.core.enqueue(self.now, tag, wait, body.as_bytes())
        } else {
            self.core.submit(self.now, tag, wait, body.as_bytes())
        };
        if let Some(id) = id {
            let due = self.now + timeout_ms * MS;
            self.calls.push(Call { id, shared, cancelled: false, due, asked: 0, end: None });
        }
        self.note();
        id.is_some()
    }

    pub(crate) fn cancel(&mut self, tag: usize) {
        self.calls[tag].cancelled = true;
        let id = self.calls[tag].id;
        self.core.cancel(self.now, id);
        self.note();
    }

    pub(crate) fn live(&self) -> usize {
        self.calls.iter().filter(|call| call.end.is_none()).count()
    }

    pub(crate) fn answered(&self) -> usize {
        self.calls.iter().filter(|call| matches!(call.end, Some(End::Result(_) | End::Error(_)))).count()
    }

    pub(crate) fn release(&mut self) {
        for id in std::mem::take(&mut self.unreleased) {
            self.core.release(id);
        }
    }

    // What the machine does.

    /// One turn of the driver, in the shard's order. Returns how much it did.
    pub(crate) fn turn(&mut self) -> usize {
        let mut did = 0;
        if self.now >= self.core.poll_deadline() {
            self.core.handle_time(self.now);
            self.note();
        }
        while let Some(line) = self.core.poll_hang_up() {
            self.forget(line);
            self.core.handle_gone(line);
            self.note();
            did += 1;
        }
        while let Some(line) = self.core.poll_dial(self.now) {
            did += 1;
            self.dials += 1;
            assert!(self.dialling.insert(line) && !self.sockets.contains_key(&line), "dialled twice");
            if self.rng.bool() {
                self.dialled(line);
            }
        }
        did += self.core.assign(self.now);
        self.note();
        let mut again = Vec::new();
        while let Some(line) = self.core.poll_dirty() {
            let output = self.core.transmit(line);
            let taken = [1, 100, 100_000][self.rng.usize(..3)].min(output.len());
            let socket = self.sockets.get_mut(&line).expect("output for a line without a socket");
            socket.request.extend_from_slice(&output[..taken]);
            self.core.handle_transmitted(line, taken);
            if !self.core.transmit(line).is_empty() {
                again.push(line);
            }
            did += 1;
        }
        again.into_iter().for_each(|line| self.core.more_to_write(line));
        for line in self.sockets.keys().copied().collect::<Vec<_>>() {
            did += usize::from(self.read(line));
        }
        self.check();
        did
    }

    /// Delivers some bytes, cut anywhere; after the last one, the end, if it ends.
    fn read(&mut self, line: u32) -> bool {
        let most = if self.piece > 0 { self.piece } else { [1, 7, 300, 20_000][self.rng.usize(..4)] };
        let Some(socket) = self.sockets.get_mut(&line) else { return false };
        if socket.response.is_empty() {
            if socket.ends {
                self.lose(line);
                return true;
            }
            return false;
        }
        let bytes: Vec<u8> = socket.response.drain(..most.min(socket.response.len())).collect();
        let taken = self.core.handle_received(self.now, line, &bytes);
        self.note();
        let Some(socket) = self.sockets.get_mut(&line) else { return true };
        socket.response.splice(0..0, bytes[taken..].iter().copied());
        if socket.response.is_empty() && !socket.ends {
            // All of it has arrived.
            for said in std::mem::take(&mut socket.says) {
                self.said += 1;
                assert!(self.told.contains(&said), "a notification was dropped");
            }
        }
        true
    }

    fn forget(&mut self, line: u32) {
        self.dialling.remove(&line);
        let Some(mut socket) = self.sockets.remove(&line) else { return };
        let could_be_a_note = match take_request(&mut socket.request) {
            Some(request) => request.message["method"] == "user/note",
            None => !socket.request.is_empty(),
        };
        self.notes_unread += u64::from(could_be_a_note);
    }

    fn lose(&mut self, line: u32) {
        self.forget(line);
        self.core.handle_ended(self.now, line, "the server closed the socket");
        self.note();
    }

    /// A socket stands, or cannot be opened.
    fn dialled(&mut self, line: u32) {
        if self.chance(self.habits.fails_to_open) {
            self.lose(line);
        } else {
            self.dialling.remove(&line);
            self.sockets.insert(line, Socket::default());
            self.core.handle_opened(self.now, line);
            self.note();
        }
    }

    // The server.

    /// Something happens out there: requests are read, and some call is answered.
    pub(crate) fn happen(&mut self) {
        if self.chance(self.habits.forgets) {
            self.session += 1;
        }
        for line in self.dialling.clone() {
            if self.rng.bool() {
                self.dialled(line);
            }
        }
        for line in self.sockets.keys().copied().collect::<Vec<_>>() {
            self.serve(line);
        }
        let of = |sockets: &BTreeMap<u32, Socket>, is: fn(&Socket) -> bool| -> Vec<u32> {
            sockets.iter().filter(|(_, socket)| is(socket)).map(|(line, _)| *line).collect()
        };
        for line in of(&self.sockets, |socket| socket.is_get && socket.pending.is_none()) {
            // The stream for what the server starts, of which this one has nothing to say.
            if self.chance(5) {
                let socket = self.sockets.get_mut(&line).expect("a socket that waits");
                socket.response.extend_from_slice(LAST_CHUNK);
                socket.is_get = false;
            }
        }
        let pending = of(&self.sockets, |socket| socket.pending.is_some());
        if !pending.is_empty() && self.chance(self.habits.answers) {
            let line = pending[self.rng.usize(..pending.len())];
            self.answer(line);
        }
    }

    fn serve(&mut self, line: u32) {
        let Some(socket) = self.sockets.get_mut(&line) else { return };
        let Some(Request { method, session, follows, message }) = take_request(&mut socket.request) else {
            return;
        };
        let response = match (method.as_str(), message["method"].as_str()) {
            (_, said) if session.is_some_and(|session| session != self.session) => {
                self.notes_refused += u64::from(said == Some("user/note"));
                plain("404 Not Found")
            }
            ("POST", Some("tools/call")) => {
                let tag = message["params"]["arguments"]["n"].as_u64().expect("an argument");
                let call = &mut self.calls[tag as usize];
                assert_eq!(message["id"], call.id, "another call's id");
                assert!(call.end.is_none() || call.asked == 0, "an ended call is sent again");
                call.asked += 1;
                socket.pending = Some(tag);
                return;
            }
            ("POST", Some("notifications/cancelled")) => {
                self.cancellations.push(message["params"]["requestId"].as_u64().expect("an id"));
                plain("202 Accepted")
            }
            ("POST", Some(method)) if message.get("id").is_none() => {
                self.notes_read += u64::from(method == "user/note");
                plain("202 Accepted")
            }
            ("POST", Some(method)) => {
                let result = match method {
                    "initialize" => json!({
                        "protocolVersion": message["params"]["protocolVersion"],
                        "capabilities": {"tools": {}},
                        "serverInfo": {"name": "world", "version": "1"},
                    }),
                    "tools/list" => json!({"resultType": "complete", "tools": []}),
                    _ => json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}),
                };
                let session = format!("Mcp-Session-Id: {}\r\n", self.session);
                let headers = if method == "initialize" { session.as_str() } else { "" };
                with_length(&answer_to(&message["id"], &result), headers)
            }
            ("GET", _) => {
                socket.is_get = true;
                if let Some(tag) = follows {
                    self.taken_up += 1;
                    socket.pending = Some(tag);
                    return;
                }
                let mut head = chunked("text/event-stream", &[b"retry: 20\n\n"]);
                head.truncate(head.len() - LAST_CHUNK.len());
                head
            }
            ("DELETE", _) => plain("200 OK"),
            _ => plain("405 Method Not Allowed"),
        };
        socket.response.extend_from_slice(&response);
    }

    fn answer(&mut self, line: u32) {
        let habits = self.habits;
        let (refuses, breaks, chatters) =
            (self.chance(habits.refuses), self.chance(habits.breaks), self.chance(habits.chatter));
        let puts_off = self.in_session && self.chance(habits.puts_off);
        let form = self.rng.u8(..3);
        let socket = self.sockets.get_mut(&line).expect("a socket that waits");
        let tag = socket.pending.take().expect("a call that waits");
        let is_get = std::mem::take(&mut socket.is_get);
        if puts_off {
            let event = format!("id: {tag}\nretry: {}\ndata:\n\n", self.rng.u8(..100));
            socket.response.extend_from_slice(&chunked("text/event-stream", &[event.as_bytes()]));
            return;
        }
        let body = answer_to(&self.calls[tag as usize].id.into(), &json!({"arg": tag}));
        let mut response = match form {
            _ if refuses => plain("503 Service Unavailable"),
            0 if !chatters && !is_get => with_length(&body, ""),
            1 if !chatters && !is_get => chunked("application/json", &[body.as_bytes()]),
            _ => {
                let mut events = Vec::new();
                if chatters {
                    for _ in 0..self.rng.usize(1..4) {
                        self.notes += 1;
                        let params = json!({"for": tag, "n": self.notes});
                        let note =
                            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params});
                        socket.says.push(note.to_string().into_bytes());
                        events.push(format!("event: message\ndata: {note}\n\n").into_bytes());
                    }
                }
                events.push(format!("data: {body}\n\n").into_bytes());
                chunked("text/event-stream", &events.iter().map(Vec::as_slice).collect::<Vec<_>>())
            }
        };
        if breaks {
            response.truncate(self.rng.usize(..response.len()));
            socket.ends = true;
            socket.says.clear();
        }
        socket.response.extend_from_slice(&response);
    }

    // Accounts.

    pub(crate) fn note(&mut self) {
        for told in self.core.take_told() {
            match told {
                Told::Ended { id, tag, shared, end } => self.end(id, tag, shared, end),
                Told::Notification { message } => self.told.push(message),
                Told::Request { .. } => panic!("a request that nobody sent"),
            }
        }
    }

    fn end(&mut self, id: u64, tag: u64, shared: bool, end: End) {
        let now = self.now;
        let call = &mut self.calls[tag as usize];
        assert_eq!((call.id, call.shared), (id, shared), "the tag {tag} came back with another call");
        assert!(call.end.is_none(), "{id} ended twice, now with {end:?}");
        match &end {
            End::Result(message) | End::Error(message) => {
                assert!(call.asked > 0, "{id} was answered and never read");
                let message: Value = serde_json::from_slice(message).expect("an answer is JSON");
                assert_eq!(message["result"]["arg"], tag, "{id} got the answer of another call");
            }
            End::Failed(kind, fate) => {
                assert!(
                    *fate != Fate::NotSent || call.asked == 0,
                    "{id} was read, and is said to be not sent"
                );
                match kind {
                    ErrorKind::Timeout => assert!(now >= call.due, "{id} timed out early"),
                    ErrorKind::Cancelled => assert!(call.cancelled, "{id} was cancelled by nobody"),
                    ErrorKind::ConnectionLost
                    | ErrorKind::Http
                    | ErrorKind::Unreachable
                    | ErrorKind::Closed => {}
                    other => panic!("{id} failed with {other:?}, {fate:?}"),
                }
            }
        }
        call.end = Some(end);
        if shared {
            self.unreleased.push(id);
        }
    }

    /// After every turn.
    fn check(&mut self) {
        let stats = self.core.stats();
        assert_eq!(stats.submitted, self.calls.len() as u64);
        assert_eq!(stats.live, self.live() as u64);
        assert_eq!(stats.submitted, stats.answered + stats.failed + stats.cancelled + stats.live);
        assert_eq!(stats.answered, self.answered() as u64);
        assert_eq!(stats.notifications, self.told.len() as u64);
        let view = self.core.view(0);
        assert!(view.in_flight + view.room <= self.in_flight, "{view:?}");
    }

    /// With time standing still and nothing happening, the driver soon has nothing left to do.
    pub(crate) fn come_to_rest(&mut self) {
        let dials_most = self.dials + 6 + 3 * self.in_flight as usize;
        let mut turns = 0;
        while self.turn() > 0 {
            turns += 1;
            assert!(turns < 100_000, "no rest after {turns} turns at one moment");
            assert!(self.dials <= dials_most, "dials without end at one moment");
        }
        assert!(self.core.poll_deadline() > self.now, "at rest, and something is due");
    }

    /// Time goes on by a little, and the server acts.
    pub(crate) fn go_on(&mut self) {
        self.now += MS;
        for _ in 0..4 {
            self.happen();
        }
        self.turn();
        self.release();
    }

    /// Everything ends, nothing is left.
    pub(crate) fn finish(&mut self) {
        let last = self.calls.iter().filter(|call| call.end.is_none()).map(|call| call.due).max();
        let last = last.unwrap_or(self.now).max(self.now);
        while self.live() > 0 {
            assert!(self.now <= last + 50 * MS, "calls live on");
            self.now = self.core.poll_deadline().clamp(self.now + MS, self.now + 20 * MS);
            self.happen();
            self.turn();
        }
        self.habits = Habits { answers: 100, ..CALM };
        self.pass(1500, 100);
        self.release();
        let view = self.core.view(0);
        if view.ready {
            assert_eq!((view.in_flight, view.room), (0, self.in_flight), "a place was not given back");
        }
        self.shut();
    }

    /// Time passes, as a driver lets it pass that sleeps until something is due; the server acts at so many percent of the moments.
    fn pass(&mut self, ms: u64, acts: u32) {
        let (end, mut wakes) = (self.now + ms * MS, 0);
        while self.now < end {
            self.now = self.core.poll_deadline().clamp(self.now + 1, self.now + 5 * MS);
            if self.chance(acts) {
                self.happen();
            }
            self.come_to_rest();
            wakes += 1;
            assert!(wakes < ms, "what was due is due again and again");
        }
    }

    /// Closes, with whatever is under way and a server that takes its time, and nothing is left.
    pub(crate) fn shut(&mut self) {
        self.core.close(self.now);
        self.note();
        assert_eq!(self.live(), 0, "closed, and a call lives on");
        self.come_to_rest();
        self.pass(1000, 10);
        self.release();
        assert!(self.core.is_closed() && self.core.is_idle(), "closed, and not all of it");
        assert!(self.sockets.is_empty() && self.dialling.is_empty(), "a socket was left open");
        let mut seen = std::collections::HashSet::new();
        assert!(self.told.iter().all(|told| seen.insert(told)), "a notification was told twice");
    }
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A whole request.
struct Request {
    method: String,
    session: Option<u64>,
    /// The event that it asks for what follows of.
    follows: Option<u64>,
    message: Value,
}

fn take_request(bytes: &mut Vec<u8>) -> Option<Request> {
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes[..head_end].to_vec()).expect("a head is text");
    let number = |wanted: &str| -> Option<u64> {
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        Some(value.parse().expect("a number"))
    };
    let length = number("content-length").unwrap_or(0) as usize;
    if bytes.len() < head_end + length {
        return None;
    }
    let request: Vec<u8> = bytes.drain(..head_end + length).collect();
    let message = match length {
        0 => Value::Null,
        _ => serde_json::from_slice(&request[head_end..]).expect("a body is JSON"),
    };
    let method = head.split(' ').next().unwrap_or_default().to_owned();
    Some(Request { method, session: number("mcp-session-id"), follows: number("last-event-id"), message })
}

fn answer_to(id: &Value, result: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
}

fn plain(status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

pub(crate) fn with_length(body: &str, headers: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

pub(crate) fn chunked(media: &str, pieces: &[&[u8]]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut bytes = head.into_bytes();
    for piece in pieces {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(LAST_CHUNK);
    bytes
}
