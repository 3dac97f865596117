//! What a contestant over HTTP is, and where it runs.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::contestant::Failure;
use crate::floor::Era;
use crate::meter::Run;

/// The course: a running target and how it is to be called.
#[derive(Debug, Clone)]
pub struct Course {
    /// The target's endpoint, `http://ADDR:PORT/mcp`.
    pub url: String,
    /// The target's process.
    pub target_pid: u32,
    /// The era of the calls, the same for all.
    pub era: Era,
    /// Connections, each with one call in flight.
    pub connections: NonZeroUsize,
    /// How long a run is measured: whole seconds, since wrk knows no others.
    pub seconds: u32,
}

impl Course {
    /// How long a run is measured.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

/// What a contestant is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The load generator that does the least a client can do.
    Wrk,
    /// The engine.
    Volley,
    /// The SDK's client as it comes.
    Rmcp,
    /// The SDK's client with an HTTP client that keeps its connections.
    RmcpPooled,
}

/// One way to call a tool many times over HTTP.
pub trait Racer {
    /// As it stands in tables; no other contestant's.
    fn name(&self) -> &'static str;

    /// What it is compared as.
    fn kind(&self) -> Kind;

    /// Whether this number of connections is a row of its own for it.
    fn runs_with(&self, _connections: NonZeroUsize) -> bool {
        true
    }

    /// Calls for as long as the course says.
    ///
    /// # Errors
    ///
    /// When it cannot start, or a call fails: who is fast and wrong has no place in the table.
    fn run(&self, course: &Course) -> Result<Run, Failure>;
}
