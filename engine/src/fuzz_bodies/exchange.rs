//! The whole core of one shard against a naive model: two hash maps, and every call's end foretold.
//!
//! The input is a program: calls, cancellations, time, transports that come and go, answers in any order, twice, for nobody, cut
//! anywhere, and lines of any bytes. The model knows for each live call which ends it may have at this moment, and says after each
//! line delivered which call has to end by it, with which message. It is slow and has no protocol: what it knows of the wire it
//! reads from the lines that the core writes.
//!
//! Always: a call ends once, with its own tag; an answer ends the call it names if that was asked over this transport and lives, and
//! nothing else; `submitted = answered + failed + cancelled + live`, to the call, after every instruction; answers that end nothing
//! are counted. Proof that it can fail: `docs/proofs.md` lists what it found when the core was broken on purpose.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    config::Config,
    error::ErrorKind,
    internals::exchange::{Core, End, Told, Wait},
    proto::{event::Fate, revision::Revision},
};

const MS: u64 = 1_000_000;

/// The sweep over deadlines may be this late.
const SWEEP_NS: u64 = 10 * MS;

/// Instructions of one program; the rest of the input is not read.
const INSTRUCTIONS_MAX: usize = 400;

/// A transport: the connection and which of its transports.
type Place = (u32, u32);

/// What the model knows of a call.
struct Call {
    id: u64,
    shared: bool,
    due: u64,
    limit: u64,
    /// Over which transport its whole frame went out.
    asked: Option<Place>,
    ended: bool,
}

/// A line of a server on its way.
enum Line {
    /// An answer to the call of this id.
    Answer { id: u64, is_error: bool },
    /// The answer to an opening.
    Opening,
    /// Whatever the fuzzer likes.
    Wild,
}

/// A transport that stands.
#[derive(Default)]
struct Pipe {
    /// Output of the core that is no whole line yet.
    out: Vec<u8>,
    /// Bytes of the server that were not delivered, and what the lines in them are.
    inbox: Vec<u8>,
    lines: VecDeque<(Line, Vec<u8>)>,
    /// Delivered bytes of the first of these lines.
    delivered: usize,
    /// Ids that were asked here, ended or not.
    asked: Vec<u64>,
}

struct Model {
    core: Core,
    now: u64,
    calls: Vec<Call>,
    by_id: HashMap<u64, usize>,
    pipes: HashMap<u32, Pipe>,
    /// Answers delivered that ended nothing, and those of them that came behind the end of their transport and were not read.
    dropped: u64,
    void: u64,
    /// A wild line is on its way, or was: it may be an answer to nobody too.
    wild: bool,
    counts: Counts,
}

/// What the core's counters have to say.
#[derive(Default, Debug, PartialEq, Eq)]
struct Counts {
    submitted: u64,
    answered: u64,
    rpc_errors: u64,
    failed: u64,
    timed_out: u64,
    cancelled: u64,
    live: u64,
}

/// Reads the input byte by byte.
struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.next().unwrap_or(0)) % bound.max(1)
    }

    fn bytes(&mut self, count: usize) -> &[u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// Runs the program `data`.
pub(super) fn run(data: &[u8]) {
    let mut program = Program(data);
    let shape = program.next().unwrap_or(0);
    let connections = 1 + usize::from(shape & 1);
    let revision = if shape & 2 == 0 { Revision::V2025_11_25 } else { Revision::V2026_07_28 };
    let config = Config::builder()
        .connections(connections)
        .in_flight(1 + u32::from(shape >> 2 & 3))
        .revision(revision)
        .orphan_debt(Duration::from_millis(20))
        .attempts_max(2)
        .build()
        .expect("valid");
    let mut model = Model {
        core: Core::new(&config, u64::from(shape)),
        now: MS,
        calls: Vec::new(),
        by_id: HashMap::new(),
        pipes: HashMap::new(),
        dropped: 0,
        void: 0,
        wild: false,
        counts: Counts::default(),
    };
    model.turn();
    for _ in 0..INSTRUCTIONS_MAX {
        let Some(instruction) = program.next() else { break };
        model.step(instruction, &mut program, connections);
        model.check();
    }
    model.finish();
}

impl Model {
    fn step(&mut self, instruction: u8, program: &mut Program<'_>, connections: usize) {
        let connection = usize::from(instruction >> 4) % connections;
        let connection = u32::try_from(connection).unwrap_or(0);
        match instruction & 15 {
            0 | 1 => self.call(false, program.below(64)),
            2 | 3 => self.call(true, program.below(64)),
            4 => self.cancel(program.below(self.calls.len())),
            5 => {
                let which = program.below(self.calls.len());
                self.cancel(which);
                self.cancel(which);
            }
            6 => self.pass(program.below(256) as u64 * MS / 8),
            7 | 8 => self.turn(),
            9..=11 => self.answer(connection, program.below(256), instruction & 15 == 11),
            12 => {
                let bytes = program.below(200);
                let line = program.bytes(bytes).to_vec();
                self.say_wildly(connection, line);
            }
            13 => self.deliver(connection, usize::MAX),
            14 => self.deliver(connection, 1 + program.below(60)),
            _ => self.lose(connection),
        }
    }

    // What callers do.

    fn call(&mut self, shared: bool, patience_ms: usize) {
        let tag = self.calls.len() as u64;
        let timeout = (1 + patience_ms as u64) * MS;
        let wait = Wait {
            timeout: Duration::from_nanos(timeout),
            at_most: Duration::from_nanos(2 * timeout),
            progress: patience_ms % 2 == 1,
        };
        let body = format!(r#""method":"tools/call","params":{{"name":"echo","arguments":{{"n":{tag}}}"#);
        let id = if shared {
            self.core.enqueue(self.now, tag, wait, body.as_bytes())
        } else {
            self.core.submit(self.now, tag, wait, body.as_bytes())
        };
        let Some(id) = id else { return };
        assert!(self.by_id.insert(id, self.calls.len()).is_none(), "the id {id} came a second time");
        let (due, limit) = (self.now + timeout, self.now + 2 * timeout);
        self.calls.push(Call { id, shared, due, limit, asked: None, ended: false });
        self.counts.submitted += 1;
        self.counts.live += 1;
        // While nobody can be reached it may have ended at once.
        self.hear(|_, kind, fate| (kind, fate) == (ErrorKind::Unreachable, Fate::NotSent));
    }

    /// Ends a live call, and nothing else.
    fn cancel(&mut self, which: usize) {
        let Some(call) = self.calls.get(which) else { return };
        let (id, was_live) = (call.id, !call.ended);
        self.core.cancel(self.now, id);
        let before = self.counts.cancelled;
        self.hear(|call, kind, fate| {
            call.id == id
                && kind == ErrorKind::Cancelled
                && (fate == Fate::Unknown || fate == Fate::NotSent && call.asked.is_none())
        });
        assert_eq!(self.counts.cancelled - before, u64::from(was_live), "cancelling {id}");
    }

    // What the machine does.

    fn pass(&mut self, ns: u64) {
        self.now += ns;
        if self.now < self.core.poll_deadline() {
            return;
        }
        self.core.handle_time(self.now);
        let now = self.now;
        self.hear(|call, kind, fate| match kind {
            ErrorKind::Timeout => {
                now >= call.due.min(call.limit) && (fate == Fate::Unknown || call.asked.is_none())
            }
            // An attempt to open took too long, the last one.
            ErrorKind::Unreachable => fate == Fate::NotSent && call.asked.is_none(),
            ErrorKind::ConnectionLost => fate == Fate::Unknown || call.asked.is_none(),
            _ => false,
        });
        self.turn();
    }

    /// Dialling, hanging up, assigning, writing: all there is to do.
    fn turn(&mut self) {
        while let Some(connection) = self.core.poll_hang_up() {
            self.pipes.remove(&connection);
            self.core.handle_gone(connection);
            self.hear(lost);
        }
        while let Some(connection) = self.core.poll_dial(self.now) {
            let stood = self.pipes.insert(connection, Pipe::default());
            assert!(stood.is_none(), "dialled twice");
            self.core.handle_opened(self.now, connection);
            self.hear(|_, _, _| false);
        }
        self.core.assign(self.now);
        self.hear(|_, _, _| false);
        while let Some(connection) = self.core.poll_dirty() {
            let output = self.core.transmit(connection).to_vec();
            self.core.handle_transmitted(connection, output.len());
            self.serve(connection, &output);
        }
    }

    /// The server reads what was written: openings are answered, calls wait for the program.
    fn serve(&mut self, connection: u32, output: &[u8]) {
        let place = (connection, self.core.view(connection).epoch);
        let pipe = self.pipes.get_mut(&connection).expect("output for a connection that stands");
        pipe.out.extend_from_slice(output);
        while let Some(end) = pipe.out.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pipe.out.drain(..=end).collect();
            let request: Value = serde_json::from_slice(&line).expect("the core writes JSON");
            let Some(id) = request["id"].as_u64() else { continue };
            if request["method"] == "tools/call" {
                let which = *self.by_id.get(&id).expect("a call that was made");
                let call = &mut self.calls[which];
                assert_eq!(request["params"]["arguments"]["n"], which, "another call's arguments");
                assert!(call.asked.is_none(), "{id} is asked twice");
                call.asked = Some(place);
                pipe.asked.push(id);
            } else {
                let version = request["params"]["protocolVersion"].clone();
                let info = json!({"name": "model", "version": "1"});
                let result = json!({
                    "protocolVersion": version, "capabilities": {}, "serverInfo": info,
                    "supportedVersions": ["2026-07-28"],
                });
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
                pipe.say(Line::Opening, answer.into_bytes());
            }
        }
    }

    /// Somebody answers one of the calls that were asked here, for the first time or again; or one that was not.
    fn answer(&mut self, connection: u32, pick: usize, is_error: bool) {
        let Some(pipe) = self.pipes.get_mut(&connection) else { return };
        let id = match pipe.asked.len() {
            n if pick % (n + 1) < n => pipe.asked[pick % (n + 1)],
            _ => self.calls.get(pick % self.calls.len().max(1)).map_or(999_999, |call| call.id),
        };
        let answer = if is_error {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": "no"}})
        } else {
            json!({"jsonrpc": "2.0", "id": id, "result": {"for": id}})
        };
        pipe.say(Line::Answer { id, is_error }, answer.to_string().into_bytes());
    }

    fn say_wildly(&mut self, connection: u32, mut line: Vec<u8>) {
        line.retain(|byte| *byte != b'\n');
        if let Some(pipe) = self.pipes.get_mut(&connection) {
            // From its first byte on: noise is counted before its end.
            self.wild = true;
            pipe.say(Line::Wild, line);
        }
    }

    fn lose(&mut self, connection: u32) {
        if self.pipes.remove(&connection).is_none() {
            return;
        }
        let place = (connection, self.core.view(connection).epoch);
        self.core.handle_lost(self.now, connection, "lost");
        self.hear(lost);
        let left = self.calls.iter().find(|call| call.asked == Some(place) && !call.ended);
        assert!(left.is_none(), "a call lives on a transport that is gone: {:?}", left.map(|call| call.id));
    }

    /// Delivers bytes of the server, and looks that each line did what it has to.
    fn deliver(&mut self, connection: u32, most: usize) {
        let Some(pipe) = self.pipes.get_mut(&connection).filter(|pipe| !pipe.inbox.is_empty()) else {
            return;
        };
        let bytes: Vec<u8> = pipe.inbox.drain(..most.min(pipe.inbox.len())).collect();
        let place = (connection, self.core.view(connection).epoch);
        let taken = self.core.handle_received(self.now, connection, &bytes);
        pipe.inbox.splice(0..0, bytes[taken..].iter().copied());
        let lines = pipe.delivered(taken);
        let mut told: VecDeque<Told> = self.core.take_told().into();
        let (mut opens, dropped_before) = (false, self.dropped);
        for (line, text) in lines {
            match line {
                Line::Opening => opens = true,
                Line::Answer { id, is_error } => {
                    let call = self.by_id.get(&id).map(|which| &self.calls[*which]);
                    let is_live = call.is_some_and(|call| !call.ended);
                    let asked = call.and_then(|call| call.asked);
                    let end = if is_error { End::Error(text) } else { End::Result(text) };
                    // An answer that comes before the question finds it if that stands in the output already.
                    let is_early = asked.is_none() && next_is(&told, id, &end);
                    if is_live && (asked == Some(place) || is_early) {
                        let ended = next_end(&mut told).expect("the answer ends its call");
                        assert_eq!((ended.0, &ended.3), (id, &end), "the end that this answer makes");
                        self.end(ended);
                    } else {
                        self.dropped += 1;
                    }
                }
                Line::Wild => {
                    // It may be an answer in any spelling, good or bad.
                    let Some(ended) = next_end(&mut told) else { continue };
                    // As above: it may be the answer to a question that stands in the output still.
                    let is_here = self.calls[ended.1 as usize].asked.is_none_or(|asked| asked == place);
                    let is_of_it = match &ended.3 {
                        // Without the blanks and the noise around it.
                        End::Result(message) | End::Error(message) => {
                            text.trim_ascii_end().ends_with(message)
                        }
                        End::Failed(_, fate) => *fate == Fate::Answered,
                    };
                    if is_here && is_of_it {
                        self.end(ended);
                    } else {
                        told.push_front(ended.into());
                    }
                }
            }
        }
        if self.core.view(connection).epoch != place.1 {
            self.void += self.dropped - dropped_before;
        }
        // What is left is the connection's end, if a wild line or an opening that came to nothing brought it about.
        while let Some(ended) = next_end(&mut told) {
            assert!(self.wild || opens, "{} ended by nothing that was said: {:?}", ended.0, ended.3);
            assert!(matches!(ended.3, End::Failed(..)), "{} ended by nothing that was said", ended.0);
            self.end(ended);
        }
        self.turn();
    }

    // Accounts.

    /// Takes what the core told; every end has to be one that `may` allows.
    fn hear(&mut self, may: impl Fn(&Call, ErrorKind, Fate) -> bool) {
        let mut told: VecDeque<Told> = self.core.take_told().into();
        while let Some(ended) = next_end(&mut told) {
            let call = &self.calls[ended.1 as usize];
            let End::Failed(kind, fate) = ended.3 else {
                panic!("{} was answered while nothing was delivered", ended.0)
            };
            assert!(may(call, kind, fate), "{} may not end with {kind:?}, {fate:?} here", call.id);
            self.end(ended);
        }
    }

    fn end(&mut self, (id, tag, shared, end): Ended) {
        let call = &mut self.calls[tag as usize];
        assert_eq!((call.id, call.shared), (id, shared), "the tag {tag} came back with another call");
        assert!(!std::mem::replace(&mut call.ended, true), "{id} ended twice, now with {end:?}");
        self.counts.live -= 1;
        match end {
            End::Result(_) => self.counts.answered += 1,
            End::Error(_) => {
                self.counts.answered += 1;
                self.counts.rpc_errors += 1;
            }
            End::Failed(ErrorKind::Cancelled, _) => self.counts.cancelled += 1,
            End::Failed(kind, _) => {
                self.counts.failed += 1;
                self.counts.timed_out += u64::from(kind == ErrorKind::Timeout);
            }
        }
        if shared {
            self.core.release(id);
        }
    }

    fn check(&mut self) {
        let stats = self.core.stats();
        let counts = Counts {
            submitted: stats.submitted,
            answered: stats.answered,
            rpc_errors: stats.rpc_errors,
            failed: stats.failed,
            timed_out: stats.timed_out,
            cancelled: stats.cancelled,
            live: stats.live,
        };
        assert_eq!(counts, self.counts);
        if !self.wild {
            let dropped = stats.late + stats.unknown;
            let foretold = self.dropped - self.void..=self.dropped;
            assert!(foretold.contains(&dropped), "{dropped} answers ended nothing, not {foretold:?}");
            assert_eq!(stats.malformed + stats.noise_lines + stats.id_less, 0, "every line was a good one");
        }
        if self.now >= self.core.poll_deadline() {
            return;
        }
        for call in self.calls.iter().filter(|call| !call.ended) {
            assert!(self.now <= call.limit + SWEEP_NS, "{} lives beyond its time", call.id);
        }
    }

    /// Everything ends, once.
    fn finish(&mut self) {
        self.core.close(self.now);
        self.hear(|call, kind, fate| {
            kind == ErrorKind::Closed && (fate == Fate::Unknown || call.asked.is_none())
        });
        self.check();
        assert_eq!(self.counts.live, 0);
        assert!(self.core.is_idle(), "closed, and a call lives");
        while let Some(connection) = self.core.poll_hang_up() {
            self.core.handle_gone(connection);
        }
        self.hear(|_, _, _| false);
        assert!(self.core.is_closed(), "closed, and a connection is not");
        self.check();
    }
}

impl Pipe {
    fn say(&mut self, line: Line, text: Vec<u8>) {
        self.inbox.extend_from_slice(&text);
        self.inbox.push(b'\n');
        self.lines.push_back((line, text));
    }

    /// Which lines are whole now.
    fn delivered(&mut self, bytes: usize) -> Vec<(Line, Vec<u8>)> {
        self.delivered += bytes;
        let mut whole = Vec::new();
        while let Some((_, text)) = self.lines.front() {
            let length = text.len() + 1;
            if self.delivered < length {
                break;
            }
            self.delivered -= length;
            whole.extend(self.lines.pop_front());
        }
        whole
    }
}

type Ended = (u64, u64, bool, End);

impl From<Ended> for Told {
    fn from((id, tag, shared, end): Ended) -> Self {
        Self::Ended { id, tag, shared, end }
    }
}

/// The next call that ended; what else was told is not looked at.
fn next_end(told: &mut VecDeque<Told>) -> Option<Ended> {
    loop {
        if let Told::Ended { id, tag, shared, end } = told.pop_front()? {
            return Some((id, tag, shared, end));
        }
    }
}

/// Is this the next end?
fn next_is(told: &VecDeque<Told>, of: u64, expected: &End) -> bool {
    told.iter().find_map(|told| match told {
        Told::Ended { id, end, .. } => Some(*id == of && end == expected),
        _ => None,
    }) == Some(true)
}

/// What may become of calls when a transport is gone.
fn lost(call: &Call, kind: ErrorKind, fate: Fate) -> bool {
    match kind {
        ErrorKind::ConnectionLost => fate == Fate::Unknown || call.asked.is_none(),
        ErrorKind::Unreachable => fate == Fate::NotSent && call.asked.is_none(),
        _ => false,
    }
}
