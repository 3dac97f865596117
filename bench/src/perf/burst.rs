//! A burst of calls at once against the same calls one at a time: the total time of both, in turns.
//!
//! The engine is idle before each of the two. A burst is over when its last answer is there.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use volley::{Client, Inline, Tool};

use crate::call::MESSAGE;
use crate::contestant::{Course, Failure};
use crate::engine::{Answers, Place, arguments, config};
use crate::peer::Runtime;
use crate::report::Spread;

/// How the engine is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drive {
    /// On the measuring thread.
    Inline,
    /// A shared client: one awaited call after the other, or a task for each.
    Client,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// Its windows take the burst: as many calls as can be in flight.
    pub course: Course,
    /// How.
    pub drive: Drive,
    /// How often both take turns.
    pub rounds: u32,
    /// Bursts only, for whoever looks at where their time goes.
    #[serde(default)]
    pub alone: bool,
}

impl Plan {
    /// Bursts and nothing else, enough of them to be looked into.
    pub fn alone(&self) -> Self {
        Self { alone: true, rounds: ROUNDS_ALONE, ..*self }
    }

    fn one_at_a_time(&self) -> usize {
        if self.alone { 0 } else { self.course.calls_in_flight() }
    }
}

/// A second or two.
const ROUNDS_ALONE: u32 = 2_000;

/// What was seen.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// What was done.
    pub plan: Plan,
    /// Microseconds in all: one at a time, and at once.
    pub rounds: Vec<(f64, f64)>,
}

impl Outcome {
    /// Median microseconds: one at a time, and at once.
    pub fn medians(&self) -> Option<(f64, f64)> {
        let one = Spread::of(self.rounds.iter().map(|round| round.0))?;
        Some((one.median, Spread::of(self.rounds.iter().map(|round| round.1))?.median))
    }

    /// How much less the burst took, of 1.
    pub fn saved(&self) -> Option<f64> {
        let (one, burst) = self.medians()?;
        Some(1.0 - burst / one)
    }

    /// The burst in round trips of a single call.
    pub fn round_trips(&self) -> Option<f64> {
        let (one, burst) = self.medians()?;
        Some(burst / (one / self.plan.course.calls_in_flight() as f64))
    }
}

/// Does it, in this process.
///
/// # Errors
///
/// When a call fails.
pub fn run(plan: &Plan) -> Result<Outcome, Failure> {
    let place = Place::new(&plan.course)?;
    let mut rounds = match plan.drive {
        Drive::Inline => inline(plan, &place)?,
        Drive::Client => Runtime::CurrentThread.build()?.block_on(client(plan, &place))?,
    };
    // The first faulted the memory in.
    rounds.remove(0);
    Ok(Outcome { plan: *plan, rounds })
}

fn inline(plan: &Plan, place: &Place) -> Result<Vec<(f64, f64)>, Failure> {
    let mut engine = Inline::connect(&place.endpoint, &config(&plan.course)?.build()?)?;
    let until = Instant::now() + OPEN_MAX;
    while engine.ready_connections() < plan.course.connections && Instant::now() < until {
        engine.turn(Duration::from_millis(5), |_, _, _| ())?;
    }
    let (echo, arguments) = (Tool::new("echo"), arguments().into_bytes());
    let mut at_once = |calls: usize| -> Result<(), Failure> {
        for _ in 0..calls {
            engine.submit(&echo, &arguments, 0).map_err(|_| "the window does not take the burst")?;
        }
        let mut answered = 0;
        while answered < calls as u64 {
            let mut answers = Answers::default();
            engine.turn(Duration::from_secs(1), |_, _, outcome| _ = answers.look(&outcome))?;
            answered += answers.right()?;
        }
        Ok(())
    };
    let calls = plan.course.calls_in_flight();
    let mut rounds = Vec::new();
    for _ in 0..=plan.rounds {
        let begun = Instant::now();
        for _ in 0..plan.one_at_a_time() {
            at_once(1)?;
        }
        let between = Instant::now();
        at_once(calls)?;
        rounds.push((micros(between - begun), micros(between.elapsed())));
    }
    engine.close(|_, _, _| ());
    Ok(rounds)
}

/// A hundred of them are opened in a moment; a burst that finds no place says so.
const OPEN_MAX: Duration = Duration::from_secs(10);

async fn client(plan: &Plan, place: &Place) -> Result<Vec<(f64, f64)>, Failure> {
    let client = Client::connect(place.endpoint.clone(), config(&plan.course)?.build()?).await?;
    let calls = plan.course.calls_in_flight();
    let mut rounds = Vec::new();
    for _ in 0..=plan.rounds {
        let begun = Instant::now();
        for _ in 0..plan.one_at_a_time() {
            one(&client).await?;
        }
        let between = Instant::now();
        let mut burst = JoinSet::new();
        for _ in 0..calls {
            let client = client.clone();
            burst.spawn(async move { one(&client).await });
        }
        while let Some(ended) = burst.join_next().await {
            ended??;
        }
        rounds.push((micros(between - begun), micros(between.elapsed())));
    }
    client.close().await;
    Ok(rounds)
}

async fn one(client: &Client) -> Result<(), Failure> {
    let result = client.call_tool("echo", &serde_json::json!({ "message": MESSAGE })).await?;
    if result.text() == MESSAGE {
        Ok(())
    } else {
        Err(format!("not the echo of {MESSAGE:?}: {result:?}").into())
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::course;

    #[test]
    fn what_a_burst_saves() {
        let plan = Plan {
            course: Course { in_flight: 100, ..course() },
            drive: Drive::Inline,
            rounds: 3,
            alone: false,
        };
        let outcome = Outcome { plan, rounds: vec![(1000.0, 50.0), (900.0, 60.0), (2000.0, 40.0)] };
        assert_eq!(outcome.medians(), Some((1000.0, 50.0)));
        assert_eq!((outcome.saved(), outcome.round_trips()), (Some(0.95), Some(5.0)));
    }
}
