//! What must hold in a world: after every turn, at rest, and at its end.

use std::collections::HashSet;

use crate::world::{BACKOFF_CAP, Line, MS, World};

/// Turns that one moment may take: bytes come singly in some of them, and a line has some thousands.
const TURNS_AT_ONCE_MAX: usize = 20_000;

/// Transports that one connection may ask for at one moment: the era may turn out to be another twice, and the first
/// attempt after a success is at once.
const DIALS_AT_ONCE_MAX: usize = 6;

impl World {
    /// After every turn.
    pub(crate) fn check(&mut self) {
        self.ledger.check_deadlines(self.now);
        let stats = self.core.stats();
        assert_eq!(stats.submitted, self.ledger.calls.len() as u64);
        assert_eq!(stats.live, self.ledger.live.len() as u64);
        let ended = (stats.answered, stats.failed, stats.cancelled);
        assert_eq!(ended, (self.ledger.answered, self.ledger.failed, self.ledger.cancelled));
        assert_eq!(stats.notifications, self.notifications_told);
        for n in 0..self.lines.len() as u32 {
            let view = self.core.view(n);
            let here = self.ledger.live.iter().map(|tag| &self.ledger.calls[*tag]);
            let here = here.filter(|call| call.placed == Some((n, view.epoch))).count();
            assert_eq!(view.in_flight as usize, here, "the window of connection {n} and its calls");
            assert!(view.in_flight + view.room <= self.nature.in_flight);
            let aborted = (self.ledger.cancelled + self.ledger.failed) as usize;
            assert!(view.orphan_entries <= 4 * aborted + 64, "{} entries of orphans", view.orphan_entries);
        }
        let line_bound = 2 * (2 * self.ledger.live_most + 65);
        assert!(
            self.core.unplaced_entries() <= line_bound,
            "{} entries in line",
            self.core.unplaced_entries()
        );
    }

    /// With time standing still and nothing happening, the driver soon has nothing left to do.
    pub(crate) fn come_to_rest(&mut self) {
        let (mut turns, mut quiet) = (0, 0);
        let dials_most = self.dials + DIALS_AT_ONCE_MAX * self.lines.len();
        // A turn may by chance have read nothing; a dozen of these in a row is no chance.
        while quiet < 12 {
            quiet = if self.turn() == 0 { quiet + 1 } else { 0 };
            turns += 1;
            assert!(turns < TURNS_AT_ONCE_MAX, "no rest after {turns} turns at one moment");
            assert!(self.dials <= dials_most, "dials without end at one moment");
        }
        let deadline = self.core.poll_deadline();
        assert!(deadline > self.now, "at rest, and due since {} ns", self.now - deadline);
        if self.lines.iter().all(|line| matches!(line, Line::Nothing)) && !self.core.is_closed() {
            assert!(deadline <= self.now + BACKOFF_CAP, "nobody is there, and nobody is going to be dialled");
        }
    }

    /// The end: no new calls; then everything has to end by itself, and nothing may be left.
    pub(crate) fn finish(&mut self) {
        let last = self.ledger.live.iter().map(|tag| &self.ledger.calls[*tag]);
        let last = last
            .map(|call| call.submitted_at + call.wait.at_most.as_nanos() as u64)
            .max()
            .map_or(self.now, |last| last.max(self.now));
        while !self.core.is_idle() {
            assert!(self.now <= last + 50 * MS, "calls live on");
            self.now = self.core.poll_deadline().clamp(self.now + MS, self.now + 20 * MS);
            self.happen();
            self.turn();
        }
        // All debts expire, and every place in every window is free again.
        self.nature.breaks = 0;
        self.nature.blocks = 0;
        self.nature.fails_to_open = 0;
        self.nature.changes = 0;
        self.now += 400 * MS;
        self.turn();
        self.come_to_rest();
        self.check_windows();
        self.check_requests();
        self.close();
    }

    fn check_windows(&mut self) {
        let ready = (0..self.lines.len() as u32).map(|n| self.core.view(n)).filter(|view| view.ready);
        let mut room = 0;
        for view in ready {
            assert_eq!((view.in_flight, view.room), (0, view.limit), "a place was not given back");
            assert!(
                view.limit == self.nature.in_flight || self.nature.adaptive && view.limit > 0,
                "{view:?}"
            );
            room += view.room as usize;
        }
        assert_eq!(self.core.room(), room, "a key of the magazine was not given back");
        let counts = |n: usize, ready: bool| n < self.nature.connections || ready;
        let views = (0..self.lines.len()).map(|n| (n, self.core.view(n as u32)));
        let window: u32 = views.filter(|(n, view)| counts(*n, view.ready)).map(|(_, view)| view.limit).sum();
        assert_eq!(self.core.stats().window, u64::from(window), "the gauge, and the windows");
    }

    fn check_requests(&mut self) {
        self.answer_requests();
        for _ in 0..200 {
            self.nature.habits.chatter = 0;
            self.happen();
            self.turn();
            self.answer_requests();
        }
        for line in &self.lines {
            if let Line::Open(pipe) = line
                && !pipe.blocked
            {
                // What was asked before the engine was ready may have got a reply, or not.
                let replies: HashSet<&String> = pipe.server.replies.iter().collect();
                assert_eq!(replies.len(), pipe.server.replies.len(), "two replies to one request");
                assert!(pipe.requests.iter().all(|id| replies.contains(id)), "a request got no reply");
            }
        }
    }

    fn close(&mut self) {
        // Every slot can be reserved again, and what waits when the engine closes ends with it.
        for id in self.unreleased.drain(..) {
            self.core.release(id);
        }
        if !self.core.refuses(self.now) {
            let slots = 2 * self.lines.len() * self.nature.in_flight as usize;
            for n in 0..slots / 2 {
                assert!(self.call(true), "slot {n} was not given back");
            }
        }
        self.ledger.closed = true;
        self.core.close(self.now);
        self.note();
        self.come_to_rest();
        assert!(self.core.is_closed() && self.core.is_idle());
        assert!(self.ledger.calls.iter().all(|call| call.ended), "a call did not end");
        // A few deadlines of what has ended may still stand; none may be set anew.
        for _ in 0..3 {
            if self.core.poll_deadline() != u64::MAX {
                self.now = self.core.poll_deadline();
                self.come_to_rest();
            }
        }
        assert_eq!(self.core.poll_deadline(), u64::MAX, "closed, and waiting for something");
        let stats = self.core.stats();
        assert!(self.cancellations <= stats.cancellations_sent);
        assert_eq!(self.notes_placed, self.notes_taken, "notifications taken, and put into an output");
        let unsent = stats.notifications_unsent;
        assert_eq!(
            self.notes_left + unsent,
            self.notes_taken,
            "notifications that left, and that were counted as unsent"
        );
    }
}
