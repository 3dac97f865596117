//! A lock-free slab: many threads reserve and release slots, each reservation has a key that never comes again.
//!
//! It is generic and has never heard of a request. A slot's value is made once and stays; what the holder of a key
//! may do with it is the value's own affair (`queue::completion`).
//!
//! Slots are made, some at a time, when more are wanted than there ever were (`growing`).
//!
//! | field | who may touch it | when |
//! |---|---|---|
//! | `key` of a slot | reads: anyone; writes: the one who releases the slot | while the slot is reserved |
//! | `next` of a slot | `FreeList` only | while the slot is free or being pushed |
//! | `value` | shared reference for anyone | always |
//!
//! | store | ordering | pairs with | publishes |
//! |---|---|---|---|
//! | `whole` in `grow`, after the last slots were pushed | Release | Acquire in `reserve` and `is_full` | that they were |
//! | `key` in `release` and `renew` | Release | Acquire in `get` | that the former holder is done |
//! | `head` in `FreeList::push` | Release | Acquire in `FreeList::pop` | `next` and `key` of the pushed slot |
//!
//! Units: slots. Cost: one compare-and-swap to reserve, one to release. Always: a slot is free, reserved, drawn or
//! retired, and in one of these only. A slot whose generations are used up is retired, never reused.
//! Proof: `loom_*` and `agrees_with_a_mutex_twin`, below.

pub(crate) mod free_list;
mod growing;
pub(crate) mod key;
pub(crate) mod magazine;

use crate::base::sync::{AtomicBool, AtomicU64, Ordering};

use free_list::{FreeList, Link};
use growing::Growing;
use key::{Key, KeyLayout};
use magazine::Magazine;

/// Slots that are made at a time: 10 KiB, where they hold the cells of calls.
const SLOTS_AT_ONCE: usize = 64;

/// Slots with values of type `T`, reserved and released without a lock.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Growing<Slot<T>>,
    /// All slots are made, and were free once.
    whole: AtomicBool,
    make: fn() -> T,
    free: FreeList,
    layout: KeyLayout,
    /// Slots that `reserve` will never give again: their generations are used up, or they were drawn.
    retired: AtomicU64,
}

#[derive(Debug)]
struct Slot<T> {
    /// The key of whoever has it, or of whoever will be next.
    key: AtomicU64,
    next: Link,
    value: T,
}

impl<T> Slab<T> {
    /// A slab of `capacity` slots, numbered from 0.
    pub(crate) fn new(layout: KeyLayout, capacity: u32, make: fn() -> T) -> Self {
        assert!(capacity <= layout.slots(), "{capacity} slots do not fit a key layout of {}", layout.slots());
        let slab = Self {
            slots: Growing::new(capacity as usize),
            whole: AtomicBool::new(false),
            make,
            free: FreeList::new(),
            layout,
            retired: AtomicU64::new(0),
        };
        slab.grow();
        slab
    }

    /// How many slots it has when all are made.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// Makes more slots, if any are left to be made.
    #[cold]
    fn grow(&self) {
        let slot = |at| Slot {
            key: AtomicU64::new(self.layout.key(KeyLayout::FIRST_GENERATION, at as u32).wire()),
            next: Link::new(),
            value: (self.make)(),
        };
        self.slots.grow(SLOTS_AT_ONCE, slot, |made| {
            for at in made.clone().rev() {
                self.free.push(|slot| self.link(slot), at as u32);
            }
            if made.end == self.capacity() {
                self.whole.store(true, Ordering::Release);
            }
        });
    }

    /// A slot, if it has been made.
    #[inline]
    fn slot_at(&self, slot: u32) -> Option<&Slot<T>> {
        self.slots.get(slot as usize)
    }

    #[inline]
    fn link(&self, slot: u32) -> &Link {
        &self.slot_at(slot).expect("what was free has been made").next
    }

    /// Takes a free slot, or `None` while there is none. Full is a state, not an error.
    pub(crate) fn reserve(&self) -> Option<Key> {
        let slot = loop {
            // First: whoever sees that all were free once, and then finds none, has missed none that somebody else was making.
            let is_whole = self.whole.load(Ordering::Acquire);
            if let Some(slot) = self.free.pop(|slot| self.link(slot)) {
                break slot;
            }
            if is_whole {
                return None;
            }
            self.grow();
        };
        // Relaxed: `pop` acquired what the releasing thread published.
        Some(Key::of_slot(self.slot_at(slot)?.key.load(Ordering::Relaxed)))
    }

    /// Gives a slot back. Only the holder of `key` may do so, and once; its next key is another.
    pub(crate) fn release(&self, key: Key) {
        if self.renew(key) {
            self.free.push(|slot| self.link(slot), self.layout.slot(key));
        } else {
            self.retired.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends a key of a slot that was drawn: the slot stays its owner's, under the next key. `false` if there is none.
    pub(crate) fn renew(&self, key: Key) -> bool {
        let Some(next) = self.layout.next(key) else { return false };
        let slot = self.slot_at(self.layout.slot(key)).expect("who holds a key has its slot");
        slot.key.store(next.wire(), Ordering::Release);
        true
    }

    /// The value behind a live key; `None` when the key is stale or was never ours.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slot_at(self.layout.slot(key))?;
        (slot.key.load(Ordering::Acquire) == key.wire()).then_some(&slot.value)
    }

    /// The number of a key's slot.
    pub(crate) fn slot(&self, key: Key) -> u32 {
        self.layout.slot(key)
    }

    /// Was no slot free just now?
    pub(crate) fn is_full(&self) -> bool {
        self.whole.load(Ordering::Acquire) && self.free.is_empty()
    }

    /// Have all slots been retired? Then `reserve` will never succeed again.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.retired.load(Ordering::Relaxed) >= self.slots.capacity() as u64
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
        slab.slot_at(0).unwrap().key.store(layout.key(last - 1, 0).wire(), Ordering::Relaxed);
        let key = slab.reserve().expect("free");
        slab.release(key);
        let key = slab.reserve().expect("one generation left");
        assert_eq!(layout.generation(key), last);
        slab.release(key);
        assert_eq!(slab.reserve(), None, "a retired slot must not come back");
        assert!(slab.is_exhausted());
    }

    /// Slots come as they are needed, each once; and one that was not made yet is nobody's, whatever key is asked for.
    #[test]
    fn slots_are_made_when_they_are_needed() {
        let layout = KeyLayout::for_slots(200, 0, 1);
        let slab = Slab::new(layout, 197, || ());
        let made = |slab: &Slab<()>| (0..197).filter(|at| slab.slots.get(*at).is_some()).count();
        assert_eq!(made(&slab), 64);
        let key_of = |slot| layout.key(KeyLayout::FIRST_GENERATION, slot);
        for outside in [64, 196, 197, 255] {
            assert!(slab.get(key_of(outside)).is_none(), "slot {outside}");
        }
        for _ in 0..1000 {
            let key = slab.reserve().expect("free");
            slab.release(key);
        }
        assert_eq!(made(&slab), 64, "who gives back asks for no more");
        let mut slots: Vec<u32> = std::iter::from_fn(|| slab.reserve()).map(|key| slab.slot(key)).collect();
        slots.sort_unstable();
        assert!(slots.iter().copied().eq(0..197), "{slots:?}");
        assert!(slab.is_full() && !slab.is_exhausted());
        assert_eq!(made(&slab), 197);
    }

    #[test]
    fn threads_that_make_slots_miss_none() {
        for _ in 0..50 {
            let slab = Slab::new(KeyLayout::for_slots(256, 0, 1), 256, || ());
            let taken: usize = std::thread::scope(|scope| {
                let takes = |_| scope.spawn(|| std::iter::from_fn(|| slab.reserve()).count());
                let threads: Vec<_> = (0..4).map(takes).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
            });
            assert_eq!(taken, 256);
        }
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
