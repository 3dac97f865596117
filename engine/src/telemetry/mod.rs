//! What the engine counts, always on.

pub(crate) mod counters;
