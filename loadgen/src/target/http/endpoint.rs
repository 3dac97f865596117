//! The endpoint of Streamable HTTP: which request is served, in which era, with which status.
//!
//! A request is judged in this order: host and origin, path and method, kinds of content, body,
//! era. Modern and legacy requests share the URL; `modern` judges the former. What remains goes
//! to a conversation, whose answer, if it comes at once, is written at once; otherwise the
//! exchange moves to the hub. Plain calls of `echo` take a short cut past all of it, with the
//! same answer.
//!
//! Clauses: MCP 2025-03-26 to 2026-07-28, transports. Proof: `endpoint_tests`.

use std::rc::Rc;

use super::super::args::BatchPolicy;
use super::super::envelope::{self, Message, Unreadable};
use super::super::reply::{self, Fault};
use super::super::revision::Revision;
use super::super::scan::{self, MetaRule};
use super::super::session::{Era, Session};
use super::super::slots::SlotKey;
use super::super::web_args::ReplyForm;
use super::super::world::{ConnectionKey, Turn, World};
use super::answer::{self, EventId, Manner};
use super::current::Current;
use super::exchange::{Exchange, Kind};
use super::head::Head;
use super::hub::{self, Hub};
use super::modern;
use super::refusal::Refusal;

/// What is served on the connections of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Service {
    /// Streamable HTTP.
    Endpoint,
    /// HTTP+SSE of revision 2024-11-05.
    Channel,
}

/// The conversation on one HTTP connection.
pub(in super::super) struct Talk {
    pub(super) key: ConnectionKey,
    service: Service,
    pub(super) current: Option<Current>,
    /// The connection closes when its output is written.
    pub(super) ending: bool,
    /// The `_meta` of the last plain call that was walked and found good.
    known_meta: Vec<u8>,
    /// The last host that was found good.
    known_host: Vec<u8>,
    /// The session of the last plain call.
    known_home: Option<SlotKey>,
    /// Answers to calls on this connection; `--drop-after` counts them.
    answered: u64,
    /// Answers to requests; `--close-after` counts them.
    replies: u64,
}

impl Talk {
    pub(in super::super) fn new(key: ConnectionKey, service: Service) -> Self {
        Self {
            key,
            service,
            current: None,
            ending: false,
            known_meta: Vec::new(),
            known_host: Vec::new(),
            known_home: None,
            answered: 0,
            replies: 0,
        }
    }

    /// Serves one request, at once or by making it the current exchange.
    pub(super) fn serve(&mut self, head: &Head<'_>, body: &[u8], hub: &mut Hub, turn: &mut Turn<'_>) {
        self.replies += 1;
        let closes = head.closes || turn.world.web.close_after.is_some_and(|most| self.replies >= most);
        let manner = Manner { closes, is_old: head.is_old };
        if !closes && !head.is_old && self.serve_plain_call(head, body, hub, turn).is_some() {
            return;
        }
        if let Err(refusal) = self.serve_with_care(head, body, manner, hub, turn) {
            self.refuse(&refusal, manner, turn);
        }
    }

    /// Answers a plain call of `echo`; `None` if it is anything else.
    #[inline]
    fn serve_plain_call(
        &mut self,
        head: &Head<'_>,
        body: &[u8],
        hub: &mut Hub,
        turn: &mut Turn<'_>,
    ) -> Option<()> {
        let world = &mut *turn.world;
        let is_plain = world.calls_are_plain
            && self.service == Service::Endpoint
            && world.web.answers_plainly()
            && head.path == PATH
            && head.method == "POST"
            && head.accept.json
            && head.accept.events
            && head.origin.is_none()
            && head.content_type == Some(b"application/json")
            && !self.known_host.is_empty()
            && head.host == Some(&self.known_host);
        if !is_plain {
            return None;
        }
        let version =
            head.version.and_then(|version| Revision::from_text(std::str::from_utf8(version).ok()?));
        let (revision, rule) = match version.filter(|version| version.is_modern()) {
            Some(revision) => {
                let is_mirrored = world.protocol.offer.contains(revision)
                    && head.mcp_method == Some(b"tools/call")
                    && head.mcp_name == Some(b"echo")
                    && !head.repeats;
                if !is_mirrored {
                    return None;
                }
                (
                    revision,
                    MetaRule::Required { version: revision.text().as_bytes(), known: &self.known_meta },
                )
            }
            None => {
                let revision = self.known_session(head.session?, hub)?;
                let fits = if head.version.is_some() { version == Some(revision) } else { true };
                if !fits {
                    return None;
                }
                (revision, MetaRule::Absent)
            }
        };
        let call = scan::scan_whole(body, rule)?;
        world.executed += 1;
        let tail = world.echo_tail(revision);
        match world.web.reply {
            ReplyForm::Json => {
                answer::put_json_head(turn.out, scan::spliced_len(&call, tail));
                scan::splice(turn.out, &call, tail);
                turn.out.pop();
            }
            ReplyForm::Sse => answer::put_only_event(turn.out, |out| scan::splice(out, &call, tail)),
        }
        if let Some(meta) = call.meta_seen.filter(|meta| meta.len() <= KNOWN_BYTES_MAX) {
            self.known_meta.clear();
            self.known_meta.extend_from_slice(meta);
        }
        Some(())
    }

    /// The revision of a session, which is nearly always that of the request before.
    fn known_session(&mut self, id: &[u8], hub: &Hub) -> Option<Revision> {
        if let Some(home) = self.known_home.and_then(|key| hub.homes.get(key))
            && *home.id == *id
        {
            return Some(home.revision);
        }
        self.known_home = hub.find_home(id);
        Some(hub.homes.get(self.known_home?)?.revision)
    }

    fn serve_with_care(
        &mut self,
        head: &Head<'_>,
        body: &[u8],
        manner: Manner,
        hub: &mut Hub,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        self.check_place(head)?;
        if self.service == Service::Channel {
            return self.serve_channel(head, body, manner, hub, turn);
        }
        if head.path != PATH {
            return Err(Refusal::new(404, Fault::NO_SUCH_PATH));
        }
        match head.method {
            "POST" => self.post(head, body, manner, hub, turn),
            "GET" => self.get(head, manner, hub, turn),
            "DELETE" => self.delete(head, manner, hub, turn),
            _ => Err(Refusal::new(405, Fault::NOT_ALLOWED)),
        }
    }

    /// Checks that the client means this machine, and is no page of another one.
    fn check_place(&mut self, head: &Head<'_>) -> Result<(), Refusal> {
        let host = head.host.unwrap_or_default();
        if host != self.known_host || host.is_empty() {
            let is_good = host.is_empty() && head.is_old || is_loopback(host);
            if !is_good {
                return Err(Refusal::new(403, Fault::BAD_HOST));
            }
            if host.len() <= KNOWN_BYTES_MAX {
                self.known_host = host.to_vec();
            }
        }
        match head.origin.is_none_or(is_own_origin) {
            true => Ok(()),
            false => Err(Refusal::new(403, Fault::BAD_ORIGIN)),
        }
    }

    fn post(
        &mut self,
        head: &Head<'_>,
        body: &[u8],
        manner: Manner,
        hub: &mut Hub,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        if !head.has_json() {
            return Err(Refusal::new(415, Fault::BAD_CONTENT_TYPE));
        }
        if !(head.accept.json && head.accept.events) {
            return Err(Refusal::new(406, Fault::NOT_ACCEPTABLE));
        }
        let text = std::str::from_utf8(body).map_err(|_| Refusal::new(400, Fault::NOT_JSON))?;
        let text = text.trim_ascii();
        if text.starts_with('[') {
            return self.post_array(head, text, manner, hub, turn);
        }
        let message = Message::parse(text).map_err(|Unreadable { id, fault }| Refusal {
            status: 400,
            id: id.map(str::to_owned),
            outcome: fault.into(),
        })?;
        let id = match &message {
            Message::Request(request) => Some(request.id.to_owned()),
            _ => None,
        };
        let served = if modern::is_meant(head, &message, turn.world) {
            self.post_modern(head, text, &message, manner, hub, turn)
        } else {
            self.post_legacy(head, text, &message, manner, hub, turn)
        };
        served.map_err(|refusal| Refusal { id: refusal.id.or(id), ..refusal })
    }

    fn post_modern(
        &mut self,
        head: &Head<'_>,
        text: &str,
        message: &Message<'_>,
        manner: Manner,
        hub: &mut Hub,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let revision = modern::check(head, message, turn.world)?;
        let session = Session::of_exchange(Era::Modern(revision));
        self.converse(session, None, text, manner, hub, turn);
        Ok(())
    }

    fn post_legacy(
        &mut self,
        head: &Head<'_>,
        text: &str,
        message: &Message<'_>,
        manner: Manner,
        hub: &mut Hub,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        if let Message::Request(request) = message
            && request.method == "initialize"
        {
            return self.initialize(head, text, manner, hub, turn);
        }
        let (era, home) = self.find_conversation(head, hub, turn)?;
        if let (Some(home), Message::Request(request)) = (home, message)
            && request.method == "tools/call"
        {
            self.count_call(home, hub, turn.world)?;
        }
        self.converse(Session::of_exchange(era), home, text, manner, hub, turn);
        Ok(())
    }

    /// Opens a session, or at least a conversation.
    fn initialize(
        &mut self,
        head: &Head<'_>,
        text: &str,
        manner: Manner,
        hub: &mut Hub,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let web = &turn.world.web;
        if web.has_sessions && head.session.is_some() {
            self.find_conversation(head, hub, turn)?;
            return Err(Refusal::new(400, Fault::INITIALIZED));
        }
        if web.has_sessions && hub.homes.len() >= web.sessions_max {
            return Err(Refusal::new(503, Fault::BUSY));
        }
        self.converse(Session::of_exchange(Era::Undecided), None, text, manner, hub, turn);
        Ok(())
    }

    fn post_array(
        &mut self,
        head: &Head<'_>,
        text: &str,
        manner: Manner,
        hub: &mut Hub,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let has_legacy = turn.world.protocol.offer.newest_legacy().is_some();
        if !has_legacy || head.version.is_some_and(modern::names_modern) {
            return Err(Refusal::new(400, Fault::NO_BATCH));
        }
        let (era, home) = self.find_conversation(head, hub, turn)?;
        let is_refused = turn.world.protocol.batch == BatchPolicy::Refuse;
        if is_refused || !matches!(era, Era::Legacy(revision) if revision.has_batches()) {
            return Err(Refusal::new(400, Fault::NO_BATCH));
        }
        match envelope::parse_array(text) {
            None => return Err(Refusal::new(400, Fault::NOT_JSON)),
            Some(elements) if elements.is_empty() => return Err(Refusal::new(400, Fault::EMPTY_BATCH)),
            Some(elements) if elements.len() > turn.world.protocol.batch_max => {
                return Err(Refusal::new(400, Fault::LONG_BATCH));
            }
            Some(_) => {}
        }
        self.converse(Session::of_exchange(era), home, text, manner, hub, turn);
        Ok(())
    }

    /// Hands messages to a conversation and answers, now or when there is an answer.
    fn converse(
        &mut self,
        mut session: Session,
        home: Option<SlotKey>,
        text: &str,
        manner: Manner,
        hub: &mut Hub,
        turn: &mut Turn<'_>,
    ) {
        let world = &mut *turn.world;
        let key = hub.exchanges.reserve();
        let was_undecided = session.era == Era::Undecided;
        session.answered = self.answered;
        if let Some(home) = home.and_then(|home| hub.homes.get(home)) {
            session.memory = Rc::clone(&home.memory);
        }
        let mut lines = Vec::new();
        let mut own = hub::turn(world, &mut lines, key);
        session.handle_text(text, &mut own);
        session.flush_shuffled(&mut own);
        self.answered = session.answered;
        hub::route(hub, world, home, &session.take_strays(), key);
        let mut home = home;
        let mut session_field = Vec::new();
        if let (true, Era::Legacy(revision), true) = (was_undecided, session.era, world.web.has_sessions) {
            let opened = hub.open_home(revision, Rc::clone(&session.memory));
            home = Some(opened);
            if let Some(home) = hub.homes.get(opened) {
                session_field = [b"mcp-session-id: ", &*home.id, b"\r\n"].concat();
            }
        }
        let is_modern = matches!(session.era, Era::Modern(_));
        let refused =
            session.refused.filter(|&code| is_modern || code == Fault::WRONG_ERA.code).map(modern::status);
        let status = session.status.or(refused).filter(|_| session.is_settled());
        let mut exchange = Box::new(Exchange::new(session, Kind::Request, home));
        exchange.lines = lines;
        if exchange.is_over() && exchange.lines.is_empty() && !exchange.session.heard.request {
            hub.exchanges.remove(key);
            answer::put_whole(turn.out, 202, None, &[], b"", manner);
            return self.finish(manner);
        }
        let form = world.web.reply;
        if let Some(status) = status.filter(|_| exchange.is_one_answer()) {
            hub.exchanges.remove(key);
            return self.put_single(&exchange.lines, &session_field, status, manner, turn.out);
        }
        let may_return = home.is_some() && !was_undecided && !is_modern;
        if may_return && world.web.priming {
            exchange.track = Some(hub.new_track());
            exchange.leaves_at = (world.web.polling && exchange.session.heard.call).then_some(0);
        }
        exchange.heed(|| hub.new_track());
        if exchange.park(world.behaviour.reorder) {
            hub.parked.push(key);
        }
        if form == ReplyForm::Json && exchange.leaves_at.is_none() && exchange.is_one_answer() {
            hub.exchanges.remove(key);
            return self.put_single(&exchange.lines, &session_field, 200, manner, turn.out);
        }
        exchange.attached = Some(self.key);
        hub::admit(hub, world, key, exchange);
        self.attach(Current { session_field, ..Current::new(key, manner, form) }, hub, turn);
    }

    /// Makes an exchange the current one and writes what it has.
    pub(super) fn attach(&mut self, current: Current, hub: &mut Hub, turn: &mut Turn<'_>) {
        self.current = Some(current);
        self.pump(hub, turn);
    }

    /// The era of a legacy request and its session, if there are sessions.
    fn find_conversation(
        &self,
        head: &Head<'_>,
        hub: &Hub,
        turn: &Turn<'_>,
    ) -> Result<(Era, Option<SlotKey>), Refusal> {
        let world = &*turn.world;
        let offer = &world.protocol.offer;
        let named = match head.version {
            None => None,
            Some(text) => {
                let named = std::str::from_utf8(text).ok().and_then(Revision::from_text);
                let named = named.filter(|&revision| offer.contains(revision) && !revision.is_modern());
                Some(named.ok_or_else(|| Refusal::new(400, Fault::BAD_VERSION))?)
            }
        };
        if !world.web.has_sessions {
            let assumed = named.or(offer.contains(Revision::R2025_03_26).then_some(Revision::R2025_03_26));
            let revision =
                assumed.or(offer.newest_legacy()).ok_or_else(|| Refusal::new(400, Fault::BAD_VERSION))?;
            return Ok((Era::Legacy(revision), None));
        }
        let Some(id) = head.session else {
            return Err(Refusal::new(400, Fault::NO_SESSION));
        };
        let home = hub.find_home(id).and_then(|key| Some((key, hub.homes.get(key)?)));
        let Some((key, home)) = home else {
            return Err(Refusal::new(world.web.session_status, Fault::SESSION_GONE));
        };
        if named.is_some_and(|named| named != home.revision) {
            return Err(Refusal::new(400, Fault::BAD_VERSION));
        }
        Ok((Era::Legacy(home.revision), Some(key)))
    }

    /// Counts a call; the one beyond `--session-calls` finds its session ended.
    fn count_call(&self, key: SlotKey, hub: &mut Hub, world: &mut World) -> Result<(), Refusal> {
        let Some(home) = hub.homes.get_mut(key) else { return Ok(()) };
        home.calls += 1;
        if world.web.session_calls.is_some_and(|most| home.calls > most) {
            hub::end_home(hub, world, key);
            return Err(Refusal::new(world.web.session_status, Fault::SESSION_GONE));
        }
        Ok(())
    }

    fn get(
        &mut self,
        head: &Head<'_>,
        manner: Manner,
        hub: &mut Hub,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let web = &turn.world.web;
        let has_legacy = turn.world.protocol.offer.newest_legacy().is_some();
        let may = has_legacy && web.has_get_stream && web.has_sessions;
        if !may || head.version.is_some_and(modern::names_modern) {
            return Err(Refusal::new(405, Fault::NOT_ALLOWED));
        }
        if !head.accept.events {
            return Err(Refusal::new(406, Fault::NOT_ACCEPTABLE));
        }
        let (era, home) = self.find_conversation(head, hub, turn)?;
        let Some(home) = home else { return Err(Refusal::new(405, Fault::NOT_ALLOWED)) };
        let world = &mut *turn.world;
        if let Some(last) = head.last_event {
            let wanted = EventId::parse(last);
            let found = wanted.and_then(|id| Some((hub.find_stream(home, id.stream)?, id.number)));
            let Some((key, number)) = found else { return Err(Refusal::new(400, Fault::NO_SUCH_EVENT)) };
            let Some(exchange) = hub.exchanges.get_mut(key) else {
                return Err(Refusal::new(400, Fault::NO_SUCH_EVENT));
            };
            if !exchange.track.as_ref().is_some_and(|track| track.can_follow(number)) {
                return Err(Refusal::new(400, Fault::NO_SUCH_EVENT));
            }
            let before = exchange.attached.replace(self.key);
            world.woken.extend(before.filter(|&before| before != self.key));
            let current = Current::new(key, manner, ReplyForm::Sse);
            self.attach(Current { again_after: Some(number), ..current }, hub, turn);
            return Ok(());
        }
        let mut exchange = Box::new(Exchange::new(Session::of_exchange(era), Kind::Stream, Some(home)));
        exchange.track = world.web.priming.then(|| hub.new_track());
        exchange.attached = Some(self.key);
        let key = hub.exchanges.reserve();
        hub::admit(hub, world, key, exchange);
        self.attach(Current::new(key, manner, ReplyForm::Sse), hub, turn);
        Ok(())
    }

    fn delete(
        &mut self,
        head: &Head<'_>,
        manner: Manner,
        hub: &mut Hub,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let may = turn.world.protocol.offer.newest_legacy().is_some() && turn.world.web.has_sessions;
        if !may || head.version.is_some_and(modern::names_modern) {
            return Err(Refusal::new(405, Fault::NOT_ALLOWED));
        }
        let (_, home) = self.find_conversation(head, hub, turn)?;
        if let Some(home) = home {
            hub::end_home(hub, turn.world, home);
        }
        answer::put_whole(turn.out, 204, None, &[], b"", manner);
        self.finish(manner);
        Ok(())
    }

    fn refuse(&mut self, refusal: &Refusal, manner: Manner, turn: &mut Turn<'_>) {
        let mut body = Vec::new();
        let shape = turn.world.behaviour.shape;
        reply::render_for(&mut body, refusal.id.as_deref(), &refusal.outcome, shape);
        let allow: &[u8] = if refusal.status == 405 { b"allow: GET, POST, DELETE\r\n" } else { b"" };
        answer::put_whole(turn.out, refusal.status, Some("application/json"), &[allow], &body, manner);
        self.finish(manner);
    }
}

/// Whether a page of this machine is where a request comes from.
pub(super) fn is_own_origin(origin: &[u8]) -> bool {
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_some_and(is_loopback)
}

/// Whether an authority, with or without its port, is this machine's own.
pub(super) fn is_loopback(authority: &[u8]) -> bool {
    let (host, port) = match memchr::memrchr(b':', authority) {
        Some(colon) if !authority.ends_with(b"]") => (&authority[..colon], &authority[colon + 1..]),
        _ => (authority, &b"0"[..]),
    };
    let is_port = (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    is_port && (host.eq_ignore_ascii_case(b"localhost") || host == b"127.0.0.1" || host == b"[::1]")
}

/// Where the endpoint is.
pub(super) const PATH: &str = "/mcp";
/// Longer hosts and `_meta` are looked at each time.
const KNOWN_BYTES_MAX: usize = 1024;

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
