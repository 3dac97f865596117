//! The relay: the wakes of a turn, handed on by one of those who are woken.
//!
//! A shard on a thread of its own wakes tasks of somebody else's executor. From outside, every single wake of a current-thread
//! tokio runtime is a write to an eventfd, as expensive as all the rest of a call. So the shard wakes one task of the turn and
//! leaves the other wakers here; the first [`Call`](crate::Call) that is polled or dropped takes them and wakes them from inside the
//! executor, where a wake is a push to a queue.
//!
//! Nobody is left asleep: should the woken task poll no call, the shard looks here again after [`RELAY_WAIT_MAX`] at the latest
//! and wakes what it finds. Callers that block a thread are not relayed: they have no executor, and would only wait
//! for each other.
//!
//! Cost: a lock a turn on each side; a load for each poll. Owner: shared. Proof: the tests below,
//! `tests/integration/runtime.rs`. ADR 0018 has the numbers.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::Waker,
    time::Duration,
};

use parking_lot::Mutex;

use crate::base::{limits::RELAY_WAIT_NS_MAX, wake::wake};

/// How long wakers may lie here before the shard wakes them itself.
pub(crate) const RELAY_WAIT_MAX: Duration = Duration::from_nanos(RELAY_WAIT_NS_MAX);

/// Wakers on their way.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    /// There are some. Written under the lock.
    waits: AtomicBool,
    /// How often they were handed on.
    runs: AtomicU64,
    wakers: Mutex<Vec<Waker>>,
}

impl Relay {
    /// The shard leaves wakers here. One of them, or of those that lay here before, has been woken and will hand them on.
    pub(crate) fn leave(&self, wakers: &mut Vec<Waker>) {
        let Some(last) = wakers.pop() else { return };
        let mut waiting = self.wakers.lock();
        let is_first = waiting.is_empty();
        waiting.append(wakers);
        if !is_first {
            waiting.push(last);
            return;
        }
        self.waits.store(!waiting.is_empty(), Ordering::Release);
        // Not under the lock: what is woken may run at once, and look in here.
        drop(waiting);
        wake(last);
    }

    /// Do wakers lie here?
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    /// Changes whenever they are handed on, so that those who wait can be told from those who waited before.
    pub(crate) fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Wakes all that lie here, if any do.
    #[inline]
    pub(crate) fn hand_on(&self) {
        if self.is_waiting() {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        let mut taken = {
            let mut waiting = self.wakers.lock();
            self.waits.store(false, Ordering::Relaxed);
            self.runs.fetch_add(1, Ordering::Relaxed);
            std::mem::take(&mut *waiting)
        };
        taken.drain(..).for_each(wake);
        // The memory goes round, unless the shard has begun another list meanwhile.
        let mut waiting = self.wakers.lock();
        if waiting.capacity() == 0 {
            *waiting = taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::SeqCst},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicU32);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn bells(count: usize) -> Vec<Arc<Bell>> {
        (0..count).map(|_| Arc::default()).collect()
    }

    fn wakers(bells: &[Arc<Bell>]) -> Vec<Waker> {
        bells.iter().map(|bell| Waker::from(Arc::clone(bell))).collect()
    }

    fn rung(bells: &[Arc<Bell>]) -> usize {
        bells.iter().map(|bell| bell.0.load(SeqCst) as usize).sum()
    }

    #[test]
    fn one_is_woken_and_hands_the_others_on() {
        let (relay, bells) = (Relay::default(), bells(5));
        relay.leave(&mut wakers(&bells));
        assert_eq!((rung(&bells), relay.is_waiting()), (1, true));
        relay.hand_on();
        relay.hand_on();
        assert!(bells.iter().all(|bell| bell.0.load(SeqCst) == 1) && !relay.is_waiting());
    }

    #[test]
    fn those_that_come_later_go_with_those_that_wait() {
        let (relay, first, second) = (Relay::default(), bells(2), bells(3));
        relay.leave(&mut wakers(&first));
        relay.leave(&mut wakers(&second));
        assert_eq!((rung(&first), rung(&second)), (1, 0));
        relay.hand_on();
        assert_eq!((rung(&first), rung(&second)), (2, 3));
    }

    #[test]
    fn a_single_one_is_woken_at_once_and_leaves_nothing() {
        let (relay, bells) = (Relay::default(), bells(1));
        relay.leave(&mut wakers(&bells));
        relay.leave(&mut Vec::new());
        assert_eq!((rung(&bells), relay.is_waiting()), (1, false));
    }

    /// Many leave, many hand on, at the same time: each is woken once.
    #[test]
    fn nobody_is_woken_twice_or_never() {
        let (relay, bells) = (Relay::default(), bells(20_000));
        std::thread::scope(|scope| {
            for some in bells.chunks(5_000) {
                let relay = &relay;
                scope.spawn(move || {
                    for some in some.chunks(7) {
                        relay.leave(&mut wakers(some));
                        relay.hand_on();
                    }
                });
            }
        });
        relay.hand_on();
        assert!(bells.iter().all(|bell| bell.0.load(SeqCst) == 1));
    }

    struct Broken;

    impl Wake for Broken {
        fn wake(self: Arc<Self>) {
            panic!("an executor that is gone");
        }
    }

    /// The wakers behind one that panicked were dropped, and their tasks slept for ever.
    #[test]
    fn a_waker_that_panics_takes_no_other_wake_with_it() {
        let (relay, bell) = (Relay::default(), Arc::new(Bell::default()));
        let good = || Waker::from(Arc::clone(&bell));
        relay.leave(&mut vec![good(), Waker::from(Arc::new(Broken)), good(), Waker::from(Arc::new(Broken))]);
        relay.hand_on();
        assert_eq!(bell.0.load(SeqCst), 2);
    }
}
