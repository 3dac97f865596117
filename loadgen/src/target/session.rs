//! One client's conversation: lines in, lines out, and what is still owed.
//!
//! The session decides. It owns no socket and asks no clock; the event loop lends it a [`Turn`]
//! with the time, the shared world and its output. Plain calls of `echo` take the spliced path
//! in [`Session::take_lines`]; everything else is read with care and answered here.
//!
//! The era is fixed by the first request that is accepted:
//!
//! ```text
//! Undecided --initialize--> Legacy(revision)      enveloped requests: -32600
//!     \------enveloped----> Modern(revision)      initialize: -32022, ping: -32601
//! ```
//!
//! What always holds: each request of a batch is settled exactly once, by an answer or by the
//! decision that none will come, and a batch is answered when all of its requests are settled.
//! Clauses: MCP lifecycle, versioning and batching of each revision. Proof: `session_tests`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;

use super::args::{BatchPolicy, Protocol};
use super::envelope::{self, Message, Request};
use super::fixtures;
use super::owed::{Answer, Destination, IdKey, Waiting};
use super::protocol;
use super::reply::{Fault, Outcome};
use super::revision::Revision;
use super::scan::{self, EchoCall, MetaRule};
use super::subscription::{Listener, Memory};
use super::timer::Ticket;
use super::tools;
use super::world::{Turn, World};

/// The state of one connection's conversation.
pub(super) struct Session {
    pub(super) era: Era,
    /// The last `_meta` that was walked and found good.
    known_meta: Vec<u8>,
    /// Answers held by a timer, by the id of their request.
    pub(super) held: HashMap<IdKey, Ticket>,
    batches: HashMap<u32, Batch>,
    batch_next: u32,
    /// What waits for the client's word, by the number in our request's id.
    pub(super) asked: Vec<(u64, Waiting)>,
    pub(super) listeners: Vec<Listener>,
    /// Shared by all exchanges of a session.
    pub(super) memory: Rc<RefCell<Memory>>,
    /// The status that the last answer wants over HTTP.
    pub(super) status: Option<u16>,
    /// The stream is to leave its connection after so many bytes of output.
    pub(super) leaves_at: Option<usize>,
    /// Answers gathered for `--reorder`.
    pub(super) shuffled: Vec<Vec<u8>>,
    /// Answers to calls sent on this connection; `--drop-after` counts them.
    pub(super) answered: u64,
    /// The connection ends as soon as its output is written.
    pub(super) ending: bool,
    /// Requests outside of arrays that have neither an answer nor the decision to get none.
    unsettled: usize,
    /// Whether there was any request, and any call among them.
    pub(super) heard: Heard,
    /// The code of the error with which the last request was turned away before it was begun.
    pub(super) refused: Option<i32>,
    /// Responses and cancellations that mean nothing here; kept for whoever they are meant for.
    pub(super) strays: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    Undecided,
    Legacy(Revision),
    Modern(Revision),
}

/// What a conversation has heard so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    pub(super) request: bool,
    pub(super) call: bool,
}

/// An array that is being answered.
struct Batch {
    /// Requests not settled yet, and one more while the array is still being read.
    open: usize,
    /// Answers so far.
    answers: Vec<Vec<u8>>,
}

impl Session {
    pub(super) fn new() -> Self {
        Self {
            era: Era::Undecided,
            known_meta: Vec::new(),
            held: HashMap::new(),
            batches: HashMap::new(),
            batch_next: 0,
            asked: Vec::new(),
            listeners: Vec::new(),
            memory: Rc::default(),
            status: None,
            leaves_at: None,
            shuffled: Vec::new(),
            answered: 0,
            ending: false,
            unsettled: 0,
            heard: Heard::default(),
            refused: None,
            strays: None,
        }
    }

    /// One exchange of a conversation that is spread over many: the era is known, and what is
    /// meant for another exchange is kept.
    pub(super) fn of_exchange(era: Era) -> Self {
        Self { era, strays: Some(Vec::new()), ..Self::new() }
    }

    /// Whether every request is dealt with; one that is never to be answered never is.
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled == 0 && self.batches.is_empty()
    }

    /// Whether answers are still to come though nothing more is read.
    pub(super) fn owes(&self) -> bool {
        !self.held.is_empty()
    }

    /// Handles the whole lines at the start of `bytes` and says how many bytes they were.
    ///
    /// It stops early when the output is full; then it is called again with the rest.
    pub(super) fn take_lines(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> usize {
        let mut at = 0;
        while at < bytes.len() && turn.out.len() < turn.out_bytes_full && !self.ending && !turn.world.dying {
            let rest = &bytes[at..];
            if let Some(consumed) = self.take_plain_call(rest, scan::scan, turn) {
                at += consumed;
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', rest) else { break };
            self.handle_line(&rest[..end], turn);
            at += end + 1;
        }
        at
    }

    /// Handles one message of a transport that has no lines.
    pub(super) fn take_text(&mut self, text: &str, turn: &mut Turn<'_>) {
        if self.ending || self.take_plain_call(text.as_bytes(), scan::scan_whole, turn).is_some() {
            return;
        }
        self.handle_line(text.as_bytes(), turn);
    }

    /// Answers one plain call of `echo` and says how many bytes it was.
    #[inline]
    fn take_plain_call(
        &mut self,
        bytes: &[u8],
        scan: impl for<'a> Fn(&'a [u8], MetaRule<'_>) -> Option<EchoCall<'a>>,
        turn: &mut Turn<'_>,
    ) -> Option<usize> {
        let (revision, rule) = match self.era {
            Era::Undecided => return None,
            Era::Legacy(revision) => (revision, MetaRule::Absent),
            Era::Modern(revision) => {
                let version = revision.text().as_bytes();
                (revision, MetaRule::Required { version, known: &self.known_meta })
            }
        };
        let call = scan(bytes, rule)?;
        let world = &mut *turn.world;
        if world.calls_are_plain {
            world.executed += 1;
            scan::splice(turn.out, &call, world.echo_tail(revision));
        } else {
            self.chaotic_echo(&call, revision, turn);
        }
        if let Some(meta) = call.meta_seen
            && meta.len() <= KNOWN_META_BYTES_MAX
        {
            self.known_meta.clear();
            self.known_meta.extend_from_slice(meta);
        }
        Some(call.consumed)
    }

    fn chaotic_echo(&mut self, call: &EchoCall<'_>, revision: Revision, turn: &mut Turn<'_>) {
        if turn.world.behaviour.never_answer {
            return;
        }
        let outcome = match self.before_call(turn) {
            Some(refusal) => refusal,
            None => tools::echo(call.message, revision, turn.world),
        };
        self.open(Destination::Line);
        self.conclude(Answer { id: call.id.to_vec(), outcome, to: Destination::Line }, turn);
    }

    /// Handles one line without its newline.
    fn handle_line(&mut self, line: &[u8], turn: &mut Turn<'_>) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        let Ok(line) = std::str::from_utf8(line) else {
            return self.reply_fault(None, Fault::NOT_JSON, Destination::Line, turn);
        };
        match line.as_bytes()[0] {
            b'[' => self.handle_array(line, turn),
            _ => self.handle_message(line, Destination::Line, turn),
        }
    }

    /// Ends the conversation over a line that has no end in sight.
    pub(super) fn refuse_long_line(&mut self, turn: &mut Turn<'_>) {
        self.reply_fault(None, Fault::TOO_LONG, Destination::Line, turn);
        self.ending = true;
    }

    /// Handles the body of a request over HTTP: one message, or an array of them.
    pub(super) fn handle_text(&mut self, text: &str, turn: &mut Turn<'_>) {
        if text.starts_with('[') {
            self.handle_array(text, turn);
        } else {
            self.handle_message(text, Destination::Line, turn);
        }
    }

    /// Handles a message that another exchange had no use for: a response or a cancellation.
    pub(super) fn handle_stray(&mut self, json: &str, turn: &mut Turn<'_>) {
        match Message::parse(json) {
            Ok(Message::Notification { method, params }) => {
                self.handle_notification(&method, &params, json, turn);
            }
            Ok(Message::Response { id }) => self.handle_response(&id, json, turn),
            _ => {}
        }
    }

    /// The messages that are meant for other exchanges.
    pub(super) fn take_strays(&mut self) -> Vec<String> {
        self.strays.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn handle_array(&mut self, line: &str, turn: &mut Turn<'_>) {
        let allowed = matches!(self.era, Era::Legacy(revision) if revision.has_batches());
        let policy = if allowed { turn.world.protocol.batch } else { BatchPolicy::Refuse };
        let Some(elements) = envelope::parse_array(line) else {
            return self.reply_fault(None, Fault::NOT_JSON, Destination::Line, turn);
        };
        let to = match policy {
            BatchPolicy::Drop => return,
            BatchPolicy::Refuse => {
                return self.reply_fault(None, Fault::NO_BATCH, Destination::Line, turn);
            }
            _ if elements.is_empty() => {
                return self.reply_fault(None, Fault::EMPTY_BATCH, Destination::Line, turn);
            }
            _ if elements.len() > turn.world.protocol.batch_max => {
                return self.reply_fault(None, Fault::LONG_BATCH, Destination::Line, turn);
            }
            BatchPolicy::SeparateLines => {
                self.open(Destination::Line);
                Destination::Line
            }
            BatchPolicy::Answer | BatchPolicy::Shuffled | BatchPolicy::Groups => {
                let number = self.batch_next;
                self.batch_next = self.batch_next.wrapping_add(1);
                self.batches.insert(number, Batch { open: 1, answers: Vec::new() });
                Destination::Batch(number)
            }
        };
        for element in elements {
            self.handle_message(element.get(), to, turn);
        }
        self.settle(to, turn);
    }

    fn handle_message(&mut self, json: &str, to: Destination, turn: &mut Turn<'_>) {
        match Message::parse(json) {
            Ok(Message::Request(request)) => {
                self.open(to);
                self.heard.request = true;
                self.heard.call |= request.method == "tools/call";
                self.handle_request(&request, to, turn);
            }
            Ok(Message::Notification { method, params }) => {
                self.handle_notification(&method, &params, json, turn)
            }
            Ok(Message::Response { id }) => self.handle_response(&id, json, turn),
            Err(unreadable) => {
                self.open(to);
                self.reply_fault(unreadable.id, unreadable.fault, to, turn);
            }
        }
    }

    fn handle_request(&mut self, request: &Request<'_>, to: Destination, turn: &mut Turn<'_>) {
        let handshake = matches!(request.method.as_str(), "initialize" | "server/discover");
        let behaviour = &turn.world.behaviour;
        if if handshake { behaviour.ignore_handshake } else { behaviour.never_answer } {
            return self.leave_unanswered(to, turn);
        }
        if request.method == "initialize" {
            let outcome = self.initialize(request, to, turn.world);
            return self.reply(request.id, &outcome, to, turn);
        }
        let revision = match self.admit(request, turn.world) {
            Ok(revision) => revision,
            Err(refusal) => {
                self.refused = refusal.error_code();
                return self.reply(request.id, &refusal, to, turn);
            }
        };
        if turn.world.protocol.fixtures && self.play(request, revision, to, turn) {
            return;
        }
        let protocol = &turn.world.protocol;
        let outcome = match request.method.as_str() {
            "subscriptions/listen" => return self.listen(request, to, turn),
            "tools/call" => return self.call(request, revision, to, turn),
            "tools/list" => protocol::list_tools(&request.params, protocol, revision),
            "server/discover" => protocol::discover(&protocol.offer, revision),
            "resources/list" => protocol::empty_list("resources", revision),
            "resources/templates/list" => protocol::empty_list("resourceTemplates", revision),
            "prompts/list" => protocol::empty_list("prompts", revision),
            _ => Outcome::result("{}"),
        };
        self.reply(request.id, &outcome, to, turn);
    }

    fn initialize(&mut self, request: &Request<'_>, to: Destination, world: &World) -> Outcome {
        let offer = &world.protocol.offer;
        let outcome = match (self.era, offer.newest_legacy()) {
            (Era::Legacy(_), _) => return Fault::INITIALIZED.into(),
            (Era::Undecided, Some(newest)) if to == Destination::Line => {
                let capabilities = request.params.get("capabilities");
                let capabilities = capabilities.and_then(|json| serde_json::from_str(json).ok());
                self.memory.borrow_mut().capabilities = capabilities.unwrap_or_default();
                protocol::initialize(&request.params, &world.protocol, newest)
            }
            _ => {
                let asked = request.params.text("protocolVersion").unwrap_or_default();
                return protocol::unsupported_version(&asked, offer);
            }
        };
        outcome.map_or_else(
            |refusal| refusal,
            |(revision, outcome)| {
                self.era = Era::Legacy(revision);
                outcome
            },
        )
    }

    /// Says under which revision a request is served, or why it is not.
    fn admit(&mut self, request: &Request<'_>, world: &World) -> Result<Revision, Outcome> {
        let offer = &world.protocol.offer;
        let method = request.method.as_str();
        let enveloped = protocol::is_enveloped(&request.params);
        let modern = match (self.era, offer.newest_legacy()) {
            (Era::Legacy(_), _) => false,
            (Era::Modern(_), _) | (Era::Undecided, None) => true,
            (Era::Undecided, Some(_)) => {
                offer.newest_modern().is_some() && (enveloped || method == "server/discover")
            }
        };
        if modern {
            if !has_method(method, true, &world.protocol) {
                return Err(Fault::NO_METHOD.into());
            }
            let revision = protocol::check_envelope(&request.params, offer)?;
            self.era = Era::Modern(revision);
            return Ok(revision);
        }
        let revision = match (self.era, offer.newest_legacy()) {
            (Era::Legacy(_), _) if enveloped => return Err(Fault::WRONG_ERA.into()),
            (Era::Legacy(revision), _) => revision,
            (_, Some(newest)) if method == "ping" => return Ok(newest),
            (_, Some(newest)) if world.protocol.lenient => {
                self.era = Era::Legacy(newest);
                newest
            }
            _ if method == "server/discover" => return Err(Fault::NO_METHOD.into()),
            _ => return Err(Fault::NOT_INITIALIZED.into()),
        };
        if has_method(method, false, &world.protocol) { Ok(revision) } else { Err(Fault::NO_METHOD.into()) }
    }

    fn open(&mut self, to: Destination) {
        match self.batch(to) {
            Some(batch) => batch.open += 1,
            None => self.unsettled += 1,
        }
    }

    /// A request is not answered on purpose: an array goes without it, a client alone waits.
    pub(super) fn leave_unanswered(&mut self, to: Destination, turn: &mut Turn<'_>) {
        if matches!(to, Destination::Batch(_)) {
            self.settle(to, turn);
        }
    }

    /// One request of a batch is done with; after the last one the batch is answered.
    pub(super) fn settle(&mut self, to: Destination, turn: &mut Turn<'_>) {
        let Some(batch) = self.batch(to) else {
            self.unsettled = self.unsettled.saturating_sub(1);
            return;
        };
        batch.open -= 1;
        if batch.open > 0 {
            return;
        }
        let mut answers = std::mem::take(&mut batch.answers);
        let policy = turn.world.protocol.batch;
        if policy != BatchPolicy::Answer {
            turn.world.rng.shuffle(&mut answers);
        }
        let together = if policy == BatchPolicy::Groups { GROUP } else { answers.len().max(1) };
        for group in answers.chunks(together) {
            turn.out.push(b'[');
            turn.out.extend_from_slice(&group.join(&b','));
            turn.out.extend_from_slice(b"]\n");
        }
        if let Destination::Batch(number) = to {
            self.batches.remove(&number);
        }
    }

    /// Where the frames for a destination are gathered.
    pub(super) fn batch_answers(&mut self, to: Destination) -> Option<&mut Vec<Vec<u8>>> {
        self.batch(to).map(|batch| &mut batch.answers)
    }

    fn batch(&mut self, to: Destination) -> Option<&mut Batch> {
        let Destination::Batch(number) = to else { return None };
        self.batches.get_mut(&number)
    }
}

/// Whether an era knows a request.
fn has_method(method: &str, modern: bool, protocol: &Protocol) -> bool {
    match method {
        "tools/call" | "tools/list" | "resources/list" | "resources/templates/list" | "prompts/list" => true,
        "server/discover" | "subscriptions/listen" => modern,
        "ping" | "logging/setLevel" => !modern,
        _ => protocol.fixtures && fixtures::knows(method, &Value::Null),
    }
}

/// Answers in one array where an array is answered by several.
const GROUP: usize = 3;

/// Room for what a client usually says about itself; a longer `_meta` is walked each time.
const KNOWN_META_BYTES_MAX: usize = 1024;

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
