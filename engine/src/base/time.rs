//! Our own instant: nanoseconds since the process's clock was first read, in a `u64`.
//!
//! It can be made in a test, fits a dense column of deadlines, and 2^64 ns are 584 years. Only the shard's clock
//! makes real ones; the protocol core is told the time and never asks.

use std::time::Duration;

/// A moment, in nanoseconds since the clock's epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub(crate) struct Instant(u64);

impl Instant {
    /// Later than every deadline: "never".
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    pub(crate) const fn ns(self) -> u64 {
        self.0
    }

    /// As [`Self::after`], for a wait in nanoseconds.
    #[inline]
    pub(crate) const fn after_ns(self, wait_ns: u64) -> Self {
        Self(self.0.saturating_add(wait_ns))
    }

    /// The moment `wait` after this one; `NEVER` when it would not fit.
    #[inline]
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_too_much_is_never() {
        assert_eq!(Instant::from_ns(5).after(Duration::MAX), Instant::NEVER);
        assert_eq!(Instant::from_ns(5).after(Duration::from_nanos(7)), Instant::from_ns(12));
    }

    #[test]
    fn the_future_was_no_time_ago() {
        assert_eq!(Instant::from_ns(5).since(Instant::from_ns(9)), Duration::ZERO);
    }
}
