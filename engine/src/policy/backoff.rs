//! How long to wait before the next attempt: decorrelated jitter.
//!
//! Each wait is drawn between the base and three times the wait before, up to a cap (M. Brooker, "Exponential Backoff And
//! Jitter", AWS Architecture Blog, 2015). Clients that lost one server together do not come back together.
//! The first attempt after a success is at once.

use std::time::Duration;

/// The waits of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    last: Duration,
    rng: fastrand::Rng,
}

impl Backoff {
    /// Waits between `base` and `cap`; the configuration has checked that they are in order.
    pub(crate) fn new(base: Duration, cap: Duration, seed: u64) -> Self {
        debug_assert!(base <= cap && !base.is_zero());
        Self { base, cap, last: Duration::ZERO, rng: fastrand::Rng::with_seed(seed) }
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let low = self.base.as_nanos() as u64;
        let high =
            (self.last.max(self.base).as_nanos() as u64).saturating_mul(3).min(self.cap.as_nanos() as u64);
        self.last = Duration::from_nanos(self.rng.u64(low..=high.max(low)));
        self.last
    }

    /// An attempt succeeded.
    pub(crate) fn reset(&mut self) {
        self.last = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_in_bounds_grow_and_differ_by_seed() {
        let (base, cap) = (Duration::from_millis(10), Duration::from_secs(1));
        let waits = |seed| {
            let mut backoff = Backoff::new(base, cap, seed);
            (0..200).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        let (one, two) = (waits(1), waits(2));
        assert!(one.iter().all(|wait| (base..=cap).contains(wait)));
        assert!(one.iter().max().unwrap() > &Duration::from_millis(300));
        assert_ne!(one, two);
        assert!(one[0] <= base * 3);
    }

    #[test]
    fn success_starts_afresh() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(60), 3);
        for _ in 0..50 {
            backoff.next();
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(30));
    }
}
