//! What is known of a server's arrays: shared by the shards of an engine and, for one behind a URL, by the whole process.
//!
//! One word: not asked yet, none, or how many calls go into one. One shard asks; the others read. Unlike the era it is shared by
//! clients that insist on a revision, too: there are arrays in one revision only, so the answer is the same for all who get it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use parking_lot::Mutex;

use crate::proto::batch::ArrayVerdict;

/// What this process has found out of the servers behind URLs.
static FOUND: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// Addresses remembered; beyond this the first of the alphabet is forgotten.
const FOUND_MAX: usize = 4096;

/// The memory of one engine.
#[derive(Debug, Default)]
pub(crate) struct ArrayMemory {
    verdict: AtomicU32,
    /// A shard of this engine is asking.
    asking: AtomicBool,
    /// The URL, if there is one.
    address: String,
}

impl ArrayMemory {
    /// For the server at this URL; an empty one shares nothing.
    pub(crate) fn of(address: String) -> Self {
        let found = FOUND.lock().get(&address).copied().unwrap_or_default();
        Self { verdict: AtomicU32::new(found), address, ..Self::default() }
    }

    pub(crate) fn verdict(&self) -> ArrayVerdict {
        ArrayVerdict::of(self.verdict.load(Ordering::Acquire))
    }

    /// Remembers what was found out; [`ArrayVerdict::UNKNOWN`] forgets.
    pub(crate) fn settle(&self, verdict: ArrayVerdict) {
        self.verdict.store(verdict.number(), Ordering::Release);
        if self.address.is_empty() {
            return;
        }
        let mut found = FOUND.lock();
        if verdict == ArrayVerdict::UNKNOWN {
            found.remove(&self.address);
            return;
        }
        if found.len() >= FOUND_MAX && !found.contains_key(&self.address) {
            found.pop_first();
        }
        found.insert(self.address.clone(), verdict.number());
    }

    /// May the caller ask? Only one may at a time, until [`Self::asked`].
    pub(crate) fn ask(&self) -> bool {
        !self.asking.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn asked(&self) {
        self.asking.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_one_url_know_what_one_of_them_has_found() {
        let (first, other) = ("http://h.invalid/arrays".to_owned(), "http://h.invalid/other".to_owned());
        ArrayMemory::of(first.clone()).settle(ArrayVerdict::ANY.after_failure(100));
        assert_eq!(ArrayMemory::of(first.clone()).verdict().calls_max(), Some(50));
        assert_eq!(ArrayMemory::of(other).verdict(), ArrayVerdict::UNKNOWN);
        ArrayMemory::of(first.clone()).settle(ArrayVerdict::UNKNOWN);
        assert_eq!(ArrayMemory::of(first).verdict(), ArrayVerdict::UNKNOWN);
        ArrayMemory::of(String::new()).settle(ArrayVerdict::NONE);
        assert_eq!(
            ArrayMemory::of(String::new()).verdict(),
            ArrayVerdict::UNKNOWN,
            "servers without a URL are not the same"
        );
    }

    #[test]
    fn one_asks_at_a_time() {
        let memory = ArrayMemory::default();
        assert!(memory.ask() && !memory.ask());
        memory.asked();
        assert!(memory.ask());
    }
}
