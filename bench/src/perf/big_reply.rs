//! A long reply among short ones: what it does to the latency of small calls on the same shard.
//!
//! Small calls keep a window of [`SMALL_IN_FLIGHT`] full on each connection of one inline engine, one shard. A round is
//! run twice: without, and with one call after the other whose reply is long, a pause between them. (On two connections one small call is soon
//! stuck behind the long reply, so without one there is one fewer: what is compared has as many under way.) Two figures come of
//! the second: all small calls of the run, and those alone whose time overlaps that of a long reply. On one stream the
//! reply is in the way of those behind it, whatever a client does; on two, those of the other one show whether the shard
//! goes on serving: of each long reply the longest of the calls that overlap it is left out, which is the one that stands behind it, unless
//! another was held up for longer still. The floor ([`Mixed`]) does the same in turns with the engine: what the kernel makes small calls wait
//! while it moves a long reply, and a target's threads while they share the cores with the client, is in both.

use std::time::{Duration, Instant};

use volley::{Inline, InlineOutcome, Tool};

use crate::call::is_echo;
use crate::contestant::{Course, Failure};
use crate::engine::{Place, arguments, config};
use crate::floor::Mixed;
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

/// Small calls of the engine and of the floor.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Round {
    /// What is measured.
    pub engine: Half,
    /// What it is compared with.
    pub floor: Half,
}

/// Small calls without and with a long reply, of one client.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Half {
    /// All, without a long reply.
    pub without: Latency,
    /// All, with one after the other.
    pub with: Latency,
    /// Those among them that overlapped a long one; on two connections without the longest of each.
    pub meanwhile: Latency,
    /// How many these were.
    pub meanwhile_calls: u64,
    /// How long the long ones took, the median.
    pub long_ms: f64,
    /// How many long ones there were.
    pub long_calls: u64,
}

/// One of the two halves of a round.
pub type Side = fn(&Round) -> &Half;

impl Outcome {
    /// The median over the rounds.
    pub fn median(&self, side: Side, value: impl Fn(&Half) -> f64) -> Option<f64> {
        Spread::of(self.rounds.iter().map(|round| value(side(round)))).map(|spread| spread.median)
    }

    /// How many times the p99 of small calls is what it is without, while a long reply comes in.
    pub fn factor_meanwhile(&self, side: Side) -> Option<f64> {
        self.median(side, |half| half.meanwhile.p99_us / half.without.p99_us)
    }

    /// The same over all small calls of a run.
    pub fn factor(&self, side: Side) -> Option<f64> {
        self.median(side, |half| half.with.p99_us / half.without.p99_us)
    }
}

/// Does it, in this process.
///
/// # Errors
///
/// When a call fails, or the long reply is not as long as it should be.
pub fn run(plan: &Plan) -> Result<Outcome, Failure> {
    let mut engine = Engine::connect(plan)?;
    let mut floor = Mixed::connect(&plan.course, plan.reply_bytes)?;
    // Once for the warmth.
    half(plan, &mut engine)?;
    half(plan, &mut floor)?;
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        rounds.push(Round { engine: half(plan, &mut engine)?, floor: half(plan, &mut floor)? });
    }
    engine.inline.close(|_, _, _| ());
    Ok(Outcome { plan: *plan, rounds })
}

/// One, so that one is stuck behind a long reply: what is behind it on its stream waits for all of it, whatever a client does.
pub const SMALL_IN_FLIGHT: usize = 1;

/// Between the end of a long reply and the next.
const PAUSE: Duration = Duration::from_millis(20);

/// The tag of a long call. Small ones have the time of their submission, which is never this.
const LONG: u64 = u64::MAX;

/// Who makes the calls.
trait Client {
    fn now_ns(&self) -> u64;

    /// Says whether there was room.
    fn submit(&mut self, tag: u64) -> Result<bool, Failure>;

    /// Waits for replies, and hands over of each its tag, its bytes and the time.
    fn turn(&mut self, answered: impl FnMut(u64, usize, u64)) -> Result<(), Failure>;
}

struct Engine {
    inline: Inline,
    echo: Tool,
    arguments: Vec<u8>,
    blob: Tool,
    blob_arguments: Vec<u8>,
    _place: Place,
}

impl Engine {
    fn connect(plan: &Plan) -> Result<Self, Failure> {
        let course = Course { in_flight: SMALL_IN_FLIGHT + 1, ..plan.course };
        let place = Place::new(&course)?;
        let config = config(&course)?.frame_bytes_max(plan.reply_bytes + 64 * 1024).build()?;
        let mut inline = Inline::connect(&place.endpoint, &config)?;
        let until = Instant::now() + Duration::from_secs(10);
        while inline.ready_connections() < course.connections && Instant::now() < until {
            inline.turn(Duration::from_millis(5), |_, _, _| ())?;
        }
        Ok(Self {
            inline,
            echo: Tool::new("echo"),
            arguments: arguments().into_bytes(),
            blob: Tool::new("blob"),
            blob_arguments: format!(r#"{{"bytes":{}}}"#, plan.reply_bytes).into_bytes(),
            _place: place,
        })
    }
}

impl Client for Engine {
    fn now_ns(&self) -> u64 {
        self.inline.now_ns()
    }

    fn submit(&mut self, tag: u64) -> Result<bool, Failure> {
        let (tool, arguments) =
            if tag == LONG { (&self.blob, &self.blob_arguments) } else { (&self.echo, &self.arguments) };
        Ok(self.inline.submit(tool, arguments, tag).is_ok())
    }

    fn turn(&mut self, mut answered: impl FnMut(u64, usize, u64)) -> Result<(), Failure> {
        let mut wrong = 0_u64;
        self.inline.turn(Duration::from_secs(1), |tag, now_ns, outcome| match outcome {
            // The length of a long one is looked at by whoever asked for it.
            InlineOutcome::Result(message) if tag == LONG || is_echo(message) => {
                answered(tag, message.len(), now_ns);
            }
            _ => wrong += 1,
        })?;
        if wrong > 0 { Err(format!("{wrong} calls failed").into()) } else { Ok(()) }
    }
}

impl Client for Mixed {
    fn now_ns(&self) -> u64 {
        self.now_ns()
    }

    fn submit(&mut self, tag: u64) -> Result<bool, Failure> {
        self.submit(tag, tag == LONG)?;
        Ok(true)
    }

    fn turn(&mut self, answered: impl FnMut(u64, usize, u64)) -> Result<(), Failure> {
        Ok(self.turn(answered)?)
    }
}

fn half(plan: &Plan, client: &mut impl Client) -> Result<Half, Failure> {
    let without = calls(plan, client, false)?;
    let with = calls(plan, client, true)?;
    let nothing = "a run without calls";
    Ok(Half {
        without: without.all.summary().ok_or(nothing)?,
        with: with.all.summary().ok_or(nothing)?,
        meanwhile: with.meanwhile.summary().ok_or("no small call overlapped a long one")?,
        meanwhile_calls: with.meanwhile.calls(),
        long_ms: Spread::of(with.long_ms.iter().copied()).map_or(f64::NAN, |spread| spread.median),
        long_calls: with.long_ms.len() as u64,
    })
}

struct Seen {
    all: Latencies,
    meanwhile: Latencies,
    long_ms: Vec<f64>,
    /// Of the calls that overlap the last long one the longest so far; not in `meanwhile`.
    longest_ns: Option<u64>,
    leaves_out: bool,
}

impl Seen {
    /// A small call has ended that overlapped a long one.
    fn overlapping(&mut self, took_ns: u64) {
        if !self.leaves_out {
            self.meanwhile.note(took_ns);
            return;
        }
        let shorter = self.longest_ns.map(|longest| longest.min(took_ns));
        self.longest_ns = self.longest_ns.max(Some(took_ns));
        if let Some(shorter) = shorter {
            self.meanwhile.note(shorter);
        }
    }
}

/// Small calls for so long, or until the last long one has ended; at least one of these if there are to be any.
fn calls(plan: &Plan, client: &mut impl Client, with: bool) -> Result<Seen, Failure> {
    // Without long replies there are as many as go on beside one: what is stuck behind it waits for the whole of it.
    let connections = if with { plan.course.connections } else { (plan.course.connections - 1).max(1) };
    let small_max = SMALL_IN_FLIGHT * connections;
    let mut seen = Seen {
        all: Latencies::new(),
        meanwhile: Latencies::new(),
        long_ms: Vec::new(),
        longest_ns: None,
        leaves_out: plan.course.connections > 1,
    };
    let until = Instant::now() + plan.course.duration();
    let (mut small, mut short) = (0_usize, 0_u64);
    // When the long call that is under way was submitted; when the last one ended, and the next may go.
    let mut long_since: Option<u64> = None;
    let mut long_ended = 0_u64;
    let mut next_long = Instant::now();
    loop {
        let now = client.now_ns();
        let is_over = Instant::now() >= until;
        let is_due = with && (seen.long_ms.is_empty() || !is_over) && Instant::now() >= next_long;
        if long_since.is_none() && is_due {
            if !client.submit(LONG)? {
                return Err("there was no place for the long call".into());
            }
            long_since = Some(now);
            seen.longest_ns = None;
        }
        let goes_on = !is_over || long_since.is_some();
        if !goes_on && small == 0 {
            break;
        }
        while goes_on && small < small_max && client.submit(now)? {
            small += 1;
        }
        client.turn(|tag, bytes, now_ns| {
            if tag == LONG {
                short += u64::from(bytes < plan.reply_bytes);
                let since = long_since.take().unwrap_or(now_ns);
                seen.long_ms.push((now_ns - since) as f64 / 1e6);
                long_ended = now_ns;
                next_long = Instant::now() + PAUSE;
                return;
            }
            small -= 1;
            let took = now_ns.saturating_sub(tag);
            seen.all.note(took);
            // A small call overlaps a long one that has not ended, or that ended after it was submitted.
            if long_since.is_some() || tag < long_ended {
                seen.overlapping(took);
            }
        })?;
    }
    if short > 0 {
        return Err(format!("{short} long replies were too short").into());
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::course;

    #[test]
    fn factors_are_medians_over_the_rounds() {
        let latency = |p99_us| Latency { p50_us: 1.0, p99_us, max_us: 100.0 };
        let half = |without, with, meanwhile| Half {
            without: latency(without),
            with: latency(with),
            meanwhile: latency(meanwhile),
            meanwhile_calls: 7,
            long_ms: 1.0,
            long_calls: 1,
        };
        let round = |without, with, meanwhile| Round {
            engine: half(without, with, meanwhile),
            floor: half(1.0, 2.0, 4.0),
        };
        let plan = Plan { course: course(), reply_bytes: 1, rounds: 3 };
        let rounds = vec![round(10.0, 11.0, 20.0), round(10.0, 12.0, 30.0), round(1.0, 90.0, 90.0)];
        let outcome = Outcome { plan, rounds };
        assert_eq!(outcome.factor_meanwhile(|round| &round.engine), Some(3.0));
        assert_eq!(outcome.factor(|round| &round.engine), Some(1.2));
        assert_eq!(outcome.factor_meanwhile(|round| &round.floor), Some(4.0));
    }

    #[test]
    fn the_longest_of_each_long_reply_is_left_out_on_two_connections_only() {
        let kept = |leaves_out| {
            let mut seen = Seen {
                all: Latencies::new(),
                meanwhile: Latencies::new(),
                long_ms: Vec::new(),
                longest_ns: None,
                leaves_out,
            };
            for reply in [[1_000, 9_000, 2_000], [3_000, 2_000, 8_000]] {
                seen.longest_ns = None;
                reply.into_iter().for_each(|took| seen.overlapping(took));
            }
            (seen.meanwhile.calls(), seen.meanwhile.summary().map(|latency| latency.max_us.round()))
        };
        assert_eq!(kept(true), (4, Some(3.0)));
        assert_eq!(kept(false), (6, Some(9.0)));
    }
}
