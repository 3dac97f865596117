//! What a run shows while it runs: a few counters per worker, and the phase.
//!
//! | field            | who writes, when             | who reads             |
//! |------------------|------------------------------|-----------------------|
//! | counters         | their worker, once per turn  | progress, a few per s |
//! | phase            | the main thread, per phase   | progress              |
//!
//! All loads and stores are relaxed: a figure on a screen may be a turn old, and no memory is
//! published through them. Each worker's counters have cache lines of their own.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::record::Tally;

/// The gauges of all workers.
#[derive(Debug)]
pub(crate) struct Gauges {
    phase: AtomicU8,
    workers: Box<[Gauge]>,
}

/// One worker's counters. The alignment covers pairs of lines, which are fetched together.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct Gauge {
    answered: AtomicU64,
    errors: AtomicU64,
    untrue: AtomicU64,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Starting and agreeing on a revision.
    Connecting,
    /// Sending calls that do not count.
    WarmingUp,
    /// Sending calls that count, and waiting for the last of them.
    Measuring,
    /// Done.
    Over,
}

/// All workers together at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// What is going on.
    pub(crate) phase: Phase,
    /// Calls answered in this phase.
    pub(crate) answered: u64,
    /// Calls that did not do what they should, in this phase.
    pub(crate) errors: u64,
    /// Of these, wrong or lost.
    pub(crate) untrue: u64,
}

impl Gauges {
    /// One for each worker, all at zero.
    pub(crate) fn new(workers: u32) -> Self {
        Self { phase: AtomicU8::new(0), workers: (0..workers).map(|_| Gauge::default()).collect() }
    }

    /// Adds up all workers.
    pub(crate) fn read(&self) -> Reading {
        let sum = |pick: fn(&Gauge) -> &AtomicU64| {
            self.workers.iter().map(|gauge| pick(gauge).load(Ordering::Relaxed)).sum()
        };
        Reading {
            phase: PHASES[usize::from(self.phase.load(Ordering::Relaxed)) % PHASES.len()],
            answered: sum(|gauge| &gauge.answered),
            errors: sum(|gauge| &gauge.errors),
            untrue: sum(|gauge| &gauge.untrue),
        }
    }

    /// Pretends that the first worker came so far, for tests of what is shown.
    #[cfg(test)]
    pub(crate) fn preset(&self, phase: Phase, answered: u64) {
        self.enter(phase);
        self.of(0).show(&Tally { answered, ..Tally::default() });
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn of(&self, worker: u32) -> &Gauge {
        &self.workers[worker as usize]
    }
}

impl Gauge {
    pub(super) fn show(&self, tally: &Tally) {
        self.answered.store(tally.answered, Ordering::Relaxed);
        self.errors.store(tally.errors(), Ordering::Relaxed);
        self.untrue.store(tally.wrong + tally.lost + tally.stray, Ordering::Relaxed);
    }
}

/// In the order of their numbers.
const PHASES: [Phase; 4] = [Phase::Connecting, Phase::WarmingUp, Phase::Measuring, Phase::Over];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_adds_the_workers_up() {
        let gauges = Gauges::new(2);
        gauges.of(0).show(&Tally { answered: 3, wrong: 1, ..Tally::default() });
        gauges.of(1).show(&Tally { answered: 4, timed_out: 2, ..Tally::default() });
        let reading = gauges.read();
        assert_eq!((reading.answered, reading.errors, reading.untrue), (7, 3, 1));
    }

    #[test]
    fn each_phase_reads_as_itself() {
        let gauges = Gauges::new(0);
        for phase in PHASES {
            gauges.enter(phase);
            assert_eq!(gauges.read().phase, phase);
        }
    }
}
