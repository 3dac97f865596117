//! How many calls of a run left in JSON-RPC arrays, warm-up included.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Counts of one or several shards. Only a run in batches has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArrayCounts {
    /// Arrays sent.
    pub(crate) sent: u64,
    /// Calls in them.
    pub(crate) calls: u64,
    /// Of the arrays, those that were refused; their calls went again one by one.
    pub(crate) refused: u64,
}

impl AddAssign for ArrayCounts {
    fn add_assign(&mut self, other: Self) {
        let Self { sent, calls, refused } = other;
        self.sent += sent;
        self.calls += calls;
        self.refused += refused;
    }
}
