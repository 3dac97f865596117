//! Does it pay to poll before sleeping?
//!
//! A shard that polls finds an answer some microseconds earlier than one that has to be woken, for a core that does nothing else meanwhile. Where
//! answers take longer than it polls, that core is burnt for nothing. So after [`VAIN_MAX`] times in a row that brought nothing it *rests*, which
//! is to say that the next sleeps are not put off: as many at first, and twice as many each time that [`TRIES`] more brought nothing, up to
//! [`REST_MAX`]. The first time that it brings something all that is forgotten.
//!
//! Units: sleeps. Cost: a compare before a sleep. Owner: one shard, on one thread. Always: of any [`REST_MAX`] + [`TRIES`] sleeps in a row [`TRIES`]
//! are put off at least, so it is never given up for good. Proof: the stories below. ADR 0027, which also says what it does not see.

/// See the module.
#[derive(Debug)]
pub(crate) struct Polling {
    /// Times in a row that brought nothing.
    vain: u32,
    /// Sleeps to come that are not put off.
    rest_left: u32,
    /// How long the next rest is.
    rest: u32,
}

/// Random times of the server's, which polling catches three in ten of, miss so often in a row once in three hundred.
const VAIN_MAX: u32 = 16;

/// Times that it is tried between two rests.
const TRIES: u32 = 4;

const REST_MIN: u32 = VAIN_MAX;
const REST_MAX: u32 = 2048;

impl Default for Polling {
    fn default() -> Self {
        Self { vain: 0, rest_left: 0, rest: REST_MIN }
    }
}

impl Polling {
    /// About to sleep: is that to be put off?
    #[inline]
    pub(crate) fn is_due(&mut self) -> bool {
        let is_due = self.rest_left == 0;
        self.rest_left = self.rest_left.saturating_sub(1);
        is_due
    }

    /// It has brought something.
    #[inline]
    pub(crate) fn paid(&mut self) {
        *self = Self::default();
    }

    /// Its time went by in vain.
    pub(crate) fn was_vain(&mut self) {
        self.vain += 1;
        if self.vain >= VAIN_MAX {
            self.vain = VAIN_MAX - TRIES;
            self.rest_left = self.rest;
            self.rest = (2 * self.rest).min(REST_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of so many sleeps, how many were put off; each of those brings what `paid` says.
    fn put_off(law: &mut Polling, sleeps: u32, paid: impl Fn(u32) -> bool) -> u32 {
        let mut count = 0;
        for sleep in 0..sleeps {
            if law.is_due() {
                count += 1;
                if paid(sleep) { law.paid() } else { law.was_vain() }
            }
        }
        count
    }

    #[test]
    fn what_pays_goes_on() {
        let mut law = Polling::default();
        assert_eq!(put_off(&mut law, 10_000, |_| true), 10_000);
        let one_in_fifteen = |sleep: u32| sleep.is_multiple_of(15);
        assert_eq!(put_off(&mut law, 10_000, one_in_fifteen), 10_000, "fourteen in a row are chance");
    }

    #[test]
    fn what_never_pays_is_tried_four_times_in_two_thousand() {
        let mut law = Polling::default();
        assert_eq!(put_off(&mut law, 16, |_| false), 16);
        put_off(&mut law, 10_000, |_| false);
        let count = put_off(&mut law, 100 * (REST_MAX + TRIES), |_| false);
        assert!((396..=404).contains(&count), "{count}");
    }

    #[test]
    fn what_pays_again_is_taken_up_again() {
        let mut law = Polling::default();
        put_off(&mut law, 100_000, |_| false);
        put_off(&mut law, REST_MAX + 1, |_| true);
        assert_eq!(put_off(&mut law, 1_000, |_| true), 1_000);
        assert_eq!(put_off(&mut law, 32, |_| false), 16, "and the first rest is a short one again");
    }
}
