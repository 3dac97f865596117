//! A bell that is rung only when somebody sleeps.
//!
//! Waking a thread out of its poll is a system call. A shard under load never sleeps, so its callers must not pay for
//! waking it. The shard says that it is about to sleep, looks at its queues once more, and sleeps; a caller pushes,
//! and rings only if it then sees the sleeper.
//!
//! | field | who may touch it | when |
//! |---|---|---|
//! | `asleep` | the shard sets it; the shard and callers clear it | always |
//!
//! | store | ordering | pairs with | publishes |
//! |---|---|---|---|
//! | `asleep = true`, then a SeqCst fence, then the shard's look at the queue | SeqCst fence | the fence in `must_ring` (on x86-64 the step before it) | either the shard sees the push, or the caller sees the sleeper |
//!
//! Without both fences each side could read the old value of the other's variable (store buffering), and the push would
//! wait until something else wakes the shard. Proof: `loom_no_push_is_slept_over`, below.

use crate::base::sync::{AtomicBool, Ordering, fence, fence_after_step};

/// The sleeper's flag.
#[derive(Debug)]
pub(crate) struct Doorbell {
    asleep: AtomicBool,
}

impl Doorbell {
    pub(crate) fn new() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }

    /// The shard, before it looks at its queues for the last time and sleeps.
    pub(crate) fn lie_down(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The shard, awake again for whatever reason.
    pub(crate) fn get_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// The shard: has nobody rung since it lay down?
    #[cfg(feature = "tokio")]
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }

    /// A caller, after the atomic step by which it has pushed: `true` if it has to wake the shard. Of several callers one is told so.
    #[must_use = "a sleeper that nobody wakes sleeps on"]
    pub(crate) fn must_ring(&self) -> bool {
        fence_after_step();
        // Who comes too late to ring leaves no store behind. (With a `swap` it left one, and loom, which orders stores of two threads
        // only as far as these have met, let it hide a later `lie_down`. The standard does not.)
        self.asleep.load(Ordering::Relaxed)
            && self.asleep.compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(all(test, volley_loom))]
mod loom_tests {
    use loom::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::Relaxed},
        },
        thread,
    };

    use super::*;

    /// Two callers push and ring, the shard lies down: whatever the order, it either sees both pushes before it
    /// sleeps or is woken.
    #[test]
    fn loom_no_push_is_slept_over() {
        loom::model(|| {
            let bell = Arc::new(Doorbell::new());
            let (pushed, rung) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
            let callers: Vec<_> = (0..2)
                .map(|_| {
                    let (bell, pushed, rung) = (Arc::clone(&bell), Arc::clone(&pushed), Arc::clone(&rung));
                    thread::spawn(move || {
                        pushed.fetch_add(1, Relaxed);
                        if bell.must_ring() {
                            rung.fetch_add(1, Relaxed);
                        }
                    })
                })
                .collect();
            bell.lie_down();
            let seen = pushed.load(Relaxed);
            for caller in callers {
                caller.join().unwrap();
            }
            assert!(seen == 2 || rung.load(Relaxed) >= 1, "slept over a push: saw {seen}");
            assert!(rung.load(Relaxed) <= 1, "rung twice for one sleep");
        });
    }
}
