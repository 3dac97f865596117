//! What holds one connection back beside its window's number: the law that moves the number, and pauses.
//!
//! Pure data; the exchange makes the decisions, in `exchange/adapting.rs`. Owner: one connection, on one thread. Always: while it is
//! held, the window's limit is 0. Proof: `tests/simulation/capacity`.

use crate::{base::time::Instant, policy::concurrency::Concurrency};

/// The pace of one connection.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    /// Says how wide the window should be, if it is adaptive.
    pub(crate) law: Option<Box<Concurrency>>,
    /// Until when the server wants nothing.
    pub(crate) paused_until: Option<Instant>,
    /// Until when it rests: because of this connection, not because of the server.
    pub(crate) rests_until: Option<Instant>,
    /// Ends in a row that say nothing of the call and all of the connection.
    pub(crate) failed_in_a_row: u32,
}

impl Pacing {
    /// Is nothing sent on it?
    pub(crate) fn is_held(&self) -> bool {
        self.paused_until.is_some() || self.rests_until.is_some()
    }

    /// When the pause or the rest is over, whichever is first.
    pub(crate) fn next_deadline(&self) -> Instant {
        let or_never = |until: Option<Instant>| until.unwrap_or(Instant::NEVER);
        or_never(self.paused_until).min(or_never(self.rests_until))
    }
}
