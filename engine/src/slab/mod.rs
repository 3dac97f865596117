//! A lock-free slab: many threads reserve and release slots, each reservation has a key that never comes again.
//!
//! It is generic and has never heard of a request. A slot's value is made once and stays; what the holder of a key
//! may do with it is the value's own affair (`queue::completion`).
//!
//! | field | who may touch it | when |
//! |---|---|---|
//! | `generation` of a slot | reads: anyone; writes: the one who releases the slot | while the slot is reserved |
//! | `next` of a slot | `FreeList` only | while the slot is free or being pushed |
//! | `value` | shared reference for anyone | always |
//!
//! | store | ordering | pairs with | publishes |
//! |---|---|---|---|
//! | `generation` in `release` and `renew` | Release | Acquire in `get` | that the former holder is done |
//! | `head` in `FreeList::push` | Release | Acquire in `FreeList::pop` | `next` and `generation` of the pushed slot |
//!
//! Units: slots. Cost: one compare-and-swap to reserve, one to release. Always: a slot is free, reserved, drawn or
//! retired, and in one of these only. A slot whose generations are used up is retired, never reused.
//! Proof: `loom_*` and `agrees_with_a_mutex_twin`, below.

pub(crate) mod free_list;
pub(crate) mod key;
pub(crate) mod magazine;

use crate::base::sync::{AtomicU64, Ordering};

use free_list::{FreeList, Link};
use key::{Key, KeyLayout};
use magazine::Magazine;

/// Slots with values of type `T`, reserved and released without a lock.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Box<[Slot<T>]>,
    free: FreeList,
    layout: KeyLayout,
    /// Slots that `reserve` will never give again: their generations are used up, or they were drawn.
    retired: AtomicU64,
}

#[derive(Debug)]
struct Slot<T> {
    generation: AtomicU64,
    next: Link,
    value: T,
}

impl<T> AsRef<Link> for Slot<T> {
    fn as_ref(&self) -> &Link {
        &self.next
    }
}

impl<T> Slab<T> {
    /// A slab of `capacity` slots, numbered from 0.
    pub(crate) fn new(layout: KeyLayout, capacity: u32, mut value: impl FnMut() -> T) -> Self {
        assert!(capacity <= layout.slots(), "{capacity} slots do not fit a key layout of {}", layout.slots());
        let slots: Box<[Slot<T>]> = (0..capacity)
            .map(|_| Slot {
                generation: AtomicU64::new(KeyLayout::FIRST_GENERATION),
                next: Link::new(),
                value: value(),
            })
            .collect();
        let free = FreeList::new();
        for slot in (0..capacity).rev() {
            free.push(&slots, slot);
        }
        Self { slots, free, layout, retired: AtomicU64::new(0) }
    }

    /// Takes a free slot, or `None` while there is none. Full is a state, not an error.
    pub(crate) fn reserve(&self) -> Option<Key> {
        let slot = self.free.pop(&self.slots)?;
        // Relaxed: `pop` acquired what the releasing thread published.
        Some(self.layout.key(self.slots[slot as usize].generation.load(Ordering::Relaxed), slot))
    }

    /// Gives a slot back. Only the holder of `key` may do so, and once; its next key is another.
    pub(crate) fn release(&self, key: Key) {
        if self.renew(key) {
            self.free.push(&self.slots, self.layout.slot(key));
        } else {
            self.retired.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends a key of a slot that was drawn: the slot stays its owner's, under the next key. `false` if there is none.
    pub(crate) fn renew(&self, key: Key) -> bool {
        let Some(next) = self.layout.next(key) else { return false };
        let slot = &self.slots[self.layout.slot(key) as usize];
        slot.generation.store(self.layout.generation(next), Ordering::Release);
        true
    }

    /// The value behind a live key; `None` when the key is stale or was never ours.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        if !self.layout.owns(key) {
            return None;
        }
        let slot = self.slots.get(self.layout.slot(key) as usize)?;
        (slot.generation.load(Ordering::Acquire) == self.layout.generation(key)).then_some(&slot.value)
    }

    /// The number of a key's slot.
    pub(crate) fn slot(&self, key: Key) -> u32 {
        self.layout.slot(key)
    }

    /// Was no slot free just now?
    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Have all slots been retired? Then `reserve` will never succeed again.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.retired.load(Ordering::Relaxed) >= self.slots.len() as u64
    }

    /// Moves up to `count` slots out for good, to a single owner who then needs no atomics for them.
    pub(crate) fn draw(&self, count: u32) -> Magazine {
        let mut keys: Vec<Key> = (0..count).map_while(|_| self.reserve()).collect();
        self.retired.fetch_add(keys.len() as u64, Ordering::Relaxed);
        keys.reverse();
        Magazine::new(self.layout, keys)
    }
}

#[cfg(all(test, not(volley_loom)))]
mod tests {
    use std::{collections::HashSet, sync::Mutex};

    use proptest::prelude::*;

    use super::*;

    /// The twin: a set of live keys behind a lock. It cannot be wrong, only slow.
    #[derive(Default)]
    struct Twin {
        live: Mutex<HashSet<Key>>,
        ever: Mutex<HashSet<Key>>,
    }

    proptest! {
        #[test]
        fn agrees_with_a_mutex_twin(steps in proptest::collection::vec(any::<Option<u8>>(), 0..400)) {
            let slab = Slab::new(KeyLayout::new(4, 0, 1), 8, || ());
            let twin = Twin::default();
            let mut held: Vec<Key> = Vec::new();
            for step in steps {
                match step {
                    None => {
                        let key = slab.reserve();
                        prop_assert_eq!(key.is_some(), held.len() < 8);
                        if let Some(key) = key {
                            prop_assert!(twin.live.lock().unwrap().insert(key));
                            prop_assert!(twin.ever.lock().unwrap().insert(key), "a key came twice");
                            held.push(key);
                        }
                    }
                    Some(which) if !held.is_empty() => {
                        let key = held.swap_remove(which as usize % held.len());
                        twin.live.lock().unwrap().remove(&key);
                        slab.release(key);
                    }
                    Some(_) => {}
                }
                for &key in twin.ever.lock().unwrap().iter() {
                    prop_assert_eq!(slab.get(key).is_some(), twin.live.lock().unwrap().contains(&key));
                }
            }
        }
    }

    #[test]
    fn a_slot_that_was_drawn_stays_with_its_owner() {
        let slab = Slab::new(KeyLayout::new(3, 0, 1), 8, || ());
        let mut drawn = slab.draw(1);
        let first = drawn.take().unwrap();
        assert!(slab.get(first).is_some() && slab.renew(first));
        drawn.give_back(first);
        let second = drawn.take().unwrap();
        assert!(slab.get(first).is_none() && slab.get(second).is_some());
        let others: Vec<Key> = std::iter::from_fn(|| slab.reserve()).collect();
        assert!(others.len() == 7 && !others.contains(&second));
    }

    #[test]
    fn threads_never_hold_the_same_slot() {
        let slab = Slab::new(KeyLayout::new(3, 0, 1), 8, || std::sync::atomic::AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let Some(key) = slab.reserve() else { continue };
                        let value = slab.get(key).expect("a live key");
                        assert_eq!(value.fetch_add(1, std::sync::atomic::Ordering::Relaxed), 0);
                        value.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                        slab.release(key);
                    }
                });
            }
        });
    }

    #[test]
    fn an_exhausted_slot_is_retired() {
        // Two bits of slot leave 51 of generation; start two before the end.
        let layout = KeyLayout::new(2, 0, 1);
        let slab = Slab::new(layout, 1, || ());
        let last = layout.generation_max();
        slab.slots[0].generation.store(last - 1, Ordering::Relaxed);
        let key = slab.reserve().expect("free");
        slab.release(key);
        let key = slab.reserve().expect("one generation left");
        assert_eq!(layout.generation(key), last);
        slab.release(key);
        assert_eq!(slab.reserve(), None, "a retired slot must not come back");
        assert!(slab.is_exhausted());
    }

    #[test]
    fn foreign_and_stale_keys_find_nothing() {
        let slab = Slab::new(KeyLayout::new(2, 1, 2), 4, || ());
        let other = Slab::new(KeyLayout::new(2, 0, 2), 4, || ());
        let key = other.reserve().expect("free");
        assert!(slab.get(key).is_none());
        other.release(key);
        assert!(other.get(key).is_none());
        assert!(Key::from_wire(u64::MAX).is_none());
    }
}

#[cfg(all(test, volley_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    /// Two threads reserve and release on two slots: no slot is held twice, none is lost.
    #[test]
    fn loom_reserve_and_release_by_two() {
        loom::model(|| {
            let slab =
                Arc::new(Slab::new(KeyLayout::new(1, 0, 1), 2, || loom::sync::atomic::AtomicU32::new(0)));
            let work = |slab: Arc<Slab<loom::sync::atomic::AtomicU32>>| {
                for _ in 0..2 {
                    if let Some(key) = slab.reserve() {
                        let value = slab.get(key).expect("a live key");
                        assert_eq!(value.fetch_add(1, Ordering::Relaxed), 0, "held twice");
                        value.fetch_sub(1, Ordering::Relaxed);
                        slab.release(key);
                    }
                }
            };
            let second = Arc::clone(&slab);
            let thread = thread::spawn(move || work(second));
            work(Arc::clone(&slab));
            thread.join().unwrap();
            let (a, b) = (slab.reserve().expect("free"), slab.reserve().expect("free"));
            assert_ne!(slab.layout.slot(a), slab.layout.slot(b));
            assert!(slab.reserve().is_none());
        });
    }

    /// One thread passes a key to another, who releases it while the first reserves again (ABA on the list's head).
    #[test]
    fn loom_release_elsewhere() {
        loom::model(|| {
            let slab = Arc::new(Slab::new(KeyLayout::new(1, 0, 1), 2, || ()));
            let key = slab.reserve().expect("free");
            let other = Arc::clone(&slab);
            let thread = thread::spawn(move || other.release(key));
            let mine = slab.reserve().expect("one was free");
            assert_ne!(mine, key);
            slab.release(mine);
            thread.join().unwrap();
            assert!(slab.get(key).is_none(), "a stale key must find nothing");
            assert!(slab.reserve().is_some() && slab.reserve().is_some() && slab.reserve().is_none());
        });
    }
}
