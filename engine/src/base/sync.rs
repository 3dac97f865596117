//! What threads share memory with: the standard atomics and cells, the queues and locks of the trade, or stand-ins for all of
//! them when a model is being explored.
//!
//! Built with `--cfg volley_loom`, the lock-free modules run on loom's types and their `loom_*` tests walk every
//! interleaving; with `--cfg volley_shuttle` they run on shuttle's, and the `shuttle_*` tests draw schedules at random. The
//! flags have names of our own because dependencies react to plain `loom`. Neither library knows crossbeam, parking_lot or
//! event-listener: `base/modelled.rs` stands in for them and says what it keeps of their contracts.

#[cfg(volley_loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};
#[cfg(volley_shuttle)]
pub(crate) use shuttle::sync::atomic::{
    AtomicBool, AtomicIsize, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(not(any(volley_loom, volley_shuttle)))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicIsize, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

#[cfg(any(volley_loom, volley_shuttle))]
pub(crate) use super::modelled::{
    ArrayQueue, Event, EventListener, IntoNotification, Listener, Mutex, SegQueue,
};
#[cfg(not(any(volley_loom, volley_shuttle)))]
pub(crate) use crossbeam::queue::{ArrayQueue, SegQueue};
#[cfg(not(any(volley_loom, volley_shuttle)))]
pub(crate) use event_listener::{Event, EventListener, IntoNotification, Listener};
#[cfg(not(any(volley_loom, volley_shuttle)))]
pub(crate) use parking_lot::Mutex;

/// `std::cell::UnsafeCell` with loom's closure interface, so that one text serves both builds.
#[cfg(not(volley_loom))]
#[derive(Debug, Default)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(volley_loom))]
impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
        change(self.0.get())
    }
}

/// A sequentially consistent fence between an atomic step (one that reads and writes) and what is read after it.
///
/// On x86-64 the step is such a fence itself, since no load passes a locked instruction (Intel SDM, volume 3A, 9.2.3.9; AMD64, volume 2,
/// 7.4.2), and a second one costs each call as much again. So there only the compiler is told. Elsewhere, and in models, it is a fence.
#[inline(always)]
pub(crate) fn fence_after_step() {
    #[cfg(all(target_arch = "x86_64", not(any(volley_loom, volley_shuttle))))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(any(volley_loom, volley_shuttle)))))]
    fence(Ordering::SeqCst);
}

/// Lets the other side make its next step: a hint to the processor, and to a model that this loop waits for somebody.
pub(crate) fn breathe() {
    #[cfg(volley_loom)]
    loom::thread::yield_now();
    #[cfg(volley_shuttle)]
    shuttle::thread::yield_now();
    #[cfg(not(any(volley_loom, volley_shuttle)))]
    std::hint::spin_loop();
}
