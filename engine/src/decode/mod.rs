//! Reading answers: on the consumer's thread by default, on workers when they are long. Never on an event loop.

pub(crate) mod answer;
pub(crate) mod pool;
