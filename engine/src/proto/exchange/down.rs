//! An exchange that is down: all its connections have been given up. What makes it so, whom it tells, and how it comes back: somebody
//! calls after a while, or, where callers go around it, by itself.

use super::Exchange;
use crate::{
    base::time::Instant,
    proto::{
        connection::Connection,
        event::{Sink, Why},
        lifecycle::{Event, State},
    },
};

impl Exchange {
    /// This connection is not tried any more, nor are those that are not up.
    pub(super) fn give_up(&mut self, now: Instant, connection: u32, sink: &mut impl Sink) {
        self.connections[connection as usize].step(Event::GaveUp);
        (self.has_given_up_some, self.may_spill) = (true, self.settings.overflow.connections > 0);
        // The others would meet the same server.
        for conn in &mut self.connections {
            if conn.state() == State::Backoff || conn.state() == State::Starting && !conn.dialling {
                conn.step(Event::GaveUp);
            }
        }
        self.down_if_spent(now, sink);
    }

    /// If no connection is left that tries, no call is taken for a while, and those that wait are told.
    pub(super) fn down_if_spent(&mut self, now: Instant, sink: &mut impl Sink) {
        // (One of the overflow may be closing just now.)
        let tries = |conn: &Connection| !matches!(conn.state(), State::Closing | State::Closed);
        if !self.connections.iter().any(tries) {
            self.stay_down(now);
            if self.memory.may_probe() && self.memory.recall().is_none() {
                self.memory.set_given_up(self.reason.clone());
            }
            self.fail_unplaced(now, self.down_why, sink);
        }
    }

    /// Connections of this exchange wait for another one to find out the era. If that one has given up, so has this: else its calls
    /// would wait until their time is over, and not hear why.
    pub(super) fn heed_first(&mut self, now: Instant, sink: &mut impl Sink) {
        if self.down_until.is_some() || self.ready > 0 || self.memory.may_probe() {
            return;
        }
        let Some(reason) = self.memory.given_up() else { return };
        self.blame(reason);
        self.changed = true;
        self.stay_down(now);
        self.fail_unplaced(now, Why::Unreachable, sink);
    }

    /// No call is taken for a while.
    fn stay_down(&mut self, now: Instant) {
        self.down_until = Some(now.after(self.settings.backoff_cap));
        self.next_care = self.next_care.min(self.tries_again_at());
    }

    /// Does it try again by itself? Not for want of a token: whoever brings it, perhaps a user, is asked only if somebody calls.
    fn revives(&self) -> bool {
        self.settings.revives && !self.closing && !matches!(self.down_why, Why::Unauthorized)
    }

    /// Is it? Asking after the while is over begins anew.
    pub(super) fn is_down(&mut self, now: Instant) -> bool {
        match self.down_until {
            Some(until) if now < until => true,
            Some(_) => {
                self.revive();
                false
            }
            None => false,
        }
    }

    /// Time has passed: tries again if it is time and if it does so by itself.
    pub(super) fn care_for_down(&mut self, now: Instant) {
        if self.tries_again_at() <= now {
            self.try_again(now);
        }
    }

    /// When it tries again by itself.
    pub(super) fn tries_again_at(&self) -> Instant {
        self.down_until.filter(|_| self.revives()).unwrap_or(Instant::NEVER)
    }

    /// Tries again after having given up, since somebody calls.
    fn revive(&mut self) {
        (self.down_until, self.down_why) = (None, Why::Unreachable);
        self.open_anew(0);
    }

    /// Tries again, once, without taking calls before it is of use: others take them.
    fn try_again(&mut self, now: Instant) {
        self.stay_down(now);
        self.open_anew(self.settings.attempts_max.saturating_sub(1));
    }

    /// An answer has proved that a server works, and that the connection does. (One that opens may belong to a crash loop.)
    #[inline]
    pub(super) fn prove_alive(&mut self, connection: u32) {
        self.connections[connection as usize].prove_alive();
        if self.has_given_up_some {
            self.bring_back();
        }
    }

    /// Those that were given up beside one that works would stay so: it is nobody's calls that wait for them.
    #[cold]
    fn bring_back(&mut self) {
        self.has_given_up_some = false;
        if !self.closing {
            self.open_anew(1);
        }
    }

    /// Connections that have been given up are opened anew, so many attempts having been made.
    fn open_anew(&mut self, attempts: u32) {
        if self.is_closed() && self.memory.may_probe() {
            // The server may be another one. (Who may not find out would wait for somebody who knows it already.)
            self.memory.remember(None);
            self.memory.set_given_up(None);
        }
        self.has_given_up_some = false;
        // (Those of the overflow are opened by calls that find no room.)
        let lasting = self.settings.lasting() as usize;
        for conn in &mut self.connections[..lasting] {
            if conn.state() == State::Closed {
                (conn.attempts, conn.has_reopened) = (attempts, false);
                conn.step(Event::Revived);
            }
        }
        self.want_transports();
    }
}
