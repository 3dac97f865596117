//! The alarm: how a shard that sleeps is woken, whatever it sleeps in.
//!
//! A shard on a thread of its own sleeps in its poll and is woken by a write to an eventfd, a system call. A shard that is a task
//! sleeps in its runtime and is woken as any task is: from another task of the same runtime that is a push to a queue. The
//! doorbell (`queue::doorbell`) says whether anybody sleeps at all.
//!
//! Owner: shared; whoever was told to by the doorbell rings. Always: a task has left its waker before it lies down.
//! Proof: `tests/integration/runtime.rs`.

#[cfg(feature = "tokio")]
use std::task::Waker;

#[cfg(feature = "tokio")]
use parking_lot::Mutex;

/// What ends a shard's sleep.
pub(crate) enum Alarm {
    /// Of a thread in its poll.
    Poll(mio::Waker),
    /// Of a task. The lock is taken once a sleep, by the one who rings, and once a turn by the task.
    #[cfg(feature = "tokio")]
    Task(Mutex<Waker>),
    /// Of a shard that a model plays.
    #[cfg(all(test, any(volley_loom, volley_shuttle)))]
    Played(Box<dyn Fn() + Send + Sync>),
}

impl Alarm {
    /// Of a task that has not been polled yet.
    #[cfg(feature = "tokio")]
    pub(crate) fn of_task() -> Self {
        Self::Task(Mutex::new(Waker::noop().clone()))
    }

    /// The task is polled with this waker now.
    #[cfg(feature = "tokio")]
    pub(crate) fn leave(&self, waker: &Waker) {
        if let Self::Task(place) = self {
            place.lock().clone_from(waker);
        }
    }

    pub(crate) fn ring(&self) {
        match self {
            // Fails only when the shard's poll is gone, and the shard with it.
            Self::Poll(waker) => drop(waker.wake()),
            #[cfg(feature = "tokio")]
            Self::Task(place) => {
                // Not under the lock: a runtime that ends may drop the task, and with it the shard, in here.
                let waker = place.lock().clone();
                waker.wake();
            }
            #[cfg(all(test, any(volley_loom, volley_shuttle)))]
            Self::Played(ring) => ring(),
        }
    }
}
