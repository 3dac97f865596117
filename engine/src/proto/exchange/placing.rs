//! Where a call goes: onto a connection that has room, or into the line of those that wait for one.
//!
//! A call of the exchange's own keys is put on a connection at once or not taken; one with a key of the client's slab waits in line until
//! [`Exchange::assign`] finds room for it. Either way it stands in the table before its first byte can leave.
//!
//! Cost: a row, a frame in the outbox, a place in the window. Proof: `tests/simulation`, of the runs `runs.rs` in it.

use super::{Exchange, Full, Parked, SCRATCH_BYTES_KEPT};
use crate::{
    base::time::Instant,
    proto::{
        correlation::{Correlation, NO_CONNECTION, Row, Standing},
        event::{Fate, Owner, OwnerKind, Patience, Sink, Why},
        message::encode,
    },
    slab::{key::Key, magazine::Magazine},
};

/// Calls that ended while they stood in line may stay there up to this many, or as many as there are others.
const ENDED_IN_LINE_MAX: usize = 64;

/// A key of the exchange's own, with a row.
#[inline]
pub(super) fn draw(magazine: &mut Magazine, calls: &mut Correlation) -> Option<Key> {
    magazine.take_used().or_else(|| draw_fresh(magazine, calls))
}

#[cold]
fn draw_fresh(magazine: &mut Magazine, calls: &mut Correlation) -> Option<Key> {
    let key = magazine.take_fresh()?;
    calls.reach(key);
    Some(key)
}

impl Exchange {
    /// Nobody takes any of so many calls. If that is so for good, since an output that is full stands still, somebody has to look: such calls have no deadline
    /// yet, and no event may ever come.
    #[cold]
    pub(super) fn no_room(&mut self, now: Instant, calls: usize) -> Full {
        self.next_care = self.next_care.min(now.after(self.settings.silence));
        self.spill(now, calls);
        Full
    }

    /// Puts a call of the exchange's own keys on a connection at once, or says that none has room.
    #[inline]
    pub(crate) fn submit(
        &mut self,
        now: Instant,
        tag: u64,
        patience: &Patience,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Key, Full> {
        self.last_now = now;
        let connection = self.pick().ok_or_else(|| self.no_room(now, 1))?;
        let key = draw(&mut self.magazine, &mut self.correlation).ok_or(Full)?;
        self.stats.submitted += 1;
        let owner = Owner { tag, kind: OwnerKind::Drawn };
        self.put(now, connection, key, owner, patience, body);
        Ok(key)
    }

    /// As [`Self::submit`], for up to so many `calls` at once: as many as find room on one connection. Returns how many those are, at least
    /// one, or that no connection has room. `tag` and `body`, which may be in two pieces, are asked for the n-th call.
    ///
    /// What does not change from call to call is done once. Among several connections each call has its own choice, so there a run is
    /// one call. `tag` and `body` must not panic: the calls take their places together, after the last.
    #[inline]
    pub(crate) fn submit_run<'a>(
        &mut self,
        now: Instant,
        patience: &Patience,
        calls: usize,
        tag: impl Fn(usize) -> u64,
        body: impl Fn(usize) -> [&'a [u8]; 2],
    ) -> Result<usize, Full> {
        if self.open.has_several() || self.settings.http.is_some() {
            let write = |out: &mut Vec<u8>| body(0).iter().for_each(|piece| out.extend_from_slice(piece));
            return self.submit(now, tag(0), patience, write).map(|_| 1);
        }
        self.last_now = now;
        let connection = self.pick().ok_or_else(|| self.no_room(now, calls))?;
        let owner = Owner { tag: 0, kind: OwnerKind::Drawn };
        let (mut row, deadline) = Row::waiting(now, Key::NONE, owner, patience);
        row.connection = connection;
        let conn = &mut self.connections[connection as usize];
        conn.outbox.borrow(&mut self.spares);
        // What does not change from call to call is looked at once: there are places for so many, and the output ends there.
        let places = calls.min(conn.window.room() as usize);
        let full_at = conn.outbox.end() + conn.outbox_room() as u64;
        let (mut taken, mut ids) = (0, encode::Run::new());
        while taken < places && conn.outbox.end() < full_at {
            let Some(key) = draw(&mut self.magazine, &mut self.correlation) else { break };
            (row.key, row.owner.tag, row.start) = (key, tag(taken), conn.outbox.end());
            ids.request(conn.outbox.bytes(), key, &conn.tail, patience.progress, body(taken));
            row.len = (conn.outbox.end() - row.start) as u32;
            self.correlation.insert(row, deadline);
            taken += 1;
        }
        if taken == 0 {
            return Err(Full);
        }
        self.stats.submitted += taken as u64;
        self.take_places(connection, taken as u32);
        Ok(taken)
    }

    /// Takes a call whose key is from the client's slab; it is put on a connection by [`Self::assign`].
    pub(crate) fn enqueue(
        &mut self,
        now: Instant,
        key: Key,
        tag: u64,
        patience: &Patience,
        sink: &mut impl Sink,
    ) {
        self.stats.submitted += 1;
        self.correlation.reach(key);
        let owner = Owner { tag, kind: OwnerKind::Shared };
        let (row, deadline) = Row::waiting(now, key, owner, patience);
        self.standing += usize::from(patience.standing);
        self.correlation.insert(row, deadline);
        match self.refuses(now) {
            Some(why) => self.fail(now, key, why, Fate::NotSent, sink),
            None => {
                self.waiting.push_back(key);
                self.thin_out();
            }
        }
    }

    /// Clears the lines of calls that have ended in them, before these are more than the others.
    pub(super) fn thin_out(&mut self) {
        let bound = 2 * self.correlation.live() + ENDED_IN_LINE_MAX;
        let calls = &self.correlation;
        let stands = |key: Key| calls.get(key).is_some_and(|row| row.connection == NO_CONNECTION);
        if self.waiting.len() > bound {
            self.waiting.retain(|key| stands(*key));
        }
        if self.parked.len() > bound {
            self.parked.retain(|parked| stands(parked.key));
        }
    }

    /// Puts waiting calls on connections while both last. Returns how many.
    pub(crate) fn assign(&mut self, now: Instant, sink: &mut impl Sink) -> usize {
        self.last_now = now;
        self.heed_token();
        if self.waits_for_era {
            self.heed_first(now, sink);
        }
        while let Some(line) = self.unheard.pop() {
            self.hear_carrier(now, line, sink);
        }
        let mut assigned = 0;
        while let Some(parked) = self.parked.front() {
            // A call that ended while it was parked has left only its frame.
            if self.correlation.get(parked.key).is_none_or(|row| row.connection != NO_CONNECTION) {
                self.parked.pop_front();
                continue;
            }
            let Some(connection) = self.pick() else {
                self.spill(now, (self.parked.len() + self.waiting.len()).min(self.correlation.live()));
                return assigned;
            };
            let Some(parked) = self.parked.pop_front() else { break };
            self.move_parked(now, connection, parked, sink);
            assigned += 1;
        }
        while let Some(&key) = self.waiting.front() {
            let Some(row) = self.correlation.get(key).filter(|row| row.connection == NO_CONNECTION).copied()
            else {
                self.waiting.pop_front();
                continue;
            };
            let Some(connection) = self.pick() else {
                self.spill(now, self.waiting.len().min(self.correlation.live()));
                break;
            };
            if self.settings.arrays.want(false) {
                let together = self.assign_together(now, connection, sink);
                assigned += together;
                // The probe may have taken the place that was picked.
                if together > 0 || !self.connections[connection as usize].has_room() {
                    continue;
                }
            }
            self.waiting.pop_front();
            if self.cannot_stand(now, connection, &row, sink) {
                continue;
            }
            if self.is_http(connection) {
                self.put_http(connection, key, row.progress, |out| {
                    sink.body(key, &mut |body| out.extend_from_slice(body));
                });
                assigned += 1;
                continue;
            }
            let conn = &mut self.connections[connection as usize];
            conn.outbox.borrow(&mut self.spares);
            let start = conn.outbox.end();
            encode::request(conn.outbox.bytes(), key, &conn.tail, row.progress, |out| {
                sink.body(key, &mut |body| out.extend_from_slice(body));
            });
            self.settle_in(connection, key, start);
            assigned += 1;
        }
        assigned
    }

    /// A connection with room for the next call.
    #[inline]
    pub(super) fn pick(&mut self) -> Option<u32> {
        if self.held { None } else { self.open.pick(&mut self.connections) }
    }

    /// Lists a connection that may have room again.
    #[inline]
    pub(super) fn list(&mut self, connection: u32) {
        let conn = &mut self.connections[connection as usize];
        if !conn.listed && conn.has_room() {
            conn.listed = true;
            self.open.add(connection);
        }
    }

    /// The same where no answer brought the room, but time or the kernel: whoever had to leave off is asked before the shard sleeps.
    pub(super) fn list_unasked(&mut self, connection: u32) {
        let was_listed = self.connections[connection as usize].listed;
        self.list(connection);
        self.changed |= self.connections[connection as usize].listed && !was_listed;
    }

    /// Encodes a call onto `connection`, which has room.
    #[inline]
    pub(super) fn put(
        &mut self,
        now: Instant,
        connection: u32,
        key: Key,
        owner: Owner,
        patience: &Patience,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let (mut row, deadline) = Row::waiting(now, key, owner, patience);
        let conn = &mut self.connections[connection as usize];
        if conn.http.is_some() {
            self.correlation.insert(row, deadline);
            self.put_http(connection, key, patience.progress, body);
            return;
        }
        // Entered once it is known where the frame stands: the row is written once.
        conn.outbox.borrow(&mut self.spares);
        row.connection = connection;
        row.start = conn.outbox.end();
        encode::request(conn.outbox.bytes(), key, &conn.tail, patience.progress, body);
        row.len = (conn.outbox.end() - row.start) as u32;
        self.correlation.insert(row, deadline);
        self.take_place(connection);
    }

    /// The call's frame stands in the connection's outbox from `start` on: it is in flight now.
    #[inline]
    pub(super) fn settle_in(&mut self, connection: u32, key: Key, start: u64) {
        let conn = &mut self.connections[connection as usize];
        let len = (conn.outbox.end() - start) as u32;
        if let Some(row) = self.correlation.place(key, connection) {
            (row.start, row.len) = (start, len);
            if row.standing != Standing::No {
                conn.window.widen();
            }
        }
        self.take_place(connection);
    }

    /// A call on a stream takes its place in the window, and its frame is to be written.
    #[inline]
    pub(super) fn take_place(&mut self, connection: u32) {
        self.take_places(connection, 1);
    }

    /// As [`Self::take_place`], for so many calls.
    #[inline]
    fn take_places(&mut self, connection: u32, calls: u32) {
        let had_room = self.connections[connection as usize].window.take(calls);
        debug_assert!(had_room, "picked a connection without room");
        self.begin(connection, calls);
        self.mark_dirty(connection);
    }

    /// As [`Self::put`], over HTTP.
    pub(super) fn put_http(
        &mut self,
        connection: u32,
        key: Key,
        progress: bool,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut json = std::mem::take(&mut self.scratch);
        json.clear();
        encode::request(&mut json, key, &self.connections[connection as usize].tail, progress, body);
        // The line feed ends a message on a stream; here a length does.
        json.pop();
        self.http_call(connection, key, &json);
        if json.capacity() <= SCRATCH_BYTES_KEPT {
            self.scratch = json;
        }
    }

    pub(super) fn move_parked(
        &mut self,
        now: Instant,
        connection: u32,
        parked: Parked,
        sink: &mut impl Sink,
    ) {
        if self.is_http(connection) && self.connections[connection as usize].revision == parked.revision {
            self.http_call(connection, parked.key, &parked.frame);
            self.stats.moved += 1;
            return;
        }
        let conn = &mut self.connections[connection as usize];
        if conn.revision == parked.revision {
            conn.outbox.borrow(&mut self.spares);
            let start = conn.outbox.end();
            conn.outbox.bytes().extend_from_slice(&parked.frame);
            self.settle_in(connection, parked.key, start);
            self.stats.moved += 1;
        } else {
            // The server came back in another revision: this frame's end would be wrong for it.
            self.fail(now, parked.key, Why::ConnectionLost, Fate::NotSent, sink);
        }
    }
}
