//! The free slots of a slab: a Treiber stack of indices with a tag against ABA (R. K. Treiber, IBM RJ 5118, 1986).
//!
//! The head holds the index of the top slot plus one in its low half and a counter in its high half. Every change
//! counts up, so a head that was popped and pushed back meanwhile is not mistaken for the one that was read. The
//! counter wraps after 2^32 changes, which would all have to happen between one load and its compare-and-swap.
//!
//! Last in, first out: the slot that was used last is the one still in cache. The orderings are tabled in `slab`.

use crate::base::sync::{AtomicU32, AtomicU64, Ordering};

/// The link inside a slot: the next free slot plus one, or zero.
#[derive(Debug)]
pub(crate) struct Link(AtomicU32);

impl Link {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }
}

/// The stack's head; the links live in the slots.
#[derive(Debug)]
pub(crate) struct FreeList {
    head: AtomicU64,
}

impl FreeList {
    pub(crate) fn new() -> Self {
        Self { head: AtomicU64::new(0) }
    }

    /// Pushes `slot`, which the caller holds alone. `link` finds the link of a slot.
    pub(crate) fn push<'a>(&self, link: impl Fn(u32) -> &'a Link, slot: u32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            link(slot).0.store(index_of(head), Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head,
                retagged(head, slot + 1),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Was it empty just now?
    pub(crate) fn is_empty(&self) -> bool {
        index_of(self.head.load(Ordering::Relaxed)) == 0
    }

    /// Pops the slot that was pushed last.
    pub(crate) fn pop<'a>(&self, link: impl Fn(u32) -> &'a Link) -> Option<u32> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let slot = index_of(head).checked_sub(1)?;
            // May be stale if another thread pops the same slot; then the tag has moved and the exchange fails.
            let next = link(slot).0.load(Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head,
                retagged(head, next),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(slot),
                Err(now) => head = now,
            }
        }
    }
}

fn index_of(head: u64) -> u32 {
    head as u32
}

fn retagged(head: u64, index: u32) -> u64 {
    ((head >> 32).wrapping_add(1) << 32) | u64::from(index)
}
