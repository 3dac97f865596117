//! Arrays over HTTP: one POST on one lane for many calls, and what each kind of response means for them.
//!
//! Answers come as one array, one event each, or arrays within events, and end their calls like any others. What remains when the
//! response has ended is one of these:
//!
//! | response | the calls that were not answered |
//! |---|---|
//! | 400, 404, 405, 413, 415, 422 whose body, read as JSON or as events, names none of the calls nor others, none of which has been answered; or nothing but an error -32600 or -32700 without an id | were not executed: each goes again, by itself |
//! | 404 for a session, 401 while somebody brings another token, 400 for a session with an error that is none of -32600, -32602, -32700 | the same, and what the status means besides; no word on arrays |
//! | another status | end as a single call with that status would |
//! | a success that answers some, or none | `ConnectionLost`, `Unknown`; `Oversized` if some answer was too long for us |
//! | none: the socket was lost | `Unknown`; if no byte had left, they go again |
//!
//! Each time but the second and the last, arrays of half as many calls are tried from then on, down to none. (Also after other
//! statuses of the 4xx that leave open what they are about, since what is about one call would have been an answer to that call.)
//!
//! Always: `live` of a lane's array is the number of its keys that have a row on that lane. Proof: `tests/faults/arrays.rs`.

use serde::Deserialize;

use super::{
    REST_OF_RESPONSE, TRIES_MAX,
    responses::{Want, is_answer, is_ok},
};
use crate::{
    base::{buffer::FrameRef, time::Instant},
    policy::concurrency::Pushback,
    proto::{
        batch::{ArrayVerdict, Element},
        correlation::{NO_LANE, Row},
        event::{Fate, Sink, Why},
        exchange::{Exchange, Parked},
        framing::newline::Oversized,
        http::{
            head::Media,
            lane::{Load, Socket, Together},
            pool::Dialect,
        },
        message::{
            array, encode,
            envelope::{self, Id, Kind},
        },
    },
    slab::key::Key,
};

/// The server could not make anything of the request as a whole (JSON-RPC 2.0, section 5.1).
const INVALID_REQUEST: i64 = -32600;
const PARSE_ERROR: i64 = -32700;
/// What the Python SDK says to an array.
const INVALID_PARAMS: i64 = -32602;

#[derive(Deserialize)]
struct Nameless {
    error: Code,
}

#[derive(Deserialize)]
struct Code {
    code: i64,
}

impl Exchange {
    /// Puts an array on a lane. There is one: the connection said that it has room. (If there is none after all, its calls wait
    /// again, each by itself.)
    pub(in crate::proto::exchange) fn http_array(
        &mut self,
        connection: u32,
        text: &[u8],
        elements: &[Element],
    ) -> bool {
        let load = if let [only] = elements { Load::Call(only.key) } else { Load::Array };
        let Some(lane) = self.http_place(connection, load, text) else {
            debug_assert!(false, "picked a connection without a lane");
            let revision = self.connections[connection as usize].revision;
            let parked = elements.iter().map(|&Element { key, start, len }| {
                let frame = text[start as usize..(start + len) as usize].to_vec();
                Parked { key, revision, frame }
            });
            self.parked.extend(parked);
            return false;
        };
        // What cannot be asked is off its lane already.
        let place = &mut self.http(connection).lanes[lane as usize];
        let is_on_it = place.load == load;
        if is_on_it && load == Load::Array {
            place.array.keys.extend(elements.iter().map(|element| element.key));
            place.array.keys.sort_unstable();
            place.array.live = elements.len();
        }
        for element in elements {
            if let Some(row) = self.correlation.place(element.key, connection) {
                row.lane = if is_on_it { lane } else { NO_LANE };
                (row.start, row.len) = (element.start.into(), element.len);
            }
        }
        true
    }

    /// Is the call part of an array that is on a lane?
    pub(super) fn is_in_array(&self, row: &Row) -> bool {
        let pool = self.connections[row.connection as usize].http.as_ref();
        row.lane != NO_LANE && pool.is_some_and(|pool| pool.lanes[row.lane as usize].load == Load::Array)
    }

    /// A call on this lane was answered. Was it one of an array that has others?
    pub(super) fn array_answered(&mut self, connection: u32, lane: u32) -> bool {
        let place = &mut self.http(connection).lanes[lane as usize];
        if place.load != Load::Array {
            return false;
        }
        place.array.answered += 1;
        place.array.live -= 1;
        place.array.live > 0
    }

    /// The rows of an array's calls that have not ended, in their order.
    fn array_rows(&mut self, line: u32) -> Vec<Row> {
        let (connection, lane) = self.of_line(line);
        let keys = std::mem::take(&mut self.lane(line).array.keys);
        let is_here = |row: &&Row| row.lane == lane as u32;
        let rows =
            keys.iter().filter_map(|key| self.correlation.find(*key, connection).filter(is_here).copied());
        let mut rows: Vec<Row> = rows.collect();
        rows.sort_unstable_by_key(|row| row.start);
        self.lane(line).array.keys = keys;
        rows
    }

    /// Is, or was, this a call of the lane's array? It is asked of every message; most name a call that has not ended.
    fn is_of_array(&mut self, line: u32, key: Key) -> bool {
        let (connection, lane) = self.of_line(line);
        let row = self.correlation.find(key, connection);
        row.is_some_and(|row| row.lane == lane as u32)
            || self.lane(line).array.keys.binary_search(&key).is_ok()
    }

    /// Every call of the array is dealt with; the rest of its response may still come.
    fn array_is_over(&mut self, line: u32) {
        self.set_load(line, Load::Answered);
        self.lane(line).array.clear();
    }

    /// The rest of a response has a while to come; then its socket is given up.
    fn let_rest_come(&mut self, now: Instant, line: u32) {
        let (connection, lane) = self.of_line(line);
        self.set_until(connection, lane as u32, now.after(REST_OF_RESPONSE));
    }

    /// A lane's array has moved to another lane.
    pub(super) fn array_moved(&mut self, connection: u32, lane: u32, array: Together) {
        for key in &array.keys {
            if let Some(row) = self.correlation.get_mut(*key).filter(|row| row.connection == connection) {
                row.lane = lane;
            }
        }
        self.http(connection).lanes[lane as usize].array = array;
    }

    /// An array that cannot be put on any lane: its calls wait again, each by itself.
    pub(super) fn array_unplaced(&mut self, connection: u32, array: &Together, body: &[u8]) {
        let rows = array.keys.iter().filter_map(|key| self.correlation.find(*key, connection).copied());
        let mut rows: Vec<Row> = rows.collect();
        rows.sort_unstable_by_key(|row| row.start);
        for row in rows {
            self.park(connection, row.key, text_of(&row, body));
        }
    }

    /// What cannot be said over HTTP/2 is off its lane; its calls wait for their time to end them.
    pub(super) fn array_unspeakable(&mut self, line: u32) {
        for row in self.array_rows(line) {
            self.set_no_lane(row.key);
        }
    }

    // Responses.

    /// What is the body good for that answers an array or a probe?
    pub(super) fn array_want(
        &mut self,
        connection: u32,
        head: (u16, Media),
        load: Load,
        by_media: Want,
    ) -> Want {
        let (status, media) = head;
        if is_ok(status) {
            // Over HTTP+SSE the answers come on the stream of events and nowhere else.
            let comes_elsewhere = self.http(connection).dialect == Dialect::Events;
            return if comes_elsewhere { Want::Nothing } else { by_media };
        }
        // Calls go again if this names none of them, so it is looked at whatever it says that it is: many a server's error is JSON by another
        // name, or by none.
        let is_looked_at = load == Load::Array && is_refusal_of_arrays(status);
        match media {
            Media::EventStream if is_looked_at => Want::Events,
            _ if is_looked_at => Want::Json,
            _ => by_media,
        }
    }

    /// One message of a successful response.
    pub(super) fn array_message(
        &mut self,
        now: Instant,
        line: u32,
        frame: FrameRef<'_>,
        sink: &mut impl Sink,
    ) {
        let envelope = envelope::scan(frame.bytes());
        let is_nameless = envelope.kind == Kind::Error && matches!(envelope.id, Id::Missing | Id::Null);
        if is_nameless && let Ok(said) = serde_json::from_slice::<Nameless>(frame.bytes()) {
            let together = &mut self.lane(line).array;
            if matches!(said.error.code, INVALID_REQUEST | PARSE_ERROR) {
                // Of the array, or of one element: what else comes tells.
                together.refused = true;
                return;
            }
            together.complained |= said.error.code != INVALID_PARAMS;
        }
        if let Id::Number(id) = envelope.id
            && let Some(key) = Key::from_wire(id)
        {
            if self.is_of_array(line, key) {
                self.lane(line).array.named = true;
            } else if self.is_anothers(line, Key::NONE, &envelope) {
                self.lane(line).array.strayed = true;
            }
        }
        self.handle_scanned(now, line, frame, envelope, sink);
    }

    /// The response has ended.
    pub(super) fn array_ended(&mut self, now: Instant, line: u32, sink: &mut impl Sink) {
        let (connection, _) = self.of_line(line);
        if !is_ok(self.lane(line).status) {
            self.array_refused(now, line, None, sink);
            return;
        }
        let rows = self.array_rows(line);
        if self.http(connection).dialect == Dialect::Events {
            // Accepted; the answers come, or came, on the stream.
            rows.iter().for_each(|row| self.set_no_lane(row.key));
            self.array_is_over(line);
            return;
        }
        let together = &self.lane(line).array;
        if together.refused && !together.named && !rows.is_empty() {
            self.disband(now, line, sink);
            return;
        }
        let calls = together.keys.len();
        let (has_answered, oversized) = (together.answered > 0, together.oversized);
        self.array_is_over(line);
        if rows.is_empty() {
            // It may have been another's if it answered none that were given up meanwhile.
            self.lane(line).keep_alive &= has_answered;
            return;
        }
        // It may have been another's.
        self.lane(line).keep_alive = false;
        self.array_failed(calls);
        if oversized.is_none() {
            self.blame("the response to an array ended without an answer to each of its calls");
        }
        self.end_rows(now, &rows, oversized.unwrap_or(Why::ConnectionLost), Fate::Unknown, sink);
    }

    /// The server answered an array with a status that is no success; `frame` is the JSON text it sent along.
    pub(super) fn array_refused(
        &mut self,
        now: Instant,
        line: u32,
        frame: Option<FrameRef<'_>>,
        sink: &mut impl Sink,
    ) {
        let (connection, _) = self.of_line(line);
        let (status, again) = (self.lane(line).status, self.lane(line).again);
        let together = &self.lane(line).array;
        // Named in an event before the end of a refusal: as good as answered, it is about these calls.
        let (calls, answered) = (together.keys.len(), together.answered > 0 || together.named);
        // Without a text at its end it may have come in events, which have been heard.
        let (strayed, complained) = (together.strayed && !together.named, together.complained);
        let has_session = self.lane(line).session.is_some();
        let named = match frame {
            Some(frame) => self.names(line, frame.bytes()),
            None if strayed => Named::Others,
            None => Named::None,
        };
        if named == Named::Others {
            // No word on these calls, and the socket is out of step.
            self.lane(line).keep_alive = false;
            let rows = self.array_rows(line);
            self.array_is_over(line);
            self.let_rest_come(now, line);
            // (In events it was counted as it came.)
            self.stats.unknown += u64::from(frame.is_some());
            self.end_rows(now, &rows, Why::ConnectionLost, Fate::Unknown, sink);
            return;
        }
        let is_gone = status == 404 && has_session && named != Named::OwnWithResult;
        let is_no_word = status == 400
            && has_session
            && named == Named::None
            && frame.map_or(complained, is_no_word_on_arrays);
        // (Over HTTP+SSE an answer may have come on the stream of events before the status did: then the server was at work.)
        if !answered && (again || is_gone || is_no_word) {
            // (After a 400 the calls go again alone, and what that says of the session is theirs to find out.)
            self.take_array_back(now, line, sink);
            if is_gone && !again {
                self.end_session(now, line, sink);
            }
            return;
        }
        let wait_s = self.lane(line).retry_after_s;
        if let Some(frame) = frame.filter(|_| named != Named::None) {
            // It is about these calls, so it was not about the array; the others have no answer of their own.
            self.heed_refusal(now, connection, status, wait_s);
            self.handle_frame(now, line, frame, sink);
        } else if is_refusal_of_arrays(status) && !answered {
            self.disband(now, line, sink);
            return;
        } else {
            self.heed_refusal(now, connection, status, wait_s);
        }
        let answered = answered || self.lane(line).array.answered > 0;
        let rows = self.array_rows(line);
        let why = Why::Http { status, retry_after_s: self.lane(line).retry_after_s };
        self.array_is_over(line);
        self.let_rest_come(now, line);
        let is_open = answered || matches!(status, 408 | 500 | 502 | 504);
        if matches!(status, 400..500) && !matches!(status, 401 | 403 | 408 | 429) {
            self.array_failed(calls);
        }
        self.end_rows(now, &rows, why, if is_open { Fate::Unknown } else { Fate::Answered }, sink);
        self.list(connection);
    }

    /// Whom does a message, or its elements, answer?
    fn names(&mut self, line: u32, text: &[u8]) -> Named {
        // A hostile body has millions of elements.
        let mut ids: Vec<u64> = self.lane(line).array.keys.iter().map(|key| key.wire()).collect();
        ids.sort_unstable();
        let of_one = |text: &[u8]| {
            let envelope = envelope::scan(text);
            match envelope.id {
                Id::Number(id) if ids.binary_search(&id).is_ok() => match envelope.kind {
                    Kind::Result => Named::OwnWithResult,
                    _ => Named::Own,
                },
                Id::Number(id) if is_answer(&envelope) && Key::from_wire(id).is_some() => Named::Others,
                _ => Named::None,
            }
        };
        match array::elements(text) {
            Some(elements) => elements.map(|place| of_one(&text[place])).max().unwrap_or(Named::None),
            None => of_one(text),
        }
    }

    /// The server takes no such array and has executed nothing of it: its calls go again, one by one.
    fn disband(&mut self, now: Instant, line: u32, sink: &mut impl Sink) {
        let calls = self.lane(line).array.keys.len();
        self.stats.arrays_refused += 1;
        self.array_failed(calls);
        self.stats.array_fallbacks += self.take_array_back(now, line, sink);
    }

    /// The calls of an array that was refused unexecuted wait for a lane again. Returns how many.
    fn take_array_back(&mut self, now: Instant, line: u32, sink: &mut impl Sink) -> u64 {
        let (connection, _) = self.of_line(line);
        let (rows, body) = (self.array_rows(line), self.lane(line).body().to_vec());
        let status = self.lane(line).status;
        self.array_is_over(line);
        self.let_rest_come(now, line);
        let mut taken = 0;
        for row in rows {
            if row.tries >= TRIES_MAX {
                let why = Why::Http { status, retry_after_s: None };
                self.end_rows(now, &[row], why, Fate::Answered, sink);
                continue;
            }
            taken += 1;
            if let Some(row) = self.correlation.get_mut(row.key) {
                row.tries += 1;
            }
            self.park(connection, row.key, text_of(&row, &body));
        }
        taken
    }

    fn end_rows(&mut self, now: Instant, rows: &[Row], why: Why, fate: Fate, sink: &mut impl Sink) {
        for row in rows {
            // Whoever is told of one end may have ended another.
            if self.correlation.find(row.key, row.connection).is_some() {
                self.give_back(now, row.connection);
                self.list(row.connection);
                self.fail(now, row.key, why, fate, sink);
            }
        }
    }

    /// A body or event of the response is longer than the bound.
    pub(super) fn array_oversized(
        &mut self,
        now: Instant,
        line: u32,
        oversized: &Oversized,
        why: Why,
        sink: &mut impl Sink,
    ) {
        let is_event_of_one = oversized.head.trim_ascii_start().first() == Some(&b'{');
        if is_event_of_one {
            if envelope::method(&oversized.head).is_some() {
                // A notification, or a request of the server's. The answers are still to come.
                return;
            }
            // It answers one of the calls, so the server has not refused all of them.
            match envelope::id_at_edges(&oversized.head, &oversized.tail) {
                Some(id) => {
                    let is_named = Key::from_wire(id).is_some_and(|key| self.is_of_array(line, key));
                    self.lane(line).array.named |= is_named;
                    self.end_unusable(now, line, id, why, sink);
                }
                None => {
                    let array = &mut self.lane(line).array;
                    (array.named, array.oversized) = (true, Some(why));
                }
            }
            return;
        }
        // All of the answers are in it, or nearly; those of an array of half as many calls may not be too long.
        let calls = self.lane(line).array.keys.len();
        self.array_failed(calls);
        let rows = self.array_rows(line);
        self.array_is_over(line);
        self.end_rows(now, &rows, why, Fate::Unknown, sink);
        // Reading a gigabyte to keep one socket is the worse bargain.
        self.shut(line);
        let (connection, _) = self.of_line(line);
        self.list(connection);
    }

    // Ends.

    /// The lane's exchange was lost. What is left of it is no call's any more.
    pub(super) fn array_lost(
        &mut self,
        now: Instant,
        line: u32,
        reason: &str,
        was_open: bool,
        sink: &mut impl Sink,
    ) {
        let (connection, _) = self.of_line(line);
        let place = self.lane(line);
        let (begun, has_served) = (place.status != 0, place.served > 0);
        self.http(connection).wary |= was_open && !begun && has_served;
        self.blame(reason);
        let rows = self.array_rows(line);
        if !self.lane(line).has_left() {
            let body = self.lane(line).body().to_vec();
            rows.iter().for_each(|row| self.park(connection, row.key, text_of(row, &body)));
            self.array_is_over(line);
        } else if begun && self.http(connection).dialect == Dialect::Events {
            // The server has accepted them; the answers come on the stream.
            rows.iter().for_each(|row| self.set_no_lane(row.key));
            self.array_is_over(line);
        } else {
            self.array_is_over(line);
            if !rows.is_empty() {
                self.push_back(now, connection, Pushback::Lost);
            }
            self.end_rows(now, &rows, Why::ConnectionLost, Fate::Unknown, sink);
        }
    }

    /// Ends one call of an array without an answer: cancelled, or its time is over. The others go on.
    pub(super) fn abort_in_array(
        &mut self,
        now: Instant,
        row: Row,
        why: Why,
        reason: &str,
        sink: &mut impl Sink,
    ) {
        let (connection, key) = (row.connection, row.key);
        let line = self.line_of(connection, row.lane);
        if !self.lane_is_committed(line) {
            // Nothing of the array has left: it is taken apart, and this call is not sent.
            let (rows, body) = (self.array_rows(line), self.lane(line).body().to_vec());
            let others = rows.iter().filter(|row| row.key != key);
            others.for_each(|row| self.park(connection, row.key, text_of(row, &body)));
            self.give_back(now, connection);
            self.array_is_over(line);
            self.leave_lane(now, line);
            self.fail(now, key, why, Fate::NotSent, sink);
            self.board(now, connection);
            self.list(connection);
            return;
        }
        if matches!(why, Why::TimedOut { .. }) {
            self.suspect_carrier(line);
            self.push_back(now, connection, Pushback::TimedOut);
        }
        // A session that is known to be gone has no such call any more.
        if !self.has_outlived(line) {
            let mut message = Vec::new();
            encode::cancelled(&mut message, key, reason);
            self.stats.cancellations_sent += 1;
            self.http_say(connection, message);
        }
        let conn = &mut self.connections[connection as usize];
        conn.window.owe();
        conn.orphans.add(now, key, matches!(why, Why::TimedOut { .. }));
        self.left_unanswered(now, connection);
        let debt = self.settings.orphan_debt;
        self.next_care = self.next_care.min(now.after(debt));
        let place = self.lane(line);
        place.array.live -= 1;
        if place.array.live == 0 {
            // Late answers may come on it for a while.
            self.array_is_over(line);
            self.set_until(connection, row.lane, now.after(debt));
        }
        self.fail(now, key, why, Fate::Unknown, sink);
        self.list(connection);
    }

    /// A lane whose request has not begun to leave has none any more.
    fn leave_lane(&mut self, now: Instant, line: u32) {
        let (connection, lane) = self.of_line(line);
        self.alight(line);
        let pool = self.http(connection);
        pool.unload(lane as u32);
        if pool.lanes[lane].socket == Socket::Open {
            pool.rest(lane as u32, now);
        }
    }

    /// An answer on a connection over HTTP that is no call's: perhaps a late one to a call of an array.
    pub(super) fn array_stray(&mut self, connection: u32, key: Key) -> bool {
        let conn = &mut self.connections[connection as usize];
        let Some(in_debt) = conn.orphans.answered(key) else { return false };
        self.stats.late += 1;
        if in_debt {
            self.settle(connection);
        }
        true
    }

    // The probe.

    /// The response to the probe has ended.
    pub(super) fn probe_ended(&mut self, now: Instant, line: u32, sink: &mut impl Sink) {
        let (connection, _) = self.of_line(line);
        let lane = self.lane(line);
        let (status, again, has_session) = (lane.status, lane.again, lane.session.is_some());
        self.set_load(line, Load::Answered);
        if again {
            self.forget_probe();
        } else if status == 404 && has_session {
            self.forget_probe();
            self.end_session(now, line, sink);
        } else if matches!(status, 429 | 503) {
            // That it is busy says nothing of arrays.
            self.probe_lost();
        } else if !is_ok(status) || self.http(connection).dialect != Dialect::Events {
            self.end_probe(ArrayVerdict::NONE);
        }
    }

    /// The probe rides on a carrier now, in another lane.
    pub(super) fn probe_moved(&mut self, lane: u32) {
        if let Some(probe) = &mut self.arrays.probe {
            probe.lane = Some(lane);
        }
    }

    /// The probe is over, whatever of its response may still come.
    pub(in crate::proto::exchange) fn leave_probe(&mut self, connection: u32, lane: u32) {
        let line = self.line_of(connection, lane);
        if self.lane(line).load == Load::ArrayProbe {
            self.set_load(line, Load::Answered);
            let until = self.last_now.after(REST_OF_RESPONSE);
            self.set_until(connection, lane, until);
        }
    }
}

/// Whom a message answers; of an array's elements the greatest counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    /// Nobody.
    None,
    /// None of the calls it came in response to, but others.
    Others,
    /// Some of the calls, all with errors.
    Own,
    /// Some of the calls, one at least with a result: what it says was executed.
    OwnWithResult,
}

/// Is this status about the request as a whole, so that nothing of it was executed?
fn is_refusal_of_arrays(status: u16) -> bool {
    matches!(status, 400 | 404 | 405 | 413 | 415 | 422)
}

/// Is this an error, and one about something else than the message? So some servers say that they have forgotten a session.
fn is_no_word_on_arrays(frame: FrameRef<'_>) -> bool {
    let said = serde_json::from_slice::<Nameless>(frame.bytes());
    said.is_ok_and(|said| !matches!(said.error.code, INVALID_REQUEST | PARSE_ERROR | INVALID_PARAMS))
}

/// A call's own text in that of its array.
pub(super) fn text_of(row: &Row, body: &[u8]) -> Vec<u8> {
    let start = row.start as usize;
    body.get(start..start + row.len as usize).unwrap_or_default().to_vec()
}
