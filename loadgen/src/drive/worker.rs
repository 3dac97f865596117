//! One generator thread: fill the window, turn the shard, record what comes back.
//!
//! The loop is closed: the intended start of a call is the moment the window allowed it, which
//! is the one clock reading of its refill. Per call there is a rendering of the arguments, a
//! slot, a check of the answer and a count; no allocation (in batches two for each batch), no hash, no lock, no clock. Clocks
//! are read once per refill and by the shard once per turn. Owner: its thread; what others see
//! of it are its gauge and the outcome of its phases.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::answer::{Judge, Verdict};
use super::gauge::Gauge;
use super::numbers::Numbers;
use super::shard::{Full, Outcome, Shard};
use super::slots::{Open, Slots};
use super::specimen::{Kind, Specimens};
use crate::plan::Plan;
use crate::record::{ArrayCounts, HttpCounts, Latencies, Summary, Tally};

/// The reasons to stop that others give, seen once per turn.
#[derive(Clone, Copy)]
pub(super) struct Halt<'a> {
    /// Ctrl-C.
    pub(super) interrupt: &'a AtomicBool,
    /// Another worker failed.
    pub(super) abort: &'a AtomicBool,
}

/// A worker and its shard.
pub(super) struct Worker<'a, S> {
    shard: S,
    plan: &'a Plan,
    gauge: &'a Gauge,
    halt: Halt<'a>,
    books: Books,
    /// The arguments of one call; kept for its capacity.
    args: Vec<u8>,
}

/// Everything an outcome is written into; apart from the shard, which hands outcomes over.
struct Books {
    slots: Slots,
    judge: Judge,
    tally: Tally,
    latencies: Latencies,
    specimens: Specimens,
    last_answer_ns: u64,
}

/// What one phase of one worker came to.
pub(super) struct Done {
    /// In numbers.
    pub(super) summary: Summary,
    /// The first of each kind of trouble.
    pub(super) specimens: Specimens,
    /// Why it ended early, if it did.
    pub(super) fault: Option<String>,
}

/// Where a phase is.
enum State {
    /// Sending.
    Sending,
    /// All numbers are out; the last answer ends the span.
    Emptying { until_ns: u64 },
    /// Stopped from outside at this moment, with so many answers; the rest does not count for the rate.
    Draining { stopped_ns: u64, answered: u64, until_ns: u64 },
}

impl<'a, S: Shard> Worker<'a, S> {
    /// A worker that may have `capacity` calls in flight.
    pub(super) fn new(shard: S, plan: &'a Plan, capacity: u32, gauge: &'a Gauge, halt: Halt<'a>) -> Self {
        let books = Books {
            slots: Slots::new(capacity),
            judge: Judge::new(plan.expect.as_ref()),
            tally: Tally::default(),
            latencies: Latencies::new(),
            specimens: Specimens::default(),
            last_answer_ns: 0,
        };
        Self { shard, plan, gauge, halt, books, args: Vec::new() }
    }

    /// The revision of its connections.
    pub(super) fn revision(&self) -> String {
        self.shard.revision()
    }

    /// Calls that its connections may have in flight now.
    pub(super) fn window(&mut self) -> u64 {
        self.shard.window()
    }

    /// What its connections cost in HTTP so far.
    pub(super) fn http(&mut self) -> HttpCounts {
        self.shard.http()
    }

    /// How many of their calls have left in arrays so far.
    pub(super) fn arrays(&mut self) -> ArrayCounts {
        self.shard.arrays()
    }

    /// Sends until the numbers or the time are used up, then waits for what is out.
    pub(super) fn phase(&mut self, numbers: &Numbers, time: Option<Duration>) -> Done {
        let start_ns = self.shard.now_ns();
        let (state, fault) = self.pump(start_ns, numbers, time);
        let interrupted = self.halt.interrupt.load(Ordering::Relaxed);
        let open = self.books.slots.close_all();
        // Given up by us after an interruption is a failure; never resolved by the engine is a loss.
        if interrupted && fault.is_none() {
            self.books.tally.failed += open;
        } else {
            self.books.tally.lost += open;
        }
        self.gauge.show(&self.books.tally);
        self.books.latencies.settle();
        let tally = std::mem::take(&mut self.books.tally);
        let (end_ns, answered_in_span) = match state {
            State::Draining { stopped_ns, answered, .. } => (stopped_ns, answered),
            State::Sending | State::Emptying { .. } => (self.books.last_answer_ns, tally.answered),
        };
        Done {
            summary: Summary {
                tally,
                latencies: std::mem::take(&mut self.books.latencies),
                span_ns: end_ns.saturating_sub(start_ns),
                answered_in_span,
            },
            specimens: std::mem::take(&mut self.books.specimens),
            fault,
        }
    }

    fn pump(&mut self, start_ns: u64, numbers: &Numbers, time: Option<Duration>) -> (State, Option<String>) {
        let timeout_ns = nanos(self.plan.timeout);
        let deadline_ns = time.map_or(u64::MAX, |time| start_ns.saturating_add(nanos(time)));
        let mut state = State::Sending;
        let mut claimed = 0..0;
        let mut last_progress_ns = start_ns;
        let mut give_up_ns = None;
        loop {
            let now_ns = self.shard.now_ns();
            if matches!(state, State::Sending) {
                if let Some(grace_ns) = self.stop_grace(now_ns, deadline_ns, timeout_ns) {
                    let until_ns = now_ns.saturating_add(grace_ns);
                    // A shard that turns long may pass the deadline; the span is what it took.
                    state =
                        State::Draining { stopped_ns: now_ns, answered: self.books.tally.answered, until_ns };
                } else {
                    self.refill(now_ns, numbers, &mut claimed);
                    if claimed.is_empty() && numbers.used_up() {
                        let until_ns = now_ns.saturating_add(timeout_ns + DRAIN_SLACK_NS);
                        state = State::Emptying { until_ns };
                    }
                }
            }
            let mut until_ns = match state {
                State::Sending => deadline_ns,
                State::Emptying { until_ns } | State::Draining { until_ns, .. } => until_ns,
            };
            if !matches!(state, State::Sending) {
                if self.halt.interrupt.load(Ordering::Relaxed) {
                    // Whatever it waits for, it waits a second for it from now on.
                    let grace_ns = now_ns.saturating_add(INTERRUPT_GRACE_NS);
                    until_ns = until_ns.min(*give_up_ns.get_or_insert(grace_ns));
                    if matches!(state, State::Emptying { .. }) {
                        let answered = self.books.tally.answered;
                        state = State::Draining { stopped_ns: now_ns, answered, until_ns };
                    }
                }
                if self.books.slots.open_len() == 0 || now_ns >= until_ns {
                    return (state, None);
                }
            } else if self.books.slots.open_len() > 0 {
                last_progress_ns = now_ns;
            } else if now_ns.saturating_sub(last_progress_ns) > timeout_ns + DRAIN_SLACK_NS {
                return (
                    state,
                    Some(format!("no connection took a call for {} s", self.plan.timeout.as_secs_f64())),
                );
            }
            let wait_max = TURN_WAIT_MAX.min(Duration::from_nanos(until_ns.saturating_sub(now_ns)));
            let books = &mut self.books;
            let turned =
                self.shard.turn(wait_max, &mut |tag, now_ns, outcome| books.resolve(tag, now_ns, outcome));
            self.gauge.show(&self.books.tally);
            if let Err(reason) = turned {
                return (state, Some(reason));
            }
        }
    }

    /// Whether sending must stop now, and if so how long the calls that are out are waited for.
    fn stop_grace(&self, now_ns: u64, deadline_ns: u64, timeout_ns: u64) -> Option<u64> {
        if self.halt.interrupt.load(Ordering::Relaxed) {
            return Some(INTERRUPT_GRACE_NS);
        }
        let over = now_ns >= deadline_ns || self.halt.abort.load(Ordering::Relaxed);
        over.then_some(timeout_ns + DRAIN_SLACK_NS)
    }

    /// Submits as many calls as there is room for, all with the same start.
    fn refill(&mut self, now_ns: u64, numbers: &Numbers, claimed: &mut std::ops::Range<u64>) {
        let room = self.shard.room().min(self.books.slots.room());
        if self.plan.batch > 1 {
            return self.refill_in_batches(now_ns, numbers, claimed, room);
        }
        for taken in 0..room {
            if claimed.is_empty() {
                *claimed = numbers.claim(((room - taken) as u64).min(CLAIM_MAX));
            }
            let Some(number) = claimed.clone().next() else { return };
            let Some(tag) = self.books.slots.open(Open { start_ns: now_ns, number }) else { return };
            self.args.clear();
            self.plan.args.render(number, &mut self.args);
            if self.shard.submit(&self.args, tag, now_ns) == Err(Full) {
                self.books.slots.close(tag);
                return;
            }
            self.books.tally.sent += 1;
            claimed.start += 1;
        }
    }
}

impl<S: Shard> Worker<'_, S> {
    /// Submits whole batches as long as there is room for one, all with the same start; only the last may be smaller.
    fn refill_in_batches(
        &mut self,
        now_ns: u64,
        numbers: &Numbers,
        claimed: &mut std::ops::Range<u64>,
        mut room: usize,
    ) {
        let batch = self.plan.batch as usize;
        while room >= batch {
            if claimed.is_empty() {
                *claimed = numbers.claim(batch as u64);
            }
            self.args.clear();
            // Where each call's arguments end, and its tag.
            let mut made: Vec<(usize, u64)> = Vec::with_capacity(batch);
            for number in claimed.clone() {
                let Some(tag) = self.books.slots.open(Open { start_ns: now_ns, number }) else { break };
                self.plan.args.render(number, &mut self.args);
                made.push((self.args.len(), tag));
            }
            let mut start = 0;
            let calls: Vec<(&[u8], u64)> = made
                .iter()
                .map(|&(end, tag)| (&self.args[std::mem::replace(&mut start, end)..end], tag))
                .collect();
            let taken = self.shard.submit_batch(&calls, now_ns);
            for (_, tag) in &made[taken..] {
                self.books.slots.close(*tag);
            }
            self.books.tally.sent += taken as u64;
            claimed.start += taken as u64;
            if taken == 0 || taken < made.len() {
                return;
            }
            room -= taken;
        }
    }
}

impl Books {
    /// Writes down how the call of this tag ended.
    fn resolve(&mut self, tag: u64, now_ns: u64, outcome: Outcome<'_>) {
        let Some(Open { start_ns, number }) = self.slots.close(tag) else {
            self.tally.stray += 1;
            self.specimens.keep(Kind::Stray, None, || format!("an outcome for no open call, tag {tag}"));
            return;
        };
        let call = Some(number);
        match outcome {
            Outcome::Answer(line) => {
                self.tally.answered += 1;
                self.last_answer_ns = now_ns;
                match self.judge.judge(number, line) {
                    Verdict::Right => {}
                    Verdict::ToolError => {
                        self.tally.tool_errors += 1;
                        self.specimens.keep_line(Kind::ToolError, call, line);
                    }
                    Verdict::Wrong => {
                        self.tally.wrong += 1;
                        let wanted = || self.judge.wanted(number);
                        self.specimens.keep(Kind::Wrong, call, || {
                            format!("wanted {:?}, got {}", wanted(), String::from_utf8_lossy(line))
                        });
                    }
                }
            }
            Outcome::RpcError(line) => {
                self.tally.rpc_errors += 1;
                self.specimens.keep_line(Kind::RpcError, call, line);
            }
            Outcome::TimedOut => {
                self.tally.timed_out += 1;
                self.specimens.keep(Kind::TimedOut, call, || "no answer within the timeout".into());
            }
            Outcome::Failed(reason) => {
                self.tally.failed += 1;
                self.specimens.keep(Kind::Failed, call, || reason.to_string());
                // How long a failure took says nothing about the server.
                return;
            }
        }
        self.latencies.record(now_ns.saturating_sub(start_ns));
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The flags are looked at once per turn, so Ctrl-C is seen this late at most.
const TURN_WAIT_MAX: Duration = Duration::from_millis(100);
/// The engine gives a call up after the timeout; what it has not resolved this much later is lost.
const DRAIN_SLACK_NS: u64 = 1_000_000_000;
/// Who presses Ctrl-C wants to see the result, not the slowest call.
const INTERRUPT_GRACE_NS: u64 = 1_000_000_000;
/// So that one worker with a wide window does not take the last numbers from the others.
const CLAIM_MAX: u64 = 1024;
