//! One transport of a world: the kernel between an engine's connection and a server.
//!
//! Towards the server it takes as much as it likes, up to a buffer that the server has to empty. Towards the engine it
//! delivers what the server said, cut anywhere. It watches the engine's output line by line, so that it can say of every
//! frame whether a byte of it has left.

use std::collections::VecDeque;

use fastrand::Rng;
use serde_json::{Value, value::RawValue};

use crate::{
    ledger::{Ledger, Place},
    server::{Item, Server},
};

/// Bytes towards a server that does not read.
const BUFFER_BYTES: usize = 8 * 1024;

/// A message of the engine's.
#[derive(Clone, Copy)]
enum What {
    Request(u64),
    /// A notification of the engine's user.
    Note,
    Other,
}

/// The messages of a line, several if it is an array, and where in it each begins.
fn messages(line: &[u8]) -> Vec<(usize, Value)> {
    let text = str::from_utf8(line).expect("the engine writes UTF-8");
    let parse = |text: &str| serde_json::from_str(text).expect("the engine writes JSON");
    if !text.starts_with('[') {
        return vec![(0, parse(text))];
    }
    let elements: Vec<&RawValue> = serde_json::from_str(text).expect("the engine writes JSON");
    // Elements are pieces of the line, so their places in memory tell where they are in it.
    let start = |element: &str| element.as_ptr().addr() - text.as_ptr().addr();
    elements.into_iter().map(|element| (start(element.get()), parse(element.get()))).collect()
}

/// A transport and the server behind it.
pub(crate) struct Pipe {
    pub(crate) place: Place,
    pub(crate) server: Server,
    /// Bytes that the kernel has taken.
    taken: u64,
    /// Bytes of the engine's output that were looked at, from the start of the transport.
    known: u64,
    /// Messages of which no byte has left, and where they begin.
    frames: VecDeque<(u64, What)>,
    /// Taken, and not yet read by the server.
    buffer: Vec<u8>,
    /// How much of the server's first line has been delivered.
    delivered: usize,
    /// The kernel takes nothing for the time being.
    pub(crate) blocked: bool,
    /// The server does not read for the time being.
    pub(crate) deaf: bool,
    /// Broken: nothing goes in or out any more.
    pub(crate) broken: bool,
    /// Requests that the server sent and that were delivered, while the engine knew it for a server of the handshake era.
    pub(crate) requests: Vec<String>,
    /// Notifications of the engine's user that were put into the output, and of these those that left.
    pub(crate) notes_placed: u64,
    pub(crate) notes_left: u64,
    /// Cancellations put into the output.
    pub(crate) cancellations: u64,
}

impl Pipe {
    pub(crate) fn new(place: Place, server: Server) -> Self {
        Self {
            place,
            server,
            taken: 0,
            known: 0,
            frames: VecDeque::new(),
            buffer: Vec::new(),
            delivered: 0,
            blocked: false,
            deaf: false,
            broken: false,
            requests: Vec::new(),
            notes_placed: 0,
            notes_left: 0,
            cancellations: 0,
        }
    }

    /// Looks at what is new in the engine's output.
    pub(crate) fn watch(&mut self, waiting: &[u8], ledger: &mut Ledger) {
        let end = self.taken + waiting.len() as u64;
        if end == self.known {
            return;
        }
        let fresh = &waiting[(self.known - self.taken) as usize..];
        assert_eq!(fresh.last(), Some(&b'\n'), "the output ends in the middle of a message");
        let mut at = self.known;
        for line in fresh.split_inclusive(|byte| *byte == b'\n') {
            for (start, message) in messages(line) {
                self.watch_message(at + start as u64, &message, ledger);
            }
            at += line.len() as u64;
        }
        self.known = end;
    }

    fn watch_message(&mut self, at: u64, message: &Value, ledger: &mut Ledger) {
        let what = match (message["method"].as_str(), message["id"].as_u64()) {
            (Some(_), Some(id)) => What::Request(id),
            (Some("user/note"), None) => What::Note,
            _ => What::Other,
        };
        match what {
            What::Request(id) => ledger.place(id, self.place),
            What::Note => self.notes_placed += 1,
            What::Other => self.cancellations += u64::from(message["method"] == "notifications/cancelled"),
        }
        self.frames.push_back((at, what));
    }

    /// Takes some of `waiting`, or nothing.
    pub(crate) fn take(&mut self, waiting: &[u8], ledger: &mut Ledger, rng: &mut Rng) -> usize {
        let room = BUFFER_BYTES.saturating_sub(self.buffer.len()).min(waiting.len());
        if self.blocked || room == 0 {
            return 0;
        }
        let taken = match rng.u32(..6) {
            0..=2 => room,
            // Just before a message ends, or just inside the next one.
            3 => self.frames.back().map_or(room, |(start, _)| start.saturating_sub(self.taken) as usize),
            4 => {
                self.frames.back().map_or(room, |(start, _)| (start + 1).saturating_sub(self.taken) as usize)
            }
            _ => rng.usize(1..=room),
        };
        let taken = taken.clamp(1, room);
        self.buffer.extend_from_slice(&waiting[..taken]);
        self.taken += taken as u64;
        while let Some((_, what)) = self.frames.pop_front_if(|(start, _)| *start < self.taken) {
            match what {
                What::Request(id) => ledger.leave(id, self.place),
                What::Note => self.notes_left += 1,
                What::Other => {}
            }
        }
        taken
    }

    /// The server reads all, or some.
    pub(crate) fn let_server_read(&mut self, rng: &mut Rng) {
        if self.deaf || self.broken || self.buffer.is_empty() {
            return;
        }
        let read = if rng.bool() { self.buffer.len() } else { rng.usize(1..=self.buffer.len()) };
        let bytes: Vec<u8> = self.buffer.drain(..read).collect();
        self.server.read(&bytes, rng);
    }

    /// Bytes that could be delivered now, at most so many.
    pub(crate) fn next_bytes(&self, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut skip = self.delivered;
        for line in &self.server.out {
            if bytes.len() >= most {
                break;
            }
            bytes.extend_from_slice(&line.bytes[skip..]);
            skip = 0;
        }
        bytes.truncate(most);
        bytes
    }

    /// `bytes` of them were delivered; the meaning of the lines that are complete by that.
    pub(crate) fn delivered(&mut self, bytes: usize) -> Vec<Item> {
        self.delivered += bytes;
        let mut items = Vec::new();
        while let Some(line) = self.server.out.front()
            && self.delivered >= line.bytes.len()
        {
            self.delivered -= line.bytes.len();
            items.extend(self.server.out.pop_front().into_iter().flat_map(|line| line.items));
        }
        items
    }
}
