//! The generator over a fake engine that runs in the same thread and has one lever per fault.
//!
//! Its clock moves by a fixed step per turn, so that runs by time end without waiting for one.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::shard::{Connect, Full, Outcome, Shard};
use super::*;
use crate::plan::tests::plan;

/// What the fake does with call `number` of all it sees.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Swallow,
    AnswerForNeighbour,
    Twice,
    RpcError,
    ToolError,
    TimeOut,
    Fail,
    RefuseOnce,
}

struct Fake {
    /// Done to each call whose number this divides.
    fault: Fault,
    every: u64,
    window: usize,
    /// Raised when so many calls were submitted in all.
    interrupt_at: u64,
    interrupt: AtomicBool,
    submitted: AtomicU64,
    refuses_connections: bool,
    breaks_after_turns: u64,
}

struct FakeShard<'a> {
    fake: &'a Fake,
    open: Vec<(u64, String)>,
    now_ns: Cell<u64>,
    turns: u64,
    refused: bool,
}

impl Fake {
    fn new(fault: Fault, every: u64) -> Self {
        Self {
            fault,
            every,
            window: 8,
            interrupt_at: u64::MAX,
            interrupt: AtomicBool::new(false),
            submitted: AtomicU64::new(0),
            refuses_connections: false,
            breaks_after_turns: u64::MAX,
        }
    }

    fn run(&self, words: &[&str]) -> Measured {
        let plan = plan(words).unwrap();
        run(&plan, &self, &Gauges::new(plan.shards), &self.interrupt, |_| {})
    }
}

impl<'a> Connect for &'a Fake {
    type Shard = FakeShard<'a>;

    fn connect(&self, index: u32) -> Result<FakeShard<'a>, String> {
        if self.refuses_connections && index == 0 {
            return Err("nobody there".into());
        }
        Ok(FakeShard { fake: self, open: vec![], now_ns: Cell::new(1 << 40), turns: 0, refused: false })
    }
}

impl Shard for FakeShard<'_> {
    fn room(&self) -> usize {
        self.fake.window - self.open.len()
    }

    fn submit(&mut self, args: &[u8], tag: u64, _: u64) -> Result<(), Full> {
        let args: serde_json::Value = serde_json::from_slice(args).unwrap();
        let message = args["message"].as_str().unwrap().to_owned();
        let number: u64 = message.strip_prefix("call ").unwrap().parse().unwrap();
        if self.fake.fault == Fault::RefuseOnce && number.is_multiple_of(self.fake.every) && !self.refused {
            self.refused = true;
            return Err(Full);
        }
        self.refused = false;
        if self.fake.submitted.fetch_add(1, Ordering::Relaxed) + 1 >= self.fake.interrupt_at {
            self.fake.interrupt.store(true, Ordering::Relaxed);
        }
        self.open.push((tag, message));
        Ok(())
    }

    fn turn(
        &mut self,
        wait_max: Duration,
        sink: &mut impl FnMut(u64, u64, Outcome<'_>),
    ) -> Result<(), String> {
        self.turns += 1;
        if self.turns > self.fake.breaks_after_turns {
            return Err("the engine gave up".into());
        }
        let answering = self.open.len();
        for (tag, message) in std::mem::take(&mut self.open) {
            let number: u64 = message.strip_prefix("call ").unwrap().parse().unwrap();
            let hit = number.is_multiple_of(self.fake.every);
            let line = |text: &str, error: bool| {
                format!(
                    r#"{{"id":1,"result":{{"content":[{{"type":"text","text":"{text}"}}],"isError":{error}}}}}"#
                )
            };
            let good = line(&message, false);
            let now_ns = self.now_ns.get() + 10_000;
            match self.fake.fault {
                Fault::Swallow if hit => self.open.push((tag, message)),
                Fault::AnswerForNeighbour if hit => {
                    sink(tag, now_ns, Outcome::Answer(line(&format!("{message}0"), false).as_bytes()));
                }
                Fault::Twice if hit => {
                    sink(tag, now_ns, Outcome::Answer(good.as_bytes()));
                    sink(tag, now_ns, Outcome::Answer(good.as_bytes()));
                }
                Fault::RpcError if hit => sink(tag, now_ns, Outcome::RpcError(br#"{"error":{"code":-1}}"#)),
                Fault::ToolError if hit => {
                    sink(tag, now_ns, Outcome::Answer(line("no", true).as_bytes()));
                }
                Fault::TimeOut if hit => sink(tag, now_ns, Outcome::TimedOut),
                Fault::Fail if hit => sink(tag, now_ns, Outcome::Failed(&"connection reset")),
                _ => sink(tag, now_ns, Outcome::Answer(good.as_bytes())),
            }
        }
        // A turn that answered took 10 us; one that waited in vain took as long as it might.
        let quiet = self.open.len() == answering;
        let step_ns = if quiet { wait_max.as_nanos() as u64 } else { 10_000 };
        self.now_ns.set(self.now_ns.get() + step_ns.max(1));
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn revision(&self) -> String {
        "2025-11-25".into()
    }
}

fn measure(fault: Fault, every: u64) -> Measured {
    Fake::new(fault, every).run(&["-n", "1000", "-w", "100", "-p", "8"])
}

fn specimen(measured: Measured) -> Specimen {
    let mut specimens = measured.specimens.into_vec();
    assert_eq!(specimens.len(), 1, "{specimens:?}");
    specimens.remove(0)
}

#[test]
fn a_run_by_number_sends_that_many_and_no_call_of_the_warm_up_counts() {
    let measured = measure(Fault::None, 1);
    assert_eq!(measured.summary.tally, Tally { sent: 1000, answered: 1000, ..Tally::default() });
    assert_eq!(measured.warmup, Tally { sent: 100, answered: 100, ..Tally::default() });
    assert_eq!(measured.summary.latencies.len(), 1000);
    // 125 turns of 8 calls and 10 us each.
    assert_eq!((measured.summary.span_ns, measured.summary.answered_in_span), (1_250_000, 1000));
    assert_eq!(measured.revision, "2025-11-25");
    assert!(measured.faults.is_empty() && !measured.interrupted);
}

#[test]
fn a_run_by_time_takes_the_rate_over_that_time() {
    let measured = Fake::new(Fault::None, 1).run(&["-z", "100ms", "-w", "0", "-p", "8"]);
    let summary = measured.summary;
    assert!((100_000_000..100_020_000).contains(&summary.span_ns), "{summary:?}");
    assert_eq!(summary.tally.sent, summary.tally.answered);
    // 8 calls each 10 us.
    assert!((summary.calls_per_s() - 800_000.0).abs() < 1_000.0, "{summary:?}");
    assert_eq!(measured.warmup, Tally::default());
}

#[test]
fn workers_share_the_numbers_and_their_results_are_put_together() {
    let words = ["-n", "100k", "-w", "1k", "-c", "3", "--shards", "3"];
    let measured = Fake::new(Fault::None, 1).run(&words);
    assert_eq!(measured.summary.tally, Tally { sent: 100_000, answered: 100_000, ..Tally::default() });
    assert_eq!(measured.warmup.sent, 1000);
}

#[test]
fn a_call_that_is_never_resolved_is_lost() {
    // The last eight swallowed calls fill the window: nothing goes on, and the drain gives up.
    let measured = Fake::new(Fault::Swallow, 250).run(&["-n", "1000", "-w", "0"]);
    let tally = measured.summary.tally;
    assert_eq!((tally.sent, tally.answered, tally.lost), (1000, 996, 4));
    assert!(tally.untrue() && measured.faults.is_empty());
}

#[test]
fn the_answer_to_another_call_is_wrong() {
    let measured = measure(Fault::AnswerForNeighbour, 500);
    assert_eq!((measured.summary.tally.answered, measured.summary.tally.wrong), (1000, 2));
    let specimen = specimen(measured);
    assert_eq!((specimen.kind, specimen.call), (Kind::Wrong, Some(1_000_000_000)));
    assert!(specimen.detail.starts_with("wanted \"call 1000000000\", got {"), "{}", specimen.detail);
}

#[test]
fn a_wrong_answer_in_the_warm_up_is_seen() {
    let measured = measure(Fault::AnswerForNeighbour, 1_000_000_000);
    assert_eq!(measured.warmup.wrong, 1);
}

#[test]
fn an_outcome_delivered_twice_is_stray_and_spoils_no_other_call() {
    let measured = measure(Fault::Twice, 500);
    let tally = measured.summary.tally;
    assert_eq!((tally.answered, tally.wrong, tally.stray), (1000, 0, 2));
    assert!(tally.untrue() && tally.balance().is_ok());
}

#[test]
fn every_kind_of_error_is_counted_as_itself() {
    let count = |fault, pick: fn(&Tally) -> u64| pick(&measure(fault, 100).summary.tally);
    assert_eq!(count(Fault::RpcError, |tally| tally.rpc_errors), 10);
    assert_eq!(count(Fault::ToolError, |tally| tally.tool_errors), 10);
    assert_eq!(count(Fault::TimeOut, |tally| tally.timed_out), 10);
    assert_eq!(count(Fault::Fail, |tally| tally.failed), 10);
    let failed = measure(Fault::Fail, 100);
    assert_eq!(failed.summary.latencies.len(), 990, "a failure has no latency");
    assert_eq!(specimen(failed).detail, "connection reset");
    let timed_out = measure(Fault::TimeOut, 100);
    assert_eq!(timed_out.summary.latencies.len(), 1000, "a timeout has one");
}

#[test]
fn a_call_refused_for_lack_of_room_is_offered_again() {
    let measured = measure(Fault::RefuseOnce, 10);
    assert_eq!(measured.summary.tally, Tally { sent: 1000, answered: 1000, ..Tally::default() });
}

#[test]
fn an_interruption_ends_the_run_with_what_was_measured() {
    let fake = Fake { interrupt_at: 5_000, ..Fake::new(Fault::None, 1) };
    let measured = fake.run(&["-w", "0", "-z", "1h"]);
    assert!(measured.interrupted && measured.faults.is_empty());
    let tally = measured.summary.tally;
    assert_eq!((tally.sent, tally.answered), (5_000, 5_000));
    assert!(measured.summary.calls_per_s() > 0.0);
}

#[test]
fn what_is_out_at_an_interruption_is_given_up_and_failed_not_lost() {
    let fake = Fake { interrupt_at: 1_000, ..Fake::new(Fault::Swallow, 500) };
    let tally = fake.run(&["-w", "0", "-n", "1m"]).summary.tally;
    // Calls 0, 500 and 1,000 were swallowed; the refill that saw the interruption went to its end.
    assert_eq!((tally.sent, tally.failed, tally.lost), (1_003, 3, 0));
    assert_eq!(tally.balance(), Ok(()));
}

#[test]
fn one_worker_without_a_server_stops_them_all() {
    let fake = Fake { refuses_connections: true, ..Fake::new(Fault::None, 1) };
    let measured = fake.run(&["-c", "3", "--shards", "3", "-z", "1h"]);
    assert_eq!(measured.faults, ["nobody there"]);
    assert_eq!(measured.summary.tally.sent, 0);
}

#[test]
fn an_engine_that_gives_up_ends_the_run_and_what_was_out_is_lost() {
    let fake = Fake { breaks_after_turns: 10, ..Fake::new(Fault::None, 1) };
    let measured = fake.run(&["-w", "0", "-z", "1h"]);
    assert_eq!(measured.faults, ["the engine gave up"]);
    let tally = measured.summary.tally;
    assert_eq!((tally.sent, tally.answered, tally.lost), (88, 80, 8));
}

#[test]
fn a_run_that_gets_no_call_out_gives_up_after_the_timeout() {
    let fake = Fake { window: 0, ..Fake::new(Fault::None, 1) };
    let measured = fake.run(&["-w", "0", "-z", "1h", "-t", "2s"]);
    assert_eq!(measured.faults, ["no connection took a call for 2 s"]);
}

#[test]
fn the_processes_are_looked_at_once_before_and_once_after() {
    let fake = Fake::new(Fault::None, 1);
    let plan = plan(&["-n", "10", "-w", "10"]).unwrap();
    let gauges = Gauges::new(1);
    let mut moments = vec![];
    run(&plan, &&fake, &gauges, &fake.interrupt, |moment| {
        moments.push((moment, fake.submitted.load(Ordering::Relaxed)));
    });
    assert_eq!(moments, [(Moment::Begin, 10), (Moment::End, 20)]);
    assert_eq!((gauges.read().phase, gauges.read().answered), (Phase::Over, 10));
}
