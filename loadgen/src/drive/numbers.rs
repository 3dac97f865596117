//! The numbers of the calls, handed out to all workers.
//!
//! Each number is handed out once, in ascending ranges; a faster worker takes more of them.
//! Unit: calls. Cost: one shared add per range, not per call. Relaxed, because the numbers
//! themselves are all that is shared. Proof: `each_number_goes_to_one_worker`.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of one phase.
#[derive(Debug)]
pub(super) struct Numbers {
    next: AtomicU64,
    end: u64,
}

impl Numbers {
    /// `count` numbers from `first` on; without a count they do not end.
    pub(super) const fn new(first: u64, count: Option<u64>) -> Self {
        let end = match count {
            Some(count) => first.saturating_add(count),
            None => u64::MAX,
        };
        Self { next: AtomicU64::new(first), end }
    }

    /// Takes the next `most` numbers, or those that are left.
    pub(super) fn claim(&self, most: u64) -> Range<u64> {
        if self.used_up() {
            return 0..0;
        }
        let start = self.next.fetch_add(most, Ordering::Relaxed).min(self.end);
        start..start.saturating_add(most).min(self.end)
    }

    /// Whether none is left.
    pub(super) fn used_up(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.end
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn each_number_goes_to_one_worker() {
        let numbers = Numbers::new(100, Some(10_000));
        let mut all: Vec<u64> = thread::scope(|scope| {
            let workers: Vec<_> = (1..=4_u64)
                .map(|most| {
                    let numbers = &numbers;
                    scope.spawn(move || {
                        std::iter::repeat_with(|| numbers.claim(most))
                            .take_while(|range| !range.is_empty())
                            .flatten()
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        all.sort_unstable();
        assert!(all.into_iter().eq(100..10_100));
        assert!(numbers.used_up());
    }
}
