//! Health checks: a stream on which nothing at all was heard for a while is asked whether its server lives, and is lost if nothing is heard then either.
//!
//! The question is what costs a server least in its era: `ping` up to 2025-11-25, `server/discover` since, where there is no `ping`. Any answer will do,
//! an error as well, and so will anything else that is heard: a server in the middle of a long answer has no need to answer a question. One
//! question is out at a time, outside of the window: it is when all places are taken by calls that hang that it is wanted most.
//!
//! Over HTTP there is no stream to ask about: each call has a socket of its own, which is shut when the call times out, and free ones are not
//! kept for long.
//!
//! Cost: none without a health check; with one a look at each connection when one is due. Owner: one exchange. Always: what a question's answer
//! says is nobody's but this file's. Proof: `tests/simulation/pools.rs`, `tests/faults/health.rs`. Follows: MCP 2025-11-25, ping; 2026-07-28, `server/discover`.

use std::time::Duration;

use super::Exchange;
use crate::{
    base::{limits::OUTBOX_BYTES_MAX, time::Instant},
    proto::{
        event::Sink,
        health::HealthCheck,
        lifecycle::State,
        message::{encode, handshake},
    },
    slab::key::Key,
};

/// Until whatever has come is read.
const A_TURN: Duration = Duration::from_millis(1);

impl Exchange {
    /// Is this the answer to the question?
    pub(super) fn heed_health(&mut self, connection: u32, key: Key) -> bool {
        let health = &mut self.connections[connection as usize].health;
        let is_answer = health.asked == key;
        if is_answer {
            health.asked = Key::NONE;
            self.prove_alive(connection);
            self.begin_checks(connection);
        }
        is_answer
    }

    /// A connection is ready: from what was heard last its silence counts.
    pub(super) fn begin_checks(&mut self, connection: u32) {
        let Some(check) = self.settings.health.filter(|_| !self.is_http(connection)) else { return };
        let conn = &mut self.connections[connection as usize];
        conn.health.look_at = conn.last_heard.after(check.every);
        self.next_care = self.next_care.min(conn.health.look_at);
    }

    /// Asks a silent connection, or loses it.
    pub(super) fn check_health(&mut self, now: Instant, connection: u32, sink: &mut impl Sink) {
        let Some(HealthCheck { every, timeout }) = self.settings.health else { return };
        let conn = &mut self.connections[connection as usize];
        if now < conn.health.look_at || conn.state() != State::Ready {
            return;
        }
        let (heard, asked_at) = (conn.last_heard, conn.health.asked_at);
        let is_asked = conn.health.asked != Key::NONE;
        let is_silent_since = is_asked && heard <= asked_at;
        // Whoever reads nothing cannot be asked, and has calls enough to answer; and whoever has talked since it was asked is not asked twice.
        let is_full = conn.outbox.waiting().len() >= OUTBOX_BYTES_MAX;
        let lost_at =
            if is_silent_since { asked_at.after(timeout) } else { heard.after(every).after(timeout) };
        let ask_at = heard.after(every);
        if lost_at <= now && (is_asked || is_full) {
            self.lose_silent(now, connection, sink);
            return;
        }
        let asks = ask_at <= now && !is_asked && !is_full;
        conn.health.is_doomed = false;
        conn.health.look_at = if asks {
            now.after(timeout)
        } else if is_asked || is_full {
            lost_at
        } else {
            ask_at
        };
        if asks {
            self.ask(now, connection);
        }
    }

    /// Its time is over. But whoever drives this may have been away for longer than that: what has come meanwhile is read first, in the turn whose
    /// beginning this is.
    fn lose_silent(&mut self, now: Instant, connection: u32, sink: &mut impl Sink) {
        let conn = &mut self.connections[connection as usize];
        if !std::mem::replace(&mut conn.health.is_doomed, true) {
            conn.health.look_at = now.after(A_TURN);
            return;
        }
        let silence = now.since(conn.last_heard);
        // It was silent, but not idle: that would be no fault.
        conn.last_heard = now;
        self.stats.retired += 1;
        self.unwanted.push_back(connection);
        let reason =
            format!("a health check found the server silent: nothing was heard of it for {silence:?}");
        self.handle_lost(now, connection, &reason, sink);
    }

    fn ask(&mut self, now: Instant, connection: u32) {
        let key = self.next_control_key();
        let body = if self.is_modern(connection) { handshake::DISCOVER_BODY } else { handshake::PING_BODY };
        let conn = &mut self.connections[connection as usize];
        conn.outbox.borrow(&mut self.spares);
        let start = conn.outbox.end();
        encode::request(conn.outbox.bytes(), key, &conn.tail, false, |out| {
            out.extend_from_slice(body.as_bytes());
        });
        conn.has_said(start);
        (conn.health.asked, conn.health.asked_at) = (key, now);
        self.stats.health_checks += 1;
        self.mark_dirty(connection);
    }
}
