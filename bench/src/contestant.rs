//! What a contestant in the table of the hot path is. ([`registry`](crate::registry) lists who runs.)
//!
//! A contestant starts a fresh target for each run ([`Target`](crate::link::Target)), so that all
//! meet the same one in the same state, warms up as [`warm_up`](crate::meter::warm_up) says, and
//! measures with a [`Meter`](crate::meter::Meter).

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::link::Transport;
use crate::meter::Run;

/// What can end a run early.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One way to call a tool many times.
pub trait Contestant {
    /// As it stands in tables; no other contestant's.
    fn name(&self) -> &'static str;

    /// Whether this is a mode of the floor, by which the others are divided.
    fn is_floor(&self) -> bool {
        false
    }

    /// Whether it can do this row at all. What it cannot do is left out, not counted as zero.
    fn runs_over(&self, _transport: Transport) -> bool {
        true
    }

    /// Keeps `in_flight` calls in flight on one connection for this long, after a warm-up.
    ///
    /// # Errors
    ///
    /// When a call fails: a contestant that is fast and wrong has no place in the table.
    fn run(&self, transport: Transport, in_flight: NonZeroUsize, duration: Duration) -> Result<Run, Failure>;
}
