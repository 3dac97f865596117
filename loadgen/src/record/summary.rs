//! One phase in numbers: the tallies and latencies of all workers, and the time they span.
//!
//! The span of a measured phase runs from its first call to the moment sending stopped (a run
//! by time, or an interrupted one) or to the last answer (a run by number). Only answers within
//! it make the rate, so the drain at the end, where the window is no longer full, does not
//! flatter or spoil it; counters and latencies have all of them. Over several workers the span
//! is the longest of theirs.

use super::{histogram::Latencies, tally::Tally};

/// What one phase came to.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// How the calls ended.
    pub(crate) tally: Tally,
    /// How long they took: answers, errors and timeouts, not failures.
    pub(crate) latencies: Latencies,
    /// The time over which the rate is taken.
    pub(crate) span_ns: u64,
    /// The answers within that time.
    pub(crate) answered_in_span: u64,
}

impl Summary {
    /// Adds what another worker did in the same phase.
    pub(crate) fn merge(&mut self, other: Self) {
        self.tally += other.tally;
        self.latencies.merge(other.latencies);
        self.span_ns = self.span_ns.max(other.span_ns);
        self.answered_in_span += other.answered_in_span;
    }

    /// Answers per second.
    pub(crate) fn calls_per_s(&self) -> f64 {
        if self.span_ns == 0 { 0.0 } else { self.answered_in_span as f64 * 1e9 / self.span_ns as f64 }
    }

    /// The span in seconds.
    pub(crate) fn duration_s(&self) -> f64 {
        self.span_ns as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::summary;

    #[test]
    fn workers_side_by_side_add_calls_but_not_time() {
        let mut both = summary();
        both.merge(Summary { span_ns: 2_000_000_000, ..summary() });
        assert_eq!((both.tally.sent, both.latencies.len()), (2000, 2000));
        assert_eq!((both.duration_s(), both.calls_per_s()), (2.0, 1000.0));
    }

    #[test]
    fn nothing_in_no_time_is_a_rate_of_zero() {
        assert_eq!(Summary::default().calls_per_s(), 0.0);
    }
}
