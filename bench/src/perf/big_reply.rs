//! A long reply among short ones: what it does to the latency of small calls on the same shard.
//!
//! Small calls keep a window of [`SMALL_IN_FLIGHT`] full on each connection of one inline engine, one shard. A round is
//! run twice: without, and with one call after the other whose reply is long, a pause between them. Two figures come of
//! the second: all small calls of the run, and those alone whose time overlaps that of a long reply. On one stream the
//! reply is in the way of those behind it, whatever a client does; on two, those of the other one show whether the shard
//! goes on serving.

use std::time::{Duration, Instant};

use volley::{Inline, InlineOutcome, Tool};

use crate::contestant::{Course, Failure};
use crate::engine::{Place, arguments, config};
use crate::meter::{Latencies, Latency};
use crate::report::Spread;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// One or two connections; its seconds are those of one half of a round.
    pub course: Course,
    /// Of the long reply's text.
    pub reply_bytes: usize,
    /// How often both halves take turns.
    pub rounds: u32,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// What was done.
    pub plan: Plan,
    /// In turns.
    pub rounds: Vec<Round>,
}

/// Small calls without and with a long reply.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Round {
    /// All, without a long reply.
    pub without: Latency,
    /// All, with one after the other.
    pub with: Latency,
    /// Those among them that overlapped a long one.
    pub meanwhile: Latency,
    /// How many these were.
    pub meanwhile_calls: u64,
    /// How long the long ones took, the median.
    pub long_ms: f64,
    /// How many long ones there were.
    pub long_calls: u64,
}

impl Outcome {
    /// The median over the rounds.
    pub fn median(&self, value: impl Fn(&Round) -> f64) -> Option<f64> {
        Spread::of(self.rounds.iter().map(value)).map(|spread| spread.median)
    }

    /// How many times the p99 of small calls is what it is without, while a long reply comes in.
    pub fn factor_meanwhile(&self) -> Option<f64> {
        self.median(|round| round.meanwhile.p99_us / round.without.p99_us)
    }

    /// The same over all small calls of a run.
    pub fn factor(&self) -> Option<f64> {
        self.median(|round| round.with.p99_us / round.without.p99_us)
    }
}

/// Does it, in this process.
///
/// # Errors
///
/// When a call fails, or the long reply is not as long as it should be.
pub fn run(plan: &Plan) -> Result<Outcome, Failure> {
    let course = Course { in_flight: SMALL_IN_FLIGHT + 1, ..plan.course };
    let place = Place::new(&course)?;
    let config = config(&course)?.frame_bytes_max(plan.reply_bytes + 64 * 1024).build()?;
    let mut engine = Inline::connect(&place.endpoint, &config)?;
    let until = Instant::now() + Duration::from_secs(10);
    while engine.ready_connections() < course.connections && Instant::now() < until {
        engine.turn(Duration::from_millis(5), |_, _, _| ())?;
    }
    let calls = Calls::new(plan);
    calls.run(&mut engine, course.duration(), false)?;
    calls.run(&mut engine, Duration::ZERO, true)?;
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let without = calls.run(&mut engine, course.duration(), false)?;
        let with = calls.run(&mut engine, course.duration(), true)?;
        let nothing = "a run without calls";
        rounds.push(Round {
            without: without.all.summary().ok_or(nothing)?,
            with: with.all.summary().ok_or(nothing)?,
            meanwhile: with.meanwhile.summary().ok_or("no small call overlapped a long one")?,
            meanwhile_calls: with.meanwhile.calls(),
            long_ms: Spread::of(with.long_ms.iter().copied()).map_or(f64::NAN, |spread| spread.median),
            long_calls: with.long_ms.len() as u64,
        });
    }
    engine.close(|_, _, _| ());
    Ok(Outcome { plan: *plan, rounds })
}

/// One, so that at most one is stuck behind a long reply: what is behind it on its stream waits for all of it, whatever a client does. Of
/// more than a hundred that overlap the reply one is above the p99, so that this is of the calls on the other connection.
pub const SMALL_IN_FLIGHT: usize = 1;

/// Between the end of a long reply and the next.
const PAUSE: Duration = Duration::from_millis(20);

struct Calls {
    echo: Tool,
    arguments: Vec<u8>,
    blob: Tool,
    blob_arguments: Vec<u8>,
    reply_bytes: usize,
    small_max: usize,
}

/// Of one half of a round.
struct Half {
    all: Latencies,
    meanwhile: Latencies,
    long_ms: Vec<f64>,
}

/// The tag of a long call. Small ones have the time of their submission, which is never this.
const LONG: u64 = u64::MAX;

impl Calls {
    fn new(plan: &Plan) -> Self {
        Self {
            echo: Tool::new("echo"),
            arguments: arguments().into_bytes(),
            blob: Tool::new("blob"),
            blob_arguments: format!(r#"{{"bytes":{}}}"#, plan.reply_bytes).into_bytes(),
            reply_bytes: plan.reply_bytes,
            small_max: SMALL_IN_FLIGHT * plan.course.connections,
        }
    }

    /// Small calls for so long, or until the last long one has ended; at least one of these if there are to be any.
    fn run(&self, engine: &mut Inline, duration: Duration, with: bool) -> Result<Half, Failure> {
        let mut half = Half { all: Latencies::new(), meanwhile: Latencies::new(), long_ms: Vec::new() };
        let until = Instant::now() + duration;
        let (mut small, mut wrong) = (0_usize, 0_u64);
        // When the long call that is under way was submitted; when the last one ended, and the next may go.
        let mut long_since: Option<u64> = None;
        let mut long_ended = 0_u64;
        let mut next_long = Instant::now();
        loop {
            let now = engine.now_ns();
            let is_over = Instant::now() >= until;
            let is_due = with && (half.long_ms.is_empty() || !is_over) && Instant::now() >= next_long;
            if long_since.is_none() && is_due {
                let full = |_| "there was no place for the long call";
                engine.submit_at(&self.blob, &self.blob_arguments, LONG, now).map_err(full)?;
                long_since = Some(now);
            }
            let goes_on = !is_over || long_since.is_some();
            if !goes_on && small == 0 {
                break;
            }
            while goes_on
                && small < self.small_max
                && engine.submit_at(&self.echo, &self.arguments, now, now).is_ok()
            {
                small += 1;
            }
            let reply_bytes = self.reply_bytes;
            engine.turn(Duration::from_secs(1), |tag, now_ns, outcome| match outcome {
                InlineOutcome::Result(message) if tag == LONG => {
                    wrong += u64::from(message.len() < reply_bytes);
                    let since = long_since.take().unwrap_or(now_ns);
                    half.long_ms.push((now_ns - since) as f64 / 1e6);
                    long_ended = now_ns;
                    next_long = Instant::now() + PAUSE;
                }
                InlineOutcome::Result(_) => {
                    small -= 1;
                    let took = now_ns.saturating_sub(tag);
                    half.all.note(took);
                    // A small call overlaps a long one that has not ended, or that ended after it was submitted.
                    if long_since.is_some() || tag < long_ended {
                        half.meanwhile.note(took);
                    }
                }
                _ => wrong += 1,
            })?;
        }
        if wrong > 0 {
            return Err(format!("{wrong} calls were not answered as they should be").into());
        }
        Ok(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::course;

    #[test]
    fn factors_are_medians_over_the_rounds() {
        let latency = |p99_us| Latency { p50_us: 1.0, p99_us, max_us: 100.0 };
        let round = |without, with, meanwhile| Round {
            without: latency(without),
            with: latency(with),
            meanwhile: latency(meanwhile),
            meanwhile_calls: 7,
            long_ms: 1.0,
            long_calls: 1,
        };
        let plan = Plan { course: course(), reply_bytes: 1, rounds: 3 };
        let rounds = vec![round(10.0, 11.0, 20.0), round(10.0, 12.0, 30.0), round(1.0, 90.0, 90.0)];
        let outcome = Outcome { plan, rounds };
        assert_eq!(outcome.factor_meanwhile(), Some(3.0));
        assert_eq!(outcome.factor(), Some(1.2));
    }
}
