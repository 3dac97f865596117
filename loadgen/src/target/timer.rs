//! Work that is owed later: a heap of due times over a table of jobs.
//!
//! Arming and taking cost O(log n), cancelling O(1); a hundred thousand pending jobs stay quick.
//! A cancelled job leaves its due time in the heap; when more than half of the heap is such
//! debris it is swept, so memory follows the number of live jobs. Time is an argument.
//! Proof: `agrees_with_a_sorted_list`, below.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Jobs with their due times. Jobs due at the same time come out in the order they were armed.
///
/// Invariant: each job in `slots` has exactly one entry in `heap` with its serial;
/// `live <= heap.len()` and the rest of the heap is debris.
pub(super) struct Timers<J> {
    heap: BinaryHeap<Reverse<Due>>,
    slots: Vec<Option<(u64, J)>>,
    free: Vec<u32>,
    serial_next: u64,
    live: usize,
}

/// Names one armed job; it stays harmless after the job is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    serial: u64,
    slot: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Instant,
    serial: u64,
    slot: u32,
}

impl<J> Timers<J> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), serial_next: 0, live: 0 }
    }

    pub(super) fn arm(&mut self, at: Instant, job: J) -> Ticket {
        let serial = self.serial_next;
        self.serial_next += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 pending jobs")
        });
        self.slots[slot as usize] = Some((serial, job));
        self.live += 1;
        self.heap.push(Reverse(Due { at, serial, slot }));
        Ticket { serial, slot }
    }

    /// Takes a job back before it is due; `None` when it is gone already.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> Option<J> {
        let job = self.take(ticket.slot, ticket.serial)?;
        if self.heap.len() > SWEEP_MIN && self.live * 2 < self.heap.len() {
            let slots = &self.slots;
            self.heap.retain(|Reverse(due)| {
                slots[due.slot as usize].as_ref().is_some_and(|(serial, _)| *serial == due.serial)
            });
        }
        Some(job)
    }

    /// Takes the next job whose time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<J> {
        while let Some(&Reverse(due)) = self.heap.peek() {
            if due.at > now {
                return None;
            }
            self.heap.pop();
            if let Some(job) = self.take(due.slot, due.serial) {
                return Some(job);
            }
        }
        None
    }

    /// When to look again; it may be the time of a cancelled job.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(due)| due.at)
    }

    fn take(&mut self, slot: u32, serial: u64) -> Option<J> {
        let entry = &mut self.slots[slot as usize];
        if entry.as_ref().is_none_or(|(armed, _)| *armed != serial) {
            return None;
        }
        self.free.push(slot);
        self.live -= 1;
        entry.take().map(|(_, job)| job)
    }
}

/// Below this many entries debris is cheaper than a sweep.
const SWEEP_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u64),
        Cancel(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..50_u64).prop_map(Step::Arm),
            (0..64_usize).prop_map(Step::Cancel),
            (0..20_u64).prop_map(Step::Advance),
        ]
    }

    proptest! {
        /// Whatever the order of events, jobs come out as from a list sorted by due time.
        #[test]
        fn agrees_with_a_sorted_list(steps in proptest::collection::vec(step(), 0..200)) {
            let mut now = Instant::now();
            let mut timers = Timers::new();
            let mut tickets = Vec::new();
            let mut list: Vec<(Instant, usize)> = Vec::new();
            for step in steps {
                match step {
                    Step::Arm(ms) => {
                        let at = now + Duration::from_millis(ms);
                        let job = tickets.len();
                        tickets.push(timers.arm(at, job));
                        list.push((at, job));
                    }
                    Step::Cancel(job) => {
                        let known = list.iter().position(|&(_, listed)| listed == job);
                        let found = tickets.get(job).and_then(|&ticket| timers.cancel(ticket));
                        prop_assert_eq!(found, known.map(|at| list.remove(at).1));
                    }
                    Step::Advance(ms) => {
                        now += Duration::from_millis(ms);
                        list.sort();
                        while let Some(job) = timers.pop_due(now) {
                            prop_assert_eq!(list.remove(0).1, job);
                        }
                        prop_assert!(list.first().is_none_or(|&(at, _)| at > now));
                    }
                }
                prop_assert_eq!(timers.live, list.len());
            }
        }
    }

    #[test]
    fn debris_of_cancelled_jobs_is_swept() {
        let now = Instant::now();
        let mut timers = Timers::new();
        for round in 0..100_000 {
            let ticket = timers.arm(now + Duration::from_secs(3600), round);
            assert_eq!(timers.cancel(ticket), Some(round));
            assert_eq!(timers.cancel(ticket), None);
        }
        assert!(timers.heap.len() <= SWEEP_MIN + 1 && timers.slots.len() == 1);
    }
}
