//! Tokens: which request had which, what a refusal means for it, and the wait for another one.
//!
//! A request that is refused for want of authorization has not been executed. If somebody is there who brings tokens
//! ([`EraMemory::refused`](crate::proto::exchange::EraMemory::refused) knows), it is taken back: a call to the line of those that
//! wait for a place, a request of the opening to its connection. Nothing is sent by any shard until the token is there, or it
//! is clear that there will be none; then everything goes on. What is refused then has failed.
//!
//! Time does not run against an opening that waits for a token, since somebody may have to type a password; calls keep their
//! deadlines.

use super::super::Exchange;
use crate::{
    base::time::Instant,
    proto::{event::Why, http::lane::Load, lifecycle::State},
};

impl Exchange {
    /// The template takes the token that is valid now.
    pub(super) fn refresh_token(&mut self, connection: u32) {
        let version = self.memory.token_version();
        if self.http(connection).token != version {
            let token = self.memory.token();
            let pool = self.http(connection);
            (pool.token, pool.token_proven) = (version, false);
            pool.template.set_authorization(token);
        }
    }

    /// The response to a request has this status. Returns what else there is to say of a refusal that is final.
    pub(super) fn heed_status(&mut self, line: u32, status: u16, challenge: &str) -> Option<String> {
        let (connection, _) = self.of_line(line);
        let (load, had) = (self.lane(line).load, self.lane(line).token);
        if super::responses::is_ok(status) {
            let pool = self.http(connection);
            if had != 0 && had == pool.token && !pool.token_proven {
                pool.token_proven = true;
                self.memory.accepted(had);
            }
            return None;
        }
        let is_wanted = !matches!(load, Load::Nothing | Load::Orphan(_) | Load::Answered | Load::Delete);
        if !matches!(status, 401 | 403) || !is_wanted {
            return None;
        }
        let again = self.memory.refused(had, status, challenge);
        self.lane(line).again = again;
        self.held |= again && self.memory.awaits_token();
        (!again).then(|| self.memory.why_no_token().map(|why| why.to_string())).flatten()
    }

    /// A request of the opening was refused and is sent again, with another token.
    pub(super) fn hold_opening(&mut self, line: u32) {
        let (connection, _) = self.of_line(line);
        let (load, json) = (self.lane(line).load, self.lane(line).body().to_vec());
        self.set_load(line, Load::Answered);
        self.http(connection).pending_opening = Some((json, load));
        self.stop_clock(connection);
        self.pump_errands(connection);
    }

    /// A message that is no call was refused, and waits for a lane again.
    pub(super) fn hold_errand(&mut self, line: u32) {
        let (connection, _) = self.of_line(line);
        let json = self.lane(line).body().to_vec();
        self.set_load(line, Load::Answered);
        self.stop_clock(connection);
        if !self.http(connection).add_errand(json) {
            self.stats.errands_refused += 1;
        }
        self.pump_errands(connection);
    }

    /// An opening was refused and there is no other token: another attempt would meet the same.
    pub(super) fn refuse_opening(&mut self, connection: u32) {
        self.down_why = Why::Unauthorized;
        self.connections[connection as usize].attempts = self.settings.attempts_max;
    }

    fn stop_clock(&mut self, connection: u32) {
        let held = self.held;
        let conn = &mut self.connections[connection as usize];
        if held && matches!(conn.state(), State::Probing | State::Initializing) {
            (conn.opening_deadline, conn.attempt_deadline) = (Instant::NEVER, Instant::NEVER);
        }
    }

    /// Looks whether somebody is about to bring a token; when that is over, everything that waited goes on.
    pub(in crate::proto::exchange) fn heed_token(&mut self) {
        if self.settings.http.is_none() {
            return;
        }
        let was_held = std::mem::replace(&mut self.held, self.memory.awaits_token());
        if self.held || !was_held {
            return;
        }
        // The driver takes another turn before it sleeps, so that those who were told "full" are heard again.
        self.changed = true;
        for connection in 0..self.connections.len() as u32 {
            let until = self.last_now.after(self.settings.attempt_timeout);
            let conn = &mut self.connections[connection as usize];
            if matches!(conn.state(), State::Probing | State::Initializing)
                && conn.attempt_deadline == Instant::NEVER
            {
                (conn.opening_deadline, conn.attempt_deadline) = (until, until);
                self.next_care = self.next_care.min(until);
            }
            self.pump_errands(connection);
            self.list(connection);
        }
    }
}
