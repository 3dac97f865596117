//! The soak: one engine at full speed for minutes, in slices that take turns with slices of the floor.
//!
//! A machine drifts over minutes, by a neighbour or by its temperature; the floor of the same minute says by how much. The
//! engine is the same one from the beginning to the end, and so are its connection and its target. Between two slices it
//! has no call in flight (inline), or none that anybody takes (bulk). At the end its counters must add up, to the call.

use std::time::{Duration, Instant};

use volley::{Inline, Stats, ToolCall};

use crate::call::MESSAGE;
use crate::contestant::{Course, Failure};
use crate::engine::{Answers, Echo, Place, config, fill_and_turn};
use crate::floor::{Mode, Stream};
use crate::link::Target;
use crate::meter::rss_bytes;

/// How the engine is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Drive {
    /// On the measuring thread.
    Inline,
    /// One bulk job through a shared client.
    Bulk,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// One connection and its window; its seconds are the engine's in all.
    pub course: Course,
    /// How.
    pub drive: Drive,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// What was done.
    pub plan: Plan,
    /// In turns.
    pub slices: Vec<Slice>,
    /// Resident bytes of the client's process after the first slice of both, and at the end.
    pub rss_bytes: (u64, u64),
    /// The engine's counters after it was drained.
    pub counters: Counters,
}

/// One slice of the engine and the slice of the floor after it, in calls per second.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Slice {
    /// The engine's time when this slice began.
    pub at_s: f64,
    /// The engine.
    pub engine: f64,
    /// The floor.
    pub floor: f64,
}

/// Those of the engine's counters that have to add up, and what the caller counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Calls that the engine took on.
    pub submitted: u64,
    /// With a response.
    pub answered: u64,
    /// Without.
    pub failed: u64,
    /// Given up.
    pub cancelled: u64,
    /// Not ended.
    pub live: u64,
    /// Answers that the caller was given.
    pub taken: u64,
}

impl Outcome {
    /// The engine's calls by the floor's over the last minute, divided by the same over the first. (All calls of a minute, and no median of its slices:
    /// either side may sleep or not, and the median of two states jumps from one to the other.) The first and the last quarter, if all of it was no
    /// four minutes long.
    pub fn last_by_first(&self) -> Option<f64> {
        let (engine, floor) = (self.ends(|slice| slice.engine)?, self.ends(|slice| slice.floor)?);
        Some(engine.1 / floor.1 / (engine.0 / floor.0))
    }

    /// The slices' mean `value` over the first minute, and over the last.
    pub fn ends(&self, value: fn(&Slice) -> f64) -> Option<(f64, f64)> {
        let (begin, end) = (self.slices.first()?.at_s, self.plan.course.seconds);
        let length = self.minute();
        Some((self.mean(value, begin, begin + length)?, self.mean(value, end - length, f64::MAX)?))
    }

    /// The engine's calls by the floor's, minute by minute: how far they differ anyway.
    pub fn minutes(&self) -> Vec<f64> {
        let begins = (0..).map(|n| f64::from(n) * self.minute());
        let minutes = begins.take_while(|begin| *begin < self.plan.course.seconds).filter_map(|begin| {
            let mean = |value| self.mean(value, begin, begin + self.minute());
            Some(mean(|slice: &Slice| slice.engine)? / mean(|slice| slice.floor)?)
        });
        minutes.collect()
    }

    fn minute(&self) -> f64 {
        self.plan.course.seconds.min(240.0) / 4.0
    }

    fn mean(&self, value: fn(&Slice) -> f64, from: f64, to: f64) -> Option<f64> {
        let slices = || self.slices.iter().filter(|slice| slice.at_s >= from && slice.at_s < to);
        let count = slices().count();
        (count > 0).then(|| slices().map(value).sum::<f64>() / count as f64)
    }

    /// How much the resident set grew.
    pub fn growth_bytes(&self) -> i64 {
        self.rss_bytes.1 as i64 - self.rss_bytes.0 as i64
    }
}

impl Counters {
    /// Every call ended in exactly one way, and the caller was given no answer that the engine has not counted.
    pub fn add_up(&self) -> bool {
        self.submitted == self.answered + self.failed + self.cancelled + self.live
            && self.taken <= self.answered
    }

    fn of(stats: &Stats, taken: u64) -> Self {
        Self {
            submitted: stats.submitted,
            answered: stats.answered,
            failed: stats.failed,
            cancelled: stats.cancelled,
            live: stats.live,
            taken,
        }
    }
}

/// Does it, in this process.
///
/// # Errors
///
/// When a call fails, or the counters do not add up.
pub fn run(plan: &Plan) -> Result<Outcome, Failure> {
    let mut target = Target::start(plan.course.transport, 1)?;
    let mut floor = Stream::open(&mut target, Mode::Sliced, &plan.course)?;
    let place = Place::new(&plan.course)?;
    let (slices, rss_bytes, counters) = match plan.drive {
        Drive::Inline => inline(plan, &place, &mut floor),
        Drive::Bulk => bulk(plan, &place, &mut floor),
    }?;
    if !counters.add_up() {
        return Err(format!("the counters do not add up: {counters:?}").into());
    }
    Ok(Outcome { plan: *plan, slices, rss_bytes, counters })
}

type Seen = (Vec<Slice>, (u64, u64), Counters);

fn inline(plan: &Plan, place: &Place, floor: &mut Stream) -> Result<Seen, Failure> {
    let mut engine = Inline::connect(&place.endpoint, &config(&plan.course)?.build()?)?;
    let (mut echo, mut taken) = (Echo::to_fill(plan.course.calls_in_flight()), 0_u64);
    let (slices, rss) = take_turns(plan, floor, |duration| {
        let begun = Instant::now();
        let before = taken;
        while begun.elapsed() < duration {
            for _ in 0..16 {
                taken += fill_and_turn(&mut engine, &mut echo, false, &mut None)?;
            }
        }
        let rate = (taken - before) as f64 / begun.elapsed().as_secs_f64();
        // The floor has the machine for itself.
        while engine.in_flight() > 0 {
            let mut answers = Answers::default();
            engine.turn(Duration::from_secs(1), |_, _, outcome| _ = answers.look(&outcome))?;
            let right = answers.right()?;
            echo.ended(right);
            taken += right;
        }
        Ok(rate)
    })?;
    let counters = Counters::of(&engine.stats(), taken);
    engine.close(|_, _, _| ());
    if counters.taken != counters.answered || counters.live > 0 {
        return Err(format!("not every answer was handed out: {counters:?}").into());
    }
    Ok((slices, rss, counters))
}

fn bulk(plan: &Plan, place: &Place, floor: &mut Stream) -> Result<Seen, Failure> {
    let client = volley::blocking::Client::connect(place.endpoint.clone(), config(&plan.course)?.build()?)?;
    let call = ToolCall::new("echo", &serde_json::json!({ "message": MESSAGE }))?;
    let mut answers = client.bulk(std::iter::repeat_with(move || call.clone()));
    let mut taken = 0_u64;
    let (slices, rss) = take_turns(plan, floor, |duration| {
        let begun = Instant::now();
        let before = taken;
        while begun.elapsed() < duration {
            for _ in 0..256 {
                answers.next().ok_or("an endless job ended")?.1?;
                taken += 1;
            }
        }
        Ok((taken - before) as f64 / begun.elapsed().as_secs_f64())
    })?;
    drop(answers);
    // What was in flight is cancelled by the shard's next turn; a drain waits for it.
    client.drain(Duration::from_secs(5));
    let counters = Counters::of(&client.stats(), taken);
    client.close();
    if counters.live > 0 {
        return Err(format!("calls are left: {counters:?}").into());
    }
    Ok((slices, rss, counters))
}

/// Slices of both, one after the other, until the engine has had its time.
fn take_turns(
    plan: &Plan,
    floor: &mut Stream,
    mut engine: impl FnMut(Duration) -> Result<f64, Failure>,
) -> Result<(Vec<Slice>, (u64, u64)), Failure> {
    // At least eight, so that there is a first and a last quarter to compare.
    let slice_s = SLICE_S.min(plan.course.seconds / 8.0);
    let turn = (Duration::from_secs_f64(slice_s), Duration::from_secs_f64(slice_s / 4.0));
    let mut one = |at_s: f64, floor: &mut Stream| -> Result<Slice, Failure> {
        let engine = engine(turn.0)?;
        let (begun, before) = (Instant::now(), floor.answered);
        floor.run_for(turn.1)?;
        Ok(Slice { at_s, engine, floor: (floor.answered - before) as f64 / begun.elapsed().as_secs_f64() })
    };
    // Memory is faulted in before anything counts.
    one(0.0, floor)?;
    let rss_first = rss_bytes()?;
    let slices =
        (0..).map(|n| f64::from(n) * slice_s).take_while(|at_s| *at_s < plan.course.seconds - slice_s / 2.0);
    let slices = slices.map(|at_s| one(at_s, floor)).collect::<Result<Vec<_>, _>>()?;
    Ok((slices, (rss_first, rss_bytes()?)))
}

/// How long the engine runs before the floor has its turn, which is a quarter of this. A neighbour of this machine comes and goes within seconds:
/// with slices of four, engine and floor each saw other ones, and the quotient of two minutes moved by a tenth; with slices of 0.4, 150 pairs a
/// minute whose quotients differ by a fifth from one to the next, still by a twentieth.
const SLICE_S: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::course;

    /// The engine loses a tenth against the floor, while the machine halves the rate of both.
    #[test]
    fn drift_is_divided_out() {
        let plan = Plan { course: Course { seconds: 400.0, ..course() }, drive: Drive::Inline };
        let slice = |n: u32| {
            let at_s = f64::from(n) * 4.0;
            let (engine, floor) = if at_s < 200.0 { (8e6, 10e6) } else { (3.6e6, 5e6) };
            Slice { at_s, engine, floor }
        };
        let counters = Counters { submitted: 10, answered: 7, failed: 1, cancelled: 1, live: 1, taken: 7 };
        let outcome = Outcome { plan, slices: (0..100).map(slice).collect(), rss_bytes: (100, 90), counters };
        assert!((outcome.last_by_first().unwrap() - 0.9).abs() < 1e-9);
        let minutes = outcome.minutes();
        assert_eq!(minutes.len(), 7, "{minutes:?}");
        assert!((minutes[0] - 0.8).abs() < 1e-9 && (minutes[6] - 0.72).abs() < 1e-9, "{minutes:?}");
        assert_eq!(outcome.growth_bytes(), -10);
        assert!(counters.add_up());
        assert!(!Counters { live: 2, ..counters }.add_up());
        assert!(!Counters { taken: 8, ..counters }.add_up());
    }
}
