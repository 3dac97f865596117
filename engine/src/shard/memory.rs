//! What an engine remembers of its server: the era, probed once and shared by all shards, and what it said of itself.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::proto::{
    exchange::EraMemory, http::plans::ToolPlans, message::handshake::ServerInfo, revision::Revision,
};

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
    /// Tells the other shards that there is news.
    tell: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Memory {
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
