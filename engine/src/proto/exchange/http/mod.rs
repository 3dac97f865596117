//! The exchange over HTTP: which lane carries what, and what the end of a socket means.
//!
//! A driver knows *lines*: one socket each. On a stream a connection has one line; over HTTP it has as many as its pool has
//! lanes. Here requests are put on lanes, lanes are opened, freed and given up; [`responses`] reads what comes back,
//! [`opening`] finds out what the server is, [`authorization`] waits for tokens, [`streams`] looks after streams of events that
//! end early or never, [`multiplex`] puts many lanes on one socket (HTTP/2), and [`ends`] is how all of it comes to an end.
//!
//! Owner: one shard. Always: a call on a connection over HTTP is on exactly one lane, or, without a lane, waits for a stream to
//! be taken up again or (HTTP+SSE) for an event of the common stream. Proof: `tests/conformance`, `tests/faults`,
//! `tests/integration/http2.rs`.

mod arrays;
mod authorization;
mod ends;
mod multiplex;
mod opening;
mod responses;
mod streams;

use std::time::Duration;

use super::Exchange;
use crate::{
    base::time::Instant,
    policy::concurrency::Pushback,
    proto::{
        batch::ArrayVerdict,
        correlation::{NO_LANE, Standing},
        event::{Fate, Sink, Why},
        http::{
            lane::{Lane, Load, Socket},
            plans::ToolPlans,
            pool::{Dialect, Pool},
            template::Template,
        },
        lifecycle::{Event, State},
        message::encode::is_of_caller,
    },
    slab::key::Key,
};

/// How often it is looked whether there is a lane for an opening.
const LANE_WAIT: Duration = Duration::from_millis(20);

/// What is left of a response after its answer may take this long; then the socket is given up instead.
const REST_OF_RESPONSE: Duration = Duration::from_secs(1);

/// Times that a call which the server refused without executing it is sent again: once for each reason there is.
const TRIES_MAX: u8 = 3;

/// Sessions in a row that end with a 400 before they have carried a call, on a server that has served calls: so many are
/// replaced. (A server that has not served any may want something else with its 400, and one is.)
const UNPROVEN_SESSIONS_MAX: u32 = 3;

impl Exchange {
    // Lines.

    /// The connection and the lane of a line.
    #[inline]
    pub(super) fn of_line(&self, line: u32) -> (u32, usize) {
        if self.lanes == 1 {
            (line, 0)
        } else if self.connections.len() == 1 {
            // Asked a dozen times for each exchange, and divisions are slow.
            (0, line as usize)
        } else {
            (line / self.lanes, (line % self.lanes) as usize)
        }
    }

    pub(super) fn line_of(&self, connection: u32, lane: u32) -> u32 {
        connection * self.lanes + lane
    }

    /// Is the line the socket of an HTTP connection?
    pub(super) fn is_http(&self, connection: u32) -> bool {
        self.connections[connection as usize].http.is_some()
    }

    /// The pool of a connection that is one over HTTP.
    pub(super) fn http(&mut self, connection: u32) -> &mut Pool {
        self.connections[connection as usize].http.as_mut().expect("asked for HTTP connections only")
    }

    pub(super) fn lane(&mut self, line: u32) -> &mut Lane {
        let (connection, lane) = self.of_line(line);
        &mut self.http(connection).lanes[lane]
    }

    pub(super) fn set_load(&mut self, line: u32, load: Load) {
        let (connection, lane) = self.of_line(line);
        self.http(connection).set_load(lane as u32, load);
    }

    pub(super) fn set_socket(&mut self, line: u32, socket: Socket) {
        let (connection, lane) = self.of_line(line);
        self.http(connection).set_socket(lane as u32, socket);
    }

    /// The exchange of a line is over; what was it about?
    pub(super) fn unload(&mut self, line: u32) -> Load {
        let (connection, lane) = self.of_line(line);
        self.http(connection).unload(lane as u32)
    }

    pub(super) fn mark_line_dirty(&mut self, line: u32) {
        let lane = self.lane(line);
        if !lane.dirty {
            lane.dirty = true;
            self.dirty.push(line);
        }
    }

    /// Would a request on this line meet a socket that has been idle for so long that the server may have closed it?
    pub(crate) fn may_be_stale(&self, line: u32, now: Instant) -> bool {
        let (connection, lane) = self.of_line(line);
        self.connections[connection as usize].http.as_ref().is_some_and(|pool| {
            let lane = &pool.lanes[lane];
            let is_first = lane.h2.as_ref().map_or(lane.left == 0 && lane.served > 0, |h2| h2.is_fresh());
            let is_old = pool.wary || now.since(lane.idle_since) >= STALE_AFTER;
            is_first && is_old
        })
    }

    // Requests.

    /// Puts a call, encoded as JSON, on a lane. There is one: the connection said that it has room.
    pub(super) fn http_call(&mut self, connection: u32, key: Key, json: &[u8]) {
        let Some(lane) = self.http_place(connection, Load::Call(key), json) else {
            debug_assert!(false, "picked a connection without a lane");
            return;
        };
        // What cannot be asked is off its lane already.
        let is_on_it = self.http(connection).lanes[lane as usize].load == Load::Call(key);
        if let Some(row) = self.correlation.place(key, connection) {
            row.lane = if is_on_it { lane } else { NO_LANE };
            if row.standing != Standing::No {
                self.connections[connection as usize].window.widen();
            }
        }
        let had_room = self.connections[connection as usize].window.take(1);
        debug_assert!(had_room, "picked a connection without room");
        self.begin(connection, 1);
    }

    /// Puts a POST of `json` on a free lane, which is opened if need be.
    pub(super) fn http_place(&mut self, connection: u32, load: Load, json: &[u8]) -> Option<u32> {
        self.place(connection, load, |template, plans, out| template.post(out, json, plans))
    }

    /// As [`Self::http_place`], for a GET.
    pub(super) fn http_place_get(
        &mut self,
        connection: u32,
        load: Load,
        last_event: Option<&str>,
    ) -> Option<u32> {
        self.place(connection, load, |template, _, out| {
            template.get(out, last_event);
            out.len()
        })
    }

    /// Puts what `write` writes on a free lane; it says where the body begins.
    fn place(
        &mut self,
        connection: u32,
        load: Load,
        write: impl FnOnce(&Template, Option<&ToolPlans>, &mut Vec<u8>) -> usize,
    ) -> Option<u32> {
        self.refresh_token(connection);
        let epoch = self.connections[connection as usize].epoch;
        let pool = self.http(connection);
        let lane = pool.take_lane()?;
        pool.set_load(lane, load);
        let Pool { lanes, template, plans, token, .. } = pool;
        let place = &mut lanes[lane as usize];
        place.token = *token;
        place.request.clear();
        (place.left, place.status) = (0, 0);
        place.session = template.has_session().then_some(epoch);
        place.body_at = write(template, plans.as_deref(), &mut place.request);
        self.start(connection, lane);
        if matches!(load, Load::Opening(_)) && self.connections[connection as usize].state() == State::Ready {
            // An opening has its own time; a list of tools that is read again would keep calls waiting for ever.
            self.set_until(connection, lane, self.last_now.after(self.settings.attempt_timeout));
        }
        Some(lane)
    }

    /// A lane has a request now: it is written, or a socket asked for.
    fn start(&mut self, connection: u32, lane: u32) {
        let line = self.line_of(connection, lane);
        self.stats.http_requests += 1;
        let place = self.lane(line);
        match place.socket {
            Socket::Open => self.mark_line_dirty(line),
            Socket::None => {
                if !self.http(connection).multiplexes {
                    self.set_socket(line, Socket::Dialling);
                    self.wanted.push_back(line);
                } else if !self.ride(self.last_now, connection, lane) {
                    self.dial_carrier(line);
                }
            }
            Socket::Dialling | Socket::Shutting => {}
        }
    }

    /// A message that is no call: it has a lane of its own as soon as there is one. `false` if too many wait for theirs: it is dropped.
    pub(super) fn http_errand(&mut self, connection: u32, mut message: Vec<u8>) -> bool {
        if message.last() == Some(&b'\n') {
            message.pop();
        }
        let fits = self.http(connection).add_errand(message);
        self.pump_errands(connection);
        fits
    }

    /// As [`Self::http_errand`], for what nobody can be told of.
    pub(super) fn http_say(&mut self, connection: u32, message: Vec<u8>) {
        if !self.http_errand(connection, message) {
            self.stats.output_suppressed += 1;
        }
    }

    /// A message waits for a lane once more, of which nothing has left.
    pub(super) fn queue_errand(&mut self, connection: u32, message: Vec<u8>) {
        let is_callers = is_of_caller(&message);
        if !self.http(connection).add_errand(message) {
            let dropped = if is_callers {
                &mut self.stats.notifications_unsent
            } else {
                &mut self.stats.output_suppressed
            };
            *dropped += 1;
        }
    }

    /// A message that was no call will not be sent.
    pub(super) fn count_unsent(&mut self, message: &[u8]) {
        self.stats.notifications_unsent += u64::from(is_of_caller(message));
    }

    pub(super) fn pump_errands(&mut self, connection: u32) {
        let closes = matches!(self.connections[connection as usize].state(), State::Closing | State::Closed);
        if self.held || closes {
            return;
        }
        if let Some((json, load)) = self.http(connection).pending_opening.take() {
            let placed = match load {
                Load::Events => self.http_place_get(connection, load, None),
                _ => self.http_place(connection, load, &json),
            };
            if placed.is_none() {
                self.http(connection).pending_opening = Some((json, load));
                return;
            }
        }
        while self.http(connection).has_errand() {
            let pool = self.http(connection);
            if !pool.has_any_lane() {
                return;
            }
            let Some(message) = pool.next_errand() else { return };
            if let Some(lane) = self.http_place(connection, Load::Errand, &message) {
                let until = self.last_now.after(self.settings.attempt_timeout);
                self.set_until(connection, lane, until);
            }
        }
    }

    pub(super) fn set_until(&mut self, connection: u32, lane: u32, until: Instant) {
        self.http(connection).lanes[lane as usize].until = until;
        self.next_care = self.next_care.min(until);
    }

    /// Which line is dialled for a line that was asked for, if any has to be.
    pub(super) fn http_dial(
        &mut self,
        now: Instant,
        line: u32,
        starting: bool,
        deadline: Instant,
    ) -> Option<u32> {
        let (connection, _) = self.of_line(line);
        let mut line = line;
        if starting && self.lane(line).socket != Socket::Dialling {
            let pool = self.http(connection);
            if pool.has_idle() || pool.carrier_with_room().is_some() {
                // The session ended and its sockets did not.
                self.http_begin(now, connection);
                return None;
            }
            let Some(lane) = pool.free_lane() else {
                // All are loaded, with what is to end by itself: another attempt, and no failed one.
                let conn = &mut self.connections[connection as usize];
                conn.dialling = false;
                conn.step(Event::Lost);
                conn.retry_at = now.after(LANE_WAIT);
                self.next_care = self.next_care.min(conn.retry_at);
                return None;
            };
            pool.set_socket(lane, Socket::Dialling);
            line = self.line_of(connection, lane);
        }
        let lane = self.lane(line);
        if lane.socket != Socket::Dialling || lane.dial_until != Instant::NEVER {
            // It was given up before anyone dialled it; or that, and then asked for once more, and this is the second time that it is its turn.
            return None;
        }
        lane.dial_until = deadline;
        self.next_care = self.next_care.min(deadline);
        Some(line)
    }

    /// May the answer to a call on `lane` come on this line? On a stream, and over HTTP+SSE, any may.
    #[inline]
    pub(super) fn may_answer(&self, line: u32, lane: u32) -> bool {
        let (connection, at) = self.of_line(line);
        self.connections[connection as usize]
            .http
            .as_ref()
            .is_none_or(|pool| lane == at as u32 || pool.dialect == Dialect::Events)
    }

    /// An answer that no live call of this line waits for.
    pub(super) fn http_stray(&mut self, line: u32, key: Key) {
        let (connection, _) = self.of_line(line);
        if self.lane(line).load == Load::Orphan(key) {
            self.stats.late += 1;
            self.set_load(line, Load::Answered);
            self.settle(connection);
        } else if !self.array_stray(connection, key) {
            self.stats.unknown += 1;
        }
    }

    /// Everything that waits on a connection is tried again.
    pub(super) fn mark_all_dirty(&mut self, connection: u32) {
        if !self.is_http(connection) {
            self.mark_dirty(connection);
            return;
        }
        for lane in 0..self.lanes {
            let line = self.line_of(connection, lane);
            if !self.lane(line).waiting().is_empty() {
                self.mark_line_dirty(line);
            }
        }
    }

    // What it is told.

    /// A socket stands.
    pub(super) fn http_opened(&mut self, now: Instant, line: u32, is_h2: bool) {
        let (connection, lane) = self.of_line(line);
        self.stats.http_sockets += 1;
        let place = self.lane(line);
        if place.socket != Socket::Dialling {
            return;
        }
        self.set_socket(line, Socket::Open);
        let place = self.lane(line);
        (place.served, place.idle_since, place.dial_until) = (0, now, Instant::NEVER);
        let has_load = place.load != Load::Nothing;
        let is_h2 = is_h2 || self.settings.http.as_ref().is_some_and(|http| http.prior_knowledge);
        if is_h2 && self.carry(now, line) {
            // What its lane had to send rides on it by now.
        } else {
            self.dismount(connection);
            if has_load {
                self.mark_line_dirty(line);
            } else {
                self.http(connection).rest(lane as u32, now);
            }
        }
        if self.connections[connection as usize].state() == State::Starting {
            self.http_begin(now, connection);
        } else {
            self.list(connection);
            self.pump_errands(connection);
        }
    }

    /// A socket has come to its end in an orderly way. Was that the end of a body, which is as good as a length, and is all done? (Of a socket
    /// that was reset, or a TLS session that was cut, nobody knows whether a body was whole.)
    pub(super) fn http_ended(&mut self, now: Instant, line: u32, sink: &mut impl Sink) -> bool {
        let place = self.lane(line);
        if place.socket != Socket::Open || !place.reader.ends_with_connection() {
            return false;
        }
        place.reader.end_with_connection();
        place.keep_alive = false;
        self.http_read(now, line, sink);
        let is_done = self.lane(line).socket != Socket::Open;
        if is_done {
            self.set_socket(line, Socket::None);
        }
        is_done
    }

    /// A socket is gone, or never came to stand.
    pub(super) fn http_lost(&mut self, now: Instant, line: u32, reason: &str, sink: &mut impl Sink) {
        let place = self.lane(line);
        if place.socket == Socket::Shutting {
            // It had been given up; that its end was read before the driver shut it is no news.
            return;
        }
        let was_open = place.socket == Socket::Open;
        if self.lane(line).h2.is_some() {
            let (connection, lane) = self.of_line(line);
            self.stats.http_idle_closed += u64::from(!self.lane(line).expects());
            self.carrier_lost(now, line, reason, sink);
            self.unload(line);
            self.reset_lane(line);
            self.http(connection).leave(lane as u32);
            self.set_socket(line, Socket::None);
            if self.connections[connection as usize].state() == State::Closing {
                self.finish_closing(connection);
            }
            self.board(now, connection);
            self.list(connection);
            return;
        }
        self.http_exchange_lost(now, line, reason, was_open, sink);
    }

    /// The exchange of a lane was lost, and with it the lane's socket, if it had one of its own.
    pub(super) fn http_exchange_lost(
        &mut self,
        now: Instant,
        line: u32,
        reason: &str,
        was_open: bool,
        sink: &mut impl Sink,
    ) {
        let (connection, lane) = self.of_line(line);
        if self.lane(line).load == Load::Array {
            self.array_lost(now, line, reason, was_open, sink);
        }
        let outlived = self.has_outlived(line);
        let place = self.lane(line);
        // A GET that takes up a stream may be repeated: the id of the last event says from where.
        let begun = place.status != 0 || matches!(place.load, Load::Resumed(_));
        let (has_served, has_left) = (place.served > 0, place.has_left());
        // What a session that is gone had said cannot be taken up in another.
        let last_event = place.last_event.take().filter(|_| !outlived);
        // Of a call of which nothing has left, the request is still whole.
        let unsent =
            (!place.has_left() && matches!(place.load, Load::Call(_))).then(|| place.body().to_vec());
        let unsent_errand = (!has_left && place.load == Load::Errand).then(|| place.body().to_vec());
        let of_opening = self.lane(line).load == Load::Errand && self.is_of_opening(line);
        let load = self.unload(line);
        self.reset_lane(line);
        self.http(connection).leave(lane as u32);
        self.set_socket(line, Socket::None);
        match load {
            Load::Nothing if was_open => {
                // A free socket that the server closed: it does so when it has been idle for long.
                self.stats.http_idle_closed += 1;
                let since = self.lane(line).idle_since;
                self.http(connection).wary |= now.since(since) < CLOSED_SOON;
                self.list(connection);
                return;
            }
            Load::Call(key) | Load::Resumed(key) => {
                self.http(connection).wary |= was_open && !begun && has_served;
                self.blame(reason);
                self.http_call_lost(now, connection, key, unsent, begun, last_event, sink);
            }
            Load::Orphan(_) => self.settle(connection),
            // A socket that was closed before it was used says nothing of arrays.
            Load::ArrayProbe if !has_left => self.probe_lost(),
            Load::ArrayProbe => self.end_probe(ArrayVerdict::NONE),
            Load::Listening => self.listen_again(now, connection),
            Load::Delete => self.shut_all(connection),
            Load::Opening(_) if self.connections[connection as usize].state() == State::Ready => {
                self.end_listing(connection);
            }
            Load::Opening(_) if self.renews_later(now, connection, reason) => {}
            Load::Events | Load::Opening(_) => {
                self.lose_connection(now, connection, reason, sink);
                return;
            }
            Load::Errand if of_opening && was_open && self.renews_later(now, connection, reason) => {}
            Load::Errand if of_opening && was_open => {
                self.lose_connection(now, connection, reason, sink);
                return;
            }
            Load::Errand => match unsent_errand {
                // What belonged to a session that is gone is no word in another.
                Some(message) if outlived => self.count_unsent(&message),
                Some(message) => self.queue_errand(connection, message),
                None => {}
            },
            Load::Nothing | Load::Answered | Load::Array | Load::Carrier => {}
        }
        match self.connections[connection as usize].state() {
            State::Closing => self.finish_closing(connection),
            // The connection has been given up before; this was one of its sockets.
            State::Backoff | State::Closed => {}
            _ if !was_open => self.cannot_dial(now, connection, reason, sink),
            _ => {
                self.list(connection);
                self.pump_errands(connection);
            }
        }
    }

    fn lose_connection(&mut self, now: Instant, connection: u32, reason: &str, sink: &mut impl Sink) {
        self.stats.disconnects += 1;
        self.blame(reason);
        self.let_go(now, connection, Event::Lost, sink);
    }

    /// The lane that carried a call is gone. `unsent` is the call, if nothing of it had left.
    #[expect(clippy::too_many_arguments, reason = "what is known of one lost exchange")]
    fn http_call_lost(
        &mut self,
        now: Instant,
        connection: u32,
        key: Key,
        unsent: Option<Vec<u8>>,
        begun: bool,
        last_event: Option<Box<str>>,
        sink: &mut impl Sink,
    ) {
        if self.correlation.find(key, connection).is_none() {
            return;
        }
        if let Some(json) = unsent {
            self.park(connection, key, json);
        } else if let (true, Some(last_event), false) = (begun, last_event, self.is_modern(connection)) {
            self.resume_later(now, connection, key, last_event);
        } else if begun && self.http(connection).dialect == Dialect::Events {
            // The server has accepted it; the answer comes on the stream.
            self.set_no_lane(key);
        } else {
            self.push_back(now, connection, Pushback::Lost);
            self.give_back(now, connection);
            self.fail(now, key, Why::ConnectionLost, Fate::Unknown, sink);
        }
    }

    /// A socket could not be opened. While others work, no further one is tried for a while; with none left the connection
    /// is lost.
    fn cannot_dial(&mut self, now: Instant, connection: u32, reason: &str, sink: &mut impl Sink) {
        let has_others = self.http(connection).has_open_socket();
        let conn = &mut self.connections[connection as usize];
        let wait = conn.backoff.next();
        if !has_others {
            self.lose_connection(now, connection, reason, sink);
        } else if conn.state() != State::Starting {
            let pool = self.http(connection);
            (pool.may_dial, pool.dial_again_at) = (false, now.after(wait));
            self.next_care = self.next_care.min(now.after(wait));
        } else if conn.attempts + 1 < self.settings.attempts_max {
            // A session is being renewed beside exchanges that go on: that is tried again, and they are left alone.
            conn.dialling = false;
            conn.attempts += 1;
            conn.step(Event::Lost);
            conn.retry_at = now.after(wait);
            self.next_care = self.next_care.min(now.after(wait));
            self.blame(reason);
        } else {
            self.lose_connection(now, connection, reason, sink);
        }
    }

    /// The driver has shut a line.
    pub(super) fn http_gone(&mut self, line: u32) {
        let (connection, _) = self.of_line(line);
        if self.lane(line).socket == Socket::Shutting {
            self.set_socket(line, Socket::None);
        }
        if self.connections[connection as usize].state() == State::Closing {
            self.finish_closing(connection);
        } else {
            self.board(self.last_now, connection);
            self.list_unasked(connection);
            self.pump_errands(connection);
        }
    }
}

/// A server that closes sockets so soon after an answer without having said so will do it again: from then on every socket is
/// looked at before a call is risked on it, however briefly it was free.
const CLOSED_SOON: Duration = Duration::from_secs(1);

/// A socket that has been idle for so long is looked at before a call is risked on it: a look costs a system call, and under load no
/// socket is idle for a millisecond.
const STALE_AFTER: Duration = Duration::from_millis(1);

const _: () = assert!(TRIES_MAX < u8::MAX && UNPROVEN_SESSIONS_MAX <= TRIES_MAX as u32);
