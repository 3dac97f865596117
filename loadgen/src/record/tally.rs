//! How many calls met which end.
//!
//! Unit: calls. Each call that was sent meets exactly one end:
//!
//! ```text
//! sent = answered + rpc_errors + timed_out + failed + lost
//!        answered >= tool_errors + wrong      (both are answers)
//! ```
//!
//! `lost` is counted on its own, from the table of calls still open when the run is over; that
//! the two sides agree is then checked by [`Tally::balance`], not assumed. An outcome for a call
//! that was not open is `stray`: something was delivered twice. Owner: one worker, until merged.

use std::fmt;
use std::ops::AddAssign;

/// The counters of one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Tally {
    /// Handed to the engine.
    pub(crate) sent: u64,
    /// Came back with a result, whatever the result said.
    pub(crate) answered: u64,
    /// Of those answered, the tool said `isError`.
    pub(crate) tool_errors: u64,
    /// Came back with a JSON-RPC error.
    pub(crate) rpc_errors: u64,
    /// Given up by the engine after the timeout.
    pub(crate) timed_out: u64,
    /// Failed: connection gone, refused, or given up at an interruption.
    pub(crate) failed: u64,
    /// Of those answered, the text was not the expected one.
    pub(crate) wrong: u64,
    /// Never resolved in any way.
    pub(crate) lost: u64,
    /// Outcomes for no open call. Not a call, so it is in no sum.
    #[serde(default)]
    pub(crate) stray: u64,
}

/// The books do not balance: a bug of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Imbalance {
    sent: u64,
    ended: u64,
}

impl Tally {
    /// Checks that every call met exactly one end.
    ///
    /// # Errors
    ///
    /// With both sums when they differ.
    pub(crate) fn balance(&self) -> Result<(), Imbalance> {
        let ended = self.answered + self.rpc_errors + self.timed_out + self.failed + self.lost;
        if ended != self.sent || self.tool_errors + self.wrong > self.answered {
            return Err(Imbalance { sent: self.sent, ended });
        }
        Ok(())
    }

    /// Calls that did not do what they should.
    pub(crate) fn errors(&self) -> u64 {
        self.tool_errors + self.rpc_errors + self.timed_out + self.failed + self.wrong + self.lost
    }

    /// [`Tally::errors`] as a share of the calls sent; nothing when none was sent.
    pub(crate) fn error_share(&self) -> Option<f64> {
        (self.sent > 0).then(|| self.errors() as f64 / self.sent as f64)
    }

    /// Whether a call was lost, answered wrongly or answered twice: what no load excuses.
    pub(crate) const fn untrue(&self) -> bool {
        self.lost > 0 || self.wrong > 0 || self.stray > 0
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.tool_errors += other.tool_errors;
        self.rpc_errors += other.rpc_errors;
        self.timed_out += other.timed_out;
        self.failed += other.failed;
        self.wrong += other.wrong;
        self.lost += other.lost;
        self.stray += other.stray;
    }
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the books do not balance: {} calls sent, {} ended; this is a bug in loadgen",
            self.sent, self.ended
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_OF_EACH: Tally = Tally {
        sent: 7,
        answered: 3,
        tool_errors: 1,
        rpc_errors: 1,
        timed_out: 1,
        failed: 1,
        wrong: 1,
        lost: 1,
        stray: 0,
    };

    #[test]
    fn every_call_meets_exactly_one_end() {
        assert_eq!(ONE_OF_EACH.balance(), Ok(()));
        assert!(Tally { sent: 8, ..ONE_OF_EACH }.balance().is_err());
        assert!(Tally { wrong: 3, ..ONE_OF_EACH }.balance().is_err());
    }

    #[test]
    fn all_that_went_wrong_is_an_error_once() {
        assert_eq!(ONE_OF_EACH.errors(), 6);
        assert_eq!(Tally::default().error_share(), None);
    }

    #[test]
    fn sums_balance_when_their_parts_do() {
        let mut sum = ONE_OF_EACH;
        sum += ONE_OF_EACH;
        assert_eq!((sum.sent, sum.errors(), sum.balance()), (14, 12, Ok(())));
    }

    #[test]
    fn errors_are_excused_but_not_lies() {
        assert!(!Tally { lost: 0, wrong: 0, ..ONE_OF_EACH }.untrue());
        for tally in [
            Tally { lost: 1, ..Tally::default() },
            Tally { wrong: 1, ..Tally::default() },
            Tally { stray: 1, ..Tally::default() },
        ] {
            assert!(tally.untrue());
        }
    }
}
