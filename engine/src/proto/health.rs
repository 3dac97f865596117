//! What is known of a stream's silence: the question that is out, and when to look next.
//!
//! Pure data; the exchange asks and decides, in `exchange/health.rs`. Owner: one connection, on one thread.

use std::time::Duration;

use crate::{base::time::Instant, slab::key::Key};

/// How a stream that is silent is asked whether it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HealthCheck {
    /// It is asked after so long a silence,
    pub(crate) every: Duration,
    /// and lost after so long a one since.
    pub(crate) timeout: Duration,
}

/// The question, and when to look at the connection next.
#[derive(Debug)]
pub(crate) struct Health {
    /// The request that is out, or `Key::NONE`.
    pub(crate) asked: Key,
    pub(crate) asked_at: Instant,
    /// `NEVER` while nobody asks.
    pub(crate) look_at: Instant,
    /// Its time is over, but for what may have come and was not read yet.
    pub(crate) is_doomed: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self { asked: Key::NONE, asked_at: Instant::NEVER, look_at: Instant::NEVER, is_doomed: false }
    }
}
