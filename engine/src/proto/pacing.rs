//! What holds one connection back beside its window's number: the law that moves the number, and pauses.
//!
//! Pure data; the exchange makes the decisions, in `exchange/adapting.rs`. Owner: one connection, on one thread. Always: while `until` is
//! set, the window's limit is 0. Proof: `tests/simulation/capacity`.

use crate::{base::time::Instant, policy::concurrency::Concurrency};

/// The pace of one connection.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    /// Says how wide the window should be, if it is adaptive.
    pub(crate) law: Option<Box<Concurrency>>,
    /// Until when nothing is sent on it.
    pub(crate) until: Option<Instant>,
    /// It pauses because of this connection, not because of the server.
    pub(crate) rests: bool,
    /// Ends in a row that say nothing of the call and all of the connection.
    pub(crate) failed_in_a_row: u32,
}

impl Pacing {
    /// When the pause is over.
    pub(crate) fn next_deadline(&self) -> Instant {
        self.until.unwrap_or(Instant::NEVER)
    }
}
