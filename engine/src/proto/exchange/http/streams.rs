//! Streams of events that end before their time, and the one that is to be always there.
//!
//! A server of the handshake era may close the stream of a call and deliver the answer on another one, which the client opens
//! with the id of the last event it saw, no earlier than the server's `retry` says. The call keeps its place in the window and
//! its deadline meanwhile. Follows: MCP 2025-11-25, basic/transports, "Resumability and Redelivery".

use std::time::Duration;

use super::responses::is_ok;
use crate::{
    base::time::Instant,
    proto::{
        busy,
        event::{Fate, Sink, Why},
        exchange::Exchange,
        http::{
            lane::Load,
            pool::{Listening, Resume},
        },
        lifecycle::{Event, State},
    },
    slab::key::Key,
};

/// However short a wait the server names: a stream that ends at once must not become a busy loop.
const RETRY_MIN: Duration = Duration::from_millis(50);

/// A server that may be without such a stream is asked for one so often, if it says each time that it is not well.
const LISTENING_REFUSALS_MAX: u32 = 5;

/// However long a wait the server names.
const RETRY_MAX: Duration = Duration::from_secs(60);

impl Exchange {
    fn retry_wait(&mut self, connection: u32) -> Duration {
        self.http(connection).retry.clamp(RETRY_MIN, RETRY_MAX)
    }

    /// A call's stream ended without its answer; it goes on elsewhere.
    pub(super) fn resume_later(&mut self, now: Instant, connection: u32, key: Key, last_event: Box<str>) {
        let at = now.after(self.retry_wait(connection));
        self.set_no_lane(key);
        self.http(connection).resumes.push(Resume { key, last_event, at });
        self.next_care = self.next_care.min(at);
        self.stats.streams_resumed += 1;
    }

    /// The response to the GET for what the server starts has ended.
    pub(super) fn listening_ended(&mut self, now: Instant, line: u32, sink: &mut impl Sink) {
        let (connection, _) = self.of_line(line);
        let lane = self.lane(line);
        let (status, again, has_session) = (lane.status, lane.again, lane.session.is_some());
        let told = Duration::from_secs(lane.retry_after_s.unwrap_or(0).into());
        let pool = self.http(connection);
        if again || (is_ok(status) && pool.has_listened) {
            self.listen_again(now, connection);
        } else if status == 404 && has_session && pool.has_listened {
            // Many a server without such a stream has no better word for that than 404. Where there was one it is about the session.
            self.stream_not_found(now, line, sink);
        } else if (status == 408 || busy::is_ailing_status(status))
            && (pool.has_listened || pool.listening_refusals < LISTENING_REFUSALS_MAX)
        {
            let doubled = 2u32.saturating_pow(pool.listening_refusals.min(10));
            pool.listening_refusals += 1;
            let wait = (self.retry_wait(connection) * doubled).max(told).min(RETRY_MAX);
            self.listen_at(now.after(wait), connection);
        } else {
            // 405, or a page for people: it has no such stream. That is no error.
            pool.listening = Listening::Off;
        }
    }

    /// The server has forgotten the session, it says. One that says so of each new session as well, of which nothing else is known yet, is not
    /// believed more often than the longest wait: calls under way would end for it, and those to come find out for themselves.
    fn stream_not_found(&mut self, now: Instant, line: u32, sink: &mut impl Sink) {
        let (connection, _) = self.of_line(line);
        self.http(connection).listening = Listening::Off;
        let cap = self.settings.backoff_cap;
        let conn = &mut self.connections[connection as usize];
        let believed_at = conn.retry_at.after(cap);
        if conn.attempts > 0 && now < believed_at {
            self.listen_at(believed_at, connection);
            return;
        }
        conn.attempts = 0;
        conn.backoff.reset();
        self.end_session(now, line, sink);
    }

    /// The stream for what the server starts has ended.
    pub(super) fn listen_again(&mut self, now: Instant, connection: u32) {
        let at = now.after(self.retry_wait(connection));
        self.listen_at(at, connection);
    }

    fn listen_at(&mut self, at: Instant, connection: u32) {
        if self.connections[connection as usize].state() != State::Ready {
            // What opens next asks for a stream of its own.
            self.http(connection).listening = Listening::Off;
            return;
        }
        self.http(connection).listening = Listening::At(at);
        self.next_care = self.next_care.min(at);
    }

    /// Opens the streams whose time has come.
    pub(super) fn take_up_streams(&mut self, now: Instant, connection: u32) {
        if self.connections[connection as usize].state() != State::Ready {
            return;
        }
        if self.held {
            // Somebody is about to bring another token, and nothing is sent before.
            let later = now.after(RETRY_MIN);
            let pool = self.http(connection);
            pool.resumes.iter_mut().for_each(|resume| resume.at = resume.at.max(later));
            if let Listening::At(at) = &mut pool.listening {
                *at = later.max(*at);
            }
            return;
        }
        while let Some(due) = self.http(connection).resumes.iter().position(|resume| resume.at <= now) {
            let resume = self.http(connection).resumes.swap_remove(due);
            match self.http_place_get(connection, Load::Resumed(resume.key), Some(&resume.last_event)) {
                Some(lane) => {
                    let place = &mut self.http(connection).lanes[lane as usize];
                    // What cannot be asked is off its lane already.
                    let is_on_it = place.load == Load::Resumed(resume.key);
                    place.last_event = is_on_it.then_some(resume.last_event);
                    if let Some(row) = self.correlation.get_mut(resume.key).filter(|_| is_on_it) {
                        row.lane = lane;
                    }
                }
                None => {
                    let at = now.after(RETRY_MIN);
                    self.http(connection).resumes.push(Resume { at, ..resume });
                    self.next_care = self.next_care.min(at);
                    break;
                }
            }
        }
        if let Listening::At(at) = self.http(connection).listening
            && at <= now
        {
            match self.http_place_get(connection, Load::Listening, None) {
                Some(_) => self.http(connection).listening = Listening::On,
                None => self.listen_again(now, connection),
            }
        }
    }

    /// The session is gone but the server is not: a new opening on the sockets there are. Exchanges under way go on.
    pub(super) fn renew(&mut self, now: Instant, connection: u32, sink: &mut impl Sink) {
        self.changed = true;
        self.leave_ready(now, connection, false);
        let conn = &mut self.connections[connection as usize];
        conn.epoch = conn.epoch.wrapping_add(1);
        conn.opening = Key::NONE;
        conn.step(Event::Lost);
        conn.attempts += 1;
        let wait = if conn.attempts == 1 { Duration::ZERO } else { conn.backoff.next() };
        conn.retry_at = now.after(wait);
        let (attempts, retry_at) = (conn.attempts, conn.retry_at);
        self.next_care = self.next_care.min(retry_at);
        let resumes = std::mem::take(&mut self.http(connection).resumes);
        self.stats.notifications_unsent += self.http(connection).forget_session();
        // A server that has forgotten a session may hold its stream for ever, and there will be another.
        for lane in 0..self.lanes {
            let line = self.line_of(connection, lane);
            if self.lane(line).load == Load::Listening {
                self.shut(line);
            }
        }
        for resume in resumes {
            // What it was to go on with has been forgotten by the server.
            self.give_back(now, connection);
            self.fail(now, resume.key, Why::ConnectionLost, Fate::Unknown, sink);
        }
        if attempts >= self.settings.attempts_max && self.ready_connections() == 0 {
            self.end_calls_on(now, connection, None, sink);
            self.shut_all(connection);
            // What was owed goes with the sockets on which it might have come.
            let conn = &mut self.connections[connection as usize];
            conn.window.reset();
            conn.orphans.clear();
            self.give_up(now, connection, sink);
        }
    }

    /// The opening failed, beside exchanges that go on: it is tried again, and they are left alone. `false` if there are none, or if it
    /// has been tried often enough.
    pub(super) fn renews_later(&mut self, now: Instant, connection: u32, reason: &str) -> bool {
        let conn = &mut self.connections[connection as usize];
        let is_opening = matches!(conn.state(), State::Probing | State::Initializing);
        if !is_opening || conn.window.in_flight() == 0 || conn.attempts + 1 >= self.settings.attempts_max {
            return false;
        }
        conn.attempts += 1;
        conn.step(Event::OpeningFailed);
        conn.opening = Key::NONE;
        (conn.opening_deadline, conn.attempt_deadline) = (Instant::NEVER, Instant::NEVER);
        conn.retry_at = now.after(conn.backoff.next());
        self.next_care = self.next_care.min(conn.retry_at);
        self.stats.notifications_unsent += self.http(connection).forget_session();
        self.blame(reason);
        true
    }
}
