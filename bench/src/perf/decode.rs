//! Typed decoding, a stage and not a call: whole answers into their type, by the engine's reader and by serde_json, in turns.
//!
//! Every kind of content in three sizes, in one process on one core. `just bench decode` has more sizes and readers; here it stands in the
//! verdict, beside what it is a part of.

use std::time::{Duration, Instant};

use volley::internals::stages;

use crate::answers::{self, Content};
use crate::contestant::{Course, Failure};
use crate::report::Spread;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// Its cores, and its seconds, of which each reader has a tenth for an answer.
    pub course: Course,
    /// How many slices each reader has, in which they take turns.
    pub rounds: u32,
    /// The engine's reader alone, on one answer, of so many bytes, and without a figure: what samples look into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<(Content, usize)>,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// What was done.
    pub plan: Plan,
    /// One for each answer.
    pub rows: Vec<Measured>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Measured {
    /// What it is made of.
    pub content: String,
    /// How long its content is, about.
    pub bytes: usize,
    /// Bytes a second: the engine's reader, serde_json.
    pub rounds: Vec<(f64, f64)>,
}

impl Measured {
    /// What the engine's reader does there, alone.
    pub fn alone(&self, plan: &Plan) -> Option<Plan> {
        let content = Content::ALL.into_iter().find(|content| content.name() == self.content)?;
        Some(Plan { alone: Some((content, self.bytes)), ..*plan })
    }

    /// The engine's bytes a second, the median.
    pub fn rate(&self) -> Option<f64> {
        Some(Spread::of(self.rounds.iter().map(|round| round.0))?.median)
    }

    /// The engine's by serde_json's of the same round, the median: they take turns in it, and from one round to the next the machine's rate may
    /// move by more than what is between them.
    pub fn ratio(&self) -> Option<f64> {
        Some(Spread::of(self.rounds.iter().map(|round| round.0 / round.1))?.median)
    }
}

/// Does it, in this process.
///
/// # Errors
///
/// When the readers do not agree.
pub fn run(plan: &Plan) -> Result<Outcome, Failure> {
    let mut rows = Vec::new();
    if let Some((content, bytes)) = plan.alone {
        let (answer, mut taken) = (answers::answer(content, bytes), Duration::ZERO);
        while taken < plan.course.duration() * plan.rounds {
            taken += turn(&answer, |bytes| stages::decode(bytes).ok());
        }
        return Ok(Outcome { plan: *plan, rows });
    }
    for bytes in SIZES {
        for content in Content::ALL {
            let answer = answers::answer(content, bytes);
            if stages::decode(&answer).ok() != answers::by_serde_json(&answer) {
                return Err(format!("{} of {bytes} bytes is read in two ways", content.name()).into());
            }
            let slice = plan.course.duration() / 10;
            let round =
                || in_turns(&answer, slice, |bytes| stages::decode(bytes).ok(), answers::by_serde_json);
            let rounds = (0..plan.rounds).map(|_| round()).collect();
            rows.push(Measured { content: content.name().to_owned(), bytes, rounds });
        }
    }
    Ok(Outcome { plan: *plan, rows })
}

const SIZES: [usize; 3] = [1 << 10, 64 << 10, 10 << 20];

/// Bytes a second of two readers, who take turns until they have had so much time on average, one answer each at least: neighbours of a
/// virtual machine come and go within a slice, and met one reader and not the other when each had its slice in one piece.
fn in_turns<T>(
    answer: &[u8],
    slice: Duration,
    own: impl Fn(&[u8]) -> Option<T>,
    other: impl Fn(&[u8]) -> Option<T>,
) -> (f64, f64) {
    let (mut own_taken, mut other_taken, mut bytes) = (Duration::ZERO, Duration::ZERO, 0_usize);
    while bytes == 0 || own_taken + other_taken < 2 * slice {
        own_taken += turn(answer, &own);
        other_taken += turn(answer, &other);
        bytes += answer.len() * reads_in_turn(answer);
    }
    let rate = |taken: Duration| bytes as f64 / taken.as_secs_f64();
    (rate(own_taken), rate(other_taken))
}

fn turn<T>(answer: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Duration {
    let begun = Instant::now();
    for _ in 0..reads_in_turn(answer) {
        std::hint::black_box(read(std::hint::black_box(answer)));
    }
    begun.elapsed()
}

/// More than one of short answers: the clock takes as long as one of them does.
fn reads_in_turn(answer: &[u8]) -> usize {
    (64 << 10) / answer.len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::course;

    #[test]
    fn every_kind_and_size_has_its_rounds() {
        let plan = Plan { course: Course { seconds: 0.001, ..course() }, rounds: 1, alone: None };
        let rows: Vec<_> = [1 << 10, 4 << 10]
            .map(|bytes| Measured {
                content: "plain".into(),
                bytes,
                rounds: vec![(4.0, 2.0), (6.0, 2.0), (5.0, 2.0), (9.0, 9.0), (1.0, 0.5)],
            })
            .into();
        assert_eq!((rows[0].rate(), rows[0].ratio()), (Some(5.0), Some(2.0)), "of the medians 2.5");
        assert_eq!(Measured { rounds: Vec::new(), ..rows[0].clone() }.ratio(), None);
        let alone = rows[1].alone(&plan).unwrap();
        assert_eq!(alone, Plan { alone: Some((Content::Plain, 4 << 10)), ..plan });
        assert_eq!(run(&alone).unwrap(), Outcome { plan: alone, rows: Vec::new() });
        assert_eq!(Measured { content: "ink".into(), ..rows[1].clone() }.alone(&plan), None);
        let outcome = Outcome { plan, rows };
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
        let calls = [const { std::cell::Cell::new(0_u32) }; 2];
        let [own, other] = [0, 1].map(|reader: usize| {
            let calls = &calls;
            move |bytes: &[u8]| {
                calls[reader].set(calls[reader].get() + 1);
                bytes.first().copied()
            }
        });
        let rates = in_turns(b"abc", Duration::from_millis(1), own, other);
        assert!(rates.0 > 0.0 && rates.1 > 0.0, "{rates:?}");
        assert!(calls[0].get() >= reads_in_turn(b"abc") as u32, "{calls:?}");
        assert_eq!(calls[0], calls[1]);
    }
}
