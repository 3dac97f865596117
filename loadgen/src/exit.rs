//! The exit codes of `loadgen`, and which one wins when several would fit.
//!
//! Proof: `what_is_worse_wins`, below. `loadgen serve` has its own codes, beside its own code.

use std::process::ExitCode;

/// How a command ended, in the numbers a script sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything ran, every call came back once and right, every threshold held.
    Good = 0,
    /// The run failed, or a call was lost or answered wrongly.
    Failed = 1,
    /// The words made no plan, or two results cannot be compared. clap uses the same number.
    Usage = 2,
    /// `gate` found a regression.
    Regression = 3,
    /// A threshold was broken.
    Threshold = 99,
    /// Ctrl-C or a polite signal ended the run early.
    Interrupted = 105,
}

/// What is known at the end of a run, as far as it decides the exit code.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ending {
    /// Ctrl-C came.
    pub(crate) interrupted: bool,
    /// A worker or its connections gave up, or nothing was answered at all.
    pub(crate) failed: bool,
    /// A call was lost, answered wrongly or answered twice.
    pub(crate) untrue: bool,
    /// A threshold was broken.
    pub(crate) broken: bool,
}

impl Exit {
    /// The code of a run. A wrong answer is a fact whenever it was seen, so it outranks an
    /// interruption; an interruption explains everything that is merely missing.
    pub(crate) const fn of_run(ending: Ending) -> Self {
        match ending {
            Ending { untrue: true, .. } => Self::Failed,
            Ending { interrupted: true, .. } => Self::Interrupted,
            Ending { failed: true, .. } => Self::Failed,
            Ending { broken: true, .. } => Self::Threshold,
            _ => Self::Good,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worse_wins() {
        let good = Ending::default();
        assert_eq!(Exit::of_run(good), Exit::Good);
        assert_eq!(Exit::of_run(Ending { broken: true, ..good }), Exit::Threshold);
        assert_eq!(Exit::of_run(Ending { broken: true, failed: true, ..good }), Exit::Failed);
        assert_eq!(Exit::of_run(Ending { failed: true, interrupted: true, ..good }), Exit::Interrupted);
        assert_eq!(Exit::of_run(Ending { untrue: true, interrupted: true, ..good }), Exit::Failed);
    }

    #[test]
    fn the_numbers_are_the_promised_ones() {
        let all =
            [Exit::Good, Exit::Failed, Exit::Usage, Exit::Regression, Exit::Threshold, Exit::Interrupted];
        assert_eq!(all.map(|exit| exit as u8), [0, 1, 2, 3, 99, 105]);
    }
}
