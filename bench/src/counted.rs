//! Whether this process counts its allocations, and how many there have been.
//!
//! The allocator that counts is that of the program `perf-counted` alone: two atomic additions an allocation are more
//! than some contestants take for a call, so nothing is timed there. Everybody else has the system's, and is told `None`.

use std::sync::atomic::{AtomicBool, Ordering};

use stats_alloc::INSTRUMENTED_SYSTEM;

/// What a run took from the allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Allocations {
    /// Blocks, those included that were grown or shrunk in place.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Allocations {
    /// Without what so many others took.
    #[must_use]
    pub fn without(self, each: Self, times: u64) -> Self {
        Self {
            blocks: self.blocks.saturating_sub(each.blocks * times),
            bytes: self.bytes.saturating_sub(each.bytes * times),
        }
    }
}

static COUNTED: AtomicBool = AtomicBool::new(false);

/// Said once by the program whose global allocator is [`INSTRUMENTED_SYSTEM`].
pub fn is_counted() {
    COUNTED.store(true, Ordering::Relaxed);
}

/// What a hundred of these take, divided by a hundred; `None` where nobody counts. For a process with one thread.
pub fn taken_by(one: impl Fn()) -> Option<Allocations> {
    let before = so_far()?;
    (0..100).for_each(|_| one());
    let after = so_far()?;
    Some(Allocations {
        blocks: (after.blocks - before.blocks) / 100,
        bytes: (after.bytes - before.bytes) / 100,
    })
}

/// All allocations of this process until now; `None` where nobody counts.
pub fn so_far() -> Option<Allocations> {
    COUNTED.load(Ordering::Relaxed).then(|| {
        let stats = INSTRUMENTED_SYSTEM.stats();
        Allocations {
            blocks: (stats.allocations + stats.reallocations) as u64,
            bytes: stats.bytes_allocated as u64,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_took_is_left_out() {
        let all = Allocations { blocks: 1_005, bytes: 80_100 };
        let left = all.without(Allocations { blocks: 1, bytes: 80 }, 1_000);
        assert_eq!(left, Allocations { blocks: 5, bytes: 100 });
        // Nobody counts in a test.
        assert_eq!((so_far(), taken_by(|| ())), (None, None));
    }
}
