//! Openings over HTTP: what the server is, step by step, each step one exchange.
//!
//! ```text
//! Discover --modern--> ListTools --> ready           (no list: the server has no tools, or it is known already)
//!    \------anything else--> Initialize --agreed--> Initialized --accepted--> ready
//!                                \------400, 404, 405--> Endpoint --event `endpoint`--> Initialize ...
//! ```
//!
//! 401, 403, 429 and 5xx say nothing about the era: the attempt has failed and is repeated like any other, but for 401 and 403,
//! which would be said again. Where another token may be had ([`authorization`](super::authorization)), the same request is sent again with it instead.
//! Follows: MCP 2026-07-28, basic/versioning; 2025-11-25, basic/transports, "Backwards Compatibility".

use serde_json::Value;

use crate::{
    base::{json, time::Instant},
    proto::{
        event::Sink,
        exchange::Exchange,
        http::{
            lane::Load,
            plans::{self, ToolPlans},
            pool::{Dialect, Listening, Stage},
        },
        lifecycle::{Event, State},
        message::{
            encode::{self, Tail},
            handshake::{self, Initialized, Probe, ServerInfo},
        },
        revision::{Era, Revision},
    },
    slab::key::Key,
};

use super::REST_OF_RESPONSE;
use super::responses::is_ok;

/// What the server has to hear before the first call.
const INITIALIZED: &str = r#""method":"notifications/initialized""#;
const INITIALIZE: &str = r#""method":"initialize""#;

/// Pages of the list of tools that an opening reads, and their bytes: nobody has asked for them, and what they want mirrored is kept.
const PAGES_MAX: usize = 1_000;
const PAGES_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Exchange {
    /// A first socket stands (or still stands): the connection is opened.
    pub(super) fn http_begin(&mut self, now: Instant, connection: u32) {
        let known =
            self.memory.recall().or(self.settings.revision.filter(|pinned| pinned.era() == Era::Legacy));
        // What an opening that failed has taken it for is no proof.
        let events =
            self.memory.is_events_only() || self.settings.http.as_ref().is_some_and(|http| http.events_only);
        self.http(connection).dialect = if events { Dialect::Events } else { Dialect::Streamable };
        let conn = &mut self.connections[connection as usize];
        conn.dialling = false;
        if self.settings.is_plain {
            conn.step(Event::OpenedModern);
            self.become_ready(connection, Revision::PLAIN);
            return;
        }
        match known {
            Some(revision) if revision.era() == Era::Modern && !events => {
                let plans = self.memory.plans();
                if plans.is_none() {
                    // The era was found out by another client of this process, which saw other tools perhaps.
                    conn.step(Event::OpenedUnknown);
                    conn.opening_deadline = conn.attempt_deadline;
                    let pool = self.http(connection);
                    pool.template.set_revision(Some(revision));
                    pool.found = Some((revision, Value::Null));
                    pool.listing = Some(ToolPlans::new());
                    self.ask_for_tools(connection, revision, None);
                    return;
                }
                conn.step(Event::OpenedModern);
                let pool = self.http(connection);
                pool.plans = plans;
                pool.template.set_revision(Some(revision));
                self.become_ready(connection, revision);
            }
            None if !events && self.settings.revision.is_none_or(|pinned| pinned.era() == Era::Modern) => {
                conn.step(Event::OpenedUnknown);
                self.send_probe(now, connection, self.settings.revision.unwrap_or(Revision::LATEST));
            }
            _ => {
                conn.step(Event::OpenedLegacy);
                if events {
                    self.ask_for_endpoint(connection);
                } else {
                    self.send_initialize(connection);
                }
            }
        }
    }

    /// Puts a request of the opening on a lane.
    pub(in crate::proto::exchange) fn http_ask(
        &mut self,
        connection: u32,
        stage: Stage,
        key: Key,
        tail: &Tail,
        body: &str,
    ) {
        let mut json = Vec::new();
        encode::request(&mut json, key, tail, false, |out| out.extend_from_slice(body.as_bytes()));
        json.pop();
        let events = self.http(connection).dialect == Dialect::Events;
        self.http(connection).stage = stage;
        // Over HTTP+SSE the answer comes on the stream, and the POST is only accepted.
        let load = if events { Load::Errand } else { Load::Opening(key) };
        if self.http_place(connection, load, &json).is_none() {
            // Every lane is busy with calls of the session before: they end, or their time does.
            self.http(connection).pending_opening = Some((json, load));
        }
    }

    /// The answer to a request of the opening: its status, and the JSON text if there was one.
    pub(super) fn http_opening_answer(
        &mut self,
        now: Instant,
        line: u32,
        status: u16,
        body: Option<&[u8]>,
        sink: &mut impl Sink,
    ) {
        let (connection, _) = self.of_line(line);
        if self.lane(line).again {
            self.hold_opening(line);
            return;
        }
        self.set_load(line, Load::Answered);
        let (_, lane) = self.of_line(line);
        self.set_until(connection, lane as u32, now.after(REST_OF_RESPONSE));
        let conn = &mut self.connections[connection as usize];
        conn.opening = Key::NONE;
        let stage = self.http(connection).stage;
        let state = self.connections[connection as usize].state();
        if stage == Stage::ListTools && (is_ok(status) || state != State::Probing) {
            self.http_tools(connection, body);
            return;
        }
        if !matches!(state, State::Probing | State::Initializing) {
            self.stats.unknown += 1;
            return;
        }
        if matches!(status, 401 | 403 | 429) || status >= 500 {
            let reason = self.reason.clone();
            let reason = reason.as_deref().map_or_else(|| format!("HTTP {status}"), str::to_owned);
            if matches!(status, 401 | 403) {
                self.refuse_opening(connection);
            } else if self.renews_later(now, connection, &reason) {
                return;
            }
            self.fail_opening(now, connection, &reason, sink);
            return;
        }
        match stage {
            Stage::Discover => self.http_discovered(now, connection, status, body, sink),
            Stage::Initialize => self.http_initialized(now, connection, status, body, sink),
            Stage::ListTools => {
                let pool = self.http(connection);
                if pool.found.as_ref().is_some_and(|found| found.1.is_null()) {
                    // What this process remembers of the server may be wrong by now: ask it.
                    (pool.found, pool.listing, pool.pages) = (None, None, (0, 0));
                    self.memory.remember(None);
                    self.send_probe(now, connection, self.settings.revision.unwrap_or(Revision::LATEST));
                } else {
                    self.http_tools(connection, body);
                }
            }
            Stage::Initialized | Stage::Endpoint => self.stats.unknown += 1,
        }
    }

    fn http_discovered(
        &mut self,
        now: Instant,
        connection: u32,
        status: u16,
        body: Option<&[u8]>,
        sink: &mut impl Sink,
    ) {
        let again = self.connections[connection as usize].probes < super::super::life::PROBES_MAX;
        let probe = match body.map_or(Probe::Legacy, |body| handshake::probe(body, again)) {
            // The era is not a matter of the connection here.
            Probe::LegacyElsewhere => Probe::Legacy,
            // A result that came with a failure is none.
            Probe::Modern(..) if !is_ok(status) => Probe::Legacy,
            other => other,
        };
        match probe {
            Probe::Modern(revision, result)
                if self.settings.revision.is_none_or(|pinned| pinned == revision) =>
            {
                let has_tools = result["capabilities"].get("tools").is_some();
                let pool = self.http(connection);
                pool.template.set_revision(Some(revision));
                pool.found = Some((revision, result));
                if has_tools {
                    pool.listing = Some(ToolPlans::new());
                    self.ask_for_tools(connection, revision, None);
                } else {
                    self.http_found(connection);
                }
            }
            other => self.handle_probe(now, connection, other, sink),
        }
    }

    fn ask_for_tools(&mut self, connection: u32, revision: Revision, cursor: Option<&str>) {
        let (key, tail) = (self.next_control_key(), self.tail(revision));
        let cursor = cursor.map(|cursor| format!(r#""cursor":{}"#, Value::from(cursor))).unwrap_or_default();
        let body = format!(r#""method":"tools/list","params":{{{cursor}"#);
        self.connections[connection as usize].opening = key;
        self.http_ask(connection, Stage::ListTools, key, &tail, &body);
    }

    /// A page of the list of tools, or none: a server that cannot list its tools has none to be mirrored.
    fn http_tools(&mut self, connection: u32, body: Option<&[u8]>) {
        let page = body.and_then(|body| json::from_slice::<Value>(body).ok()).unwrap_or_default();
        let pool = self.http(connection);
        let (pages, bytes) = pool.pages;
        pool.pages = (pages + 1, bytes + body.map_or(0, <[u8]>::len));
        let goes_on = pool.pages.0 < PAGES_MAX && pool.pages.1 < PAGES_BYTES_MAX;
        let revision =
            pool.found.as_ref().map(|found| found.0).or(self.connections[connection as usize].revision);
        let pool = self.http(connection);
        if let Some(listing) = &mut pool.listing
            && let Some(cursor) = plans::add_page(listing, &page["result"])
            && let Some(revision) = revision
            && goes_on
        {
            self.ask_for_tools(connection, revision, Some(&cursor));
            return;
        }
        if self.connections[connection as usize].state() == State::Ready && page.get("result").is_none() {
            // What was known before is better than nothing.
            self.end_listing(connection);
            return;
        }
        let pool = self.http(connection);
        pool.pages = (0, 0);
        let plans = std::sync::Arc::new(pool.listing.take().unwrap_or_default());
        pool.plans = Some(std::sync::Arc::clone(&plans));
        self.memory.set_plans(plans);
        if self.connections[connection as usize].state() == State::Probing {
            self.http_found(connection);
        } else {
            self.list(connection);
        }
    }

    /// Everything is known of a modern server.
    fn http_found(&mut self, connection: u32) {
        let Some((revision, result)) = self.http(connection).found.take() else { return };
        self.connections[connection as usize].step(Event::FoundModern);
        if !result.is_null() {
            self.memory.introduce(ServerInfo { revision: Some(revision), result });
        }
        self.become_ready(connection, revision);
    }

    /// The tools are not listed anew after all.
    pub(super) fn end_listing(&mut self, connection: u32) {
        let pool = self.http(connection);
        (pool.listing, pool.pages) = (None, (0, 0));
        self.connections[connection as usize].opening = Key::NONE;
        self.list_unasked(connection);
    }

    /// The headers of a call were not what the server expects: its tools have changed since they were listed.
    pub(super) fn read_tools_again(&mut self, connection: u32) {
        let Some(revision) = self.connections[connection as usize].revision else { return };
        if self.http(connection).listing.is_none() {
            self.http(connection).listing = Some(ToolPlans::new());
            self.ask_for_tools(connection, revision, None);
        }
    }

    fn http_initialized(
        &mut self,
        now: Instant,
        connection: u32,
        status: u16,
        body: Option<&[u8]>,
        sink: &mut impl Sink,
    ) {
        let refused = format!("the server answered initialize with HTTP {status}");
        let answer = body.map_or(Initialized::Refused(refused), handshake::initialized);
        match answer {
            Initialized::Refused(reason)
                if matches!(status, 400 | 404 | 405)
                    && self.settings.revision.is_none_or(|one| one == Revision::V2024_11_05) =>
            {
                if self.renews_later(now, connection, &reason) {
                    // Exchanges go on that are none of HTTP+SSE.
                    return;
                }
                self.http(connection).refusal = Some(format!("{reason} (HTTP {status})"));
                self.http(connection).dialect = Dialect::Events;
                self.ask_for_endpoint(connection);
            }
            other => self.handle_initialized(now, connection, other, sink),
        }
    }

    /// HTTP+SSE: a GET whose first event says where to POST.
    fn ask_for_endpoint(&mut self, connection: u32) {
        let pool = self.http(connection);
        (pool.dialect, pool.stage) = (Dialect::Events, Stage::Endpoint);
        pool.template.forget_session();
        pool.template.forget_post_target();
        self.connections[connection as usize].opening_deadline =
            self.connections[connection as usize].attempt_deadline;
        if self.http_place_get(connection, Load::Events, None).is_none() {
            debug_assert!(false, "an opening has a lane");
        }
    }

    /// The first event of HTTP+SSE.
    pub(super) fn http_endpoint(&mut self, now: Instant, line: u32, data: &[u8], sink: &mut impl Sink) {
        let (connection, _) = self.of_line(line);
        if self.http(connection).stage != Stage::Endpoint {
            return;
        }
        let text = String::from_utf8_lossy(data);
        let pool = self.http(connection);
        match resolve(pool.template.origin(), pool.template.target(), text.trim()) {
            Some(target) => {
                pool.template.set_post_target(target);
                self.send_initialize(connection);
            }
            None => {
                let reason = format!("the endpoint {text:?} is of another origin, or no address");
                self.fail_opening(now, connection, &reason, sink);
            }
        }
    }

    /// The GET for the stream of events failed, or the stream ended.
    pub(super) fn http_no_stream(
        &mut self,
        now: Instant,
        connection: u32,
        status: u16,
        reason: &str,
        sink: &mut impl Sink,
    ) {
        let refusal = self.http(connection).refusal.take();
        let events_only = self.settings.http.as_ref().is_some_and(|http| http.events_only);
        if !is_ok(status) && !events_only {
            // It is to be found out anew what this server speaks.
            self.http(connection).dialect = Dialect::Streamable;
            self.memory.remember(None);
        }
        if !is_ok(status)
            && let Some(refusal) = refusal
        {
            // It was not HTTP+SSE either; what was said first is the better reason.
            self.fail_opening(now, connection, &refusal, sink);
            return;
        }
        if self.connections[connection as usize].state() == State::Initializing {
            self.fail_opening(now, connection, reason, sink);
        } else {
            self.lose_connection(now, connection, reason, sink);
        }
    }

    /// The server agreed on a legacy revision; it has to hear `notifications/initialized` before the first call.
    pub(in crate::proto::exchange) fn http_agreed(
        &mut self,
        connection: u32,
        revision: Revision,
        result: Value,
    ) {
        let pool = self.http(connection);
        pool.found = Some((revision, result));
        pool.stage = Stage::Initialized;
        pool.template.set_revision(Some(revision));
        let mut message = Vec::new();
        encode::notification(&mut message, encode::INITIALIZED, None);
        self.http_say(connection, message);
    }

    /// Does the opening stand or fall with what is on this line, an errand?
    pub(super) fn is_of_opening(&mut self, line: u32) -> bool {
        let (connection, _) = self.of_line(line);
        self.connections[connection as usize].state() == State::Initializing
            && (self.is_errand(line, INITIALIZED) || self.is_errand(line, INITIALIZE))
    }

    fn is_errand(&mut self, line: u32, method: &str) -> bool {
        memchr::memmem::find(self.lane(line).body(), method.as_bytes()).is_some()
    }

    /// An errand was accepted.
    pub(super) fn http_errand_done(&mut self, now: Instant, line: u32) {
        let (connection, _) = self.of_line(line);
        self.http(connection).errand_refusals = 0;
        let state = self.connections[connection as usize].state();
        if state != State::Initializing || self.http(connection).stage != Stage::Initialized {
            return;
        }
        // Over HTTP+SSE the answer to `initialize` may overtake the acceptance of its POST, which is this then.
        if !self.is_errand(line, INITIALIZED) {
            return;
        }
        let Some((revision, result)) = self.http(connection).found.take() else { return };
        self.connections[connection as usize].step(Event::Agreed);
        self.memory.introduce(ServerInfo { revision: Some(revision), result });
        if self.http(connection).dialect == Dialect::Events {
            self.memory.set_events_only();
        } else if self.settings.http.as_ref().is_some_and(|http| http.listen) {
            self.http(connection).listening = Listening::At(now);
            self.next_care = now;
        }
        self.become_ready(connection, revision);
    }
}

/// Where to POST: `reference` seen from `target` at `origin`, as a target at that same origin.
fn resolve(origin: &str, target: &str, reference: &str) -> Option<String> {
    let base = url::Url::parse(origin).ok()?;
    let found = base.join(target).ok()?.join(reference).ok()?;
    if reference.is_empty() || found.origin() != base.origin() {
        return None;
    }
    let query = found.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{}{query}", found.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_resolved_against_the_stream_and_stays_at_its_origin() {
        let from = |reference| resolve("http://h:8080", "/a/sse", reference);
        assert_eq!(from("/message?sessionId=1").as_deref(), Some("/message?sessionId=1"));
        assert_eq!(from("message").as_deref(), Some("/a/message"));
        assert_eq!(from("http://h:8080/x").as_deref(), Some("/x"));
        for foreign in ["http://evil/x", "https://h:8080/x", "//evil/x", "http://h:81/x", ""] {
            assert_eq!(from(foreign), None, "{foreign}");
        }
    }
}
