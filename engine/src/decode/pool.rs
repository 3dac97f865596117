//! Workers that read long answers, so that neither an event loop nor an async executor is held up by them.
//!
//! Whoever has something to read asks for a [`Place`] first: there are so many, and so many bytes. With none free the workers are
//! behind; that is no error, and the answer goes to its caller unread. A worker's memory for reading stays
//! with it, within a bound (`decode/simd.rs`). A panic while reading fails that one call,
//! a panic while handing over (a waker of the caller's executor) is contained as well. Threads end when the pool is dropped.
//!
//! Unit: answers, and bytes of them. Cost: one box, one send, at most one wake of a worker. Owner: shared by all shards and by the
//! consumers of bulk jobs. Always: `held` counts the places that exist, and the bytes they were taken for. Proof: the tests below;
//! `tests/integration/long_answers.rs`.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crossbeam::channel::{Sender, unbounded};

use super::simd;
use crate::{
    base::limits::{DECODE_QUEUE_BYTES_MAX, DECODE_QUEUE_MAX},
    error::{Error, ErrorKind, Phase},
    proto::event::Fate,
};

/// The workers of one engine; by default none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    workers: Option<Workers>,
}

#[derive(Clone, Debug)]
struct Workers {
    /// Without a bound of its own: what stands in it has a place.
    jobs: Sender<Job>,
    held: Arc<Held>,
}

/// What waits for a worker or is being read.
#[derive(Debug, Default)]
struct Held {
    answers: AtomicUsize,
    bytes: AtomicUsize,
}

struct Job {
    work: Box<dyn FnOnce() + Send>,
    place: Place,
}

/// Leave to hand one answer to the workers. Dropped, it is free again.
#[must_use = "a place is taken for an answer"]
#[derive(Debug)]
pub(crate) struct Place {
    workers: Workers,
    bytes: usize,
}

impl Pool {
    /// Starts so many threads; with none, there is never a place.
    pub(crate) fn new(workers: usize) -> std::io::Result<Self> {
        if workers == 0 {
            return Ok(Self::default());
        }
        let (jobs, inbox) = unbounded::<Job>();
        for n in 0..workers {
            let inbox = inbox.clone();
            thread::Builder::new().name(format!("volley-decode-{n}")).spawn(move || {
                simd::keep_warm();
                for Job { work, place } in inbox {
                    // Reading is guarded by itself; this is for what the work does with the outcome.
                    let _ = catch_unwind(AssertUnwindSafe(work));
                    drop(place);
                }
            })?;
        }
        Ok(Self { workers: Some(Workers { jobs, held: Arc::default() }) })
    }

    /// A place for an answer of so many bytes; `None` when the workers are behind. An answer that is longer than all that may
    /// wait is taken when nothing else waits.
    pub(crate) fn place(&self, bytes: usize) -> Option<Place> {
        let workers = self.workers.as_ref()?.clone();
        let place = Place { workers, bytes };
        let held = &place.workers.held;
        let answers = held.answers.fetch_add(1, Ordering::Relaxed);
        let before = held.bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_free = answers < DECODE_QUEUE_MAX && (before == 0 || before + bytes <= DECODE_QUEUE_BYTES_MAX);
        // Dropped, the place gives back what it counted.
        is_free.then_some(place)
    }
}

impl Place {
    /// Hands work over; it runs on a worker, and the place is free when it is done.
    pub(crate) fn hand_in(self, work: impl FnOnce() + Send + 'static) {
        let jobs = self.workers.jobs.clone();
        let sent = jobs.send(Job { work: Box::new(work), place: self });
        // The workers live as long as there is a sender; should they not, the work is done here rather than nowhere.
        if let Err(unsent) = sent {
            (unsent.0.work)();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.workers.held.answers.fetch_sub(1, Ordering::Relaxed);
        self.workers.held.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads; a panic becomes the call's failure.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Error::new(
            ErrorKind::Internal,
            Fate::Answered,
            Phase::Decode,
            format!("decoding panicked: {said}"),
        ))
    })
}

#[cfg(test)]
mod tests {
    use crossbeam::channel::{Receiver, bounded};

    use super::*;

    #[test]
    fn a_panic_fails_one_call_and_the_worker_goes_on() {
        let failed = guarded::<()>(|| panic!("planted")).unwrap_err();
        assert_eq!((failed.kind(), failed.fate()), (ErrorKind::Internal, Fate::Answered));
        assert!(failed.to_string().contains("planted"));
        let pool = Pool::new(1).unwrap();
        pool.place(1).unwrap().hand_in(|| panic!("a waker that panics"));
        let (done, wait) = bounded(1);
        pool.place(1)
            .unwrap()
            .hand_in(move || done.send(thread::current().name().map(str::to_owned)).unwrap());
        assert_eq!(wait.recv().unwrap().as_deref(), Some("volley-decode-0"));
    }

    #[test]
    fn a_pool_without_workers_has_no_place() {
        assert!(Pool::new(0).unwrap().place(1).is_none());
    }

    /// Keeps the worker busy until the sender is dropped.
    fn hold(pool: &Pool, bytes: usize) -> crossbeam::channel::Sender<()> {
        let (go, wait): (_, Receiver<()>) = bounded(0);
        pool.place(bytes).unwrap().hand_in(move || {
            let _ = wait.recv();
        });
        go
    }

    #[test]
    fn places_are_bounded_in_answers_and_in_bytes_and_come_back() {
        let pool = Pool::new(1).unwrap();
        let go = hold(&pool, 1);
        let places: Vec<_> = (1..DECODE_QUEUE_MAX).map(|_| pool.place(1).unwrap()).collect();
        assert!(pool.place(0).is_none(), "as many answers as may wait");
        drop(places);
        let most = pool.place(DECODE_QUEUE_BYTES_MAX - 1).unwrap();
        assert!(pool.place(1).is_none(), "as many bytes as may wait");
        assert!(pool.place(0).is_some());
        drop(most);
        drop(go);
        // What is too long for the bound is read when it is alone.
        loop {
            if let Some(place) = pool.place(10 * DECODE_QUEUE_BYTES_MAX) {
                assert!(pool.place(1).is_none());
                drop(place);
                break;
            }
            thread::yield_now();
        }
        let held = &pool.workers.as_ref().unwrap().held;
        assert_eq!((held.answers.load(Ordering::Relaxed), held.bytes.load(Ordering::Relaxed)), (0, 0));
    }
}
