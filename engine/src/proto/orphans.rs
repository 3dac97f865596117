//! Orphans: calls that nobody waits for any more, though the server may still be working on them.
//!
//! A call that timed out or was cancelled after it was sent leaves its key here. A late answer is recognised by it and
//! dropped ("late"; an answer to a key that is neither in flight nor here is "unknown"). For the first
//! `debt` of its life an orphan also occupies the window: a server that is slower than our time-out must not be sent
//! twice its window. It stops counting soon, because some servers never answer a cancelled call at all.
//!
//! Units: calls. Cost: a hash map entry for each orphan, none for a call that ends well. Owner: one connection.
//! Always: every orphan is in debt or remembered, at most `ORPHANS_MAX` are remembered (the oldest is forgotten first),
//! and the lists hold at most twice as many entries as that, plus the debts. Proof: `memory_is_bounded*`, below.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{
    base::{limits::ORPHANS_MAX, time::Instant},
    slab::key::Key,
};

/// The orphans of one connection.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Orphans {
    /// At most `ORPHANS_MAX`, the oldest: more do not make a connection more suspect. (In front: each answer looks whether there are any.)
    timed_out: VecDeque<Instant>,
    known: HashMap<Key, Mark>,
    /// In the order in which they were orphaned; answered ones are skipped when they come up.
    in_debt: VecDeque<(Instant, Key)>,
    remembered: VecDeque<(Instant, Key)>,
}

/// Why an orphan is still known: one of these is true.
#[derive(Debug)]
struct Mark {
    /// It occupies a place in the window.
    in_debt: bool,
    /// It stands in `remembered`.
    remembered: bool,
}

impl Orphans {
    /// `key` is nobody's any more. `timed_out`: by time-out, not by the caller's wish.
    pub(crate) fn add(&mut self, now: Instant, key: Key, timed_out: bool) {
        self.remember(now, key, true);
        self.in_debt.push_back((now, key));
        if self.in_debt.len() > 2 * self.known.len() + ENTRIES_SLACK {
            // Answered long before their debt would have expired, at a high rate. More than half go.
            let known = &self.known;
            self.in_debt.retain(|(_, key)| known.get(key).is_some_and(|mark| mark.in_debt));
        }
        if timed_out && self.timed_out.len() < ORPHANS_MAX {
            self.timed_out.push_back(now);
        }
    }

    /// As [`Self::add`], for one that had a place of its own in the window and took it along: it owes nothing.
    pub(crate) fn add_free(&mut self, now: Instant, key: Key) {
        self.remember(now, key, false);
    }

    fn remember(&mut self, now: Instant, key: Key, in_debt: bool) {
        if self.remembered.len() >= ORPHANS_MAX
            && let Some((_, oldest)) = self.remembered.pop_front()
            && let Some(mark) = self.known.get_mut(&oldest)
        {
            // Under a window wider than the bound it may be in debt still; then it goes when the debt does.
            mark.remembered = false;
            if !mark.in_debt {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(key, Mark { in_debt, remembered: true });
        self.remembered.push_back((now, key));
    }

    /// An answer to `key` came. `None`: it is no orphan. `Some(true)`: and its debt is settled.
    pub(crate) fn answered(&mut self, key: Key) -> Option<bool> {
        self.timed_out.clear();
        self.known.remove(&key).map(|mark| mark.in_debt)
    }

    /// Any answer proves that the server is alive.
    #[inline]
    pub(crate) fn server_is_alive(&mut self) {
        if !self.timed_out.is_empty() {
            self.timed_out.clear();
        }
    }

    /// How many debts have expired by now, and forgets those orphans whose time to live is over.
    pub(crate) fn expire(&mut self, now: Instant, debt: Duration, ttl: Duration) -> u32 {
        let mut settled = 0;
        while let Some(&(since, key)) = self.in_debt.front() {
            if now < since.after(debt) {
                break;
            }
            self.in_debt.pop_front();
            if let Some(mark) = self.known.get_mut(&key) {
                settled += u32::from(std::mem::take(&mut mark.in_debt));
                if !mark.remembered {
                    self.known.remove(&key);
                }
            }
        }
        while let Some(&(since, key)) = self.remembered.front() {
            if now < since.after(ttl.max(debt)) {
                break;
            }
            self.remembered.pop_front();
            self.known.remove(&key);
        }
        settled
    }

    /// When more than so many calls had timed out, with no answer to anything since.
    pub(crate) fn more_timed_out_at(&self, calls: usize) -> Option<Instant> {
        self.timed_out.get(calls).copied()
    }

    /// When `expire` has something to do next.
    pub(crate) fn next_expiry(&self, debt: Duration) -> Instant {
        self.in_debt.front().map_or(Instant::NEVER, |(since, _)| since.after(debt))
    }

    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Entries of all lists together.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn entries(&self) -> usize {
        self.known.len() + self.in_debt.len() + self.remembered.len() + self.timed_out.len()
    }

    /// The connection is gone and its orphans with it.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.in_debt.clear();
        self.remembered.clear();
        self.timed_out.clear();
    }
}

/// Entries of answered orphans that may stand in line before the line is cleared of them.
const ENTRIES_SLACK: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        Key::from_wire(n).unwrap()
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn debt_ends_by_answer_or_by_time_but_once() {
        let mut orphans = Orphans::default();
        orphans.add(Instant::from_ns(0), key(1), true);
        orphans.add(Instant::from_ns(0), key(2), true);
        assert_eq!(orphans.answered(key(1)), Some(true));
        assert_eq!(orphans.answered(key(1)), None, "a second late answer is unknown");
        let later = Instant::from_ns(0).after(S);
        assert_eq!(orphans.expire(later, S, 75 * S), 1);
        assert_eq!(orphans.answered(key(2)), Some(false), "late, and its debt had expired");
        assert_eq!(orphans.len(), 0);
    }

    #[test]
    fn an_orphan_that_owes_nothing_settles_nothing() {
        let mut orphans = Orphans::default();
        orphans.add_free(Instant::from_ns(0), key(1));
        orphans.add_free(Instant::from_ns(0), key(2));
        assert_eq!(orphans.answered(key(1)), Some(false), "late, and no debt");
        assert_eq!(orphans.expire(Instant::from_ns(0).after(80 * S), S, 75 * S), 0);
        assert_eq!(orphans.answered(key(2)), None, "forgotten by then");
        assert_eq!(orphans.entries(), 0);
    }

    #[test]
    fn an_answer_clears_the_suspicion() {
        let mut orphans = Orphans::default();
        for n in 1..=10 {
            orphans.add(Instant::from_ns(n), key(n), true);
        }
        assert_eq!(orphans.more_timed_out_at(9), Some(Instant::from_ns(10)));
        assert_eq!(orphans.more_timed_out_at(10), None);
        orphans.server_is_alive();
        assert_eq!(orphans.more_timed_out_at(0), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut orphans = Orphans::default();
        for n in 1..=3 * ORPHANS_MAX as u64 {
            orphans.add(Instant::from_ns(n), key(n), false);
            orphans.expire(Instant::from_ns(n).after(S), S, 75 * S);
        }
        assert!(orphans.len() <= ORPHANS_MAX + 1);
        assert!(orphans.in_debt.len() <= ORPHANS_MAX && orphans.remembered.len() <= ORPHANS_MAX + 1);
    }

    /// With a window wider than the bound, orphans that were forgotten while they were in debt stayed known for ever: each
    /// wave of cancellations left some, until the connection ended.
    #[test]
    fn memory_is_bounded_under_a_wide_window() {
        let mut orphans = Orphans::default();
        let mut now = Instant::from_ns(0);
        for wave in 0..4 {
            for n in 1..=2 * ORPHANS_MAX as u64 {
                orphans.add(now, key(wave * 2 * ORPHANS_MAX as u64 + n), false);
            }
            now = now.after(S);
            assert_eq!(orphans.expire(now, S, 75 * S) as usize, 2 * ORPHANS_MAX);
            assert!(orphans.len() <= ORPHANS_MAX, "{} known after wave {wave}", orphans.len());
        }
    }

    /// A server that talks but answers nothing is never suspect, so its time-outs were listed without end; and callers
    /// that give up and are answered at once filled the line of debts at the rate of their calls.
    #[test]
    fn memory_is_bounded_whatever_the_server_does() {
        let mut orphans = Orphans::default();
        for n in 1..=5 * ORPHANS_MAX as u64 {
            orphans.add(Instant::from_ns(n), key(n), true);
            orphans.expire(Instant::from_ns(n).after(S), S, 75 * S);
        }
        assert!(orphans.timed_out.len() <= ORPHANS_MAX);
        let mut orphans = Orphans::default();
        for n in 1..=5 * ORPHANS_MAX as u64 {
            orphans.add(Instant::from_ns(n), key(n), false);
            assert_eq!(orphans.answered(key(n)), Some(true));
        }
        assert!(orphans.in_debt.len() <= ENTRIES_SLACK + 1, "{} debts in line", orphans.in_debt.len());
    }
}
