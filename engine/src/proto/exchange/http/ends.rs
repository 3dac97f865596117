//! How exchanges over HTTP end without their answer, lanes are freed, sockets given up and connections shut; and all that is due
//! because time has passed.

use std::time::Duration;

use super::{
    super::{Exchange, Parked},
    arrays::text_of,
};
use crate::{
    base::time::Instant,
    policy::concurrency::Pushback,
    proto::{
        correlation::{NO_CONNECTION, NO_LANE, Row, Standing},
        event::{Fate, Sink, Why},
        http::{
            lane::{Load, Socket},
            plans::ToolPlans,
            pool::Listening,
            template::Template,
        },
        lifecycle::{Event, State},
        message::encode,
    },
    slab::key::Key,
};

/// A session may take this long to be ended; then the sockets are shut anyway.
const DELETE_WAIT: Duration = Duration::from_millis(100);

impl Exchange {
    /// Ends the calls of a connection and shuts it.
    pub(in crate::proto::exchange) fn close_http(
        &mut self,
        now: Instant,
        connection: u32,
        why: Why,
        sink: &mut impl Sink,
    ) {
        let was = self.connections[connection as usize].state();
        self.leave_ready(now, connection, false);
        self.end_calls_on(now, connection, Some(why), sink);
        self.http_close(now, connection, was == State::Ready);
        let conn = &mut self.connections[connection as usize];
        if matches!(was, State::Closing | State::Closed) {
            return;
        }
        conn.step(Event::Close);
        self.finish_closing(connection);
    }

    /// Gives a socket up; whatever was on it is the caller's to have dealt with.
    pub(in crate::proto::exchange) fn shut(&mut self, line: u32) {
        let (connection, lane) = self.of_line(line);
        if self.lane(line).load == Load::Errand && !self.lane_is_committed(line) {
            let message = self.lane(line).body().to_vec();
            self.count_unsent(&message);
        }
        self.alight(line);
        self.unload(line);
        let stood = matches!(self.lane(line).socket, Socket::Open | Socket::Dialling);
        if stood {
            self.set_socket(line, Socket::Shutting);
        }
        self.reset_lane(line);
        self.http(connection).leave(lane as u32);
        if stood {
            self.unwanted.push_back(line);
        }
    }

    pub(in crate::proto::exchange) fn shut_all(&mut self, connection: u32) {
        for lane in 0..self.lanes {
            self.shut(self.line_of(connection, lane));
        }
        self.http(connection).clear_idle();
    }

    /// What was read of a socket that is gone, is void.
    pub(in crate::proto::exchange) fn reset_lane(&mut self, line: u32) {
        let (connection, lane) = self.of_line(line);
        let Self { connections, pool, .. } = self;
        if let Some(http) = &mut connections[connection as usize].http {
            let place = &mut http.lanes[lane];
            place.generation = place.generation.wrapping_add(1);
            place.inbox.clear(pool);
            place.reader.reset(pool);
            place.dirty = false;
            place.h2 = None;
        }
    }

    /// The exchange on a lane is over and its response has ended.
    pub(in crate::proto::exchange) fn free(&mut self, now: Instant, line: u32) {
        let (connection, lane) = self.of_line(line);
        if self.lane(line).rides.is_some() {
            self.unload(line);
            self.alight(line);
            self.board(now, connection);
            self.pump_errands(connection);
            self.list(connection);
            return;
        }
        let place = self.lane(line);
        // A server may answer before it has read the whole request; what it makes of the rest is its secret.
        let keep = place.keep_alive && place.socket == Socket::Open && place.is_sent();
        place.served += 1;
        self.unload(line);
        if keep {
            self.http(connection).rest(lane as u32, now);
        } else {
            self.shut(line);
        }
        if self.connections[connection as usize].state() == State::Starting
            && self.http(connection).has_idle()
        {
            // A session is to be renewed, and there was no socket to do it on.
            self.http_begin(now, connection);
        }
        self.pump_errands(connection);
        self.list(connection);
    }

    /// A call is taken off its lane to be sent again: no byte of it had left, or the server refused it without executing it.
    pub(in crate::proto::exchange) fn park(&mut self, connection: u32, key: Key, json: Vec<u8>) {
        let conn = &mut self.connections[connection as usize];
        conn.window.give_back();
        self.parked.push_back(Parked { key, revision: conn.revision, frame: json });
        if let Some(row) = self.correlation.place(key, NO_CONNECTION) {
            if row.standing != Standing::No {
                conn.window.narrow();
            }
            row.lane = NO_LANE;
        }
        self.thin_out();
    }

    pub(in crate::proto::exchange) fn set_no_lane(&mut self, key: Key) {
        if let Some(row) = self.correlation.get_mut(key) {
            row.lane = NO_LANE;
        }
    }

    pub(in crate::proto::exchange) fn settle(&mut self, connection: u32) {
        self.connections[connection as usize].window.settle();
        self.list(connection);
    }

    /// Ends a call on this connection without an answer: cancelled, or its time is over.
    pub(in crate::proto::exchange) fn http_abort(
        &mut self,
        now: Instant,
        row: Row,
        why: Why,
        reason: &str,
        sink: &mut impl Sink,
    ) {
        if self.is_in_array(&row) {
            self.abort_in_array(now, row, why, reason, sink);
            return;
        }
        let (connection, key) = (row.connection, row.key);
        let modern = self.is_modern(connection);
        self.http(connection).resumes.retain(|resume| resume.key != key);
        let has_lane = row.lane != NO_LANE;
        // Without a lane there is no line; the number is not used then.
        let line = if has_lane { self.line_of(connection, row.lane) } else { u32::MAX };
        if has_lane && self.lane(line).load == Load::Call(key) && !self.lane_is_committed(line) {
            // Nothing of it has left, nor will: the server need not know.
            self.give_back(now, connection);
            self.alight(line);
            self.unload(line);
            if self.lane(line).socket == Socket::Open {
                let (_, lane) = self.of_line(line);
                self.http(connection).rest(lane as u32, now);
            }
            self.fail(now, key, why, Fate::NotSent, sink);
            self.board(now, connection);
            self.list(connection);
            return;
        }
        if has_lane && matches!(why, Why::TimedOut { .. }) {
            self.suspect_carrier(line);
        }
        if matches!(why, Why::TimedOut { .. }) && row.standing == Standing::No {
            self.push_back(now, connection, Pushback::TimedOut);
        }
        // A session that is known to be gone has no such call any more.
        let is_heard = modern || !has_lane || !self.has_outlived(line);
        self.stats.cancellations_sent += u64::from(is_heard);
        if modern {
            // Closing the stream is the cancellation.
            if has_lane {
                self.shut(line);
            }
            self.give_back(now, connection);
        } else {
            if is_heard {
                let mut message = Vec::new();
                encode::cancelled(&mut message, key, reason);
                self.http_say(connection, message);
            }
            if has_lane {
                let debt = self.settings.orphan_debt;
                self.set_load(line, Load::Orphan(key));
                let (_, lane) = self.of_line(line);
                self.set_until(connection, lane as u32, now.after(debt));
                self.connections[connection as usize].window.owe();
            } else {
                self.give_back(now, connection);
            }
        }
        self.left_unanswered(now, connection);
        self.fail(now, key, why, Fate::Unknown, sink);
        self.board(now, connection);
        self.list(connection);
    }

    /// Ends the calls on a connection that is given up, or parks them if nothing of them has left. With `why`, all end.
    pub(in crate::proto::exchange) fn http_end_call(
        &mut self,
        now: Instant,
        row: Row,
        why: Option<Why>,
        sink: &mut impl Sink,
    ) {
        let (connection, key) = (row.connection, row.key);
        let in_array = self.is_in_array(&row);
        let left = row.lane == NO_LANE || {
            let line = self.line_of(connection, row.lane);
            self.lane(line).load != Load::Call(key) && !in_array || self.lane_has_left(line)
        };
        match why {
            _ if left => {
                self.give_back(now, connection);
                self.fail(now, key, why.unwrap_or(Why::ConnectionLost), Fate::Unknown, sink);
            }
            Some(why) => {
                self.give_back(now, connection);
                self.fail(now, key, why, Fate::NotSent, sink);
            }
            None => {
                let body = self.lane(self.line_of(connection, row.lane)).body();
                let json = if in_array { text_of(&row, body) } else { body.to_vec() };
                self.park(connection, key, json);
            }
        }
    }

    /// Shuts a connection: ends its session first, if it has one and a socket to do it on.
    pub(in crate::proto::exchange) fn http_close(
        &mut self,
        now: Instant,
        connection: u32,
        end_session: bool,
    ) {
        let delete = end_session && self.http(connection).template.has_session();
        self.shut_busy(connection);
        let write = |template: &Template, _: Option<&ToolPlans>, out: &mut Vec<u8>| {
            template.delete(out);
            out.len()
        };
        if delete && let Some(lane) = self.place(connection, Load::Delete, write) {
            self.set_until(connection, lane, now.after(DELETE_WAIT));
        }
        self.shut_idle(connection);
        // What was to be sent, taken up or tried again later never will be, and its time would have passed for as long as it closes: a turn
        // after the other.
        let pool = self.http(connection);
        pool.resumes.clear();
        pool.listening = Listening::Off;
        (pool.pending_opening, pool.dial_again_at) = (None, Instant::NEVER);
        self.stats.notifications_unsent += self.http(connection).forget_errands();
    }

    fn shut_busy(&mut self, connection: u32) {
        for lane in 0..self.lanes {
            let line = self.line_of(connection, lane);
            let place = self.lane(line);
            if !matches!(place.load, Load::Nothing | Load::Carrier) || place.socket == Socket::Dialling {
                self.shut(line);
            }
        }
    }

    fn shut_idle(&mut self, connection: u32) {
        for lane in 0..self.lanes {
            let line = self.line_of(connection, lane);
            let place = self.lane(line);
            let carries = place.h2.as_ref().is_some_and(|machine| machine.streams() > 0);
            if matches!(place.load, Load::Nothing | Load::Carrier) && !carries {
                self.shut(line);
            }
        }
        self.http(connection).clear_idle();
    }

    /// The last socket of a closing connection has gone.
    pub(in crate::proto::exchange) fn finish_closing(&mut self, connection: u32) {
        let conn = &mut self.connections[connection as usize];
        if conn.state() == State::Closing && conn.http.as_ref().is_some_and(|pool| !pool.has_sockets()) {
            conn.step(Event::Gone);
        }
    }

    // Time.

    /// Does what is due on a connection over HTTP.
    pub(in crate::proto::exchange) fn http_care(
        &mut self,
        now: Instant,
        connection: u32,
        sink: &mut impl Sink,
    ) {
        for lane in 0..self.lanes {
            let line = self.line_of(connection, lane);
            let place = self.lane(line);
            if place.socket == Socket::Dialling && place.dial_until <= now {
                let wait = self.settings.attempt_timeout;
                self.unwanted.push_back(line);
                self.http_lost(now, line, &format!("connecting took longer than {wait:?}"), sink);
                continue;
            }
            if place.until > now {
                continue;
            }
            place.until = Instant::NEVER;
            match place.load {
                Load::Orphan(_) => {
                    self.shut(line);
                    self.connections[connection as usize].window.settle();
                    self.list_unasked(connection);
                }
                Load::Delete => self.shut_all(connection),
                Load::Opening(_) => {
                    self.shut(line);
                    self.end_listing(connection);
                }
                Load::Carrier => self.retire_carrier(line),
                Load::Answered | Load::Errand | Load::Listening => {
                    self.shut(line);
                    self.list_unasked(connection);
                }
                _ => {}
            }
        }
        let idle_timeout = self.settings.http.as_ref().map_or(Duration::MAX, |http| http.idle_timeout);
        while let Some((lane, since)) = self.http(connection).oldest_idle()
            && now >= since.after(idle_timeout)
        {
            self.stats.http_idle_retired += 1;
            self.shut(self.line_of(connection, lane));
        }
        let pool = self.http(connection);
        if pool.dial_again_at <= now {
            (pool.may_dial, pool.dial_again_at) = (true, Instant::NEVER);
            self.list_unasked(connection);
        }
        self.take_up_streams(now, connection);
        self.board(now, connection);
        self.pump_errands(connection);
    }
}
