//! The in-flight window: how many requests one connection may have unanswered.
//!
//! A window counts credits. A request takes one when it is queued for the wire and gives it back when it ends, however
//! it ends. A request that ended without an answer (timed out, cancelled) may still occupy the server, so its credit
//! first turns into *debt*, until the late answer comes or the debt expires. When none is free the connection takes
//! no calls, and the wait moves up to the caller. That is our backpressure; there is no second kind.
//!
//! The limit may move ([`Window::set_limit`]), also below what is taken: then nothing is lent until enough has come back. A limit of 0
//! is a pause.
//!
//! A standing request (a subscription) never ends by itself, so it must not take a place from the calls: it brings its own with
//! [`Window::widen`] and takes it away again with [`Window::narrow`].
//!
//! Unit: requests. Cost: one compare and one add. Owner: one connection, on one thread.
//! Always: a credit is lent only while `in_flight + debt < limit`, and the limit is the one that was set plus the standing requests. Proof: `agrees_with_a_plain_list`, below.

use std::num::NonZeroU32;

/// The requests a connection may have unanswered, and those it has.
#[derive(Debug)]
pub(crate) struct Window {
    in_flight: u32,
    debt: u32,
    /// The number that was set, and `standing` more.
    limit: u32,
    standing: u32,
}

impl Window {
    pub(crate) fn new(limit: NonZeroU32) -> Self {
        Self { in_flight: 0, debt: 0, limit: limit.get(), standing: 0 }
    }

    /// Takes so many credits, or none and says `false` if fewer are free. Full is a state, not an error.
    #[inline]
    pub(crate) fn take(&mut self, requests: u32) -> bool {
        let free = requests <= self.room();
        self.in_flight += if free { requests } else { 0 };
        free
    }

    /// Ends an answered request; its place is free again.
    #[inline]
    pub(crate) fn give_back(&mut self) {
        assert!(self.in_flight > 0, "a credit came back to a window that lent none");
        self.in_flight -= 1;
    }

    /// Ends an unanswered request; its place stays taken until [`Self::settle`].
    pub(crate) fn owe(&mut self) {
        self.give_back();
        self.debt += 1;
    }

    /// Ends a debt.
    pub(crate) fn settle(&mut self) {
        assert!(self.debt > 0, "a debt was settled that nobody owed");
        self.debt -= 1;
    }

    /// A standing request comes and brings a place; it takes it with [`Self::take`].
    pub(crate) fn widen(&mut self) {
        self.standing += 1;
        self.limit += 1;
    }

    /// A standing request that has given its place back takes it away.
    pub(crate) fn narrow(&mut self) {
        assert!(self.standing > 0, "a window was narrowed that nobody had widened");
        self.standing -= 1;
        self.limit -= 1;
    }

    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight + self.debt < self.limit
    }

    /// The requests it may have unanswered.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Credits that are free.
    #[inline]
    pub(crate) fn room(&self) -> u32 {
        self.limit.saturating_sub(self.in_flight + self.debt)
    }

    /// Other limits from now on, of calls.
    pub(crate) fn set_limit(&mut self, calls: u32) {
        self.limit = calls + self.standing;
    }

    /// Requests that take up places: in flight or in debt.
    pub(crate) fn occupied(&self) -> u32 {
        self.in_flight + self.debt
    }

    /// Those in flight that are not standing.
    pub(crate) fn calls(&self) -> u32 {
        self.in_flight - self.standing.min(self.in_flight)
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// A new connection in the place of the old one: nothing is in flight on it.
    pub(crate) fn reset(&mut self) {
        debug_assert_eq!(self.standing, 0, "a standing request outlived its connection");
        (self.in_flight, self.debt) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the order of events, the window says what two plain lists would say.
        #[test]
        fn agrees_with_a_plain_list(steps in proptest::collection::vec((0u8..7, 0u32..8), 0..300)) {
            let mut window = Window::new(NonZeroU32::new(5).unwrap());
            let (mut live, mut owed, mut standing) = (Vec::new(), Vec::new(), Vec::new());
            let mut limit = 5;
            for (step, number) in steps {
                match step {
                    0 => {
                        let calls = 1 + number as usize / 3;
                        let room = live.len() + owed.len() + calls <= limit;
                        prop_assert_eq!(window.take(calls as u32), room, "all of them or none");
                        if room { live.resize(live.len() + calls, ()); }
                    }
                    1 => if live.pop().is_some() { window.give_back() },
                    2 => if live.pop().is_some() { owed.push(()); window.owe() },
                    3 => if owed.pop().is_some() { window.settle() },
                    4 => {
                        standing.push(());
                        window.widen();
                        let room = live.len() + owed.len() <= limit;
                        prop_assert_eq!(window.take(1), room, "it brings its own place");
                        if !room {
                            // The limit was lowered below what is taken meanwhile; the exchange does not pick such a one.
                            standing.pop();
                            window.narrow();
                        }
                    }
                    5 => {
                        limit = number as usize;
                        window.set_limit(number);
                    }
                    _ => if standing.pop().is_some() {
                        window.give_back();
                        window.narrow();
                    },
                }
                prop_assert_eq!(window.in_flight() as usize, live.len() + standing.len());
                prop_assert_eq!(window.room() as usize, limit.saturating_sub(live.len() + owed.len()));
                prop_assert_eq!(window.occupied() as usize, live.len() + owed.len() + standing.len());
                prop_assert_eq!(window.calls() as usize, live.len());
            }
        }
    }

    #[test]
    #[should_panic(expected = "lent none")]
    fn a_credit_that_was_not_lent_is_a_bug() {
        Window::new(NonZeroU32::MIN).give_back();
    }
}
