//! What an engine remembers of its server: the era, probed once and shared by all shards, and what it said of itself.
//!
//! Over HTTP the era belongs to the address, so all clients of this process share what one has found out. A server that has been
//! replaced by one of another era is noticed when the connection is opened, and asked again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use crate::proto::{
    exchange::EraMemory, http::plans::ToolPlans, message::handshake::ServerInfo, revision::Revision,
};

/// What this process has found out of the servers behind URLs: the place of the revision, and whether it is HTTP+SSE.
static VERDICTS: Mutex<BTreeMap<String, (u8, bool)>> = Mutex::new(BTreeMap::new());

/// Addresses remembered in one process; beyond this the first is forgotten.
const VERDICTS_MAX: usize = 4096;

/// The memory of one engine.
#[derive(Default)]
pub(crate) struct Memory {
    /// 0: nothing is known; otherwise the place of the revision in the table, plus one.
    revision: AtomicU8,
    info: Mutex<Option<Arc<ServerInfo>>>,
    /// Over HTTP: it speaks HTTP+SSE only.
    events_only: AtomicBool,
    /// Over HTTP: which parameters of which tools are mirrored.
    plans: Mutex<Option<Arc<ToolPlans>>>,
    /// The value of `Authorization`, and how often it has changed.
    token: Mutex<Option<Box<str>>>,
    token_version: AtomicU64,
    /// The URL, if what is known of it is shared in this process.
    address: Option<String>,
    /// Tells the other shards that there is news.
    tell: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Memory {
    /// The memory of an engine whose server is at this URL.
    pub(crate) fn of(address: Option<String>) -> Self {
        let verdict = address.as_ref().and_then(|address| VERDICTS.lock().get(address).copied());
        let (revision, events_only) = verdict.unwrap_or_default();
        Self {
            revision: AtomicU8::new(revision),
            events_only: AtomicBool::new(events_only),
            address,
            ..Self::default()
        }
    }

    /// Tells the process, or has it forget.
    fn share(&self) {
        let Some(address) = &self.address else { return };
        let verdict = (self.revision.load(Ordering::Acquire), self.events_only.load(Ordering::Acquire));
        let mut verdicts = VERDICTS.lock();
        if verdict.0 == 0 {
            verdicts.remove(address);
            return;
        }
        if verdicts.len() >= VERDICTS_MAX && !verdicts.contains_key(address) {
            verdicts.pop_first();
        }
        verdicts.insert(address.clone(), verdict);
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
    pub(crate) fn set_token(&self, token: Option<Box<str>>) {
        if token.is_some() {
            *self.token.lock() = token;
            self.token_version.fetch_add(1, Ordering::Release);
        }
    }

    fn recall(&self) -> Option<Revision> {
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
        }
        self.memory.share();
        if let (Some(_), Some(tell)) = (revision, self.memory.tell.get()) {
            tell();
        }
    }

    fn may_probe(&self) -> bool {
        self.may_probe
    }

    fn introduce(&self, info: ServerInfo) {
        *self.memory.info.lock() = Some(Arc::new(info));
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

    fn token_version(&self) -> u64 {
        self.memory.token_version.load(Ordering::Acquire)
    }

    fn token(&self) -> Option<Box<str>> {
        self.memory.token.lock().clone()
    }
}
