//! What passes between threads: a call and its answer, and the bell that wakes a sleeping shard.

pub(crate) mod completion;
pub(crate) mod doorbell;
