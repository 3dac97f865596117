//! What holds one connection back beside its window's number: the law that moves the number, and pauses.
//!
//! Pure data; the exchange makes the decisions, in `exchange/adapting.rs`. Owner: one connection, on one thread. Always: while it is
//! held, the window's limit is 0. Proof: `tests/simulation/capacity`.

use crate::{base::time::Instant, policy::concurrency::Concurrency};

/// The pace of one connection.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Pacing {
    /// Says how wide the window should be, if it is adaptive.
    pub(crate) law: Option<Box<Concurrency>>,
    /// Ends in a row that say nothing of the call and all of the connection.
    pub(crate) failed_in_a_row: u32,
    /// Until when the server wants nothing, or `NEVER`.
    pub(crate) paused_until: Instant,
    /// Until when it rests, because of this connection and not because of the server, or `NEVER`.
    pub(crate) rests_until: Instant,
}

impl Default for Pacing {
    fn default() -> Self {
        Self { law: None, failed_in_a_row: 0, paused_until: Instant::NEVER, rests_until: Instant::NEVER }
    }
}

impl Pacing {
    /// The server wants nothing until then, or until later if it has said so before.
    pub(crate) fn pause_until(&mut self, until: Instant) {
        let before = self.paused_until;
        self.paused_until = if before == Instant::NEVER { until } else { before.max(until) };
    }

    /// Does it rest?
    pub(crate) fn rests(&self) -> bool {
        self.rests_until != Instant::NEVER
    }

    /// Is nothing sent on it?
    pub(crate) fn is_held(&self) -> bool {
        self.next_deadline() != Instant::NEVER
    }

    /// When the pause or the rest is over, whichever is first.
    pub(crate) fn next_deadline(&self) -> Instant {
        self.paused_until.min(self.rests_until)
    }
}
