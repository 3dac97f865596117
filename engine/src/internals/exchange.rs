//! The exchange as the simulator drives it: plain numbers in, plain values out.
//!
//! It adds nothing to the exchange but what a client adds: a slab with the bodies of shared calls, and a memory of the
//! server's era. All it is told it keeps in a list until somebody takes it. Times are nanoseconds.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    base::time::Instant,
    config::{Config, endpoint::Endpoint},
    error::{Error, ErrorKind},
    proto::{
        event::{Ended, Fate, Inbound, Outcome, OwnerKind, Patience, Reception, Sink, Why},
        exchange::{Exchange, Settings},
        lifecycle::State,
    },
    shard::memory::{Memory, ShardMemory},
    slab::{
        Slab,
        key::{Key, KeyLayout},
    },
    telemetry::counters::Stats,
};

/// The exchange of a client with one shard, without the shard.
pub struct Core {
    exchange: Exchange,
    slab: Slab<Mutex<Vec<u8>>>,
    told: Vec<Told>,
    /// Whether requests of the server find a handler.
    takes_requests: bool,
}

/// What the exchange told its driver.
#[derive(Debug, PartialEq)]
pub enum Told {
    /// A call ended.
    Ended {
        /// Its id on the wire.
        id: u64,
        /// The number that its owner gave it.
        tag: u64,
        /// Was its key from the slab? Then [`Core::release`] is due.
        shared: bool,
        /// How it ended.
        end: End,
    },
    /// The server sent a notification.
    Notification {
        /// The whole message.
        message: Vec<u8>,
    },
    /// The server sent a request for the handler, who answers through [`Core::respond`].
    Request {
        /// Over which connection.
        connection: u32,
        /// Over which of its transports.
        epoch: u32,
        /// The whole message.
        message: Vec<u8>,
    },
}

/// How a call ended.
#[derive(Debug, PartialEq)]
pub enum End {
    /// With a result; the whole message.
    Result(Vec<u8>),
    /// With an error of the server; the whole message.
    Error(Vec<u8>),
    /// Without a usable answer.
    Failed(ErrorKind, Fate),
}

/// A connection from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Does it take calls?
    pub ready: bool,
    /// Is it closed for good, until a call revives it?
    pub closed: bool,
    /// Which transport in its life.
    pub epoch: u32,
    /// Calls in its window.
    pub in_flight: u32,
    /// Its window in force, pauses included.
    pub limit: u32,
    /// Places in its window that are free.
    pub room: u32,
    /// Calls that nobody waits for any more and that are remembered.
    pub orphans: usize,
    /// Entries in all lists of such calls together: what they cost in memory.
    pub orphan_entries: usize,
    /// Bytes received that are no whole frame yet.
    pub unread_bytes: usize,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// From submission or the last progress.
    pub timeout: Duration,
    /// From submission.
    pub at_most: Duration,
    /// Ask for progress.
    pub progress: bool,
}

impl From<Wait> for Patience {
    fn from(wait: Wait) -> Self {
        Self { timeout: wait.timeout, at_most: wait.at_most, progress: wait.progress, standing: false }
    }
}

/// The exchange and what it tells, lent apart.
struct Ears<'a> {
    slab: &'a Slab<Mutex<Vec<u8>>>,
    told: &'a mut Vec<Told>,
    takes_requests: bool,
}

impl Core {
    /// A core for the connections of `config`, with the slots that a client would have.
    pub fn new(config: &Config, seed: u64) -> Self {
        Self::with(config.settings(0, seed), config)
    }

    /// A core for connections over this endpoint. Over HTTP it speaks of lines where the methods say `connection`, but for
    /// [`Self::view`]: one socket each.
    pub fn over(endpoint: &Endpoint, config: &Config, seed: u64) -> Self {
        let config = &endpoint.fit(config.clone());
        let mut settings = config.settings(0, seed);
        settings.http = endpoint.http_settings(config);
        Self::with(settings, config)
    }

    fn with(settings: Settings, config: &Config) -> Self {
        let window = config.window_of(0);
        let single = window + config.values.queue.unwrap_or(window);
        let slots = 1 + window + single;
        let layout = KeyLayout::for_slots(slots, 0, 1);
        let slab = Slab::new(layout, slots, Mutex::default);
        // Slot 0 is the exchange's, as in a client.
        slab.draw(1);
        let magazine = slab.draw(window);
        let memory = ShardMemory { memory: Arc::new(Memory::default()), may_probe: true };
        let exchange = Exchange::new(settings, Arc::new(memory), layout, slots, magazine);
        Self { exchange, slab, told: Vec::new(), takes_requests: false }
    }

    /// Says whether requests of the server find a handler from now on.
    pub fn take_requests(&mut self, takes: bool) {
        self.takes_requests = takes;
    }

    /// Everything it told since the last time this was asked.
    pub fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    fn split(&mut self) -> (&mut Exchange, Ears<'_>) {
        let ears = Ears { slab: &self.slab, told: &mut self.told, takes_requests: self.takes_requests };
        (&mut self.exchange, ears)
    }

    // Commands.

    /// Puts a call with a key of the exchange's own on a connection; its id, unless there is no room.
    pub fn submit(&mut self, now: u64, tag: u64, wait: Wait, body: &[u8]) -> Option<u64> {
        let put = |out: &mut Vec<u8>| out.extend_from_slice(body);
        self.exchange.submit(Instant::from_ns(now), tag, &wait.into(), put).ok().map(Key::wire)
    }

    /// As [`Self::submit`], for calls with these tags and bodies, one run after the other while there is room; how many.
    pub fn submit_runs(&mut self, now: u64, wait: Wait, calls: &[(u64, &[u8])]) -> usize {
        let mut taken = 0;
        while taken < calls.len() {
            let rest = &calls[taken..];
            let (tag, body) = (|n: usize| rest[n].0, |n: usize| [rest[n].1, &[]]);
            let run = self.exchange.submit_run(Instant::from_ns(now), &wait.into(), rest.len(), tag, body);
            let Ok(more) = run else { break };
            taken += more;
        }
        taken
    }

    /// Hands over a call with a key of the slab; its id, unless the slab is full.
    pub fn enqueue(&mut self, now: u64, tag: u64, wait: Wait, body: &[u8]) -> Option<u64> {
        let key = self.slab.reserve()?;
        if let Some(place) = self.slab.get(key) {
            *place.lock() = body.to_vec();
        }
        let (exchange, mut ears) = self.split();
        exchange.enqueue(Instant::from_ns(now), key, tag, &wait.into(), &mut ears);
        Some(key.wire())
    }

    /// Gives the slot of a shared call back after its end.
    pub fn release(&mut self, id: u64) {
        if let Some(key) = Key::from_wire(id) {
            self.slab.release(key);
        }
    }

    /// Puts waiting calls on connections; how many.
    pub fn assign(&mut self, now: u64) -> usize {
        let (exchange, mut ears) = self.split();
        exchange.assign(Instant::from_ns(now), &mut ears)
    }

    /// The caller gives a call up.
    pub fn cancel(&mut self, now: u64, id: u64) {
        let Some(key) = Key::from_wire(id) else { return };
        let (exchange, mut ears) = self.split();
        exchange.cancel(Instant::from_ns(now), key, &mut ears);
    }

    /// The owner of these tags has gone.
    pub fn cancel_owned(&mut self, now: u64, is_gone: impl Fn(u64) -> bool) {
        let (exchange, mut ears) = self.split();
        exchange.cancel_owned(Instant::from_ns(now), |owner| is_gone(owner.tag), &mut ears);
    }

    /// Sends a notification, if a connection takes it.
    pub fn notify(&mut self, method: &str, params: Option<&str>) -> bool {
        self.exchange.notify(method, params)
    }

    /// Answers a request of the server with a result.
    pub fn respond(&mut self, connection: u32, epoch: u32, id: &str, result: &str) {
        self.exchange.respond(connection, epoch, id, "result", result);
    }

    /// Ends everything.
    pub fn close(&mut self, now: u64) {
        let (exchange, mut ears) = self.split();
        exchange.close(Instant::from_ns(now), Why::Closed, &mut ears);
    }

    /// Ends all calls, whatever else is broken; it is not to be used afterwards.
    pub fn abandon(&mut self, now: u64) {
        let (exchange, mut ears) = self.split();
        exchange.abandon(Instant::from_ns(now), Why::Panicked, &mut ears);
    }

    // What it is told.

    /// Time has come to [`Self::poll_deadline`].
    pub fn handle_time(&mut self, now: u64) {
        let (exchange, mut ears) = self.split();
        exchange.handle_time(Instant::from_ns(now), &mut ears);
    }

    /// The transport stands.
    pub fn handle_opened(&mut self, now: u64, connection: u32) {
        self.exchange.handle_opened(Instant::from_ns(now), connection, false);
    }

    /// The transport is gone, or never came.
    pub fn handle_lost(&mut self, now: u64, connection: u32, reason: &str) {
        let (exchange, mut ears) = self.split();
        exchange.handle_lost(Instant::from_ns(now), connection, reason, &mut ears);
    }

    /// The server closed the transport in an orderly way.
    pub fn handle_ended(&mut self, now: u64, connection: u32, reason: &str) {
        let (exchange, mut ears) = self.split();
        exchange.handle_ended(Instant::from_ns(now), connection, reason, &mut ears);
    }

    /// The transport was shut as asked.
    pub fn handle_gone(&mut self, connection: u32) {
        self.exchange.handle_gone(connection);
    }

    /// The kernel took some output.
    pub fn handle_transmitted(&mut self, connection: u32, bytes: usize) {
        self.exchange.handle_transmitted(connection, bytes);
    }

    /// The kernel would take more.
    pub fn more_to_write(&mut self, connection: u32) {
        self.exchange.more_to_write(connection);
    }

    /// The kernel was short of something. `false`: once too often.
    pub fn handle_busy(&mut self, now: u64, connection: u32) -> bool {
        self.exchange.handle_busy(Instant::from_ns(now), connection)
    }

    /// Bytes came in; at most as many as there is room for are taken. How many.
    pub fn handle_received(&mut self, now: u64, connection: u32, bytes: &[u8]) -> usize {
        let (exchange, mut ears) = self.split();
        let space = exchange.space(connection);
        let taken = bytes.len().min(space.len());
        space[..taken].copy_from_slice(&bytes[..taken]);
        exchange.handle_received(Instant::from_ns(now), connection, taken, &mut ears);
        taken
    }

    // What it is asked for.

    /// A connection that wants a transport.
    pub fn poll_dial(&mut self, now: u64) -> Option<u32> {
        self.exchange.poll_dial(Instant::from_ns(now))
    }

    /// A connection whose transport is to be shut.
    pub fn poll_hang_up(&mut self) -> Option<u32> {
        self.exchange.poll_hang_up()
    }

    /// A connection with output.
    pub fn poll_dirty(&mut self) -> Option<u32> {
        self.exchange.poll_dirty()
    }

    /// Is there output that [`Self::poll_dirty`] has not named?
    pub fn has_dirty(&self) -> bool {
        self.exchange.has_dirty()
    }

    /// The output of a connection.
    pub fn transmit(&self, connection: u32) -> &[u8] {
        self.exchange.transmit(connection)
    }

    /// When it wants to be told the time.
    pub fn poll_deadline(&self) -> u64 {
        self.exchange.poll_deadline().ns()
    }

    // Looks.

    /// Does it refuse calls, being closed or down?
    pub fn refuses(&mut self, now: u64) -> bool {
        self.exchange.refuses(Instant::from_ns(now)).is_some()
    }

    /// Calls that [`Self::submit`] would take.
    pub fn room(&self) -> usize {
        self.exchange.room()
    }

    /// Has every call ended?
    pub fn is_idle(&self) -> bool {
        self.exchange.is_idle()
    }

    /// Is every connection closed?
    pub fn is_closed(&self) -> bool {
        self.exchange.is_closed()
    }

    /// Entries in the lines of calls that are on no connection: what they cost in memory.
    pub fn unplaced_entries(&self) -> usize {
        self.exchange.unplaced_entries()
    }

    /// All counters.
    pub fn stats(&mut self) -> Stats {
        *self.exchange.stats()
    }

    /// A connection from outside.
    pub fn view(&self, connection: u32) -> View {
        let conn = self.exchange.connection(connection);
        View {
            ready: conn.state() == State::Ready,
            closed: conn.state() == State::Closed,
            epoch: conn.epoch,
            in_flight: conn.window.in_flight(),
            limit: conn.window.limit(),
            room: conn.window.room(),
            orphans: conn.orphans.len(),
            orphan_entries: conn.orphans.entries(),
            unread_bytes: conn.inbox.unread().len(),
        }
    }
}

impl Sink for Ears<'_> {
    fn ended(&mut self, _now: Instant, call: Ended<'_>) {
        let end = match call.outcome {
            Outcome::Result(frame) => End::Result(frame.bytes().to_vec()),
            Outcome::Error(frame) => End::Error(frame.bytes().to_vec()),
            Outcome::Failed(failure) => End::Failed(Error::from_failure(failure, None).kind(), failure.fate),
        };
        let shared = call.owner.kind == OwnerKind::Shared;
        self.told.push(Told::Ended { id: call.key.wire(), tag: call.owner.tag, shared, end });
    }

    fn inbound(&mut self, message: Inbound<'_>) -> Reception {
        match message {
            Inbound::Notification { frame, .. } => {
                self.told.push(Told::Notification { message: frame.bytes().to_vec() });
                Reception::Taken
            }
            Inbound::Request { connection, epoch, frame, .. } => {
                if self.takes_requests {
                    self.told.push(Told::Request { connection, epoch, message: frame.bytes().to_vec() });
                }
                if self.takes_requests { Reception::Taken } else { Reception::Nobody }
            }
        }
    }

    fn body(&mut self, key: Key, write: &mut dyn FnMut(&[u8])) {
        if let Some(place) = self.slab.get(key) {
            write(&place.lock());
        }
    }
}
