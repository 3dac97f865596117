//! What the responses say: answers to calls, refusals, acknowledgements, and the end of each.
//!
//! A response with an answer ends its call like an answer on a stream would. A response without one ends its call by its
//! status, or takes the call back: a server that answers 404 to a session it has forgotten, or -32020 to headers it does not
//! agree with, has not executed anything.

use super::{REST_OF_RESPONSE, TRIES_MAX, UNPROVEN_SESSIONS_MAX};
use crate::{
    base::{
        buffer::{Frame, FrameRef},
        json,
        time::Instant,
    },
    proto::{
        event::{Fate, Outcome, Sink, Why},
        exchange::Exchange,
        framing::newline::Oversized,
        http::{
            body::{Step, Taking},
            event_stream::{Data, Event as ServerEvent, Name},
            head::{Head, Media},
            lane::{Load, Socket},
            pool::{Dialect, Stage},
        },
        lifecycle::State,
        message::envelope::{self, Envelope, Id, Kind},
        revision::Era,
    },
    slab::key::Key,
};

/// JSON-RPC codes that only servers of the modern era use, and what they refuse without executing anything.
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_VERSION: i64 = -32022;

impl Exchange {
    /// Bytes came in on a line over HTTP.
    pub(in crate::proto::exchange) fn http_received(
        &mut self,
        now: Instant,
        line: u32,
        bytes: usize,
        sink: &mut impl Sink,
    ) {
        let (connection, _) = self.of_line(line);
        self.lane(line).inbox.filled(bytes);
        self.connections[connection as usize].last_heard = now;
        self.stats.bytes_in += bytes as u64;
        if self.lane(line).h2.is_some() {
            self.carrier_received(now, line, sink);
        } else if self.lane(line).socket == Socket::Open {
            self.http_read(now, line, sink);
        } else {
            // It has been given up, and the driver does not know yet.
            self.reset_lane(line);
        }
    }

    /// Takes apart what has been received on a line.
    pub(super) fn http_read(&mut self, now: Instant, line: u32, sink: &mut impl Sink) {
        let lane = self.lane(line);
        let generation = lane.generation;
        // Out of the lane while frames point into them, so that handling them may borrow everything else.
        let (mut inbox, mut reader) = (std::mem::take(&mut lane.inbox), std::mem::take(&mut lane.reader));
        loop {
            match reader.step(&mut inbox, &mut self.pool) {
                Step::NeedMore => break,
                Step::Head(_) if self.lane(line).is_unsent() => {
                    self.http_broken(now, line, BEFORE_ANYTHING, sink);
                }
                Step::Head(head) => {
                    let taking = self.http_head(line, head).taking(|| reader.events());
                    reader.take(taking);
                }
                Step::Json(place) => {
                    if let Some(frame) = reader.frame(&inbox, place) {
                        self.http_json(now, line, frame, sink);
                    }
                    reader.consume(&mut inbox, place);
                }
                Step::Event(event, place) => {
                    let here = place.and_then(|place| reader.frame(&inbox, place));
                    self.http_event_of(now, line, &event, here, sink);
                    if let Some(place) = place {
                        reader.consume(&mut inbox, place);
                    }
                }
                Step::Oversized(oversized) => self.http_oversized(now, line, &oversized, sink),
                Step::End => {
                    let lane = self.lane(line);
                    // (Behind the end of an interim response stands the real one.)
                    lane.keep_alive &= lane.status < 200 || is_blank(inbox.unread());
                    self.http_end(now, line, sink);
                }
                Step::Broken(reason) => {
                    let reason = format!("the response is not HTTP: {reason}");
                    self.http_broken(now, line, &reason, sink);
                }
            }
            if self.lane(line).generation != generation {
                // The socket was given up while this was handled; what else it said is void.
                reader.reset(&mut self.pool);
                inbox.clear(&mut self.pool);
                break;
            }
        }
        let said_more = !is_blank(inbox.unread());
        inbox.rest(&mut self.pool);
        let lane = self.lane(line);
        (lane.inbox, lane.reader) = (inbox, reader);
        if said_more && lane.load == Load::Nothing {
            self.give_up_talker(line);
        } else if said_more && self.lane(line).is_unsent() {
            self.http_broken(now, line, BEFORE_ANYTHING, sink);
        }
    }

    /// A socket on which nothing was asked, and on which the server speaks: whatever it says would be taken for a word on the next request.
    fn give_up_talker(&mut self, line: u32) {
        if self.lane(line).socket == Socket::Open {
            let (connection, _) = self.of_line(line);
            self.shut(line);
            self.list(connection);
        }
    }

    /// The socket speaks something else, and is of no more use. The others may be.
    fn http_broken(&mut self, now: Instant, line: u32, reason: &str, sink: &mut impl Sink) {
        self.stats.malformed += 1;
        self.http_exchange_lost(now, line, reason, true, sink);
        // It has been taken for gone, and is still to be shut.
        if self.lane(line).socket == Socket::None {
            self.set_socket(line, Socket::Shutting);
            self.unwanted.push_back(line);
        }
    }

    /// A response begins. What is its body good for?
    pub(super) fn http_head(&mut self, line: u32, head: Head) -> Want {
        let (connection, _) = self.of_line(line);
        let lane = self.lane(line);
        lane.status = head.status;
        // Where the request is not all sent, the server takes the next bytes for the rest of it.
        lane.keep_alive = head.keep_alive && lane.is_sent();
        lane.retry_after_s = head.retry_after.map(|wait| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX));
        let load = lane.load;
        let ok = is_ok(head.status);
        let by_media = match head.media {
            Media::Json => Want::Json,
            Media::EventStream if ok => Want::Events,
            Media::EventStream | Media::Other => Want::Nothing,
        };
        if !ok && load != Load::Nothing {
            let mut reason = format!("the server answered HTTP {}", head.status);
            for (what, value) in [("authenticate with", &head.challenge), ("it points to", &head.location)] {
                if let Some(value) = value {
                    reason = format!("{reason}; {what}: {value}");
                }
            }
            if let Some(why) =
                self.heed_status(line, head.status, head.challenge.as_deref().unwrap_or_default())
            {
                reason = format!("{reason}; no other token: {why}");
            }
            let again = self.lane(line).again;
            let is_aside = matches!(
                load,
                Load::Errand | Load::Listening | Load::Delete | Load::Answered | Load::ArrayProbe
            );
            if !again && !is_aside {
                self.blame(reason);
            }
        } else if ok {
            self.heed_status(line, head.status, "");
        }
        match load {
            Load::Nothing => {
                // An answer to nothing: some servers say 408 before they close an idle socket.
                self.give_up_talker(line);
                Want::Nothing
            }
            Load::Opening(_) => {
                let pool = self.http(connection);
                if ok && pool.stage == Stage::Initialize && head.session.is_some() {
                    pool.template.set_session(head.session);
                }
                by_media
            }
            // Over HTTP+SSE answers come on the stream of events and nowhere else, whatever a POST is answered with.
            Load::Call(_) | Load::Orphan(_) if ok && self.http(connection).dialect == Dialect::Events => {
                Want::Nothing
            }
            // After these the call may go again, unless its result has come with them.
            Load::Call(_) if matches!(head.status, 400 | 404) && head.media == Media::EventStream => {
                Want::Events
            }
            Load::Call(_) | Load::Orphan(_) | Load::Answered => by_media,
            Load::Array | Load::ArrayProbe => {
                self.array_want(connection, (head.status, head.media), load, by_media)
            }
            Load::Resumed(_) | Load::Events | Load::Listening => {
                if load == Load::Listening && by_media == Want::Events {
                    let pool = self.http(connection);
                    (pool.has_listened, pool.listening_refusals) = (true, 0);
                }
                if by_media == Want::Events { Want::Events } else { Want::Nothing }
            }
            Load::Errand => {
                // A notification is acknowledged by a 202 and nothing else. A message may have been meant for another request.
                self.lane(line).keep_alive &= !ok || head.status == 202 || by_media == Want::Nothing;
                Want::Nothing
            }
            Load::Delete | Load::Carrier => Want::Nothing,
        }
    }

    /// A body that is one JSON text.
    pub(super) fn http_json(&mut self, now: Instant, line: u32, frame: FrameRef<'_>, sink: &mut impl Sink) {
        let frame = without_mark(frame);
        let lane = self.lane(line);
        let status = lane.status;
        match lane.load {
            Load::Opening(key) => {
                let is_own = !self.is_anothers(line, key, &envelope::scan(frame.bytes()));
                self.http_opening_answer(now, line, status, is_own.then_some(frame.bytes()), sink);
            }
            Load::Call(key) if !is_ok(status) => self.http_refused(now, line, key, Some(frame), sink),
            Load::Array if !is_ok(status) => self.array_refused(now, line, Some(frame), sink),
            Load::ArrayProbe if !is_ok(status) => {}
            _ => self.http_message(now, line, frame, sink),
        }
    }

    /// One message: a body, or the data of an event.
    pub(in crate::proto::exchange) fn http_message(
        &mut self,
        now: Instant,
        line: u32,
        frame: FrameRef<'_>,
        sink: &mut impl Sink,
    ) {
        match self.lane(line).load {
            Load::Opening(key) => {
                let envelope = envelope::scan(frame.bytes());
                let is_answer = matches!(envelope.kind, Kind::Result | Kind::Error)
                    && (matches!(envelope.id, Id::Missing | Id::Null)
                        || envelope.id == Id::Number(key.wire()));
                self.is_anothers(line, key, &envelope);
                if is_answer {
                    self.http_opening_answer(now, line, 200, Some(frame.bytes()), sink);
                } else {
                    self.handle_scanned(now, line, frame, envelope, sink);
                }
            }
            Load::Call(key) => {
                let envelope = envelope::scan(frame.bytes());
                self.is_anothers(line, key, &envelope);
                if envelope.kind != Kind::Result && !is_ok(self.lane(line).status) {
                    // An event of a refusal, which says the same.
                    return;
                }
                if envelope.kind == Kind::Error {
                    // The request's own response may leave out the id of an error. An id that is none of ours is another's.
                    let names_none = matches!(envelope.id, Id::Missing | Id::Null);
                    if (names_none || envelope.id == Id::Number(key.wire()))
                        && self.http_retried(now, line, key, frame, sink)
                    {
                        return;
                    }
                    if names_none {
                        self.handle_answer(now, line, key.wire(), Outcome::Error(frame), sink);
                        return;
                    }
                }
                self.handle_scanned(now, line, frame, envelope, sink);
            }
            Load::Array => self.array_message(now, line, frame, sink),
            Load::Orphan(key) | Load::Resumed(key) => {
                let envelope = envelope::scan(frame.bytes());
                self.is_anothers(line, key, &envelope);
                self.handle_scanned(now, line, frame, envelope, sink);
            }
            Load::Answered => {
                let envelope = envelope::scan(frame.bytes());
                self.is_anothers(line, Key::NONE, &envelope);
                self.handle_scanned(now, line, frame, envelope, sink);
            }
            _ => self.handle_frame(now, line, frame, sink),
        }
    }

    /// Is this an answer to another request than that of `key`, in whose response it came? Then the server has said more than it was
    /// asked, and what it says on this socket from here on would be taken for the next request's: a 404 to this one for a word on the
    /// next, which would be sent again although the server executes it. So the socket is not used again.
    pub(super) fn is_anothers(&mut self, line: u32, key: Key, envelope: &Envelope) -> bool {
        let names_another = is_answer(envelope)
            && matches!(envelope.id, Id::Number(id) if id != key.wire() && Key::from_wire(id).is_some());
        if names_another {
            self.lane(line).keep_alive = false;
        }
        names_another
    }

    /// One event of a stream; `here` is its data, if that lies in one piece.
    pub(super) fn http_event_of(
        &mut self,
        now: Instant,
        line: u32,
        event: &ServerEvent,
        here: Option<FrameRef<'_>>,
        sink: &mut impl Sink,
    ) {
        let joined = match &event.data {
            Data::Joined(text) => Some(Frame::from_vec(text.clone())),
            Data::Here(_) | Data::None => None,
        };
        let data = here.or(joined.as_ref().map(Frame::as_frame_ref));
        self.http_event(now, line, event, data, sink);
    }

    /// One event of a stream; `data` is none for those that only carry an id or a wait.
    fn http_event(
        &mut self,
        now: Instant,
        line: u32,
        event: &ServerEvent,
        data: Option<FrameRef<'_>>,
        sink: &mut impl Sink,
    ) {
        let (connection, _) = self.of_line(line);
        if let Some(id) = &event.id {
            self.lane(line).last_event = (!id.is_empty()).then(|| id.clone());
        }
        if let Some(retry_ms) = event.retry_ms {
            self.http(connection).retry = std::time::Duration::from_millis(retry_ms);
        }
        let Some(data) = data else { return };
        match event.name {
            Name::Message => self.http_message(now, line, data, sink),
            Name::Endpoint if self.lane(line).load == Load::Events => {
                self.http_endpoint(now, line, data.bytes(), sink);
            }
            Name::Endpoint | Name::Other => {}
        }
    }

    /// A call was answered: its lane has only the rest of a response to read.
    pub(in crate::proto::exchange) fn http_answered(&mut self, now: Instant, connection: u32, lane: u32) {
        if self.array_answered(connection, lane) {
            return;
        }
        let pool = self.http(connection);
        pool.set_load(lane, Load::Answered);
        let place = &mut pool.lanes[lane as usize];
        let is_served = is_ok(place.status);
        if is_served {
            pool.sessions_refused = 0;
        }
        if place.is_sent() {
            place.request.clear();
            (place.left, place.body_at) = (0, 0);
        }
        self.has_served |= is_served;
        self.set_until(connection, lane, now.after(REST_OF_RESPONSE));
    }

    /// A response has ended.
    pub(super) fn http_end(&mut self, now: Instant, line: u32, sink: &mut impl Sink) {
        let (connection, _) = self.of_line(line);
        let lane = self.lane(line);
        if lane.status < 200 {
            return;
        }
        let (load, status, lane_session, again) = (lane.load, lane.status, lane.session, lane.again);
        let ok = is_ok(status);
        let outlived = self.has_outlived(line);
        match load {
            Load::Nothing | Load::Answered | Load::Carrier => {}
            Load::Call(key) if ok => self.http_unanswered(now, line, key, sink),
            Load::Call(key) => self.http_refused(now, line, key, None, sink),
            Load::Resumed(key) if ok => self.http_unanswered(now, line, key, sink),
            // (What a session that is gone had said cannot be taken up in another.)
            Load::Resumed(key) if again && !outlived => {
                let last_event = self.lane(line).last_event.take().unwrap_or_default();
                self.resume_later(now, connection, key, last_event);
            }
            Load::Resumed(key) => {
                self.give_back(now, connection);
                self.fail(now, key, Why::ConnectionLost, Fate::Unknown, sink);
            }
            Load::Array => self.array_ended(now, line, sink),
            Load::ArrayProbe => self.probe_ended(now, line, sink),
            Load::Orphan(_) => {
                // Without its answer it may have been another's. (Over HTTP+SSE answers come on the stream.)
                let is_elsewhere = self.http(connection).dialect == Dialect::Events;
                self.lane(line).keep_alive &= !ok || is_elsewhere;
                self.settle(connection);
            }
            Load::Opening(_) => self.http_opening_answer(now, line, status, None, sink),
            Load::Errand => {
                if ok {
                    self.http_errand_done(now, line);
                } else if again && !outlived {
                    self.hold_errand(line);
                } else {
                    self.stats.errands_refused += 1;
                    // Of an opening first: there is no session yet that could end, and somebody waits for this one to stand.
                    if status == 404 && lane_session.is_some() && !self.is_of_opening(line) {
                        self.end_session(now, line, sink);
                    } else if !outlived && self.is_of_opening(line) {
                        let reason =
                            format!("the server answered a message of the opening with HTTP {status}");
                        if matches!(status, 401 | 403) {
                            self.refuse_opening(connection);
                            self.fail_opening(now, connection, &reason, sink);
                        } else if !self.renews_later(now, connection, &reason) {
                            self.fail_opening(now, connection, &reason, sink);
                        }
                    }
                }
            }
            Load::Events if again => self.hold_opening(line),
            Load::Events => {
                if matches!(status, 401 | 403) {
                    self.refuse_opening(connection);
                }
                let reason = if ok {
                    "the server ended the stream of events".to_owned()
                } else {
                    format!("the server answered the GET for its stream of events with HTTP {status}")
                };
                self.http_no_stream(now, connection, status, &reason, sink);
            }
            Load::Listening => self.listening_ended(now, line, sink),
            Load::Delete => {
                self.shut_all(connection);
                return;
            }
        }
        if self.lane(line).status != 0 {
            self.free(now, line);
        }
    }

    /// A response ended well and had no answer in it.
    fn http_unanswered(&mut self, now: Instant, line: u32, key: Key, sink: &mut impl Sink) {
        let (connection, _) = self.of_line(line);
        if self.http(connection).dialect == Dialect::Events {
            // Accepted; the answer comes, or came, on the stream.
            self.set_no_lane(key);
            self.set_load(line, Load::Answered);
            return;
        }
        let last_event = self.lane(line).last_event.take();
        let resumable = !self.is_modern(connection) && !self.has_outlived(line);
        if let (Some(last_event), true) = (last_event, resumable) {
            self.resume_later(now, connection, key, last_event);
            return;
        }
        // It may have been another's.
        self.lane(line).keep_alive = false;
        self.http_without_answer(now, connection, key, sink);
    }

    fn http_without_answer(&mut self, now: Instant, connection: u32, key: Key, sink: &mut impl Sink) {
        self.blame("the response ended without an answer");
        self.give_back(now, connection);
        self.fail(now, key, Why::ConnectionLost, Fate::Unknown, sink);
    }

    /// The server answered a call with a status that is no success; `frame` is the JSON text it sent along.
    fn http_refused(
        &mut self,
        now: Instant,
        line: u32,
        key: Key,
        frame: Option<FrameRef<'_>>,
        sink: &mut impl Sink,
    ) {
        let (connection, _) = self.of_line(line);
        let status = self.lane(line).status;
        let said = frame.map(|frame| envelope::scan(frame.bytes()));
        if said.is_some_and(|said| self.is_anothers(line, key, &said)) {
            // No word on this call.
            self.stats.unknown += 1;
            self.set_load(line, Load::Answered);
            self.http_without_answer(now, connection, key, sink);
            self.list(connection);
            return;
        }
        let error = frame.filter(|_| said.is_some_and(|said| said.kind == Kind::Error));
        let names_call = said.is_some_and(|said| is_answer(&said) && said.id == Id::Number(key.wire()));
        // Whatever the status says, it was executed.
        let has_result = names_call && error.is_none();
        let attempts = self.connections[connection as usize].attempts;
        // Whoever has been sent often enough is told what the server says, and no session is ended for that.
        let may_try = self.correlation.get(key).is_some_and(|row| row.tries < TRIES_MAX);
        let proven = may_try && (self.has_outlived(line) || self.replaces_session(now, connection));
        let has_session = self.lane(line).session.is_some();
        if has_session && (status == 404 && !has_result || status == 400 && !names_call && proven) {
            // The session is gone, and the call with it: it was not executed.
            self.http(connection).sessions_refused += u32::from(status == 400 && !self.has_outlived(line));
            self.take_back(now, line, key, sink);
            self.end_session(now, line, sink);
            return;
        }
        if self.lane(line).again {
            self.take_back(now, line, key, sink);
            return;
        }
        // An authorization server's `{"error": …}` is none of JSON-RPC's.
        let is_answer = status != 401 && (status != 403 || names_call);
        if let Some(frame) = error.filter(|_| is_answer) {
            if !self.http_retried(now, line, key, frame, sink) {
                let proves_session = names_call || status != 400;
                let wait_s = self.lane(line).retry_after_s;
                self.heed_refusal(now, connection, status, wait_s);
                self.handle_answer(now, line, key.wire(), Outcome::Error(frame), sink);
                if proves_session {
                    self.http(connection).sessions_refused = 0;
                } else {
                    self.connections[connection as usize].attempts = attempts;
                }
            }
            return;
        }
        let why = Why::Http { status, retry_after_s: self.lane(line).retry_after_s };
        // A gateway that gave up waiting may have passed the call on.
        let fate = if matches!(status, 408 | 500 | 502 | 504) { Fate::Unknown } else { Fate::Answered };
        let wait_s = self.lane(line).retry_after_s;
        self.heed_refusal(now, connection, status, wait_s);
        self.set_load(line, Load::Answered);
        self.give_back(now, connection);
        self.list(connection);
        self.fail(now, key, why, fate, sink);
    }

    /// Does a modern server want the call sent once more? It said so before it executed anything.
    fn http_retried(
        &mut self,
        now: Instant,
        line: u32,
        key: Key,
        frame: FrameRef<'_>,
        sink: &mut impl Sink,
    ) -> bool {
        let (connection, _) = self.of_line(line);
        let status = self.lane(line).status;
        if status != 400 || !self.is_modern(connection) {
            return false;
        }
        let code = json::from_slice::<serde_json::Value>(frame.bytes())
            .ok()
            .and_then(|message| message["error"]["code"].as_i64());
        let first = self.correlation.get(key).is_some_and(|row| row.tries == 0);
        match code {
            Some(HEADER_MISMATCH) if first => {
                // The list of tools has changed, and with it what is to be mirrored.
                self.take_back(now, line, key, sink);
                self.read_tools_again(connection);
                true
            }
            Some(UNSUPPORTED_VERSION) if first => {
                let names = |message: &serde_json::Value| {
                    let supported = message["error"]["data"]["supported"].as_array();
                    supported
                        .into_iter()
                        .flatten()
                        .filter_map(|name| name.as_str().map(str::to_owned))
                        .collect()
                };
                let supported: Vec<String> =
                    json::from_slice(frame.bytes()).map(|message| names(&message)).unwrap_or_default();
                let common = crate::proto::revision::Revision::newest_of(
                    Era::Modern,
                    supported.iter().map(String::as_str),
                );
                // The suite refuses the very version it then lists; the same one may be offered once more.
                if common.is_some() {
                    self.take_back(now, line, key, sink);
                }
                common.is_some()
            }
            _ => false,
        }
    }

    /// The server refused a call without executing it: it waits for a lane again.
    fn take_back(&mut self, now: Instant, line: u32, key: Key, sink: &mut impl Sink) {
        let (connection, _) = self.of_line(line);
        let tries = self.correlation.get(key).map_or(0, |row| row.tries);
        let json = self.lane(line).body().to_vec();
        self.set_load(line, Load::Answered);
        if tries >= TRIES_MAX {
            let why = Why::Http { status: self.lane(line).status, retry_after_s: None };
            self.give_back(now, connection);
            self.fail(now, key, why, Fate::Answered, sink);
        } else {
            if let Some(row) = self.correlation.get_mut(key) {
                row.tries = tries + 1;
            }
            self.park(connection, key, json);
        }
    }

    /// The server has forgotten the session that the request on this line named: a new one is opened, once, whoever noticed
    /// first. Exchanges under way go on.
    pub(super) fn end_session(&mut self, now: Instant, line: u32, sink: &mut impl Sink) {
        let (connection, _) = self.of_line(line);
        if self.has_outlived(line) || self.connections[connection as usize].state() != State::Ready {
            return;
        }
        self.stats.sessions_lost += 1;
        self.blame("the server has ended the session");
        self.renew(now, connection, sink);
    }

    /// Is a 400 that names no call a sign of the end of the session of now? One that has carried a call is replaced at once. One that has
    /// not may be wanting in something else, and sessions are not opened one after the other for a 400 that may be about the call
    /// after all: on a server that has served calls a few of them in a row are replaced, with pauses in between (it may be
    /// starting again and again), else one is, and then none for as long as the longest wait. Nor is the last attempt spent on that.
    fn replaces_session(&mut self, now: Instant, connection: u32) -> bool {
        let refused_max = if self.has_served { UNPROVEN_SESSIONS_MAX } else { 1 };
        let is_one_of_few = self.http(connection).sessions_refused < refused_max;
        let conn = &self.connections[connection as usize];
        let is_last_attempt = conn.attempts + 1 >= self.settings.attempts_max;
        !is_last_attempt && (is_one_of_few || now >= conn.retry_at.after(self.settings.backoff_cap))
    }

    /// Did the request on this line name a session that is known to be gone? What the server says of that one is no word on
    /// the session of now.
    pub(in crate::proto::exchange) fn has_outlived(&mut self, line: u32) -> bool {
        let (connection, _) = self.of_line(line);
        let epoch = self.connections[connection as usize].epoch;
        self.lane(line).session.is_some_and(|session| session != epoch)
    }

    /// An answer, an event or a body that is longer than the bound.
    pub(super) fn http_oversized(
        &mut self,
        now: Instant,
        line: u32,
        oversized: &Oversized,
        sink: &mut impl Sink,
    ) {
        let (connection, _) = self.of_line(line);
        self.stats.oversized += 1;
        let why = Why::Oversized { bytes: oversized.bytes, bytes_max: self.settings.frame_bytes_max as u64 };
        let load = self.lane(line).load;
        match load {
            Load::Call(key) | Load::Resumed(key) => {
                // Of a body it is clear whose it is; of an event the edges are known.
                let is_event = !oversized.head.is_empty();
                if is_event && envelope::method(&oversized.head).is_some() {
                    // A notification, or a request of the server's. The answer is still to come.
                    return;
                }
                let fate = match envelope::id_at_edges(&oversized.head, &oversized.tail) {
                    Some(id) if id != key.wire() => {
                        self.lane(line).keep_alive = false;
                        return;
                    }
                    None if is_event => Fate::Unknown,
                    _ => Fate::Answered,
                };
                self.give_back(now, connection);
                self.fail(now, key, why, fate, sink);
                // Reading a gigabyte to keep one socket is the worse bargain.
                self.shut(line);
                self.list(connection);
            }
            Load::Array => self.array_oversized(now, line, oversized, why, sink),
            Load::Orphan(_) => {
                self.shut(line);
                self.settle(connection);
            }
            Load::Opening(_) => {
                let reason = format!(
                    "the answer to the opening request has {} bytes, more than {}",
                    oversized.bytes, self.settings.frame_bytes_max
                );
                self.fail_opening(now, connection, &reason, sink);
            }
            Load::Events => {
                if let Some(id) = envelope::id_at_edges(&oversized.head, &oversized.tail) {
                    self.end_unusable(now, line, id, why, sink);
                }
            }
            _ => {}
        }
    }
}

/// What a body is good for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Nothing,
    Json,
    Events,
}

impl Want {
    /// The way to take the body; `events` makes a splitter.
    pub(super) fn taking(self, events: impl FnOnce() -> Taking) -> Taking {
        match self {
            Self::Nothing => Taking::Nothing,
            Self::Json => Taking::Json,
            Self::Events => events(),
        }
    }
}

/// Why a socket is given up on which a request waits to leave and a response has come.
const BEFORE_ANYTHING: &str = "the server answered before anything was asked";

/// Is there nothing but the line breaks that some servers write behind a body?
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

/// A body without the byte-order mark that some programs begin a text with; whoever reads it may ignore that (RFC 8259, section 8.1).
fn without_mark(frame: FrameRef<'_>) -> FrameRef<'_> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if frame.bytes().starts_with(MARK) {
        FrameRef { start: frame.start + MARK.len(), len: frame.len - MARK.len(), ..frame }
    } else {
        frame
    }
}

pub(super) fn is_answer(envelope: &Envelope) -> bool {
    matches!(envelope.kind, Kind::Result | Kind::Error)
}

pub(super) fn is_ok(status: u16) -> bool {
    (200..300).contains(&status)
}
