//! The stages of a call, one by one, for the unit benches. Each returns something that the bench compares with what it
//! expects, so that no stage is fast and wrong.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use crate::{
    Error, ToolResult,
    base::{
        buffer::{ChunkPool, ReceiveBuffer},
        limits::READ_SLICE_BYTES,
        time::Instant,
    },
    decode::answer,
    model::tool::Tool,
    proto::{
        event::{Ended, Outcome, Patience, Sink},
        exchange::{EraMemory, Exchange, Overflow, Settings},
        framing::newline::{Newline, Split},
        http::{
            body::{Step, Taking},
            head::Media,
            reader::Reader,
        },
        message::{
            encode::{self, Tail},
            envelope::{self, Id},
            handshake::ServerInfo,
        },
        revision::Revision,
    },
    slab::{
        key::{Key, KeyLayout},
        magazine::Magazine,
    },
};

/// Cuts `bytes` into frames; returns how many there are.
pub fn split(bytes: &[u8]) -> usize {
    let mut frames = 0;
    each_frame(bytes, |_| frames += 1);
    frames
}

/// Cuts `bytes` into frames and finds each one's id; returns how many frames had one, and the ids' sum.
pub fn split_and_scan(bytes: &[u8]) -> (usize, u64) {
    let mut ids = Ids::default();
    each_frame(bytes, |frame| ids.look(frame));
    (ids.found, ids.sum)
}

/// Finds the id of each of the frames, which are cut already; returns how many had one, and the ids' sum.
pub fn scan<'a>(frames: impl Iterator<Item = &'a [u8]>) -> (usize, u64) {
    let mut ids = Ids::default();
    frames.for_each(|frame| ids.look(frame));
    (ids.found, ids.sum)
}

#[derive(Default)]
struct Ids {
    found: usize,
    sum: u64,
}

impl Ids {
    fn look(&mut self, frame: &[u8]) {
        if let Id::Number(id) = envelope::scan(frame).id {
            self.found += 1;
            self.sum = self.sum.wrapping_add(id);
        }
    }
}

fn each_frame(bytes: &[u8], mut see: impl FnMut(&[u8])) {
    let mut splitter = Newline::new(1 << 30);
    let mut at = 0;
    while at < bytes.len() {
        match splitter.split(&bytes[at..]) {
            Split::Frame { frame, consumed } => {
                see(&bytes[at + frame.start..at + frame.end]);
                at += consumed;
            }
            Split::Oversized { consumed, .. } => at += consumed,
            Split::NeedMore { .. } => return,
        }
    }
}

/// Takes HTTP responses apart, read in slices as a socket gives them, and finds the id in each message of their bodies;
/// returns how many responses ended, how many messages had an id, and the ids' sum.
///
/// # Panics
/// If the bytes are no responses.
pub fn responses(bytes: &[u8]) -> (usize, usize, u64) {
    let (mut ended, mut ids) = (0, Ids::default());
    let (mut reader, mut inbox, mut pool) =
        (Reader::new(1 << 24), ReceiveBuffer::default(), ChunkPool::default());
    for slice in bytes.chunks(READ_SLICE_BYTES) {
        inbox.extend(slice, &mut pool);
        loop {
            match reader.step(&mut inbox, &mut pool) {
                Step::NeedMore => break,
                Step::Head(head) => {
                    let taking = match head.media {
                        Media::Json => Taking::Json,
                        Media::EventStream => reader.events(),
                        Media::Other => Taking::Nothing,
                    };
                    reader.take(taking);
                }
                Step::Json(place) | Step::Event(_, Some(place)) => {
                    if let Some(frame) = reader.frame(&inbox, place) {
                        ids.look(frame.bytes());
                    }
                    reader.consume(&mut inbox, place);
                }
                Step::Event(_, None) => {}
                Step::End => ended += 1,
                Step::Oversized(_) => panic!("a body beyond the bound"),
                Step::Broken(why) => panic!("no HTTP: {why}"),
            }
        }
    }
    (ended, ids.found, ids.sum)
}

/// Requests in the making, to a server of the modern era.
pub struct Encoder {
    tail: Tail,
    tool: Tool,
    layout: KeyLayout,
}

impl Default for Encoder {
    fn default() -> Self {
        let tail = Tail::new(Revision::LATEST, r#"{"name":"volley","version":"0"}"#, "{}");
        Self { tail, tool: Tool::new("echo"), layout: KeyLayout::for_slots(1 << 12, 0, 1) }
    }
}

impl Encoder {
    /// Writes so many calls with short arguments behind `out`.
    pub fn encode(&self, out: &mut Vec<u8>, calls: u32) {
        for slot in 0..calls {
            let key = self.layout.key(1, slot);
            encode::request(out, key, &self.tail, false, |out| {
                out.extend_from_slice(self.tool.head());
                out.extend_from_slice(ARGUMENTS);
            });
        }
    }
}

impl Encoder {
    /// The same calls in a run, as `Inline::submit_batch` and bulk jobs hand them over.
    pub fn encode_run(&self, out: &mut Vec<u8>, calls: u32) {
        let mut run = encode::Run::new();
        for slot in 0..calls {
            let key = self.layout.key(1, slot);
            run.request(out, key, &self.tail, false, [self.tool.head(), ARGUMENTS]);
        }
    }
}

/// Reads a response as the engine does.
///
/// # Errors
/// As [`crate::RawAnswer::tool_result`].
pub fn decode(bytes: &[u8]) -> Result<ToolResult, Error> {
    answer::tool_result(bytes)
}

/// A whole exchange with one connection and a peer that answers everything at once, in memory: all user-space stages of a
/// call but the copy into the kernel.
pub struct Loopback {
    exchange: Exchange,
    tool: Tool,
    keys: Vec<Key>,
    replies: Vec<u8>,
    now: u64,
}

struct KnownModern;

impl EraMemory for KnownModern {
    fn recall(&self) -> Option<Revision> {
        Some(Revision::LATEST)
    }

    fn remember(&self, _revision: Option<Revision>) {}

    fn may_probe(&self) -> bool {
        true
    }

    fn introduce(&self, _info: ServerInfo) {}
}

const ARGUMENTS: &[u8] = br#"{"message":"hello, world"}"#;

/// Where the id of a request begins.
const ID_AT: usize = r#"{"jsonrpc":"2.0","id":"#.len();

const PATIENCE: Patience = Patience {
    timeout: Duration::from_secs(30),
    at_most: Duration::from_secs(300),
    progress: false,
    standing: false,
};

struct Count(usize);

impl Sink for Count {
    fn ended(&mut self, _now: Instant, call: Ended<'_>) {
        self.0 += usize::from(matches!(call.outcome, Outcome::Result(_)));
    }
}

impl Loopback {
    /// One with so many calls in flight.
    ///
    /// # Panics
    /// If `window` is zero.
    pub fn new(window: u32) -> Self {
        let layout = KeyLayout::for_slots(window + 1, 0, 1);
        let minute = Duration::from_secs(60);
        let settings = Settings {
            connections: 1,
            overflow: Overflow::default(),
            health: None,
            window: NonZeroU32::new(window).expect("a window of at least one"),
            window_min: None,
            frame_bytes_max: 1 << 24,
            revision: None,
            client_info: r#"{"name":"volley","version":"0"}"#.to_owned(),
            capabilities: "{}".to_owned(),
            probe_timeout: minute,
            attempt_timeout: minute,
            attempts_max: 1,
            first_attempts_max: 1,
            revives: false,
            backoff_base: minute,
            backoff_cap: minute,
            orphan_debt: minute,
            orphan_ttl: minute,
            standing_max: 0,
            silence: minute,
            http: None,
            arrays: crate::Config::default().values.arrays.rules,
            is_plain: false,
            seed: 0,
        };
        let magazine = Magazine::alone(layout, 1, window);
        let mut exchange = Exchange::new(settings, Arc::new(KnownModern), layout, window + 1, magazine);
        let now = Instant::from_ns(1);
        let connection = exchange.poll_dial(now).expect("the era is known, so a transport is wanted");
        exchange.handle_opened(now, connection, false);
        Self { exchange, tool: Tool::new("echo"), keys: Vec::new(), replies: Vec::new(), now: 1 }
    }

    /// Fills the window, lets the peer answer all of it, and takes the answers in slices of 16 KiB. Returns how many calls
    /// were answered.
    pub fn round(&mut self) -> usize {
        self.round_of(|exchange, now, tool, keys| {
            while let Ok(key) = exchange.submit(now, 0, &PATIENCE, |out| {
                out.extend_from_slice(tool.head());
                out.extend_from_slice(ARGUMENTS);
            }) {
                keys.push(key);
            }
        })
    }

    /// The same with calls that are handed over together. (To know their ids, the peer reads what it is sent.)
    pub fn round_together(&mut self) -> usize {
        self.round_of(|exchange, now, tool, keys| {
            let body = |_| [tool.head(), ARGUMENTS];
            let Ok(_) = exchange.submit_run(now, &PATIENCE, usize::MAX, |_| 0, body) else { return };
            let mut rest = exchange.transmit(0);
            while let Some((_, from_id)) = rest.split_at_checked(ID_AT) {
                let digits = from_id.iter().take_while(|byte| byte.is_ascii_digit());
                keys.extend(Key::from_wire(digits.fold(0, |id, digit| 10 * id + u64::from(digit - b'0'))));
                rest = memchr::memchr(b'\n', from_id).map_or(&[], |end| &from_id[end + 1..]);
            }
        })
    }

    fn round_of(&mut self, submit: impl Fn(&mut Exchange, Instant, &Tool, &mut Vec<Key>)) -> usize {
        self.now += 1000;
        let now = Instant::from_ns(self.now);
        loop {
            let before = self.keys.len();
            submit(&mut self.exchange, now, &self.tool, &mut self.keys);
            if self.keys.len() == before {
                break;
            }
            // The output may have been full before the window was.
            while let Some(connection) = self.exchange.poll_dirty() {
                let bytes = self.exchange.transmit(connection).len();
                self.exchange.handle_transmitted(connection, bytes);
            }
        }
        self.replies.clear();
        for key in self.keys.drain(..) {
            self.replies.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
            self.replies.extend_from_slice(itoa::Buffer::new().format(key.wire()).as_bytes());
            self.replies.extend_from_slice(
                br#","result":{"resultType":"complete","content":[{"type":"text","text":"hello, world"}]}}"#,
            );
            self.replies.push(b'\n');
        }
        let mut count = Count(0);
        let mut rest = &self.replies[..];
        while !rest.is_empty() {
            let space = self.exchange.space(0);
            let n = space.len().min(rest.len());
            space[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            self.exchange.handle_received(now, 0, n, &mut count);
        }
        count.0
    }
}
