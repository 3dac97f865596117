//! Atomics and cells: the standard ones, or loom's when a model is being explored.
//!
//! Built with `--cfg volley_loom`, the lock-free modules run on loom's types and their `loom_*` tests walk every
//! interleaving. The flag has a name of our own because dependencies react to plain `loom`. Nobody else names
//! either library.

#[cfg(volley_loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
};
#[cfg(not(volley_loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

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

/// Lets the other side make its next step: a hint to the processor, and to loom that this loop waits for somebody.
pub(crate) fn breathe() {
    #[cfg(volley_loom)]
    loom::thread::yield_now();
    #[cfg(not(volley_loom))]
    std::hint::spin_loop();
}
