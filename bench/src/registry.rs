//! Who runs in the table of the hot path, and under which conditions. A new contestant is a type that is a
//! [`Contestant`] and a line in [`registry`].

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::contestant::{Contestant, Failure};
use crate::engine::{Drive, Engine};
use crate::floor::{self, Era, Mode};
use crate::link::Transport;
use crate::meter::Run;
use crate::peer::{self, Runtime};

/// Under which conditions all of them run.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    /// The era of the calls, the same for all.
    pub era: Era,
    /// Client and target share a core.
    pub one_core: bool,
}

/// Everyone who runs, in the order in which they take turns.
///
/// On one core the floor is its coalesced mode alone: slices and spinning are ways to use a second one.
pub fn registry(conditions: Conditions) -> Vec<Box<dyn Contestant>> {
    let era = conditions.era;
    let modes = if conditions.one_core { &Mode::ALL[..1] } else { &Mode::ALL[..] };
    let mut all: Vec<Box<dyn Contestant>> = Vec::new();
    for &mode in modes {
        all.push(Box::new(Floor { mode, era }));
    }
    let mut drives = vec![Drive::Inline];
    // Polling takes the core that the target would need, if there is only one.
    if !conditions.one_core {
        drives.push(Drive::InlineSpin);
    }
    drives.extend([Drive::Bulk, Drive::Tasks(Runtime::CurrentThread), Drive::Tasks(Runtime::MultiThread)]);
    for drive in drives {
        all.push(Box::new(Engine { drive, era }));
    }
    all.push(Box::new(Rmcp { runtime: Runtime::CurrentThread, era }));
    all.push(Box::new(Rmcp { runtime: Runtime::MultiThread, era }));
    all
}

/// What the kernel and the target leave.
#[derive(Debug)]
struct Floor {
    mode: Mode,
    era: Era,
}

impl Contestant for Floor {
    fn name(&self) -> &'static str {
        self.mode.name()
    }

    fn is_floor(&self) -> bool {
        true
    }

    fn run(&self, transport: Transport, in_flight: NonZeroUsize, duration: Duration) -> Result<Run, Failure> {
        Ok(floor::measure(transport, self.mode, self.era, in_flight, duration)?)
    }
}

/// The client of the official Rust SDK.
#[derive(Debug)]
struct Rmcp {
    runtime: Runtime,
    era: Era,
}

impl Contestant for Rmcp {
    fn name(&self) -> &'static str {
        match self.runtime {
            Runtime::CurrentThread => "rmcp current-thread",
            Runtime::MultiThread => "rmcp multi-thread",
        }
    }

    fn run(&self, transport: Transport, in_flight: NonZeroUsize, duration: Duration) -> Result<Run, Failure> {
        peer::measure(transport, self.runtime, self.era, in_flight, duration)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_the_floor_comes_first() {
        for one_core in [false, true] {
            let all = registry(Conditions { era: Era::Modern, one_core });
            let names: HashSet<_> = all.iter().map(|contestant| contestant.name()).collect();
            assert_eq!(names.len(), all.len());
            assert!(all[0].is_floor());
        }
    }
}
