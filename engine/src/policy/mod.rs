//! Policies: pure questions with an answer, which never sleep and never look at a clock.

pub(crate) mod backoff;
pub(crate) mod concurrency;
pub(crate) mod overlap;
pub(crate) mod polling;
