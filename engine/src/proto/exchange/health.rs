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
//! says is nobody's but this file's. Proof: `tests/faults/health.rs`. Follows: MCP 2025-11-25, ping; 2026-07-28, `server/discover`.

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

impl Exchange {
    /// Is this the answer to the question?
    pub(super) fn heed_health(&mut self, connection: u32, key: Key) -> bool {
        let health = &mut self.connections[connection as usize].health;
        let is_answer = health.asked == key;
        if is_answer {
            health.asked = Key::NONE;
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
        let is_extra = self.is_extra(connection);
        let conn = &mut self.connections[connection as usize];
        if now < conn.health.look_at || conn.state() != State::Ready {
            return;
        }
        let heard = conn.last_heard;
        let is_asked = conn.health.asked != Key::NONE;
        // Whom nobody reads cannot be asked, and owes answers enough.
        let is_full = conn.outbox.waiting().len() >= OUTBOX_BYTES_MAX;
        let lost_at = if is_asked {
            heard.max(conn.health.asked_at).after(timeout)
        } else if is_full {
            heard.after(every).after(timeout)
        } else {
            Instant::NEVER
        };
        if lost_at <= now {
            self.stats.retired += 1;
            self.unwanted.push_back(connection);
            let reason = format!(
                "a health check found the server silent: nothing was heard of it for {:?}, nor for {timeout:?} after it was asked",
                now.since(heard)
            );
            self.handle_lost(now, connection, &reason, sink);
            return;
        }
        let ask_at = heard.after(every);
        // One that nobody uses is closed soon, and a question is a use.
        let may_ask = !(is_extra && conn.window.in_flight() == 0);
        let asks = may_ask && ask_at <= now && !is_asked && !is_full;
        conn.health.look_at = if is_asked || is_full {
            lost_at
        } else if now < ask_at {
            ask_at
        } else if asks {
            now.after(timeout)
        } else {
            now.after(every)
        };
        if asks {
            self.ask(now, connection);
        }
    }

    fn ask(&mut self, now: Instant, connection: u32) {
        let key = self.next_control_key();
        let body = if self.is_modern(connection) { handshake::DISCOVER_BODY } else { handshake::PING_BODY };
        let conn = &mut self.connections[connection as usize];
        conn.outbox.borrow(&mut self.spares);
        encode::request(conn.outbox.bytes(), key, &conn.tail, false, |out| {
            out.extend_from_slice(body.as_bytes());
        });
        (conn.health.asked, conn.health.asked_at) = (key, now);
        self.stats.health_checks += 1;
        self.mark_dirty(connection);
    }
}
