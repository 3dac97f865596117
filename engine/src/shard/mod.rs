//! A shard: one event loop that moves bytes between transports and the exchange, and asks the clock.
//!
//! A turn: what time has brought, dialling and hanging up, waiting calls to connections, writing, then a slice (for a task two) of
//! reading from each connection that is readable; only if there was nothing to read does it wait. So both sides of
//! the wire work at once, reading never waits for writing, and a busy connection cannot starve the others.
//! The same turn is driven by the shard's own thread ([`runner`]) and by a caller's thread ([`crate::Inline`]).
//!
//! Lines: on a stream a connection has one line, over HTTP as many as its pool has lanes. The shard knows lines by their number
//! (`at`), the exchange knows whose they are.
//!
//! Owner: one thread. Always: a transport that may have unread bytes stands in `readable`, or the poll will tell.

pub(crate) mod alarm;
mod arrays;
pub(crate) mod clock;
mod dialling;
pub(crate) mod inbox;
mod lookout;
pub(crate) mod mailbox;
pub(crate) mod memory;
pub(crate) mod porter;
mod refresh;
pub(crate) mod relay;
pub(crate) mod runner;
mod slices;

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use crate::{
    base::{
        limits::{
            LINES_PER_TURN_MAX, READS_PER_TURN_MAX, UNLOOKED_BYTES_MAX, UNLOOKED_TURNS_MAX, WRITE_SLICE_BYTES,
        },
        time::Instant,
    },
    config::dial::Dial,
    policy::polling::Polling,
    proto::{
        event::{Sink, Why},
        exchange::Exchange,
    },
    transport::{self, Stream, Transport},
};

use clock::Clock;
use lookout::{Lookout, TIMER, WAKE};
use slices::Slices;

/// Whoever may not sleep through a push has a say before the shard waits.
pub(crate) trait Gate {
    /// About to wait. `false`: there is work, only look.
    fn may_sleep(&self) -> bool;
    /// It will wait now: a good moment to show where the calls stand.
    fn rests(&self, _exchange: &mut Exchange) {}
    /// Awake again.
    fn woke(&self);
    /// Polling without sleeping: has somebody pushed something meanwhile?
    fn has_news(&self) -> bool {
        false
    }
}

/// For a shard that nobody else talks to.
pub(crate) struct NoGate;

impl Gate for NoGate {
    fn may_sleep(&self) -> bool {
        true
    }

    fn woke(&self) {}
}

/// A function that sees what a child says on stderr.
pub(crate) type SeeStderr = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Transports by line, and the loop over them.
pub(crate) struct Shard {
    pub(crate) exchange: Exchange,
    pub(crate) clock: Clock,
    lookout: Lookout,
    dial: Arc<Dial>,
    lines: Vec<Option<Line>>,
    /// Lines that may have unread bytes, each once.
    readable: VecDeque<u32>,
    /// Scratch for `write_all`.
    unwritten: Vec<u32>,
    /// When a connecting line wants its next address; `NEVER` if none does.
    next_address_at: Instant,
    /// The address on which a line stood last.
    stood: u8,
    /// Some line has more on stderr than it was allowed to bring in one turn.
    stderr_more: bool,
    spin: Duration,
    /// Slices that are read of a line in one turn, at most.
    pub(crate) reads_per_turn: usize,
    /// Whether polling pays: for callers while no call is in flight, and for answers.
    polling: [Polling; 2],
    close_grace: Duration,
    on_stderr: Option<SeeStderr>,
    /// Turns, and bytes read, since the poll was last looked at.
    unlooked_turns: u32,
    unlooked_bytes: usize,
    slices: Slices,
    /// When the last turn began.
    pub(crate) turned_at: Instant,
    /// The poll has been looked at in this turn.
    has_looked: bool,
    /// And told that somebody rang, in this turn: it does not tell twice.
    woken: bool,
}

/// A transport in use: two cache lines, as there may be ten thousand.
#[repr(align(64))]
struct Line {
    transport: Transport,
    connecting: bool,
    /// Which address is in use, where there are several.
    address: u8,
    /// Addresses still to be tried by this attempt, after the one in use.
    more: VecDeque<u8>,
    /// When the address in use has had its share of the attempt, while there are more.
    next_address_at: Instant,
    readable: bool,
    writable: bool,
    /// A write was refused, and the poll has been asked to tell when there is room.
    awaits_room: bool,
    /// The poll has told the end of the stream (or an error). It will not tell again, so reading goes on until the end itself
    /// is read, however short a read is: data and end often come as one event.
    ended: bool,
    exited: bool,
    /// There was more on stderr than one turn takes.
    stderr_more: bool,
}

const _: () = assert!(size_of::<Line>() <= 128);

/// Pieces of 4 KiB of one child's stderr that one turn reads.
const STDERR_PIECES_PER_TURN: usize = 16;

/// Slices that are read of a connection which takes no more: a server that closes its input and goes on talking must not hold the shard up.
const LAST_READS_MAX: usize = 64;

/// With so many lines what is known of each has left the cache by its next turn.
const TOUCHED_LINES_MIN: usize = 512;

/// What polling brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Brought {
    Nothing,
    Bytes,
    /// Something else to be done.
    Work,
}

/// Even if it reads its lines directly a spinning shard asks the poll once in so many times: what a child has to say on stderr, or an opening's answer, no
/// such read brings.
const ROUNDS_PER_LOOK: u32 = 64;

/// With at most so many connections a spinning shard reads them directly instead of asking the poll.
const SPIN_READS_MAX: usize = 4;

impl Shard {
    pub(crate) fn new(
        exchange: Exchange,
        dial: Arc<Dial>,
        spin: Duration,
        close_grace: Duration,
        on_stderr: Option<SeeStderr>,
    ) -> io::Result<Self> {
        let lines = exchange.lines();
        Ok(Self {
            exchange,
            clock: Clock::new(),
            lookout: Lookout::new()?,
            dial,
            lines: (0..lines).map(|_| None).collect(),
            readable: VecDeque::with_capacity(lines.min(1024)),
            unwritten: Vec::new(),
            next_address_at: Instant::NEVER,
            stood: 0,
            stderr_more: false,
            spin,
            reads_per_turn: READS_PER_TURN_MAX,
            polling: Default::default(),
            close_grace,
            on_stderr,
            unlooked_turns: 0,
            unlooked_bytes: 0,
            slices: Slices::new(lines),
            turned_at: Instant::default(),
            has_looked: false,
            woken: false,
        })
    }

    pub(crate) fn waker(&self) -> io::Result<mio::Waker> {
        mio::Waker::new(self.lookout.registry(), WAKE)
    }

    /// The poll in which others may wait for it: readable when a turn has something to look at.
    #[cfg(feature = "tokio")]
    pub(crate) fn watchable(&self) -> io::Result<mio::Registry> {
        self.lookout.registry().try_clone()
    }

    /// Did the last look at the poll find anything?
    #[cfg(feature = "tokio")]
    pub(crate) fn has_seen_events(&self) -> bool {
        self.lookout.has_seen_events()
    }

    /// When a turn is due even if nothing happens.
    pub(crate) fn next_deadline(&self) -> Instant {
        self.exchange.poll_deadline().min(self.next_address_at)
    }

    /// One turn; waits at most `wait_max` if there is nothing to do. Returns whether anything was read.
    pub(crate) fn turn(
        &mut self,
        wait_max: Duration,
        sink: &mut impl Sink,
        gate: &impl Gate,
    ) -> io::Result<bool> {
        let now = self.clock.now();
        self.turned_at = now;
        (self.has_looked, self.woken) = (false, false);
        if now >= self.exchange.poll_deadline() {
            self.exchange.handle_time(now, sink);
        }
        self.dial_and_hang_up(now, sink);
        if now >= self.next_address_at {
            self.try_next_addresses(now, sink);
        }
        self.drain_floods();
        self.exchange.assign(now, sink);
        self.write_all(now, sink);
        self.unlooked_turns += 1;
        // While there is something to be read the poll is never waited for, but what came on other lines only the poll tells.
        // So with what came of a single one beside bytes: that it may be written to again, a word on stderr, the child's end.
        let has_read_much =
            self.lines.len() > 1 && (self.unlooked_bytes >= UNLOOKED_BYTES_MAX || self.slices.is_crowded());
        if has_read_much && self.slices.is_flooded() {
            // While a long answer comes in this loop does not sleep, and a server on this machine that is waited for on another line may
            // have no other core.
            std::thread::yield_now();
        }
        if has_read_much || self.unlooked_turns > UNLOOKED_TURNS_MAX {
            self.look(None, sink)?;
        }
        if self.read_some(sink) {
            return Ok(true);
        }
        if wait_max.is_zero() {
            self.look(None, sink)?;
            return Ok(self.read_some(sink));
        }
        let mut has_work = self.has_work(sink);
        let awaits = usize::from(!self.exchange.is_idle());
        if !self.spin.is_zero() && !has_work && self.polling[awaits].is_due() {
            if self.spin_for_bytes(wait_max, awaits, sink, gate)? {
                return Ok(true);
            }
            has_work = self.has_work(sink);
        }
        let may_sleep = !has_work && gate.may_sleep();
        let until = may_sleep.then(|| {
            gate.rests(&mut self.exchange);
            now.after(wait_max).min(self.next_deadline())
        });
        let until = until.filter(|until| *until > now);
        let looked = self.look(until, sink);
        gate.woke();
        looked?;
        Ok(self.read_some(sink))
    }

    /// Is there anything to be done without waiting? Calls that ended in this turn, by their time or with their connection, have callers
    /// who are told after it.
    fn has_work(&mut self, sink: &impl Sink) -> bool {
        self.woken
            || self.exchange.take_changed()
            || sink.owes()
            || self.exchange.has_work()
            || self.stderr_more
    }

    /// Notes what is ready; waits for it, if it is told until when.
    fn look(&mut self, until: Option<Instant>, sink: &mut impl Sink) -> io::Result<()> {
        let looked = match until {
            None => self.lookout.look(),
            Some(until) => self.lookout.sleep(&self.clock, until),
        };
        match looked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        // From here on: what is noted may write, and must not look again while the events are lent out.
        self.has_looked = true;
        (self.unlooked_turns, self.unlooked_bytes) = (0, 0);
        let flood = self.slices.take_flood();
        let found = self.lookout.take_found();
        for event in &found {
            match event.token() {
                WAKE => {
                    self.woken = true;
                    continue;
                }
                TIMER => {
                    self.lookout.has_rung();
                    continue;
                }
                _ => {}
            }
            let (at, stream) = transport::of_token(event.token());
            let ended = event.is_read_closed() || event.is_error();
            let writable = event.is_writable() || event.is_write_closed() || event.is_error();
            if let Some(line) = self.lines[at as usize].as_mut().filter(|_| stream == Stream::Main) {
                line.ended |= ended;
            }
            if stream == Stream::Main && event.is_readable() {
                self.slices.heard(at, flood, |line| self.exchange.unread(line));
            }
            self.note(at, stream, event.is_readable() || ended, writable, sink);
        }
        self.lookout.give_back(found);
        Ok(())
    }

    fn note(&mut self, at: u32, stream: Stream, readable: bool, writable: bool, sink: &mut impl Sink) {
        let Some(line) = self.lines[at as usize].as_mut() else { return };
        match stream {
            Stream::Main | Stream::Stdin => {
                if line.connecting {
                    self.finish_connecting(at, sink);
                }
                // What came with the end of a handshake lies there already, and the poll does not tell of it twice.
                let Some(line) = self.lines[at as usize].as_mut().filter(|line| !line.connecting) else {
                    return;
                };
                let readable = readable || line.transport.may_have_more();
                if readable && stream == Stream::Main && !line.readable {
                    line.readable = true;
                    self.readable.push_back(at);
                }
                if writable {
                    line.writable = true;
                    if std::mem::take(&mut line.awaits_room)
                        && let Err(error) = line.transport.await_room(self.lookout.registry(), at, false)
                    {
                        self.lose(at, format!("the poll failed: {error}"), sink);
                        return;
                    }
                    let now = self.clock.now();
                    if self.write(now, at, sink) {
                        self.exchange.more_to_write(at);
                    }
                }
            }
            Stream::Stderr => self.drain_stderr(at),
            Stream::Exit => {
                line.exited = true;
                if !line.readable {
                    line.readable = true;
                    self.readable.push_back(at);
                }
            }
        }
    }

    fn drain_stderr(&mut self, at: u32) {
        let Some(child) = self.lines[at as usize].as_mut().and_then(|line| line.transport.child()) else {
            return;
        };
        let more = child.drain_stderr(STDERR_PIECES_PER_TURN, |bytes| show(self.on_stderr.as_ref(), bytes));
        if let Some(line) = self.lines[at as usize].as_mut() {
            line.stderr_more = more;
        }
        self.stderr_more |= more;
    }

    /// Goes on with the floods that one turn did not finish: the poll has told of them and will not tell again.
    fn drain_floods(&mut self) {
        if std::mem::take(&mut self.stderr_more) {
            for at in 0..self.lines.len() as u32 {
                if self.lines[at as usize].as_ref().is_some_and(|line| line.stderr_more) {
                    self.drain_stderr(at);
                }
            }
        }
    }

    /// Polls without sleeping until something was read, somebody pushed something, a deadline has come, or the time for it is over. Says
    /// whether anything was read. `awaits`: for answers, or for callers alone.
    fn spin_for_bytes(
        &mut self,
        wait_max: Duration,
        awaits: usize,
        sink: &mut impl Sink,
        gate: &impl Gate,
    ) -> io::Result<bool> {
        if gate.has_news() {
            // It would have been seen without any polling.
            return Ok(false);
        }
        let now = self.clock.now();
        let spun_out = now.after(self.spin);
        let until = spun_out.min(now.after(wait_max)).min(self.next_deadline());
        let brought = self.poll_until(until, sink, gate)?;
        let stats = self.exchange.stats_mut();
        stats.spins += 1;
        stats.spins_paid += u64::from(brought != Brought::Nothing);
        if brought != Brought::Nothing {
            self.polling[awaits].paid();
        } else if until == spun_out {
            self.polling[awaits].was_vain();
        }
        Ok(brought == Brought::Bytes)
    }

    fn poll_until(&mut self, until: Instant, sink: &mut impl Sink, gate: &impl Gate) -> io::Result<Brought> {
        // Of bytes a read tells, of all else only the poll.
        let awaits_more = self
            .lines
            .iter()
            .flatten()
            .any(|line| line.connecting || line.awaits_room || line.transport.has_unsent());
        let mut round = 0;
        loop {
            round = (round + 1) % ROUNDS_PER_LOOK;
            if gate.has_news() {
                return Ok(Brought::Work);
            }
            if self.lines.len() <= SPIN_READS_MAX && !awaits_more && round != 0 {
                for at in 0..self.lines.len() as u32 {
                    if !self.exchange.expects(at) {
                        continue;
                    }
                    let drained = self.read(at, sink);
                    if drained == Drained::Some {
                        // Of what a transport holds itself, the poll would not tell.
                        self.keep_readable(at);
                    }
                    if drained != Drained::Nothing {
                        return Ok(Brought::Bytes);
                    }
                }
            } else {
                self.look(None, sink)?;
                if self.read_some(sink) {
                    return Ok(Brought::Bytes);
                }
                // What the poll told of may have been room to write, or that somebody rang, and whoever waits for that is told after the turn.
                if self.woken || self.exchange.has_work() || self.exchange.has_changed() {
                    return Ok(Brought::Work);
                }
            }
            if self.clock.now() >= until {
                return Ok(Brought::Nothing);
            }
            std::hint::spin_loop();
        }
    }

    // Reading.

    fn keep_readable(&mut self, at: u32) {
        if let Some(line) = self.lines[at as usize].as_mut().filter(|line| !line.readable) {
            line.readable = true;
            self.readable.push_back(at);
        }
    }

    /// Reads a slice or two from each connection that is readable now; if they are many, until it has looked at so many and some had something to
    /// say. `false`: of all of them, none had.
    fn read_some(&mut self, sink: &mut impl Sink) -> bool {
        let mut any = false;
        if self.lines.len() >= TOUCHED_LINES_MIN {
            self.touch_ahead();
        }
        for nth in 0..self.readable.len() {
            if any && nth >= LINES_PER_TURN_MAX {
                break;
            }
            let Some(at) = self.readable.pop_front() else { break };
            let mut drained = Drained::Some;
            let epoch = self.exchange.epoch(at);
            for _ in 0..self.reads_per_turn {
                drained = self.read(at, sink);
                any |= drained != Drained::Nothing;
                // What else it says, when what it has said was its end, is void, and so is how it ends.
                if drained != Drained::Some || self.exchange.epoch(at) != epoch {
                    break;
                }
            }
            if let Some(line) = self.lines[at as usize].as_mut() {
                // The line may be a new one that has been noted readable already; then it stands in the queue.
                if drained == Drained::Some {
                    line.readable = true;
                    self.readable.push_back(at);
                } else {
                    line.readable = false;
                }
            }
        }
        any
    }

    /// Looks at what is known of the lines that are about to be read. Each is in memory by itself, and the loads do not wait for each other as they do
    /// with a call to the system after each.
    fn touch_ahead(&self) {
        let next = self.readable.iter().take(LINES_PER_TURN_MAX);
        let word = |at: &u32| {
            let is_there = self.lines[*at as usize].as_ref().is_some_and(|line| line.readable);
            self.exchange.touch(*at) ^ u64::from(is_there)
        };
        std::hint::black_box(next.map(word).fold(0, |all, one| all ^ one));
    }

    fn read(&mut self, at: u32, sink: &mut impl Sink) -> Drained {
        let Some(line) = self.lines[at as usize].as_mut().filter(|line| !line.connecting) else {
            return Drained::Nothing;
        };
        let asked = self.slices.asked(|| self.exchange.unread(at));
        let (space, at_end) = (&mut self.exchange.space(at)[..asked], line.ended || line.exited);
        match line.transport.read(space) {
            Ok(0) => {
                let usual = if line.exited {
                    "the server process exited"
                } else {
                    "the server closed the connection"
                };
                let what = line.transport.why_ended().unwrap_or(usual).to_owned();
                self.end(at, what, sink);
                Drained::Everything
            }
            Ok(n) => {
                let now = self.clock.now();
                self.unlooked_bytes += n;
                self.slices.has_read(now, at, asked, n, || self.exchange.load(at));
                self.exchange.handle_received(now, at, n, sink);
                // A short read has emptied the kernel's buffer; if more comes, the poll tells. Not so at the end, nor where
                // the transport holds more.
                let holds_more =
                    || self.lines[at as usize].as_ref().is_some_and(|line| line.transport.may_have_more());
                if n < asked && !at_end && !holds_more() { Drained::Everything } else { Drained::Some }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                line.ended = false;
                self.exchange.read_nothing(at);
                if line.exited {
                    self.lose(at, "the server process exited".to_owned(), sink);
                }
                Drained::Nothing
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Drained::Some,
            Err(error) => {
                self.lose(at, format!("reading failed: {error}"), sink);
                Drained::Everything
            }
        }
    }

    // Writing.

    fn write_all(&mut self, now: Instant, sink: &mut impl Sink) {
        while let Some(at) = self.exchange.poll_dirty() {
            if self.write(now, at, sink) {
                self.unwritten.push(at);
            }
        }
        // A slice was not all: these have their next go in the next turn.
        for at in self.unwritten.drain(..) {
            self.exchange.more_to_write(at);
        }
    }

    /// Writes one slice. `true` if there is more and the kernel would take it.
    fn write(&mut self, now: Instant, at: u32, sink: &mut impl Sink) -> bool {
        let line = self.lines[at as usize].as_ref();
        if line.is_none_or(|line| !line.writable || line.connecting)
            || self.exchange.is_to_write_later(at, now)
        {
            return false;
        }
        if self.exchange.may_be_stale(at, now) {
            // The server may have closed it meanwhile; then the request goes elsewhere, with nothing of it sent. One look at
            // the poll tells it of all the lines of a turn; only what it names is read.
            if !self.has_looked && self.look(None, sink).is_err() {
                // The turn's own look will fail as well, and say so.
                return false;
            }
            if self.lines[at as usize].as_ref().is_some_and(|line| line.readable) {
                self.read(at, sink);
            }
        }
        let Some(line) = self.lines[at as usize].as_mut().filter(|line| line.writable) else { return false };
        let mut budget = WRITE_SLICE_BYTES;
        loop {
            let bytes = self.exchange.transmit(at);
            let slice = &bytes[..bytes.len().min(budget)];
            let written = match line.transport.flush() {
                Ok(()) if slice.is_empty() => return false,
                Ok(()) => line.transport.write(slice),
                Err(error) => Err(error),
            };
            match written {
                Ok(n) if n > 0 => {
                    let all = n == slice.len();
                    budget -= n;
                    self.exchange.handle_transmitted(at, n);
                    if all || budget == 0 {
                        return !self.exchange.transmit(at).is_empty();
                    }
                    // A short write: once more, so that the edge of "writable" is armed by a refusal.
                }
                Ok(_) => {
                    self.lose(at, "the server takes no more bytes".to_owned(), sink);
                    return false;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    (line.writable, line.awaits_room) = (false, true);
                    if let Err(error) = line.transport.await_room(self.lookout.registry(), at, true) {
                        self.lose(at, format!("the poll failed: {error}"), sink);
                    }
                    return false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_busy(&error) => {
                    if !self.exchange.handle_busy(now, at) {
                        self.lose(at, format!("writing failed: {error}"), sink);
                    }
                    return false;
                }
                Err(error) => {
                    // What the server said before it closed may still be there to be read, and its end with it, which
                    // is a better reason than ours.
                    line.ended = true;
                    self.slices.reset();
                    for _ in 0..LAST_READS_MAX {
                        if self.lines[at as usize].is_none() || self.read(at, sink) != Drained::Some {
                            break;
                        }
                    }
                    self.lose(at, format!("writing failed: {error}"), sink);
                    return false;
                }
            }
        }
    }

    /// Ends everything. What stands in the output goes as far as the kernel takes it at once: the last notification of a caller, or that
    /// which ends the opening, had no turn yet if nothing but the close came after it.
    pub(crate) fn close(&mut self, why: Why, sink: &mut impl Sink) {
        let now = self.clock.now();
        self.write_all(now, sink);
        self.exchange.close(now, why, sink);
        // Nobody waits for an answer any more.
        self.spin = Duration::ZERO;
    }

    /// Is any connection open or being opened?
    pub(crate) fn has_transports(&self) -> bool {
        self.lines.iter().any(Option::is_some)
    }

    /// How many connections take calls.
    pub(crate) fn ready(&self) -> usize {
        self.exchange.ready_connections()
    }
}

/// Shows a piece of stderr to the caller's function. It must not take the event loop down.
fn show(see: Option<&SeeStderr>, bytes: &[u8]) {
    if let Some(see) = see {
        // A function that panics has had its chance at this piece.
        let _ = catch_unwind(AssertUnwindSafe(|| see(bytes)));
    }
}

/// What a read left behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drained {
    /// There was nothing.
    Nothing,
    /// There may be more.
    Some,
    /// All that there was.
    Everything,
}

/// The kernel is short of something for a moment. Full buffers are no error and say `WouldBlock` instead.
fn is_busy(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::NOBUFS, Errno::NOMEM, Errno::AGAIN]
        .iter()
        .any(|busy| error.raw_os_error() == Some(busy.raw_os_error()))
}
