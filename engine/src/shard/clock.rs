//! The clock: the one place of the engine that asks what time it is.
//!
//! All shards count from the same epoch, so that instants can be compared across threads.

use std::sync::OnceLock;

use crate::base::time::Instant;

/// Reads the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: std::time::Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn new() -> Self {
        static EPOCH: OnceLock<std::time::Instant> = OnceLock::new();
        Self { epoch: *EPOCH.get_or_init(std::time::Instant::now) }
    }

    #[inline]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn now(&self) -> Instant {
        // Never zero, so that the default instant is before everything.
        Instant::from_ns(std::time::Instant::now().duration_since(self.epoch).as_nanos() as u64 + 1)
    }
}
