//! What an exchange is asked for: transports to be opened and shut, bytes to be written, the next deadline; and looks at how it
//! is doing.

use super::{Exchange, Reason};
use crate::{
    base::time::Instant,
    policy::overlap::Load,
    proto::{
        connection::Connection,
        event::Why,
        lifecycle::State,
        revision::{Era, Revision},
    },
    telemetry::counters::Stats,
};

impl Exchange {
    // What it is asked for.

    /// A line that wants a transport, if any; the driver opens one and says `handle_opened` or `handle_lost`.
    pub(crate) fn poll_dial(&mut self, now: Instant) -> Option<u32> {
        loop {
            let line = self.wanted.pop_front()?;
            let (connection, _) = self.of_line(line);
            let deadline = now.after(self.settings.attempt_timeout);
            let conn = &mut self.connections[connection as usize];
            let starting = conn.state() == State::Starting;
            if starting {
                conn.dialling = true;
                conn.attempt_deadline = deadline;
                self.next_care = self.next_care.min(deadline);
            }
            if !self.is_http(connection) {
                return Some(line);
            }
            if let Some(line) = self.http_dial(now, line, starting, deadline) {
                return Some(line);
            }
        }
    }

    /// A line to be shut, if any; the driver shuts it and says `handle_gone`.
    pub(crate) fn poll_hang_up(&mut self) -> Option<u32> {
        self.unwanted.pop_front()
    }

    /// A line that has output to be written.
    pub(crate) fn poll_dirty(&mut self) -> Option<u32> {
        while let Some(connection) = self.dirty.pop() {
            if self.settings.http.is_some() {
                let lane = self.lane(connection);
                lane.dirty = false;
                if let Some(machine) = &mut lane.h2 {
                    machine.waiting();
                }
                if lane.waiting().is_empty() {
                    continue;
                }
                return Some(connection);
            }
            let conn = &mut self.connections[connection as usize];
            conn.dirty = false;
            if !conn.outbox.waiting().is_empty() {
                return Some(connection);
            }
        }
        None
    }

    /// Is there output that no `poll_dirty` has named yet, or a line to be dialled, shut or heard?
    pub(crate) fn has_dirty(&self) -> bool {
        !(self.dirty.is_empty()
            && self.wanted.is_empty()
            && self.unwanted.is_empty()
            && self.unheard.is_empty())
    }

    /// Is there anything that the driver can do without waiting for an event? Beside what [`Self::has_dirty`] knows: a call
    /// that a write took off a socket which turned out to be closed, and that another connection or socket could carry.
    pub(crate) fn has_work(&mut self) -> bool {
        self.has_dirty() || !(self.parked.is_empty() && self.waiting.is_empty()) && self.pick().is_some()
    }

    /// Was the kernel short of something, and is it to be given a moment yet? Time brings the line up again.
    pub(crate) fn is_to_write_later(&self, line: u32, now: Instant) -> bool {
        let again_at = self.connection(self.connection_of(line)).write_again_at;
        again_at != Instant::NEVER && now < again_at
    }

    /// The bytes to write next.
    pub(crate) fn transmit(&self, line: u32) -> &[u8] {
        let (connection, lane) = self.of_line(line);
        if let Some(pool) = &self.connections[connection as usize].http {
            return pool.lanes[lane].waiting();
        }
        self.connections[connection as usize].outbox.waiting()
    }

    /// The next moment at which [`Self::handle_time`] has work.
    pub(crate) fn poll_deadline(&self) -> Instant {
        self.correlation.nearest().max(self.next_sweep).min(self.next_care)
    }

    // Looks.

    /// How many calls [`Self::submit`] would take now, at most.
    pub(crate) fn room(&self) -> usize {
        if self.held {
            return 0;
        }
        let credits: usize = if self.connections.len() == 1 && !self.is_http(0) {
            let conn = &self.connections[0];
            if conn.has_room() { conn.window.room() as usize } else { 0 }
        } else {
            self.open
                .iter()
                .map(|connection| &self.connections[*connection as usize])
                .filter(|conn| conn.has_room())
                .map(|conn| conn.window.room() as usize)
                .sum()
        };
        credits.min(self.magazine.len())
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.correlation.live() == 0
    }

    /// Entries in the lines of calls that are on no connection.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn unplaced_entries(&self) -> usize {
        self.waiting.len() + self.parked.len()
    }

    /// Have all connections given up? Then why.
    pub(crate) fn down_reason(&self) -> Option<&Reason> {
        self.down_until.and(self.reason.as_ref())
    }

    /// What calls fail with while all connections have given up.
    pub(crate) fn down_why(&self) -> Why {
        self.down_why
    }

    /// The reason of the last failure, if there was one since this was last asked.
    pub(crate) fn take_news(&mut self) -> Option<Reason> {
        std::mem::take(&mut self.reason_is_news).then(|| self.reason.clone()).flatten()
    }

    /// As [`Self::take_changed`], which says it once more.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed
    }

    /// Has a connection become ready or been lost since this was last asked?
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(crate) fn ready_connections(&self) -> usize {
        debug_assert_eq!(
            self.ready,
            self.connections.iter().filter(|conn| conn.state() == State::Ready).count(),
            "readiness is counted where it changes"
        );
        self.ready
    }

    /// Are all connections closed, with no transport left?
    pub(crate) fn is_closed(&self) -> bool {
        self.connections.iter().all(|conn| conn.state() == State::Closed)
    }

    /// The revision in use on some ready connection.
    pub(crate) fn revision(&self) -> Option<Revision> {
        self.connections.iter().find_map(|conn| conn.revision)
    }

    pub(crate) fn connection(&self, connection: u32) -> &Connection {
        &self.connections[connection as usize]
    }

    /// The lines of all connections: as many transports there may be.
    pub(crate) fn lines(&self) -> usize {
        self.connections.len() * self.lanes as usize
    }

    /// Does the server of this connection speak a revision of the modern era?
    pub(super) fn is_modern(&self, connection: u32) -> bool {
        self.connections[connection as usize].revision.is_some_and(|revision| revision.era() == Era::Modern)
    }

    /// The connection whose line this is.
    pub(crate) fn connection_of(&self, line: u32) -> u32 {
        self.of_line(line).0
    }

    /// Which transport of this line's connection it is.
    pub(crate) fn epoch(&self, line: u32) -> u32 {
        self.connection(self.connection_of(line)).epoch
    }

    /// Does it wait for anything on this line?
    pub(crate) fn expects(&self, line: u32) -> bool {
        let (connection, lane) = self.of_line(line);
        let conn = &self.connections[connection as usize];
        conn.http.as_ref().map_or(conn.window.in_flight() > 0, |pool| pool.lanes[lane].expects())
    }

    /// Brings what is known of this line's connection into the cache.
    pub(crate) fn touch(&self, line: u32) -> u64 {
        self.connections[self.connection_of(line) as usize].touch()
    }

    /// How this line is doing, which is its connection's only one, and that the only connection.
    pub(crate) fn load(&self, line: u32) -> Load {
        let (connection, _) = self.of_line(line);
        Load {
            in_flight: self.connections[connection as usize].window.calls(),
            bytes_in: self.stats.bytes_in,
            answered: self.stats.answered,
            chunks_made: self.pool.made,
        }
    }

    pub(crate) fn stats(&mut self) -> &Stats {
        self.stats.live = self.correlation.live() as u64;
        &self.stats
    }

    /// For the driver's own counts.
    pub(crate) fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }
}
