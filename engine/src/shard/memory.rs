//! What an engine remembers of its server: the era, probed once and shared by all shards, what it said of itself,
//! and the token it accepts.
//!
//! Over HTTP the era belongs to the address, so all clients of this process share what one has found out. A server that has been
//! replaced by one of another era is noticed when the connection is opened, and asked again.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    thread,
};

use parking_lot::Mutex;
use serde_json::Value;

use super::{
    arrays::ArrayMemory,
    clock::Clock,
    refresh::{Refresher, Verdict},
};
use crate::{
    config::credentials::{Challenge, Credentials, check_token},
    proto::{
        batch::ArrayVerdict,
        exchange::{EraMemory, Reason},
        http::plans::ToolPlans,
        message::handshake::ServerInfo,
        revision::Revision,
    },
};

/// What this process has found out of the servers behind URLs.
static FINDINGS: Mutex<BTreeMap<String, Finding>> = Mutex::new(BTreeMap::new());

/// What was found out of one server.
#[derive(Clone, Default)]
struct Finding {
    /// The place of the revision in the table, plus one.
    revision: u8,
    /// It speaks HTTP+SSE only.
    events_only: bool,
    /// What it said of itself, to a client that nobody vouched for: what it says to others may be for them alone.
    info: Option<Arc<ServerInfo>>,
}

/// What a server said of itself is shared if it takes no more than this.
const SHARED_INFO_BYTES_MAX: usize = 16 * 1024;

/// Does a value take no more than so many bytes, each of its parts at least 16? Of a longer one no more is looked at.
fn fits(value: &Value, left: &mut usize) -> bool {
    let own = 16 + value.as_str().map_or(0, str::len);
    if own > *left {
        return false;
    }
    *left -= own;
    match value {
        Value::Array(values) => values.iter().all(|value| fits(value, left)),
        Value::Object(members) => members.iter().all(|(name, value)| {
            let room = name.len() <= *left;
            *left = left.saturating_sub(name.len());
            room && fits(value, left)
        }),
        _ => true,
    }
}

/// Addresses remembered in one process; beyond this the first of the alphabet is forgotten.
const FINDINGS_MAX: usize = 4096;

/// The memory of one engine.
#[derive(Default)]
pub(crate) struct Memory {
    /// 0: nothing is known; otherwise the place of the revision in the table, plus one.
    revision: AtomicU8,
    info: Mutex<Option<Arc<ServerInfo>>>,
    /// Why the first shard has given up finding out, if it has.
    given_up: Mutex<Option<Reason>>,
    /// Over HTTP: it speaks HTTP+SSE only.
    events_only: AtomicBool,
    /// Over HTTP: which parameters of which tools are mirrored.
    plans: Mutex<Option<Arc<ToolPlans>>>,
    /// The value of `Authorization`, and how often it has changed.
    token: Mutex<Option<Box<str>>>,
    token_version: AtomicU64,
    /// Who brings tokens, if anybody does. Held while the token is changed, so that no refusal is seen between the two.
    refresher: Option<Mutex<Refresher>>,
    /// Somebody is being asked for a token.
    awaiting: AtomicBool,
    /// The URL, if what is known of it is shared in this process.
    address: Option<String>,
    /// The client has nothing by which the server could know it from others.
    is_anonymous: bool,
    /// What is known of its arrays.
    pub(crate) arrays: ArrayMemory,
    /// Tells the other shards that there is news.
    tell: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Memory {
    pub(crate) fn has_credentials(&self) -> bool {
        self.refresher.is_some()
    }

    /// The memory of an engine whose server is at this URL. The era is the same for all clients of the process; what the server
    /// said of itself is shared by anonymous ones only (MCP 2026-07-28: nothing private crosses authorization contexts).
    pub(crate) fn of(address: Option<String>, is_anonymous: bool) -> Self {
        let found = address.as_ref().and_then(|address| FINDINGS.lock().get(address).cloned());
        let found = found.unwrap_or_default();
        Self {
            revision: AtomicU8::new(found.revision),
            events_only: AtomicBool::new(found.events_only),
            info: Mutex::new(found.info.filter(|_| is_anonymous)),
            address,
            is_anonymous,
            ..Self::default()
        }
    }

    /// What is known of the arrays of the server at `url` is shared in this process.
    pub(crate) fn with_arrays(mut self, url: String) -> Self {
        self.arrays = ArrayMemory::of(url);
        self
    }

    /// With a token for the server at `url` to begin with, and somebody who brings others, or neither.
    pub(crate) fn with_tokens(
        mut self,
        url: String,
        authorization: Option<Box<str>>,
        credentials: Option<Arc<dyn Credentials>>,
    ) -> Self {
        self.refresher = credentials.map(|credentials| Mutex::new(Refresher::new(credentials, url)));
        self.set_token(authorization);
        self
    }

    /// Tells the process, or has it forget.
    fn share(&self) {
        let Some(address) = &self.address else { return };
        let revision = self.revision.load(Ordering::Acquire);
        let mut findings = FINDINGS.lock();
        if revision == 0 {
            findings.remove(address);
            return;
        }
        if findings.len() >= FINDINGS_MAX && !findings.contains_key(address) {
            findings.pop_first();
        }
        let finding = findings.entry(address.clone()).or_default();
        (finding.revision, finding.events_only) = (revision, self.events_only.load(Ordering::Acquire));
        if self.is_anonymous {
            // A long one stays with its client: this process has it for good, of as many servers as it meets.
            finding.info = self.info().filter(|info| fits(&info.result, &mut { SHARED_INFO_BYTES_MAX }));
        }
    }

    /// Whom to tell when the era was found out.
    pub(crate) fn tell(&self, tell: impl Fn() + Send + Sync + 'static) {
        // Set once, when the engine starts.
        let _ = self.tell.set(Box::new(tell));
    }

    pub(crate) fn info(&self) -> Option<Arc<ServerInfo>> {
        self.info.lock().clone()
    }

    /// The value of `Authorization` from now on.
    fn set_token(&self, token: Option<Box<str>>) {
        if token.is_some() {
            *self.token.lock() = token;
            self.token_version.fetch_add(1, Ordering::Release);
        }
    }

    /// Asks for a token, on a thread made for it.
    fn ask(self: &Arc<Self>, credentials: Arc<dyn Credentials>, challenge: Challenge) {
        let memory = Arc::clone(self);
        let asking = move || {
            let answer = catch_unwind(AssertUnwindSafe(|| credentials.token(&challenge)));
            memory.settle(match answer {
                Ok(Ok(token)) => check_token(&token).map(|()| token),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the credentials panicked".to_owned()),
            });
        };
        if let Err(error) = thread::Builder::new().name("volley-credentials".to_owned()).spawn(asking) {
            self.settle(Err(format!("the system refused a thread for the credentials: {error}")));
        }
    }

    /// The credentials have answered.
    fn settle(&self, answer: Result<String, String>) {
        if let Some(refresher) = &self.refresher {
            let mut refresher = refresher.lock();
            match answer {
                Ok(token) => {
                    self.set_token(Some(format!("Bearer {token}").into_boxed_str()));
                    refresher.brought();
                }
                Err(error) => refresher.failed(Clock::new().now(), &error),
            }
            // Under the lock: from here on another may ask, and then one is awaited again.
            self.awaiting.store(false, Ordering::Release);
        }
        if let Some(tell) = self.tell.get() {
            tell();
        }
    }

    /// The revision that was found out: one of the modern era, or any legacy one for "legacy".
    pub(crate) fn recall(&self) -> Option<Revision> {
        let place = self.revision.load(Ordering::Acquire).checked_sub(1)?;
        Revision::all().nth(place.into())
    }
}

/// One shard's view of the memory.
pub(crate) struct ShardMemory {
    pub(crate) memory: Arc<Memory>,
    /// The first shard finds out the era, the others wait for it.
    pub(crate) may_probe: bool,
}

impl EraMemory for ShardMemory {
    fn recall(&self) -> Option<Revision> {
        self.memory.recall()
    }

    fn remember(&self, revision: Option<Revision>) {
        let place = revision.and_then(|revision| Revision::all().position(|one| one == revision));
        self.memory.revision.store(place.map_or(0, |place| place as u8 + 1), Ordering::Release);
        if revision.is_none() {
            // Whatever it was, it is to be found out anew.
            self.memory.events_only.store(false, Ordering::Release);
            self.memory.arrays.settle(ArrayVerdict::UNKNOWN);
        }
        self.memory.share();
        if let (Some(_), Some(tell)) = (revision, self.memory.tell.get()) {
            tell();
        }
    }

    fn may_probe(&self) -> bool {
        self.may_probe
    }

    fn set_given_up(&self, reason: Option<Reason>) {
        let is_news = reason.is_some();
        *self.memory.given_up.lock() = reason;
        if let (true, Some(tell)) = (is_news, self.memory.tell.get()) {
            tell();
        }
    }

    fn given_up(&self) -> Option<Reason> {
        self.memory.given_up.lock().clone()
    }

    fn introduce(&self, info: ServerInfo) {
        *self.memory.info.lock() = Some(Arc::new(info));
        self.memory.share();
    }

    fn is_events_only(&self) -> bool {
        self.memory.events_only.load(Ordering::Acquire)
    }

    fn set_events_only(&self) {
        self.memory.events_only.store(true, Ordering::Release);
        self.memory.share();
    }

    fn plans(&self) -> Option<Arc<ToolPlans>> {
        self.memory.plans.lock().clone()
    }

    fn set_plans(&self, plans: Arc<ToolPlans>) {
        *self.memory.plans.lock() = Some(plans);
    }

    fn arrays(&self) -> ArrayVerdict {
        self.memory.arrays.verdict()
    }

    fn settle_arrays(&self, verdict: ArrayVerdict) {
        self.memory.arrays.settle(verdict);
    }

    fn ask_for_arrays(&self) -> bool {
        self.memory.arrays.ask()
    }

    fn asked_for_arrays(&self) {
        self.memory.arrays.asked();
    }

    fn token_version(&self) -> u64 {
        self.memory.token_version.load(Ordering::Acquire)
    }

    fn token(&self) -> Option<Box<str>> {
        self.memory.token.lock().clone()
    }

    fn refused(&self, had: u64, status: u16, challenge: &str) -> bool {
        let Some(refresher) = &self.memory.refresher else { return false };
        let (verdict, credentials, challenge) = {
            let mut refresher = refresher.lock();
            let challenge = Challenge::new(&refresher.server, status, challenge);
            let current = self.memory.token_version.load(Ordering::Acquire);
            let verdict = refresher.refused(Clock::new().now(), current, had, &challenge);
            if verdict == Verdict::Ask {
                self.memory.awaiting.store(true, Ordering::Release);
            }
            (verdict, Arc::clone(&refresher.credentials), challenge)
        };
        if verdict == Verdict::Ask {
            self.memory.ask(credentials, challenge);
        }
        verdict != Verdict::Final
    }

    fn accepted(&self, had: u64) {
        if let Some(refresher) = &self.memory.refresher {
            let mut refresher = refresher.lock();
            if self.memory.token_version.load(Ordering::Acquire) == had {
                refresher.accepted();
            }
        }
    }

    fn awaits_token(&self) -> bool {
        self.memory.awaiting.load(Ordering::Acquire)
    }

    fn why_no_token(&self) -> Option<Reason> {
        self.memory.refresher.as_ref().and_then(|refresher| refresher.lock().error())
    }
}
