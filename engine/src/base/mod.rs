//! The ground floor: time, bytes, bounds and the seam between real and modelled atomics.
//!
//! Nothing here has heard of a protocol, a socket or a thread.

pub(crate) mod buffer;
pub(crate) mod json;
pub(crate) mod limits;
#[cfg(any(volley_loom, volley_shuttle))]
pub(crate) mod modelled;
#[cfg(volley_planted_slowdown)]
pub(crate) mod planted;
pub(crate) mod sync;
pub(crate) mod time;
pub(crate) mod wake;
