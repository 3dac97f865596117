//! An array that is made from its front, as far as it is needed, and whose entries stay where they are.
//!
//! A client with ten thousand connections has places for more than a million calls, and hardly ever that many of them. The
//! memory for all is asked for at once, so that an entry is found by its number alone; what was never written to is the system's still.
//!
//! | field | who may touch it | when |
//! |---|---|---|
//! | an entry at or beyond `made` | who makes it | holding `making` |
//! | an entry before `made` | shared reference for anyone | always |
//!
//! | store | ordering | pairs with | publishes |
//! |---|---|---|---|
//! | `made` in `grow` | Release | Acquire in `get` | the entries before it |
//!
//! Unit: entries. Cost of a look: a load and a compare. Always: `made` only grows, and every entry before it is whole. Proof: `loom_who_sees_an_entry_sees_it_whole`, and
//! the slab's tests.
#![allow(unsafe_code, reason = "entries are made behind a shared reference (docs/unsafe.md)")]

use std::{fmt, mem::MaybeUninit, ops::Range};

use crate::base::sync::{AtomicUsize, Mutex, Ordering};

/// See the module.
pub(super) struct Growing<T> {
    entries: Box<[std::cell::UnsafeCell<MaybeUninit<T>>]>,
    made: AtomicUsize,
    making: Mutex<()>,
}

// SAFETY: entries that are made are only given out as shared references, and those that are not only to the one who holds `making`; whoever
// drops it drops them, which `T: Send` allows on any thread.
unsafe impl<T: Send + Sync> Sync for Growing<T> {}
// SAFETY: as above; it owns its entries.
unsafe impl<T: Send> Send for Growing<T> {}

impl<T> Growing<T> {
    /// None is made yet.
    pub(super) fn new(capacity: usize) -> Self {
        let entries = Box::<[std::cell::UnsafeCell<MaybeUninit<T>>]>::new_uninit_slice(capacity);
        // SAFETY: an entry that may hold anything may hold what the allocator left there.
        let entries = unsafe { entries.assume_init() };
        Self { entries, made: AtomicUsize::new(0), making: Mutex::new(()) }
    }

    pub(super) fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// An entry, if it has been made.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        if at >= self.made.load(Ordering::Acquire) {
            return None;
        }
        let entry = self.entries[at].get();
        // SAFETY: it is before `made`, whose store published it, and nobody writes to it again.
        Some(unsafe { (*entry).assume_init_ref() })
    }

    /// Makes so many more, or those that are left, and tells `then` which, before another thread can make any. If `make` panics, those before stay, and
    /// nobody is told of them.
    #[cold]
    pub(super) fn grow(
        &self,
        count: usize,
        mut make: impl FnMut(usize) -> T,
        then: impl FnOnce(Range<usize>),
    ) {
        let _making = self.making.lock();
        let first = self.made.load(Ordering::Relaxed);
        let more = first..self.entries.len().min(first + count);
        for (at, entry) in more.clone().zip(&self.entries[more.clone()]) {
            let made = MaybeUninit::new(make(at));
            // SAFETY: it is not before `made`, and we hold `making`: nobody else has it.
            unsafe { entry.get().write(made) };
            self.made.store(at + 1, Ordering::Release);
        }
        then(more);
    }
}

impl<T> Drop for Growing<T> {
    fn drop(&mut self) {
        let made = self.made.load(Ordering::Relaxed);
        for entry in &mut self.entries[..made] {
            // SAFETY: it is before `made`, and dropped once: nobody has it after us.
            unsafe { entry.get_mut().assume_init_drop() };
        }
    }
}

impl<T> fmt::Debug for Growing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Growing").field("capacity", &self.entries.len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(volley_loom, volley_shuttle))))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_was_made_is_dropped_once_and_nothing_else() {
        let witness = Arc::new(());
        let growing = Growing::new(10);
        growing.grow(4, |_| Arc::clone(&witness), |made| assert_eq!(made, 0..4));
        growing.grow(4, |_| Arc::clone(&witness), |made| assert_eq!(made, 4..8));
        assert!(growing.get(7).is_some() && growing.get(8).is_none() && growing.get(usize::MAX).is_none());
        growing.grow(4, |_| Arc::clone(&witness), |made| assert_eq!(made, 8..10));
        growing.grow(4, |_| Arc::clone(&witness), |made| assert_eq!(made, 10..10));
        assert_eq!(Arc::strong_count(&witness), 11);
        drop(growing);
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn an_entry_that_cannot_be_made_is_not_there_and_those_before_are_not_lost() {
        let growing = Growing::new(4);
        let mut left = 2;
        let make = |_| {
            left -= 1;
            assert!(left >= 0, "no more");
            Box::new(left)
        };
        let panics = std::panic::AssertUnwindSafe(|| growing.grow(4, make, |_| ()));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(growing.get(1).is_some() && growing.get(2).is_none());
        growing.grow(4, |_| Box::new(7), |_| ());
        assert_eq!(growing.get(3).map(|entry| **entry), Some(7));
    }
}

#[cfg(all(test, volley_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    /// Two make entries, one looks: what it sees is whole, and every entry is made once.
    #[test]
    fn loom_who_sees_an_entry_sees_it_whole() {
        loom::model(|| {
            let growing = Arc::new(Growing::new(2));
            let makes = |growing: Arc<Growing<loom::cell::UnsafeCell<u32>>>| {
                growing.grow(1, |_| loom::cell::UnsafeCell::new(7), |made| assert!(made.len() <= 1));
            };
            let (first, second) = (Arc::clone(&growing), Arc::clone(&growing));
            let threads = [thread::spawn(move || makes(first)), thread::spawn(move || makes(second))];
            for at in 0..2 {
                if let Some(entry) = growing.get(at) {
                    entry.with(|entry| {
                        // SAFETY: nobody writes to it any more; loom looks whether that is so.
                        assert_eq!(unsafe { *entry }, 7);
                    });
                }
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert!(growing.get(1).is_some());
        });
    }
}
