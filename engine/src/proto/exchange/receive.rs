//! What comes in: bytes become frames, frames become answers to calls, replies to the server, or counts.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Exchange, standing::Heard};
use crate::{
    base::{
        buffer::FrameRef,
        limits::{LONG_CHUNK_KEPT_FOR, REASON_BYTES_MAX},
        time::Instant,
    },
    proto::{
        correlation::NO_LANE,
        event::{Fate, Inbound, Outcome, Reception, Sink, Why},
        framing::newline::{Oversized, Split},
        lifecycle::State,
        message::{
            array,
            envelope::{self, Echo, Envelope, Id, Kind},
        },
    },
    slab::key::Key,
};

/// What of a request or notification is needed to route it.
#[derive(Deserialize)]
struct Started<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ProgressParams<'a> {
    #[serde(borrow, rename = "progressToken")]
    token: &'a RawValue,
}

const METHOD_NOT_FOUND: &str =
    r#"{"code":-32601,"message":"method not found: this client declares no such capability"}"#;

const TOO_BUSY: &str = r#"{"code":-32603,"message":"the client's handler is too busy"}"#;

impl Exchange {
    /// Room for the next read from `line`.
    pub(crate) fn space(&mut self, line: u32) -> &mut [u8] {
        let (connection, lane) = self.of_line(line);
        let conn = &mut self.connections[connection as usize];
        match &mut conn.http {
            Some(http) => http.lanes[lane].inbox.space(&mut self.pool),
            None => conn.inbox.space(&mut self.pool),
        }
    }

    /// How much of `line` has been read and is no whole frame yet; not what a body in chunks, of events or over HTTP/2 has gathered elsewhere.
    pub(crate) fn unread(&self, line: u32) -> usize {
        let (connection, lane) = self.of_line(line);
        let conn = &self.connections[connection as usize];
        let inbox = conn.http.as_ref().map_or(&conn.inbox, |http| &http.lanes[lane].inbox);
        inbox.unread().len()
    }

    /// Nothing was there to be read: the room is given back, so that lines which were looked at in vain hold no memory.
    pub(crate) fn read_nothing(&mut self, line: u32) {
        let (connection, lane) = self.of_line(line);
        let conn = &mut self.connections[connection as usize];
        match &mut conn.http {
            Some(http) => http.lanes[lane].inbox.rest(&mut self.pool),
            None => conn.inbox.rest(&mut self.pool),
        }
    }

    /// `bytes` of [`Self::space`] were filled. Ends calls, answers the server, and reports through `sink`.
    pub(crate) fn handle_received(&mut self, now: Instant, line: u32, bytes: usize, sink: &mut impl Sink) {
        if self.settings.http.is_some() {
            self.http_received(now, line, bytes, sink);
        } else {
            self.stream_received(now, line, bytes, sink);
        }
        if self.pool.has_new_long() {
            self.long_chunk_until = now.after(LONG_CHUNK_KEPT_FOR);
            self.next_care = self.next_care.min(self.long_chunk_until);
        }
    }

    fn stream_received(&mut self, now: Instant, line: u32, bytes: usize, sink: &mut impl Sink) {
        // On a stream a connection has one line, of the same number.
        let connection = line;
        let conn = &mut self.connections[connection as usize];
        let epoch = conn.epoch;
        conn.inbox.filled(bytes);
        conn.last_heard = now;
        self.stats.bytes_in += bytes as u64;
        // Out of the connection while frames point into it, so that handling them may borrow everything else.
        let mut inbox = std::mem::take(&mut conn.inbox);
        let Some((chunk, origin)) = inbox.origin() else { return };
        let (unread, mut at) = (inbox.unread(), 0);
        loop {
            let conn = &mut self.connections[connection as usize];
            if conn.epoch != epoch {
                // Handling the last frame ended this transport; what else it said is void.
                inbox.clear(&mut self.pool);
                return;
            }
            match conn.framing.split(&unread[at..]) {
                Split::Frame { frame, consumed } => {
                    let frame = FrameRef { chunk, start: origin + at + frame.start, len: frame.len() };
                    at += consumed;
                    match envelope::plain_result(frame.bytes()) {
                        Some(id) => {
                            self.handle_stream_answer(now, connection, id, Outcome::Result(frame), sink);
                        }
                        None => self.handle_frame(now, connection, frame, sink),
                    }
                }
                Split::Oversized { line, consumed } => {
                    at += consumed;
                    self.handle_oversized(now, connection, &line, sink);
                }
                Split::NeedMore { consumed } => {
                    inbox.consume(at + consumed);
                    inbox.rest(&mut self.pool);
                    conn.inbox = inbox;
                    self.count_noise(connection);
                    return;
                }
            }
        }
    }

    pub(super) fn handle_frame(
        &mut self,
        now: Instant,
        line: u32,
        frame: FrameRef<'_>,
        sink: &mut impl Sink,
    ) {
        self.handle_scanned(now, line, frame, envelope::scan(frame.bytes()), sink);
    }

    /// As [`Self::handle_frame`], for a frame whose envelope has been looked at.
    pub(super) fn handle_scanned(
        &mut self,
        now: Instant,
        line: u32,
        frame: FrameRef<'_>,
        envelope: Envelope,
        sink: &mut impl Sink,
    ) {
        match envelope.kind {
            Kind::Result | Kind::Error => {
                let Id::Number(id) = envelope.id else {
                    // An error about something unreadable, or a broken server. It names no call, and guessing one by its
                    // position would end the wrong one.
                    self.stats.id_less += 1;
                    if envelope.kind == Kind::Error && matches!(envelope.id, Id::Missing | Id::Null) {
                        self.heed_nameless_error(line);
                    }
                    return;
                };
                self.stats.lenient_ids += u64::from(matches!(envelope.echo, Echo::Lenient));
                let outcome = if matches!(envelope.kind, Kind::Result) {
                    Outcome::Result(frame)
                } else {
                    Outcome::Error(frame)
                };
                self.handle_answer(now, line, id, outcome, sink);
            }
            Kind::Request | Kind::Notification => {
                self.handle_started(now, line, frame, sink);
            }
            Kind::Batch => self.handle_array(now, line, frame, sink),
            Kind::Malformed => {
                self.stats.malformed += 1;
                if let Id::Number(id) = envelope.id {
                    self.end_unusable(now, line, id, Why::Malformed, sink);
                }
            }
        }
    }

    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        line: u32,
        id: u64,
        outcome: Outcome<'_>,
        sink: &mut impl Sink,
    ) {
        if self.settings.http.is_some() {
            self.handle_http_answer(now, line, id, outcome, sink);
        } else {
            self.handle_stream_answer(now, line, id, outcome, sink);
        }
    }

    /// On a stream, where an answer is its call's if the connection is: this is the way of nearly every answer.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "in the loop over the frames of a read, whose registers it shares"
    )]
    fn handle_stream_answer(
        &mut self,
        now: Instant,
        connection: u32,
        id: u64,
        outcome: Outcome<'_>,
        sink: &mut impl Sink,
    ) {
        let gone = Key::from_wire(id).and_then(|key| self.correlation.take(key, connection));
        let Some(gone) = gone else {
            self.handle_other_answer(now, connection, id, outcome, sink);
            return;
        };
        self.learn(now, connection, &outcome);
        let conn = &mut self.connections[connection as usize];
        conn.window.give_back();
        let was_listed = conn.listed;
        self.prove_alive(connection);
        if !was_listed {
            self.list(connection);
        }
        self.tell(now, gone, outcome, sink);
    }

    fn handle_http_answer(
        &mut self,
        now: Instant,
        line: u32,
        id: u64,
        outcome: Outcome<'_>,
        sink: &mut impl Sink,
    ) {
        let connection = self.connection_of(line);
        let row = Key::from_wire(id).and_then(|key| self.correlation.find(key, connection));
        let Some(&row) = row.filter(|row| self.may_answer(line, row.lane)) else {
            self.handle_other_answer(now, line, id, outcome, sink);
            return;
        };
        // Of an answer under a status that says the server is busy or ailing, all has been learnt from the status.
        let is_refused = row.lane != NO_LANE && self.has_refused(line);
        if row.lane != NO_LANE {
            self.http_answered(now, connection, row.lane);
        }
        if !is_refused {
            self.learn(now, connection, &outcome);
        }
        self.connections[connection as usize].window.give_back();
        if is_refused {
            self.left_unanswered(now, connection);
        }
        self.prove_alive(connection);
        self.list(connection);
        self.end(now, row.key, outcome, sink);
    }

    /// An answer to none of the calls that are in flight.
    #[cold]
    fn handle_other_answer(
        &mut self,
        now: Instant,
        line: u32,
        id: u64,
        outcome: Outcome<'_>,
        sink: &mut impl Sink,
    ) {
        let connection = self.connection_of(line);
        match Key::from_wire(id) {
            None => self.stats.unknown += 1,
            Some(key) if key == self.connections[connection as usize].opening => {
                if let Outcome::Result(frame) | Outcome::Error(frame) = outcome {
                    self.handle_opening_answer(now, connection, frame.bytes(), sink);
                }
            }
            Some(key) => self.handle_stray(line, key),
        }
    }

    /// An answer that no live call of this connection waits for.
    fn handle_stray(&mut self, line: u32, key: Key) {
        let connection = self.connection_of(line);
        if self.heed_health(connection, key) || self.heed_pong(connection, key) {
            return;
        }
        if self.is_http(connection) {
            self.http_stray(line, key);
            return;
        }
        let conn = &mut self.connections[connection as usize];
        match conn.orphans.answered(key) {
            Some(in_debt) => {
                self.stats.late += 1;
                if in_debt {
                    conn.window.settle();
                    self.list(connection);
                }
            }
            None => self.stats.unknown += 1,
        }
    }

    /// The server answered a call in a way that cannot be used.
    pub(super) fn end_unusable(&mut self, now: Instant, line: u32, id: u64, why: Why, sink: &mut impl Sink) {
        let Some(key) = Key::from_wire(id) else { return };
        let connection = self.connection_of(line);
        if let Some(row) = self.correlation.find(key, connection)
            && self.may_answer(line, row.lane)
        {
            if row.lane != NO_LANE {
                self.http_answered(now, connection, row.lane);
            }
            self.give_back(now, connection);
            self.list(connection);
            self.fail(now, key, why, Fate::Answered, sink);
        } else {
            self.handle_stray(line, key);
        }
    }

    fn handle_oversized(&mut self, now: Instant, connection: u32, line: &Oversized, sink: &mut impl Sink) {
        self.stats.oversized += 1;
        let why = Why::Oversized { bytes: line.bytes, bytes_max: self.settings.frame_bytes_max as u64 };
        if let Some(id) = envelope::id_at_edges(&line.head, &line.tail) {
            self.end_unusable(now, connection, id, why, sink);
        } else if line.head.first() == Some(&b'[') && !self.is_http(connection) {
            // The calls of a long array that is answered by one could not have their answers, and those of the next shall.
            self.doubt_array(connection);
        }
        // Without an id at its edges the line's call stays in flight until its time is over: ending another in its
        // place would be worse.
    }

    fn handle_array(&mut self, now: Instant, line: u32, frame: FrameRef<'_>, sink: &mut impl Sink) {
        let connection = self.connection_of(line);
        let allowed =
            self.connections[connection as usize].revision.is_some_and(|revision| revision.facts().arrays);
        let Some(mut elements) = array::elements(frame.bytes()).filter(|_| allowed) else {
            self.stats.malformed += 1;
            return;
        };
        let mut is_empty = true;
        for element in elements.by_ref() {
            is_empty = false;
            let element = FrameRef { start: frame.start + element.start, len: element.len(), ..frame };
            if element.bytes().first() == Some(&b'{') {
                if self.is_http(connection) {
                    // What is said in response to something means the same in an array as by itself.
                    self.http_message(now, line, element, sink);
                } else {
                    self.handle_frame(now, line, element, sink);
                }
            } else {
                self.stats.malformed += 1;
            }
        }
        self.stats.malformed += u64::from(is_empty || !elements.is_whole());
    }

    /// The server started something: a request or a notification.
    fn handle_started(&mut self, now: Instant, line: u32, frame: FrameRef<'_>, sink: &mut impl Sink) {
        let connection = self.connection_of(line);
        let (Some(method), Ok(started)) =
            (envelope::method(frame.bytes()), serde_json::from_slice::<Started<'_>>(frame.bytes()))
        else {
            self.stats.malformed += 1;
            return;
        };
        let conn = &self.connections[connection as usize];
        let Some(id) = started.id else {
            self.stats.notifications += 1;
            if method == "notifications/progress" {
                self.handle_progress(now, connection, started.params);
            }
            match self.hear(now, line, &method, started.params, sink) {
                Heard::Everybody => {
                    sink.inbound(Inbound::Notification { method: &method, frame, subscription: None });
                }
                Heard::Subscription(key) => {
                    sink.inbound(Inbound::Notification { method: &method, frame, subscription: Some(key) });
                }
                Heard::Nobody => {}
            }
            return;
        };
        self.stats.server_requests += 1;
        let epoch = conn.epoch;
        if self.is_http(connection) && self.has_outlived(line) {
            // Of a session that is gone. A reply would go into the one of now, whose own request may have the same id.
            return;
        }
        let conn = &self.connections[connection as usize];
        let legacy = match conn.revision {
            Some(revision) => revision.facts().server_requests,
            // During `initialize` only a legacy server can be talking.
            None => conn.state() == State::Initializing,
        };
        if !legacy {
            // A modern client never writes a response; the server broke the rules and is ignored.
            return;
        }
        if method == "ping" {
            self.respond(connection, epoch, id.get(), "result", "{}");
            return;
        }
        match sink.inbound(Inbound::Request { connection, epoch, method: &method, frame }) {
            Reception::Taken => {}
            Reception::Nobody => self.respond(connection, epoch, id.get(), "error", METHOD_NOT_FOUND),
            Reception::Full => self.respond(connection, epoch, id.get(), "error", TOO_BUSY),
        }
    }

    fn handle_progress(&mut self, now: Instant, connection: u32, params: Option<&RawValue>) {
        let token = params.and_then(|params| serde_json::from_str::<ProgressParams<'_>>(params.get()).ok());
        // Our tokens are the ids, and a server may echo one as it echoes those: as a string, as 7.0. (By `envelope`'s own reader of ids it
        // would be inlined there in another way, which cost plain answers a fifth.)
        let id = token.and_then(|params| {
            let said = params.token.get().trim_matches('"');
            let (whole, fraction) = said.split_once('.').unwrap_or((said, "0"));
            whole.parse().ok().filter(|_| !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0'))
        });
        if let Some(key) = id.and_then(Key::from_wire) {
            self.correlation.renew(key, connection, now);
        }
    }

    /// Folds what a framing has counted since the last time into the exchange's counts. Not once a turn for all connections: there
    /// may be ten thousand.
    #[inline]
    pub(super) fn count_noise(&mut self, connection: u32) {
        let conn = &mut self.connections[connection as usize];
        let counters = conn.framing.counters();
        let counts = (counters.noise_lines, counters.blank_lines);
        if counts != conn.counted {
            self.stats.noise_lines += counts.0 - conn.counted.0;
            self.stats.blank_lines += counts.1 - conn.counted.1;
            conn.counted = counts;
        }
    }

    /// Why a connection failed, kept for the errors that callers see. What a server has said of it may be megabytes, and each of them has a
    /// copy.
    pub(super) fn blame(&mut self, reason: impl Into<Arc<str>>) {
        let reason: Arc<str> = reason.into();
        let end = reason.floor_char_boundary(REASON_BYTES_MAX);
        self.reason = Some(if end < reason.len() { format!("{}…", &reason[..end]).into() } else { reason });
        self.reason_is_news = true;
    }
}
