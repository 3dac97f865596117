//! A magazine: slots that one owner has drawn from a slab for good and reuses without atomics.
//!
//! The shard takes the keys of bulk and inline calls from here; those of standing calls stand in one behind a lock, and their
//! slots are renewed in the slab besides. Each entry is the *next* key of a free slot, so taking
//! is a pop and giving back is an add and a push. Last in, first out, for the cache's sake.
//!
//! Owner: one shard, on one thread. Proof: `keys_never_come_twice`, below.

use super::key::{Key, KeyLayout};

/// Free slots of one owner.
#[derive(Debug)]
pub(crate) struct Magazine {
    layout: KeyLayout,
    free: Vec<Key>,
    /// Slots that have not been retired, free or in use.
    slots: usize,
}

impl Magazine {
    /// Slots `first..first + count` of a layout that no slab shares.
    pub(crate) fn alone(layout: KeyLayout, first: u32, count: u32) -> Self {
        assert!(first + count <= layout.slots());
        let keys =
            (first..first + count).rev().map(|slot| layout.key(KeyLayout::FIRST_GENERATION, slot)).collect();
        Self::new(layout, keys)
    }

    pub(super) fn new(layout: KeyLayout, free: Vec<Key>) -> Self {
        Self { layout, slots: free.len(), free }
    }

    #[inline]
    pub(crate) fn take(&mut self) -> Option<Key> {
        self.free.pop()
    }

    /// Ends a key; its slot's next one is free, unless the slot has to retire.
    #[inline]
    pub(crate) fn give_back(&mut self, key: Key) {
        match self.layout.next(key) {
            Some(next) => self.free.push(next),
            None => self.slots -= 1,
        }
    }

    /// Have all slots been retired?
    pub(crate) fn is_exhausted(&self) -> bool {
        self.slots == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_never_come_twice() {
        let mut magazine = Magazine::alone(KeyLayout::new(3, 0, 1), 1, 4);
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut ever, mut held) = (HashSet::new(), Vec::new());
        for _ in 0..10_000 {
            if rng.bool() {
                if let Some(key) = magazine.take() {
                    assert!(ever.insert(key), "{key:?} came twice");
                    held.push(key);
                }
            } else if !held.is_empty() {
                magazine.give_back(held.swap_remove(rng.usize(..held.len())));
            }
            assert_eq!(magazine.len() + held.len(), 4);
        }
    }
}
