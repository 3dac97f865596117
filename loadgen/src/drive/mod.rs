//! Drives a plan: connect, warm up, measure, drain, and put together what the workers found.
//!
//! One [`worker`] thread per shard, and the main thread, go through the same phases and meet
//! between them:
//!
//! ```text
//! main      | connected | warm | sample, go | ............... | done, sample | release
//! worker    | connected | warm | go         | measure + drain | done         | release
//! ```
//!
//! The warm-up is drained before the measured phase begins, so no call counts half. The measured
//! calls are numbered from 0; those of the warm-up have numbers that the measured ones do not
//! reach. All clocks are the shards' own. Proof: the tests below, over a fake engine.

mod answer;
mod engine;
mod gauge;
mod meeting;
mod numbers;
mod shard;
mod slots;
mod specimen;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

pub(crate) use engine::Engine;
pub(crate) use gauge::{Gauges, Phase};
use meeting::{Meeting, Seat};
use numbers::Numbers;
pub(crate) use shard::Connect;
#[cfg(test)]
pub(crate) use specimen::Kind;
pub(crate) use specimen::{Specimen, Specimens};
use worker::{Done, Halt, Worker};

use crate::plan::{Plan, Stop};
use crate::record::{ArrayCounts, HttpCounts, Summary, Tally};

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// The measured phase.
    pub(crate) summary: Summary,
    /// The calls of the warm-up.
    pub(crate) warmup: Tally,
    /// The first of each kind of trouble, in either phase.
    pub(crate) specimens: Specimens,
    /// Why workers gave up, if any did.
    pub(crate) faults: Vec<String>,
    /// The revision that was agreed on.
    pub(crate) revision: String,
    /// What it cost in HTTP, from the first connection to the last answer.
    pub(crate) http: HttpCounts,
    /// Calls that all connections together might have in flight at the end.
    pub(crate) window: u64,
    /// How many of its calls left in arrays.
    pub(crate) arrays: ArrayCounts,
    /// Whether Ctrl-C ended it.
    pub(crate) interrupted: bool,
}

/// The two moments at which the main thread may look at the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The warm-up is over, nothing is in flight.
    Begin,
    /// All calls are resolved, all connections still open.
    End,
}

/// What all workers of a run share.
struct Run<'a, C> {
    plan: &'a Plan,
    connect: &'a C,
    gauges: &'a Gauges,
    meeting: Meeting,
    halt: Halt<'a>,
    warmup: Numbers,
    measured: Numbers,
}

/// What one worker leaves behind.
#[derive(Default)]
struct Left {
    warmup: Option<Done>,
    measured: Option<Done>,
    revision: String,
    http: HttpCounts,
    window: u64,
    arrays: ArrayCounts,
    fault: Option<String>,
}

/// Runs the plan to its end, or to the interruption. `probe` is called at the two moments.
///
/// Never fails as a whole: what went wrong stands in [`Measured::faults`], beside what was
/// measured until then.
pub(crate) fn run<C: Connect>(
    plan: &Plan,
    connect: &C,
    gauges: &Gauges,
    interrupt: &AtomicBool,
    mut probe: impl FnMut(Moment),
) -> Measured {
    let abort = AtomicBool::new(false);
    let run = Run {
        plan,
        connect,
        gauges,
        meeting: Meeting::new(plan.shards as usize + 1),
        halt: Halt { interrupt, abort: &abort },
        warmup: Numbers::new(first_of_warmup(plan.stop), plan.warmup.and_then(calls_of)),
        measured: Numbers::new(0, calls_of(plan.stop)),
    };
    let left: Vec<Left> = thread::scope(|scope| {
        let seat = run.meeting.seat();
        let workers: Vec<_> = (0..plan.shards)
            .map(|index| {
                // Taken here: if the thread cannot be started, the seat is given up at once.
                let (run, seat) = (&run, run.meeting.seat());
                thread::Builder::new().name(format!("generator-{index}")).spawn_scoped(scope, move || {
                    let left = run.work(index, &seat);
                    // Every early way out releases the others.
                    drop(seat);
                    left
                })
            })
            .collect();
        if workers.iter().any(Result::is_err) {
            abort.store(true, Ordering::Relaxed);
        }
        seat.meet();
        gauges.enter(Phase::WarmingUp);
        seat.meet();
        probe(Moment::Begin);
        gauges.enter(Phase::Measuring);
        seat.meet();
        seat.meet();
        probe(Moment::End);
        gauges.enter(Phase::Over);
        seat.meet();
        drop(seat);
        let joined = workers.into_iter().map(|worker| match worker.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(left)) => left,
            Ok(Err(_)) => Left::failed("a generator thread panicked; this is a bug in loadgen".into()),
            Err(error) => Left::failed(format!("a generator thread could not be started: {error}")),
        });
        joined.collect()
    });
    let mut measured = Measured { interrupted: interrupt.load(Ordering::Relaxed), ..Measured::default() };
    left.into_iter().for_each(|left| measured.add(left));
    measured.check_books();
    measured
}

impl<C: Connect> Run<'_, C> {
    /// The life of one worker; see the picture above for the meetings.
    fn work(&self, index: u32, seat: &Seat<'_>) -> Left {
        let connected = self.connect.connect(index);
        if connected.is_err() {
            self.halt.abort.store(true, Ordering::Relaxed);
        }
        seat.meet();
        let shard = match connected {
            Ok(shard) => shard,
            Err(reason) => return Left::failed(reason),
        };
        let gauge = self.gauges.of(index);
        let mut worker = Worker::new(shard, self.plan, self.plan.calls_in_flight_of(index), gauge, self.halt);
        let mut left = Left { revision: worker.revision(), ..Left::default() };
        if let Some(stop) = self.plan.warmup {
            left.warmup = self.phase(&mut worker, &self.warmup, stop);
        }
        seat.meet();
        seat.meet();
        left.measured = self.phase(&mut worker, &self.measured, self.plan.stop);
        (left.http, left.arrays) = (worker.http(), worker.arrays());
        left.window = worker.window();
        seat.meet();
        seat.meet();
        // The shard closes its connections here, when the processes have been looked at.
        drop(worker);
        left
    }

    /// One phase, unless the run is to stop before it.
    fn phase(&self, worker: &mut Worker<'_, C::Shard>, numbers: &Numbers, stop: Stop) -> Option<Done> {
        if self.halt.interrupt.load(Ordering::Relaxed) || self.halt.abort.load(Ordering::Relaxed) {
            return None;
        }
        let time = match stop {
            Stop::Calls(_) => None,
            Stop::Duration(time) => Some(time),
        };
        let done = worker.phase(numbers, time);
        if done.fault.is_some() {
            self.halt.abort.store(true, Ordering::Relaxed);
        }
        Some(done)
    }
}

impl Left {
    fn failed(reason: String) -> Self {
        Self { fault: Some(reason), ..Self::default() }
    }
}

impl Measured {
    fn add(&mut self, left: Left) {
        self.blame(left.fault);
        if self.revision.is_empty() {
            self.revision = left.revision;
        }
        self.http += left.http;
        self.window += left.window;
        self.arrays += left.arrays;
        if let Some(done) = left.warmup {
            self.warmup += done.summary.tally;
            self.specimens.merge(done.specimens);
            self.blame(done.fault);
        }
        if let Some(done) = left.measured {
            self.summary.merge(done.summary);
            self.specimens.merge(done.specimens);
            self.blame(done.fault);
        }
    }

    /// Workers that fail for the same reason are named once.
    fn blame(&mut self, fault: Option<String>) {
        self.faults.extend(fault.filter(|fault| !self.faults.contains(fault)));
    }

    fn check_books(&mut self) {
        for tally in [self.warmup, self.summary.tally] {
            self.blame(tally.balance().err().map(|imbalance| imbalance.to_string()));
        }
    }
}

const fn calls_of(stop: Stop) -> Option<u64> {
    match stop {
        Stop::Calls(calls) => Some(calls),
        Stop::Duration(_) => None,
    }
}

/// Past the numbers of the measured phase; below 2^31, so that a tool may read it as an `i32`.
fn first_of_warmup(stop: Stop) -> u64 {
    calls_of(stop).unwrap_or(0).max(1_000_000_000)
}
