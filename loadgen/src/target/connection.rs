//! One client's bytes: read in slices, split into lines, answered, written in one go.
//!
//! A turn reads at most one slice, hands its whole lines to the session and writes what came of
//! them, so that the client works on our answers while we work on its next calls. Bytes are
//! split in the slice itself; only the torn line at its end is copied. Both large buffers are
//! lent by the event loop for the turn: an idle connection holds a few hundred bytes.
//!
//! What always holds: reading stops while `OUT_BYTES_FULL` bytes are unsent, and resumes when
//! they drained; writing never waits for reading. Readiness is a memory of the last edge, reset
//! by a read or write that found the end of it.

use std::io;
use std::time::{Duration, Instant};

use super::listener::Stream;
use super::session::Session;
use super::world::{ConnectionKey, Turn, Work, World};

/// A stream and the conversation on it.
pub(super) struct Connection {
    stream: Stream,
    key: ConnectionKey,
    session: Session,
    /// The start of a line whose end was not read yet, or lines for which there was no room.
    pending: Vec<u8>,
    /// `pending` has whole lines.
    has_lines: bool,
    output: Output,
    /// There may be something to read.
    pub(super) readable: bool,
    /// The client ended its side; read on until the end shows.
    pub(super) closing: bool,
    input_ended: bool,
    /// After the end of input: the output unsent when patience was last asked for.
    lingering: Option<usize>,
    /// Stays after the end of its input.
    ignores_end: bool,
    /// The event loop has it in its list of things to do.
    pub(super) is_queued: bool,
}

/// What a connection wants after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another turn: there is more to do.
    Turn,
    /// To be told about readiness.
    Wait,
    Close,
}

/// The buffers that the event loop lends to each connection in turn.
pub(super) struct Scratch {
    slice: Box<[u8]>,
    output: Vec<u8>,
}

/// Bytes on their way out. Invariant: `sent <= bytes.len()`.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    sent: usize,
    blocked: bool,
}

impl Connection {
    pub(super) fn new(stream: Stream, key: ConnectionKey, ignores_end: bool) -> Self {
        Self {
            readable: stream.is_always_readable(),
            stream,
            key,
            session: Session::new(),
            pending: Vec::new(),
            has_lines: false,
            output: Output::default(),
            closing: false,
            input_ended: false,
            lingering: None,
            ignores_end,
            is_queued: false,
        }
    }

    /// Notes that the stream takes bytes again.
    pub(super) fn handle_writable(&mut self) {
        self.output.blocked = false;
    }

    /// Reads, answers and writes as much as is due in one turn.
    pub(super) fn turn(&mut self, world: &mut World, scratch: &mut Scratch) -> Next {
        self.output.borrow(&mut scratch.output);
        let worked = self.work(world, &mut scratch.slice);
        self.output.give_back(&mut scratch.output);
        let next = worked.map_or(Next::Close, |()| self.next());
        if next == Next::Wait && self.input_ended && !self.ignores_end && self.lingering.is_none() {
            self.lingering = Some(usize::MAX);
            world.arm(LINGER, Some(self.key), Work::Close);
        }
        next
    }

    /// Does work whose time has come. The next turn writes what came of it, in one go with the
    /// answers that are due in the same round.
    pub(super) fn handle_due(&mut self, work: Work, world: &mut World) -> Next {
        if matches!(work, Work::Close) {
            return self.linger(world);
        }
        self.session.handle_due(work, &mut self.output.turn(world, self.key));
        Next::Turn
    }

    /// The client has ended its side for a while: nothing is held for it any longer, and what is
    /// unsent has as much time as it keeps moving.
    fn linger(&mut self, world: &mut World) -> Next {
        self.session.abandon(world);
        let unsent = self.output.unsent();
        if unsent == 0 || self.lingering == Some(unsent) {
            return Next::Close;
        }
        self.lingering = Some(unsent);
        world.arm(LINGER, Some(self.key), Work::Close);
        Next::Wait
    }

    /// Lets go of what is owed; no further call may follow.
    pub(super) fn abandon(&mut self, world: &mut World) {
        self.session.abandon(world);
    }

    /// Writes everything or gives up after a second; for the last words before an exit.
    pub(super) fn flush_patiently(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.output.unsent() > 0 && Instant::now() < deadline {
            self.output.blocked = false;
            if self.output.flush(&mut self.stream).is_err() {
                return;
            }
            if self.output.blocked {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn work(&mut self, world: &mut World, slice: &mut [u8]) -> io::Result<()> {
        self.output.flush(&mut self.stream)?;
        if self.may_take() {
            self.take_some(world, slice)?;
        }
        if !self.readable && !self.has_lines && world.behaviour.reorder > 0 {
            self.session.flush_shuffled(&mut self.output.turn(world, self.key));
        }
        self.output.flush(&mut self.stream)
    }

    /// Takes lines that found no room before, or else one slice of what there is to read.
    fn take_some(&mut self, world: &mut World, slice: &mut [u8]) -> io::Result<()> {
        if self.has_lines {
            let lines = std::mem::take(&mut self.pending);
            self.take(&lines, world);
            return Ok(());
        }
        if !self.readable {
            return Ok(());
        }
        let bytes = if world.behaviour.slow_read { 1 } else { slice.len() };
        match self.stream.read(&mut slice[..bytes]) {
            Ok(0) => (self.readable, self.input_ended) = (false, true),
            Ok(read) => {
                // A short read of a stream has emptied it. If its end was announced, only reading
                // on will show it.
                self.readable = read == bytes || self.closing || self.stream.is_always_readable();
                self.take(&slice[..read], world);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes the lines in `bytes`, after the torn line that came before them.
    fn take(&mut self, mut bytes: &[u8], world: &mut World) {
        let mut turn = self.output.turn(world, self.key);
        if !self.pending.is_empty() {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.pending.extend_from_slice(bytes);
                if self.pending.len() > LINE_BYTES_MAX {
                    self.session.refuse_long_line(&mut turn);
                }
                return;
            };
            self.pending.extend_from_slice(&bytes[..=end]);
            bytes = &bytes[end + 1..];
            let taken = self.session.take_lines(&self.pending, &mut turn);
            self.pending.drain(..taken);
            if !self.pending.is_empty() {
                self.pending.extend_from_slice(bytes);
                self.has_lines = true;
                return;
            }
            self.pending.shrink_to(PENDING_BYTES_KEPT);
        }
        let taken = self.session.take_lines(bytes, &mut turn);
        let rest = &bytes[taken..];
        self.pending.extend_from_slice(rest);
        self.has_lines = memchr::memchr(b'\n', rest).is_some();
    }

    fn may_take(&self) -> bool {
        self.output.unsent() < OUT_BYTES_FULL && !self.session.ending
    }

    fn next(&self) -> Next {
        let is_settled = self.output.unsent() == 0;
        let is_over = self.input_ended && !self.ignores_end && !self.has_lines && !self.session.owes();
        if is_settled && (self.session.ending || is_over) {
            Next::Close
        } else if (self.readable || self.has_lines) && self.may_take() {
            Next::Turn
        } else {
            Next::Wait
        }
    }
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self { slice: vec![0; SLICE_BYTES].into(), output: Vec::new() }
    }
}

impl Output {
    fn unsent(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn turn<'a>(&'a mut self, world: &'a mut World, key: ConnectionKey) -> Turn<'a> {
        let out_bytes_full = self.sent + OUT_BYTES_FULL;
        Turn { world, out: &mut self.bytes, out_bytes_full, key }
    }

    fn flush(&mut self, stream: &mut Stream) -> io::Result<()> {
        while self.sent < self.bytes.len() && !self.blocked {
            match stream.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.sent * 2 >= self.bytes.len() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Uses the lent buffer, unless bytes wait in one of its own.
    fn borrow(&mut self, spare: &mut Vec<u8>) {
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, spare);
        }
    }

    fn give_back(&mut self, spare: &mut Vec<u8>) {
        if self.bytes.is_empty() {
            self.bytes.shrink_to(OUT_BYTES_FULL);
            std::mem::swap(&mut self.bytes, spare);
            self.bytes = Vec::new();
        }
    }
}

/// How much one turn reads. Measured over TCP with 1024 and 8192 calls of 110 bytes in flight, on
/// a busy host with two cores: 6.5 M calls/s; 32 KiB came to 4.4 to 6.3 M, 8 KiB to some 3 M.
const SLICE_BYTES: usize = 64 << 10;
/// Unsent output beyond this stops the reading of a connection until it drains.
const OUT_BYTES_FULL: usize = 4 << 20;
/// A longer line is refused and ends its connection.
const LINE_BYTES_MAX: usize = 256 << 20;
/// What an idle connection may keep of the memory its longest torn line took.
const PENDING_BYTES_KEPT: usize = 4 << 10;
/// How long a client that ended its side waits for what we owe.
const LINGER: Duration = Duration::from_secs(5);
