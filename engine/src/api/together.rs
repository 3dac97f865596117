//! Many calls awaited together, each polled only when it was woken.
//!
//! Unit: calls. Cost: for each place once a waker; for each wake a push and a pop, whatever the number of calls. Owner: one bulk
//! job, on its consumer's task; wakers go to whoever the calls wait for. Always: a call whose waker was used since it was last
//! polled stands in `ready`, once. Proof: `agrees_with_polling_all`, below.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use crossbeam::queue::SegQueue;
use parking_lot::Mutex;

use crate::base::wake::wake;

/// Futures, each with a number.
pub(super) struct Together<F> {
    places: Vec<Place<F>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
}

struct Place<F> {
    /// What stands there.
    future: Option<(u64, F)>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Which places were woken, and who wants to know.
#[derive(Default)]
struct Woken {
    ready: SegQueue<usize>,
    consumer: Mutex<Option<Waker>>,
}

/// The waker of one place.
struct Bell {
    woken: Arc<Woken>,
    place: usize,
    /// It stands in `ready` already.
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.woken.ready.push(self.place);
            let consumer = self.woken.consumer.lock().take();
            if let Some(consumer) = consumer {
                wake(consumer);
            }
        }
    }
}

impl<F> Default for Together<F> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), woken: Arc::default() }
    }
}

impl<F: Future + Unpin> Together<F> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Adds one; it will be polled.
    pub(super) fn add(&mut self, number: u64, future: F) {
        let place = self.free.pop().unwrap_or_else(|| {
            let (woken, place) = (Arc::clone(&self.woken), self.places.len());
            let bell = Arc::new(Bell { woken, place, rung: AtomicBool::new(false) });
            let waker = Waker::from(Arc::clone(&bell));
            self.places.push(Place { future: None, bell, waker });
            place
        });
        self.places[place].future = Some((number, future));
        self.places[place].bell.wake_by_ref();
    }

    /// The next one that has ended; `None` when there is none at all.
    pub(super) fn poll_next(&mut self, waker: &Waker) -> Poll<Option<(u64, F::Output)>> {
        if self.len() == 0 {
            return Poll::Ready(None);
        }
        // The consumer first, then the looks: a wake in between is not slept over.
        *self.woken.consumer.lock() = Some(waker.clone());
        for _ in 0..self.places.len() {
            let Some(place) = self.woken.ready.pop() else { return Poll::Pending };
            let Place { future, bell, waker } = &mut self.places[place];
            // Read and written at once: after a plain store, a look at what was waited for could come before it, and the wake that it
            // misses would still find the bell rung.
            bell.rung.swap(false, Ordering::AcqRel);
            // A place may be woken late, when nothing or another call stands in it; that is one poll too many.
            let Some((number, running)) = future else { continue };
            if let Poll::Ready(output) = Pin::new(running).poll(&mut Context::from_waker(waker)) {
                let number = *number;
                *future = None;
                self.free.push(place);
                return Poll::Ready(Some((number, output)));
            }
        }
        // Some wake themselves: others of this thread are let through before they are looked at again.
        waker.wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    type SharedWaker = Arc<Mutex<Option<Waker>>>;

    /// A future that is ready after so many wakes.
    struct Sleeper {
        wakes_left: u32,
        waker: SharedWaker,
        polls: Arc<Mutex<u32>>,
    }

    impl Future for Sleeper {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            *self.polls.lock() += 1;
            if self.wakes_left == 0 {
                return Poll::Ready(());
            }
            self.wakes_left -= 1;
            *self.waker.lock() = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    #[test]
    fn agrees_with_polling_all() {
        let seed = std::env::var("VOLLEY_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        println!("VOLLEY_SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut together = Together::default();
        let polls = Arc::new(Mutex::new(0));
        // The model: who is still asleep, with the wakes it needs. It cannot be wrong, only slow.
        let mut asleep: Vec<(u64, u32, SharedWaker)> = Vec::new();
        let (mut added, mut ended) = (0_u64, BTreeSet::new());
        let (mut useful, mut wakes) = (0_u32, 0_u32);
        while ended.len() < 2_000 {
            if added < 2_000 && random.u8(..) < 100 {
                let (wakes_left, waker) = (random.u32(0..4), Arc::default());
                asleep.push((added, wakes_left, Arc::clone(&waker)));
                together.add(added, Sleeper { wakes_left, waker, polls: Arc::clone(&polls) });
                added += 1;
                useful += 1;
            } else if !asleep.is_empty() {
                let at = random.usize(..asleep.len());
                let woken = asleep[at].2.lock().take();
                if let Some(waker) = woken {
                    asleep[at].1 -= 1;
                    waker.wake_by_ref();
                    waker.wake();
                    wakes += 1;
                }
            }
            while let Poll::Ready(Some((number, ()))) = together.poll_next(Waker::noop()) {
                assert!(ended.insert(number), "{number} ended twice");
                let at = asleep.iter().position(|(one, ..)| *one == number).expect("it was there");
                assert_eq!(asleep.swap_remove(at).1, 0, "{number} ended early");
            }
            assert_eq!(together.len(), asleep.len());
        }
        assert_eq!(*polls.lock(), useful + wakes, "polled when woken, and at no other time");
        assert_eq!(together.poll_next(Waker::noop()), Poll::Ready(None));
    }

    #[test]
    fn one_that_wakes_itself_does_not_keep_the_thread() {
        struct Restless;
        impl Future for Restless {
            type Output = ();
            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
        let mut together = Together::default();
        together.add(0, Restless);
        assert!(together.poll_next(Waker::noop()).is_pending());
    }
}
