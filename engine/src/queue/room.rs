//! Where callers wait for a free slot, and where those who free one tell them.
//!
//! A slot is freed at the end of every call, and hardly ever waits somebody for it. So whoever frees one looks at a number first:
//! the event behind it has a lock, which would otherwise be taken once a call by every caller of the client.
//!
//! | field | who may touch it | when |
//! |---|---|---|
//! | `waiting` | a caller counts itself in before it listens, and out after it has gone | always |
//! | `freed` | callers listen; who frees a slot tells | while somebody waits |
//! | `hungry` | a caller counts itself in when it was told and found no slot, and out when it has one or has gone | always |
//!
//! | store | ordering | pairs with | publishes |
//! |---|---|---|---|
//! | `waiting += 1`, then the fence in `listen`, then the caller's second look for a slot | SeqCst fence | the fence in `tell_one` and `tell_all`, after the slot was freed | either the caller finds the slot, or it is told |
//!
//! Each freed slot tells one *more*: with `notify(1)`, which counts those who have been told and have not looked yet, ten slots
//! that came free in one turn woke one caller, and the other nine slept beside free slots until calls ended, one by one. (The
//! model `loom_two_slots_wake_two` found it.) Whoever was told and goes away without having looked passes it on.
//!
//! A slot belongs to nobody before it is taken, so that it never lies idle for a caller who does not look. But a task that makes one
//! call after the other takes, in the same poll, the slot that it has freed, before whoever was told of it can look; with as many
//! such tasks as slots a waiting one never had a turn. So whoever was told and found nothing is *hungry*, and while anybody
//! is, new calls let some rounds of their executor pass before they look.
//!
//! Unit: slots. Cost: a fence and a load for each slot that is freed, a load for each call. Owner: one for each engine, shared by its shards and callers.
//! Proof: `loom_*_room*` and `loom_two_slots_wake_two` in `models`, and `nobody_sleeps_beside_a_free_slot`, below.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::base::{
    sync::{AtomicU64, AtomicUsize, Event, EventListener, IntoNotification, Ordering, fence},
    wake::contained,
};

/// See the module.
#[derive(Default)]
pub(crate) struct Room {
    waiting: AtomicUsize,
    /// How many are hungry, in the lower half; in the upper half how often that was given up.
    hungry: AtomicU64,
    freed: Event,
}

const GENERATION: u64 = 1 << 32;

impl Room {
    pub(crate) fn new() -> Self {
        Self { waiting: AtomicUsize::new(0), hungry: AtomicU64::new(0), freed: Event::new() }
    }

    /// Waits for a slot from now on. Look for one again before polling this.
    pub(crate) fn listen(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The fence is in here.
        let listener = self.freed.listen();
        Waiting { listener: Some(listener), room: Arc::clone(self) }
    }

    /// A slot became free.
    #[inline]
    pub(crate) fn tell_one(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            contained(|| self.freed.notify(1.additional()));
        }
    }

    /// Everybody should look.
    pub(crate) fn tell_all(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            contained(|| self.freed.notify(usize::MAX));
        }
    }

    /// Whoever was told of a slot has found none.
    pub(crate) fn hunger(self: &Arc<Self>) -> Hungry {
        let generation = self.hungry.fetch_add(1, Ordering::Relaxed) / GENERATION;
        Hungry { room: Arc::clone(self), generation }
    }

    /// Somebody has let others look first for long, in vain: whoever is hungry is not even polled. Nobody counts as hungry before one
    /// is told of a slot again and finds none.
    pub(crate) fn give_hunger_up(&self) {
        let now = self.hungry.load(Ordering::Relaxed);
        let next = (now / GENERATION).wrapping_add(1).wrapping_mul(GENERATION);
        // If that fails somebody else has come or gone, and the next one may try.
        let _ = self.hungry.compare_exchange(now, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Should a new call let others look first?
    #[inline]
    pub(crate) fn is_anybody_hungry(&self) -> bool {
        !self.hungry.load(Ordering::Relaxed).is_multiple_of(GENERATION)
    }
}

/// A caller who was told and found nothing, for as long as it waits on.
pub(crate) struct Hungry {
    room: Arc<Room>,
    generation: u64,
}

impl Drop for Hungry {
    fn drop(&mut self) {
        let mut now = self.room.hungry.load(Ordering::Relaxed);
        while now / GENERATION == self.generation {
            match self.room.hungry.compare_exchange(now, now - 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => now = other,
            }
        }
    }
}

/// A caller who waits. Ready once, then it has to be dropped.
pub(crate) struct Waiting {
    /// `None` only while it is dropped.
    listener: Option<EventListener>,
    room: Arc<Room>,
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.listener {
            Some(listener) => Pin::new(listener).poll(cx),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // First the listener, who may have something to pass on.
        self.listener = None;
        self.room.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(any(volley_loom, volley_shuttle))))]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize as StdUsize, Ordering::SeqCst},
        task::{Wake, Waker},
    };

    use super::*;

    struct Count(StdUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// Slots that come free before anybody whom they woke has looked wake as many callers: it was one, whatever their number.
    #[test]
    fn nobody_sleeps_beside_a_free_slot() {
        let room = Arc::new(Room::new());
        let count = Arc::new(Count(StdUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let mut waiting: Vec<_> = (0..5).map(|_| room.listen()).collect();
        for one in &mut waiting {
            assert!(Pin::new(one).poll(&mut cx).is_pending());
        }
        (0..3).for_each(|_| room.tell_one());
        assert_eq!(count.0.load(SeqCst), 3);
        // One of those told goes without having looked.
        drop(waiting.remove(0));
        assert_eq!(count.0.load(SeqCst), 4, "it is passed on");
        room.tell_all();
        assert_eq!(count.0.load(SeqCst), 5);
        drop(waiting);
        assert_eq!(room.waiting.load(Ordering::Relaxed), 0);
    }

    /// A caller who was hungry and was never polled again made all others give way for as long as it lived.
    #[test]
    fn hunger_that_was_given_up_comes_back_only_with_somebody_new() {
        let room = Arc::new(Room::new());
        let forgotten = room.hunger();
        assert!(room.is_anybody_hungry());
        room.give_hunger_up();
        assert!(!room.is_anybody_hungry());
        let other = room.hunger();
        assert!(room.is_anybody_hungry());
        drop(forgotten);
        assert!(room.is_anybody_hungry(), "it was counted before");
        drop(other);
        assert!(!room.is_anybody_hungry());
    }
}
