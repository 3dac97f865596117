//! What a contestant is, and the course that it runs. ([`registry`](crate::registry) lists who runs.)
//!
//! A contestant starts a fresh target for each run ([`Target`](crate::link::Target)), so that all meet the same one in
//! the same state, opens its connections, reads what it holds idle ([`Idle`](crate::meter::Idle)), warms up as
//! [`Course::warm_up`] says, and measures with a [`Meter`](crate::meter::Meter).

use std::fmt;
use std::time::Duration;

use crate::call::Era;
use crate::link::Transport;
use crate::meter::Run;

/// What can end a run early.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where client and target may run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Cores {
    /// Wherever the system puts them.
    Free,
    /// Both on one core.
    One,
}

/// What is run, the same for all contestants of a row.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Course {
    /// What carries the bytes.
    pub transport: Transport,
    /// The era of the calls.
    pub era: Era,
    /// Where both sides run.
    pub cores: Cores,
    /// Connections.
    pub connections: usize,
    /// Calls kept in flight on each connection.
    pub in_flight: usize,
    /// Calls in one message: more than one are an array.
    pub array: usize,
    /// How long a run is measured.
    pub seconds: f64,
    /// Whether the time of each call is noted, which costs a little.
    pub latency: bool,
}

/// What every run is given first, and what one of many connections is given at most.
const WARM_UP_MIN: Duration = Duration::from_millis(50);
const WARM_UP_OF_MANY_MAX: Duration = Duration::from_millis(500);

impl Course {
    /// How long a run is measured.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// How long a contestant runs before it is measured: a tenth, enough to fault its memory in, and enough for each of many connections
    /// to have had some calls.
    pub fn warm_up(&self) -> Duration {
        let all_connections = Duration::from_micros(500).saturating_mul(self.connections as u32);
        (self.duration() / 10).max(WARM_UP_MIN).max(all_connections.min(WARM_UP_OF_MANY_MAX))
    }

    /// Calls in flight on all connections together.
    pub fn calls_in_flight(&self) -> usize {
        self.connections * self.in_flight
    }

    /// Whether somebody else's course makes a row with this one: all the same but for how long it is run.
    pub fn is_row_of(&self, other: &Self) -> bool {
        Self { seconds: 0.0, ..*self } == Self { seconds: 0.0, ..*other }
    }
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.transport)?;
        if self.connections > 1 {
            write!(f, ", {} connections", self.connections)?;
        } else if self.transport == Transport::Http {
            write!(f, ", 1 connection")?;
        }
        if self.in_flight > 1 || self.transport != Transport::Http {
            write!(
                f,
                ", {} in flight{}",
                self.in_flight,
                if self.connections > 1 { " on each" } else { "" }
            )?;
        }
        if self.array > 1 {
            write!(f, ", arrays of {}", self.array)?;
        }
        f.write_str(match self.cores {
            Cores::Free => ", unpinned",
            Cores::One => ", one core",
        })
    }
}

/// What a contestant is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What the kernel and the target leave: the others are divided by the best of these.
    Floor,
    /// Shows what one part of that takes: nobody is divided by it.
    Yardstick,
    /// The load generator that does the least a client can do over HTTP.
    Wrk,
    /// The engine.
    Volley,
    /// The client of the official SDK, as it comes.
    Rmcp,
    /// The same over HTTP with a client that keeps its connections.
    RmcpPooled,
    /// A JSON-RPC client that knows no MCP.
    Jsonrpsee,
}

impl Kind {
    /// Whether it is a client that people use instead of this one.
    pub fn is_peer(self) -> bool {
        matches!(self, Self::Rmcp | Self::RmcpPooled | Self::Jsonrpsee)
    }
}

/// One way to call a tool many times.
pub trait Contestant {
    /// As it stands in tables; no other contestant's.
    fn name(&self) -> &'static str;

    /// What it is compared as.
    fn kind(&self) -> Kind;

    /// Whether it can run this course at all, and whether it would be a row of its own. Who does not is left out, not
    /// counted as zero.
    fn runs(&self, course: &Course) -> bool;

    /// Runs it once.
    ///
    /// # Errors
    ///
    /// When it cannot start, or a call fails: a contestant that is fast and wrong has no place in the table.
    fn run(&self, course: &Course) -> Result<Run, Failure>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_says_what_it_is() {
        let course = Course {
            transport: Transport::Http,
            era: Era::Modern,
            cores: Cores::One,
            connections: 1,
            in_flight: 1,
            array: 1,
            seconds: 1.0,
            latency: false,
        };
        assert_eq!(course.to_string(), "http, 1 connection, one core");
        let other = Course { connections: 3, in_flight: 200, array: 100, cores: Cores::Free, ..course };
        assert_eq!(other.to_string(), "http, 3 connections, 200 in flight on each, arrays of 100, unpinned");
        assert_eq!(other.calls_in_flight(), 600);
        let lines = Course { transport: Transport::Unix, ..course };
        assert_eq!(lines.to_string(), "unix, 1 in flight, one core");
        assert!(course.is_row_of(&Course { seconds: 0.1, ..course }) && !course.is_row_of(&lines));
    }
}
