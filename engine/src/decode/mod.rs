//! Reading answers: on the consumer's thread by default, on workers when they are long. Never on an event loop.

pub(crate) mod answer;
mod common;
mod escapes;
#[cfg(any(test, feature = "internals"))]
pub(crate) mod naive;
pub(crate) mod pool;
mod simd;
mod structured;
