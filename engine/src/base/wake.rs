//! Waking the caller's tasks.
//!
//! A waker is the caller's code. If it panics, the task is lost to its executor, and that is between the two: the wakes of
//! others that are due in the same breath, and the thread that wakes, go on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Waker,
};

/// Wakes a task; a panic of its waker goes no further.
#[inline]
pub(crate) fn wake(waker: Waker) {
    contained(|| waker.wake());
}

/// Tells whoever waits, by whatever means that runs their wakers; a panic of one goes no further, and leaves `None`.
#[inline]
pub(crate) fn contained<T>(tell: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(tell)).ok()
}
