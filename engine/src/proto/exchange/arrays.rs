//! Calls that leave together as one JSON-RPC array, and the probe that asks whether the server answers such.
//!
//! On demand, and once, the server is sent an array of two pings. Until both are answered calls go one by one and wait for
//! nothing; if the answers do not come in time, they go on doing so. What is found is kept in the memory with the server's era.
//!
//! An array takes as many credits of the window as it has calls, and each call is a row like any other: answers find it by its id
//! in whatever shape they come, it is cancelled and times out by itself. On a stream nothing else is special: an array is a line.
//! Over HTTP it is one POST ([`http::arrays`](super::http)).
//!
//! Cost while arrays are off: one compare for each claim of a bulk job and for each call that is put on a connection from the
//! waiting line. Owner: one exchange. Always: an array that is sent has at least two calls, and goes to a peer whose revision has
//! arrays. Proof: `tests/conformance/http/batches.rs`, `tests/faults/arrays.rs`. Follows: MCP 2025-03-26, "Batching".

use super::{Exchange, placing::draw};
use crate::{
    base::{limits::ARRAY_PROBES_LOST_MAX, time::Instant},
    proto::{
        batch::{self, ArrayVerdict, Assembly, Element, Fit, Probe},
        correlation::{NO_CONNECTION, Row, Standing},
        event::{Owner, OwnerKind, Patience, Sink},
        http::lane::Load,
        lifecycle::State,
        message::handshake,
    },
    slab::key::Key,
};

impl Exchange {
    // Commands.

    /// May calls go together at the moment that somebody has (`explicit`) or has not put together? Asking is the demand on which
    /// the server is probed.
    #[inline]
    pub(crate) fn may_gather(&mut self, now: Instant, explicit: bool) -> bool {
        self.settings.arrays.want(explicit) && self.knows_arrays(now)
    }

    fn knows_arrays(&mut self, now: Instant) -> bool {
        match self.memory.arrays().calls_max() {
            Some(calls_max) => calls_max > 1,
            None => {
                self.probe_arrays(now);
                false
            }
        }
    }

    /// As [`Self::submit`], for as many of some calls as go together, and at least one. `lengths` are those of the bodies, `tag`
    /// and `body` are asked by the call's number. Returns how many it took.
    pub(crate) fn submit_together(
        &mut self,
        now: Instant,
        patience: &Patience,
        lengths: impl Iterator<Item = usize>,
        tag: impl Fn(usize) -> u64,
        mut body: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<usize, super::Full> {
        let connection = self.pick().ok_or_else(|| self.no_room(now, lengths.size_hint().0.max(1)))?;
        let mut fit = self.fit_on(connection);
        let calls = lengths.take_while(|bytes| fit.takes(*bytes)).count();
        if calls < 2 {
            return self.submit(now, tag(0), patience, |out| body(0, out)).map(|_| 1);
        }
        let (mut text, mut elements) =
            (std::mem::take(&mut self.scratch), std::mem::take(&mut self.arrays.elements));
        let mut assembly = Assembly::begin(&mut text, &mut elements);
        for n in 0..calls {
            let Some(key) = draw(&mut self.magazine, &mut self.correlation) else { break };
            let owner = Owner { tag: tag(n), kind: OwnerKind::Drawn };
            let (row, deadline) = Row::waiting(now, key, owner, patience);
            self.correlation.insert(row, deadline);
            assembly.add(key, &self.connections[connection as usize].tail, patience.progress, |out| {
                body(n, out);
            });
        }
        assembly.finish();
        let taken = elements.len();
        self.stats.submitted += taken as u64;
        self.place_together(connection, &text, &elements);
        self.keep(text, elements);
        if taken == 0 { Err(super::Full) } else { Ok(taken) }
    }

    /// Puts calls from the head of the waiting line on `connection` together. Returns how many; none, if they do not go together.
    pub(super) fn assign_together(&mut self, now: Instant, connection: u32, sink: &mut impl Sink) -> usize {
        if self.waiting.len() < 2 || !self.may_gather(now, false) {
            return 0;
        }
        let mut fit = self.fit_on(connection);
        let (mut text, mut elements) =
            (std::mem::take(&mut self.scratch), std::mem::take(&mut self.arrays.elements));
        let mut assembly = Assembly::begin(&mut text, &mut elements);
        while let Some(&key) = self.waiting.front() {
            let Some(row) = self.correlation.get(key).filter(|row| row.connection == NO_CONNECTION) else {
                self.waiting.pop_front();
                continue;
            };
            let (progress, stands) = (row.progress, row.standing != Standing::No);
            let mut bytes = 0;
            sink.body(key, &mut |body| bytes += body.len());
            if stands || !fit.takes(bytes) {
                break;
            }
            self.waiting.pop_front();
            assembly.add(key, &self.connections[connection as usize].tail, progress, |out| {
                sink.body(key, &mut |body| out.extend_from_slice(body));
            });
        }
        assembly.finish();
        let calls = elements.len();
        if let [only] = elements[..] {
            // One call goes the way of one call.
            self.waiting.push_front(only.key);
        } else {
            self.place_together(connection, &text, &elements);
        }
        self.keep(text, elements);
        if calls < 2 { 0 } else { calls }
    }

    // Inside.

    /// What goes into one array on this connection, which has room.
    fn fit_on(&self, connection: u32) -> Fit {
        let (conn, rules) = (&self.connections[connection as usize], &self.settings.arrays);
        let known = self.memory.arrays().calls_max().filter(|_| batch::has_arrays(conn.revision));
        let calls_max = known.unwrap_or(1).min(rules.calls_max).min(conn.window.room());
        // Over HTTP each array is a request of its own, and in no outbox.
        let room = if conn.http.is_some() { usize::MAX } else { conn.outbox_room() };
        Fit::new(calls_max, rules.bytes_max.min(room))
    }

    /// Calls that have rows and are on no connection leave as `text`.
    fn place_together(&mut self, connection: u32, text: &[u8], elements: &[Element]) {
        if elements.is_empty() {
            return;
        }
        if self.is_http(connection) {
            if !self.http_array(connection, text, elements) {
                return;
            }
        } else {
            let outbox = &mut self.connections[connection as usize].outbox;
            outbox.borrow(&mut self.spares);
            let start = outbox.end();
            outbox.bytes().extend_from_slice(text);
            outbox.bytes().push(b'\n');
            for element in elements {
                if let Some(row) = self.correlation.place(element.key, connection) {
                    // With the byte that ends it, as a line has.
                    (row.start, row.len) = (start + u64::from(element.start), element.len + 1);
                }
            }
            if elements.len() > 1 {
                self.connections[connection as usize].last_array = elements.len() as u32;
            }
            self.mark_dirty(connection);
        }
        for _ in elements {
            let had_room = self.connections[connection as usize].window.take(1);
            debug_assert!(had_room, "an array of more calls than the window has room for");
            self.begin(connection, 1);
        }
        if elements.len() > 1 {
            self.stats.arrays_sent += 1;
            self.stats.calls_in_arrays += elements.len() as u64;
        }
    }

    fn keep(&mut self, text: Vec<u8>, elements: Vec<Element>) {
        if text.capacity() <= super::SCRATCH_BYTES_KEPT {
            self.scratch = text;
        }
        self.arrays.elements = elements;
    }

    // The probe.

    /// Asks whether the server answers arrays, if there is a connection to ask on and nobody asks already.
    fn probe_arrays(&mut self, now: Instant) {
        // The first of these is for servers whose revision has no arrays: nothing is ever found out about them, and each call asks.
        if self.array_speakers == 0
            || self.arrays.probe.is_some()
            || self.arrays.lost >= ARRAY_PROBES_LOST_MAX
            || self.held
        {
            return;
        }
        let may_be_asked = |conn: &super::Connection| {
            conn.state() == State::Ready && batch::has_arrays(conn.revision) && conn.has_room()
        };
        // While another shard asks, each call comes by here, and there may be ten thousand connections.
        if !self.memory.ask_for_arrays() {
            return;
        }
        // The one that was opened last: if another program has come in place of one, this is it.
        let asked = self.connections.iter().enumerate().filter(|(_, conn)| may_be_asked(conn));
        let Some((connection, _)) = asked.max_by_key(|(_, conn)| conn.opened_as) else {
            self.memory.asked_for_arrays();
            return;
        };
        let keys = [self.next_control_key(), self.next_control_key()];
        let (mut text, mut elements) = (Vec::new(), Vec::new());
        let mut assembly = Assembly::begin(&mut text, &mut elements);
        for key in keys {
            let tail = &self.connections[connection].tail;
            assembly.add(key, tail, false, |out| out.extend_from_slice(handshake::PING_BODY.as_bytes()));
        }
        assembly.finish();
        let connection = connection as u32;
        let until = now.after(self.settings.arrays.probe_timeout);
        let epoch = self.connections[connection as usize].epoch;
        self.arrays.probe = Some(Probe { connection, epoch, lane: None, keys, until });
        self.stats.array_probes += 1;
        self.next_care = self.next_care.min(until);
        if self.is_http(connection) {
            let lane = self.http_place(connection, Load::ArrayProbe, &text);
            match &mut self.arrays.probe {
                Some(probe) if lane.is_some() => probe.lane = lane,
                _ => self.forget_probe(),
            }
            return;
        }
        let outbox = &mut self.connections[connection as usize].outbox;
        outbox.bytes().extend_from_slice(&text);
        outbox.bytes().push(b'\n');
        self.mark_dirty(connection);
    }

    /// An answer that is no call's came on a connection. Is it one to the probe?
    #[cold]
    pub(super) fn heed_pong(&mut self, connection: u32, key: Key) -> bool {
        let Some(probe) = self.arrays.probe.as_mut().filter(|probe| probe.connection == connection) else {
            return false;
        };
        let Some(asked) = probe.keys.iter_mut().find(|asked| **asked == key) else { return false };
        *asked = Key::NONE;
        if probe.keys == [Key::NONE; 2] {
            self.arrays.lost = 0;
            self.end_probe(ArrayVerdict::ANY);
        }
        true
    }

    /// An error that names no request came on a stream. While a probe is out, that is the answer to it, and after an array it is
    /// about that: no other request of ours is in any way unusual. (Were it about another, calls would go one by one, or in
    /// shorter arrays, without need.) No call ends by it: which were executed, it does not say.
    #[cold]
    pub(super) fn heed_nameless_error(&mut self, line: u32) {
        let connection = self.connection_of(line);
        if self.is_http(connection) {
            return;
        }
        if self.arrays.probe.as_ref().is_some_and(|probe| probe.connection == connection) {
            self.end_probe(ArrayVerdict::NONE);
        } else {
            self.doubt_array(connection);
        }
    }

    /// Something on a stream says that its last array was too long, so the next ones are shorter.
    pub(super) fn doubt_array(&mut self, connection: u32) {
        let calls = std::mem::take(&mut self.connections[connection as usize].last_array);
        if calls > 1 {
            self.array_failed(calls as usize);
        }
    }

    /// The probe's time may be over.
    pub(super) fn care_for_probe(&mut self, now: Instant) {
        let Some(probe) = self.arrays.probe.as_ref().filter(|probe| probe.until <= now) else { return };
        if self.connections[probe.connection as usize].epoch == probe.epoch {
            self.end_probe(ArrayVerdict::NONE);
        } else {
            // It went down with its connection.
            self.probe_lost();
        }
    }

    /// The probe came to nothing, which says nothing yet.
    pub(super) fn probe_lost(&mut self) {
        self.arrays.lost += 1;
        self.forget_probe();
    }

    /// The probe has shown something.
    pub(super) fn end_probe(&mut self, verdict: ArrayVerdict) {
        self.memory.settle_arrays(verdict);
        self.forget_probe();
    }

    /// The probe is over. Over HTTP its response may still be coming, for a while.
    pub(super) fn forget_probe(&mut self) {
        let Some(Probe { connection, lane, .. }) = self.arrays.probe.take() else { return };
        self.memory.asked_for_arrays();
        if let Some(lane) = lane {
            self.leave_probe(connection, lane);
        }
    }

    /// An array of so many calls came to nothing.
    pub(super) fn array_failed(&mut self, calls: usize) {
        let verdict = self.memory.arrays().after_failure(calls as u32);
        self.memory.settle_arrays(verdict);
    }
}
