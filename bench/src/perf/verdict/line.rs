//! One line of the verdict: what must be held, what was found, and how that stands.

use crate::perf::job::Job;

/// Which side of a number is the good one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A part of the floor of the same row.
    OfFloor,
    /// How many times another's figure.
    Times,
    /// A part of 1.
    Part,
    /// Calls per second.
    Rate,
    /// CPU seconds per million calls.
    CpuSeconds,
    /// Things for a call.
    PerCall,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesRate,
    /// A count.
    Count,
}

/// A figure, and where it is from.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Which transport, or which of several.
    pub place: String,
    /// The figure, or why there is none.
    pub figure: Result<f64, String>,
    /// Calls per second of the floor of the same row.
    pub floor: Option<f64>,
    /// Who else ran in the row, and at how many calls per second.
    pub peer: Option<(String, f64)>,
    /// What to run to see where its time goes.
    pub job: Option<Job>,
}

/// One line of the verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it is about.
    pub what: &'static str,
    /// How its numbers are meant.
    pub unit: Unit,
    /// What must be held, if anything.
    pub must: Option<Bar>,
    /// What is wanted, if anything.
    pub goal: Option<Bar>,
    /// What was reached.
    pub reading: Reading,
}

/// How a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The goal is reached.
    Goal,
    /// What must be is held.
    Holds,
    /// It is not.
    Missed,
    /// There is no bar that must be held, and the goal is not reached.
    BelowGoal,
    /// There is no figure.
    NotMeasured,
}

impl Bar {
    /// Whether a figure is on the good side.
    pub fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(bar) => figure >= bar,
            Self::AtMost(bar) => figure <= bar,
        }
    }
}

impl Line {
    /// How it stands.
    pub fn standing(&self) -> Standing {
        let Ok(figure) = self.reading.figure else { return Standing::NotMeasured };
        let holds = |bar: Option<Bar>| bar.map(|bar| bar.holds(figure));
        match (holds(self.must), holds(self.goal)) {
            (Some(false), _) => Standing::Missed,
            (_, Some(true)) => Standing::Goal,
            (Some(true), _) => Standing::Holds,
            (None, _) => Standing::BelowGoal,
        }
    }
}

impl Line {
    /// Whether it says that something was faster than its floor.
    pub fn is_above_the_floor(&self) -> bool {
        self.unit == Unit::OfFloor && matches!(self.reading.figure, Ok(figure) if figure > 1.0)
    }
}
