//! The overflow: connections beyond the lasting ones, opened when calls find no room on any, closed when nobody has needed them for a while.
//!
//! They are the last of the exchange's connections and begin closed. A call that finds no room has them opened, as many as the waiting calls
//! would fill, but no more at a time than are ready already: so a burst that one connection will have dealt with in a moment starts few
//! servers, and sixteen are there after four steps. None is opened while a lasting one is on its way, nor while the server wants to be left
//! alone: then it is not places that are wanting. One that fails is closed and makes the next wait as a lost connection does, one that had no
//! call for the time that was set is closed in an orderly way, unless no other is left, and meanwhile calls go to the others first ([`picking`](super::picking)).
//!
//! Over HTTP nothing of this is needed, and nothing of it happens: sockets are opened for calls, and closed when they have been free for a while.
//!
//! Cost: where there is no overflow, or all of it is open, a look at a flag for each call or run that finds no room. Owner: one exchange. Always: a closed
//! connection of the overflow is no failed one: nobody waits for it and nothing is counted against the server. Proof: the tests of `picking`;
//! `tests/simulation`, of which `pools.rs`; `tests/integration/overflow.rs`.

use std::time::Duration;

use super::Exchange;
use crate::{
    base::time::Instant,
    proto::lifecycle::{Event, State},
};

/// Until one that owes something still is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Exchange {
    /// Is it a connection of the overflow?
    #[inline]
    pub(super) fn is_extra(&self, connection: u32) -> bool {
        connection >= self.settings.lasting()
    }

    /// Before anything else: none of them is wanted yet.
    pub(super) fn keep_extra_closed(&mut self) {
        let lasting = self.settings.lasting() as usize;
        for conn in &mut self.connections[lasting..] {
            conn.step(Event::Close);
            conn.step(Event::Gone);
        }
        self.may_spill = self.settings.overflow.connections > 0;
    }

    /// So many calls find no room.
    #[inline]
    pub(super) fn spill(&mut self, now: Instant, calls: usize) {
        if self.may_spill {
            self.open_extra(now, calls);
        }
    }

    #[cold]
    fn open_extra(&mut self, now: Instant, calls: usize) {
        if self.closing || self.held || self.ready == 0 || now < self.extra_at {
            return;
        }
        let lasting = self.settings.lasting() as usize;
        let (mut opening, mut closed, mut closing) = (0, 0, 0);
        for (n, conn) in self.connections.iter().enumerate() {
            match conn.state() {
                State::Ready if conn.pacing.is_held() => return,
                State::Starting | State::Probing | State::Initializing if n < lasting => return,
                State::Starting | State::Probing | State::Initializing => opening += 1,
                State::Closed if n >= lasting => closed += 1,
                State::Closing if n >= lasting => closing += 1,
                _ => {}
            }
        }
        self.may_spill = closed + closing > 0;
        let windows = calls.div_ceil(self.settings.window.get() as usize);
        let wanted = windows.min(self.ready).saturating_sub(opening).min(closed);
        if wanted == 0 {
            return;
        }
        let extra = self.connections[lasting..].iter_mut();
        for conn in extra.filter(|conn| conn.state() == State::Closed).take(wanted) {
            conn.step(Event::Revived);
            self.stats.overflow_opened += 1;
        }
        self.want_transports();
    }

    /// A connection of the overflow has become ready: from here on it is seen whether it is needed.
    pub(super) fn begin_looks(&mut self, connection: u32) {
        let conn = &mut self.connections[connection as usize];
        conn.look_again_at = conn.last_heard.after(self.settings.overflow.idle);
        self.next_care = self.next_care.min(conn.look_again_at);
    }

    /// Before when none is opened, if one may be wanted then: a bulk job's calls do not say again that they find no room.
    pub(super) fn opens_extra_at(&self, now: Instant) -> Instant {
        if self.may_spill && now < self.extra_at && !self.closing { self.extra_at } else { Instant::NEVER }
    }

    /// A connection of the overflow has failed; another is opened after its backoff at the earliest, if calls want it then.
    pub(super) fn shut_extra(&mut self, connection: u32) {
        let conn = &mut self.connections[connection as usize];
        self.extra_at = self.extra_at.max(conn.retry_at);
        conn.step(Event::GaveUp);
        self.may_spill = true;
        if self.waits_for_era {
            // It may have been the one that was finding it out.
            self.want_transports();
        }
    }

    /// Closes a connection of the overflow that has had no call for long enough.
    pub(super) fn close_unused(&mut self, now: Instant, connection: u32) {
        let (idle, is_extra) = (self.settings.overflow.idle, self.is_extra(connection));
        let conn = &mut self.connections[connection as usize];
        if !is_extra || conn.state() != State::Ready || now < conn.look_again_at {
            return;
        }
        let unused_at = conn.unused_at(now);
        let close_at = unused_at.min(now).after(idle);
        if unused_at == Instant::NEVER || now < close_at || !conn.owes_nothing() {
            conn.look_again_at = close_at.max(now.after(LOOK_AGAIN));
            return;
        }
        let lasting = &self.connections[..self.settings.lasting() as usize];
        if !lasting.iter().any(|conn| conn.state() == State::Ready) {
            // They may have been given up; then it stands in for them until an answer on it brings them back.
            self.connections[connection as usize].look_again_at = now.after(idle);
            return;
        }
        self.leave_ready(now, connection, false);
        self.count_noise(connection);
        let conn = &mut self.connections[connection as usize];
        conn.step(Event::Drain);
        conn.step(Event::Drained);
        conn.counted = (0, 0);
        conn.inbox.clear(&mut self.pool);
        self.stats.notifications_unsent += conn.forget_transport(self.settings.frame_bytes_max);
        self.unwanted.push_back(connection);
        self.stats.overflow_closed += 1;
        self.changed = true;
        self.may_spill = true;
    }
}
