//! What a run cost in HTTP: sockets and requests, over its whole life, warm-up and opening included.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Counts of one or several shards. Only a target over HTTP has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HttpCounts {
    /// Sockets opened.
    pub(crate) sockets: u64,
    /// Of these, closed by the server while they were free.
    pub(crate) idle_closed: u64,
    /// Requests, whatever they were about.
    pub(crate) requests: u64,
    /// Sessions that the server ended and that were opened anew.
    pub(crate) sessions_lost: u64,
    /// Streams of calls that ended early and were taken up again.
    pub(crate) streams_resumed: u64,
}

impl AddAssign for HttpCounts {
    fn add_assign(&mut self, other: Self) {
        let Self { sockets, idle_closed, requests, sessions_lost, streams_resumed } = other;
        self.sockets += sockets;
        self.idle_closed += idle_closed;
        self.requests += requests;
        self.sessions_lost += sessions_lost;
        self.streams_resumed += streams_resumed;
    }
}
