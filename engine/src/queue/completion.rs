//! One question, one answer, one waiter, once.
//!
//! A cell stands in every slot of a client's slab and serves one call after another without allocating. Two parties
//! share it: the *caller*, who reserved the slot, and the *shard*. Which of them may touch what is decided by the
//! phase, a single atomic word:
//!
//! ```text
//! IDLE --pose--> POSED [--> ANSWERING] --> ANSWERED --take--> IDLE     (the caller releases the slot)
//!                  |             |
//!                  \--abandon----+-> ABANDONED --bury--> IDLE          (the shard releases the slot)
//! ```
//!
//! | field | caller | shard |
//! |---|---|---|
//! | `question` | IDLE | POSED, ABANDONED |
//! | `answer` | ANSWERED | POSED, ANSWERING, ABANDONED |
//! | `waker` | POSED without WAITING, ANSWERED | ANSWERING, ABANDONED |
//!
//! | store | ordering | pairs with | publishes |
//! |---|---|---|---|
//! | POSED in `pose` | Release | the ring through which the key reaches the shard | `question` |
//! | POSED+WAITING in `poll` | AcqRel | Acquire half of POSED+WAITING to ANSWERING in `answer` | `waker` |
//! | ANSWERED in `answer` | AcqRel | Acquire in `poll`, `abandon` | `answer` |
//! | ABANDONED in `abandon` | AcqRel | Acquire half of the steps in `answer`, Acquire in `is_abandoned` | that the caller is gone |
//!
//! ANSWERING is there for the waker: the shard takes it out *before* the caller may see the answer, because a caller who
//! has seen it takes it, releases the slot, and the next call moves in. (A first version took the waker afterwards; the
//! model `loom_answer_against_poll` found the two of them in the cell.) A caller who polls just then with another waker
//! wakes that one at once and looks again.
//!
//! The one race left is answer against abandon. Both move the phase with one atomic step; whoever comes second sees the
//! other's phase and releases the slot. The generation of the key protects the slot as a whole: nobody who does not
//! hold the key gets here.
//!
//! Cost: `pose` a store, `answer` a compare-and-swap, `poll` a load (and another when it has to wait). Proof: the
//! `loom_*` models and `agrees_with_a_mutex_twin`, below; ledger: `docs/unsafe.md`.
#![allow(
    unsafe_code,
    reason = "lock-free hand-over; the phase decides who owns which field (docs/unsafe.md)"
)]

use std::task::{Poll, Waker};

use crate::base::{
    sync::{AtomicU32, Ordering, UnsafeCell, breathe},
    wake::contained,
};

const IDLE: u32 = 0;
const POSED: u32 = 1;
const ANSWERED: u32 = 2;
const ABANDONED: u32 = 3;
const ANSWERING: u32 = 4;
const PHASE: u32 = 7;
/// A flag beside POSED: `waker` holds one.
const WAITING: u32 = 8;

/// One call's place: `Q` goes to the shard, `A` comes back.
#[derive(Debug)]
pub(crate) struct Cell<Q, A> {
    phase: AtomicU32,
    question: UnsafeCell<Q>,
    answer: UnsafeCell<A>,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: every field is reached by one thread at a time, as the table above lays down; the hand-overs are
// Release/Acquire pairs on `phase`. `Waker` is Send and Sync by itself.
unsafe impl<Q: Send, A: Send> Sync for Cell<Q, A> {}
// SAFETY: the cell owns its values; nothing in it is tied to a thread.
unsafe impl<Q: Send, A: Send> Send for Cell<Q, A> {}

/// What became of an answer.
#[derive(Debug)]
#[must_use = "an abandoned cell's slot has to be released, a waiter has to be woken"]
pub(crate) enum Delivered {
    /// The caller will find it; if it waits already, wake it.
    ToCaller(Option<Waker>),
    /// The caller is gone: call [`Cell::bury`] and release the slot.
    Abandoned,
}

impl<Q: Default, A: Default> Cell<Q, A> {
    pub(crate) fn new() -> Self {
        Self {
            phase: AtomicU32::new(IDLE),
            question: UnsafeCell::new(Q::default()),
            answer: UnsafeCell::new(A::default()),
            waker: UnsafeCell::new(None),
        }
    }
}

impl<Q, A> Cell<Q, A> {
    /// Writes the question; afterwards it is the shard's.
    ///
    /// # Safety
    /// The caller holds the key of this slot, has just reserved it, and nobody else uses it.
    pub(crate) unsafe fn pose<R>(&self, write: impl FnOnce(&mut Q) -> R) -> R {
        debug_assert_eq!(self.phase.load(Ordering::Relaxed) & PHASE, IDLE);
        // SAFETY: IDLE and the key is ours: nobody else reaches the field.
        let written = self.question.with_mut(|question| write(unsafe { &mut *question }));
        self.phase.store(POSED, Ordering::Release);
        written
    }

    /// Reads the question, as the shard.
    ///
    /// # Safety
    /// Only the shard that got this slot's key from the caller, and before it has called [`Self::answer`].
    pub(crate) unsafe fn question<R>(&self, read: impl FnOnce(&mut Q) -> R) -> R {
        // SAFETY: from `pose` until `answer` the field is the shard's.
        self.question.with_mut(|question| read(unsafe { &mut *question }))
    }

    /// Has the caller gone? A hint: it may go right after.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.phase.load(Ordering::Acquire) & PHASE == ABANDONED
    }

    /// Writes the answer and hands it over, as the shard, once.
    ///
    /// # Safety
    /// Only the shard that got this slot's key, once for each key.
    pub(crate) unsafe fn answer(&self, write: impl FnOnce(&mut A)) -> Delivered {
        if self.is_abandoned() {
            return Delivered::Abandoned;
        }
        // SAFETY: the caller reads `answer` only after ANSWERED, which is stored below.
        self.answer.with_mut(|answer| write(unsafe { &mut *answer }));
        let mut waker = None;
        // Between a look and its step a caller may have come to wait, or have stopped waiting: hence the loop.
        loop {
            match self.phase.load(Ordering::Acquire) {
                POSED => {
                    if self.move_on(POSED, ANSWERED) {
                        return Delivered::ToCaller(None);
                    }
                }
                ABANDONED => break,
                waiting => {
                    debug_assert_eq!(waiting, POSED | WAITING);
                    if self.move_on(POSED | WAITING, ANSWERING) {
                        // SAFETY: ANSWERING: the waker's place is the shard's.
                        waker = self.waker.with_mut(|place| unsafe { (*place).take() });
                        if self.move_on(ANSWERING, ANSWERED) {
                            return Delivered::ToCaller(waker);
                        }
                    }
                }
            }
        }
        // It is the caller's code, as when it is woken.
        contained(|| drop(waker));
        Delivered::Abandoned
    }

    fn move_on(&self, from: u32, to: u32) -> bool {
        self.phase.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Clears a cell whose caller has gone, as the shard; the slot may be released afterwards. What the call has left in it, `clear` sees: an
    /// answer only if one was written before it was known that nobody waits.
    ///
    /// # Safety
    /// Only after [`Delivered::Abandoned`] or [`Self::is_abandoned`], once.
    pub(crate) unsafe fn bury(&self, clear: impl FnOnce(&mut Q, &mut A)) {
        self.question.with_mut(|question| {
            self.answer.with_mut(|answer| {
                // SAFETY: ABANDONED: the caller has gone, and the cell is the shard's alone until it is released.
                let (question, answer) = unsafe { (&mut *question, &mut *answer) };
                clear(question, answer);
            });
        });
        // SAFETY: the caller took its waker back in `abandon` and has gone; the cell is the shard's alone.
        let waker = self.waker.with_mut(|waker| unsafe { (*waker).take() });
        self.phase.store(IDLE, Ordering::Relaxed);
        contained(|| drop(waker));
    }

    /// Is the answer there? If not, `waker` will be woken once it is.
    ///
    /// # Safety
    /// Only the caller, between `pose` and `take` or `abandon`.
    pub(crate) unsafe fn poll(&self, waker: &Waker) -> Poll<()> {
        // When it waits already, take the place back before looking at the waker in it.
        if self.phase.load(Ordering::Acquire) == POSED | WAITING {
            self.move_on(POSED | WAITING, POSED);
        }
        match self.phase.load(Ordering::Acquire) {
            ANSWERED => return Poll::Ready(()),
            ANSWERING => {
                breathe();
                waker.wake_by_ref();
                return Poll::Pending;
            }
            phase => debug_assert_eq!(phase, POSED),
        }
        self.waker.with_mut(|place| {
            // SAFETY: POSED without WAITING: the waker's place is the caller's.
            let place = unsafe { &mut *place };
            match place {
                Some(stored) => stored.clone_from(waker),
                None => *place = Some(waker.clone()),
            }
        });
        if self.move_on(POSED, POSED | WAITING) { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Is the answer there?
    pub(crate) fn is_answered(&self) -> bool {
        self.phase.load(Ordering::Acquire) & PHASE == ANSWERED
    }

    /// Takes the answer; afterwards the slot may be released.
    ///
    /// # Safety
    /// Only the caller, only after [`Self::poll`] was ready or [`Self::is_answered`], once.
    pub(crate) unsafe fn take<R>(&self, read: impl FnOnce(&mut Q, &mut A) -> R) -> R {
        debug_assert!(self.is_answered());
        let taken = self.question.with_mut(|question| {
            self.answer.with_mut(|answer| {
                // SAFETY: ANSWERED: the shard is done with the cell.
                let (question, answer) = unsafe { (&mut *question, &mut *answer) };
                read(question, answer)
            })
        });
        // SAFETY: as above; a waker may be left when the answer came between two polls.
        self.waker.with_mut(|waker| unsafe { (*waker).take() });
        self.phase.store(IDLE, Ordering::Relaxed);
        taken
    }

    /// Goes away without the answer. `true`: the shard will release the slot. `false`: the answer was there already,
    /// and the caller has to `take` it and release the slot itself.
    ///
    /// # Safety
    /// Only the caller, between `pose` and `take`, once.
    #[must_use = "if the answer has come, the slot is still the caller's"]
    pub(crate) unsafe fn abandon(&self) -> bool {
        loop {
            let seen = self.phase.load(Ordering::Acquire);
            if seen == ANSWERED {
                return false;
            }
            if self.move_on(seen, ABANDONED) {
                return true;
            }
        }
    }
}

#[cfg(all(test, not(volley_loom)))]
mod tests {
    use std::{
        sync::{
            Arc, Mutex,
            atomic::{AtomicU32 as StdU32, Ordering::SeqCst},
        },
        task::Wake,
    };

    use proptest::prelude::*;

    use super::*;

    struct Bell(StdU32);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Pose(u32),
        Poll(bool),
        Answer,
        Abandon,
        Take,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<u32>().prop_map(Step::Pose),
            any::<bool>().prop_map(Step::Poll),
            Just(Step::Answer),
            Just(Step::Abandon),
            Just(Step::Take)
        ]
    }

    /// The twin: the same story told with a lock and an enum.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Twin {
        Idle,
        Posed(u32),
        Answered(u32),
        Abandoned,
    }

    proptest! {
        #[test]
        fn agrees_with_a_mutex_twin(steps in proptest::collection::vec(step(), 0..200)) {
            let cell: Cell<u32, u32> = Cell::new();
            let twin = Mutex::new(Twin::Idle);
            let bells = [Arc::new(Bell(StdU32::new(0))), Arc::new(Bell(StdU32::new(0)))];
            let mut rings = [0, 0];
            let mut waiting: Option<usize> = None;
            for step in steps {
                let mut twin = twin.lock().unwrap();
                match (step, *twin) {
                    (Step::Pose(n), Twin::Idle) => {
                        // SAFETY: this test is the only party.
                        unsafe { cell.pose(|q| *q = n) };
                        *twin = Twin::Posed(n);
                    }
                    (Step::Poll(which), Twin::Posed(_)) => {
                        let which = usize::from(which);
                        let waker = Waker::from(Arc::clone(&bells[which]));
                        // SAFETY: as above, here and below.
                        prop_assert!(unsafe { cell.poll(&waker) }.is_pending(), "the twin disagrees");
                        waiting = Some(which);
                    }
                    (Step::Poll(_), Twin::Answered(_)) => {
                        let waker = Waker::from(Arc::clone(&bells[0]));
                        // SAFETY: as above.
                        prop_assert!(unsafe { cell.poll(&waker) }.is_ready(), "the twin disagrees");
                    }
                    (Step::Answer, Twin::Posed(n)) => {
                        // SAFETY: as above.
                        let question = unsafe { cell.question(|q| *q) };
                        prop_assert_eq!(question, n);
                        // SAFETY: as above.
                        let delivered = unsafe { cell.answer(|a| *a = n.wrapping_add(1)) };
                        match delivered {
                            Delivered::ToCaller(waker) => {
                                prop_assert_eq!(waker.is_some(), waiting.is_some());
                                if let (Some(waker), Some(which)) = (waker, waiting.take()) {
                                    waker.wake();
                                    rings[which] += 1;
                                }
                            }
                            Delivered::Abandoned => prop_assert!(false, "nobody had gone"),
                        }
                        *twin = Twin::Answered(n.wrapping_add(1));
                    }
                    (Step::Abandon, Twin::Posed(_)) => {
                        // SAFETY: as above.
                        prop_assert!(unsafe { cell.abandon() }, "the twin disagrees");
                        waiting = None;
                        *twin = Twin::Abandoned;
                    }
                    (Step::Abandon, Twin::Answered(_)) => {
                        // SAFETY: as above.
                        prop_assert!(!unsafe { cell.abandon() }, "the twin disagrees");
                    }
                    (Step::Answer, Twin::Abandoned) => {
                        // SAFETY: as above.
                        prop_assert!(matches!(unsafe { cell.answer(|_| ()) }, Delivered::Abandoned), "the twin disagrees");
                        // SAFETY: as above.
                        unsafe { cell.bury(|question, _| *question = 0) };
                        *twin = Twin::Idle;
                    }
                    (Step::Take, Twin::Answered(n)) => {
                        // SAFETY: as above.
                        prop_assert_eq!(unsafe { cell.take(|_, a| *a) }, n);
                        *twin = Twin::Idle;
                    }
                    _ => {}
                }
                prop_assert_eq!(cell.is_answered(), matches!(*twin, Twin::Answered(_)));
                prop_assert_eq!(cell.is_abandoned(), *twin == Twin::Abandoned);
                prop_assert_eq!([bells[0].0.load(SeqCst), bells[1].0.load(SeqCst)], rings);
            }
        }
    }
}

#[cfg(all(test, volley_loom))]
mod loom_tests {
    use loom::{future::block_on, sync::Arc, thread};

    use super::*;

    type TestCell = Cell<u32, u32>;

    fn answer_by_shard(cell: &TestCell) -> bool {
        // SAFETY: the model's only shard, once a key.
        let question = unsafe { cell.question(|q| *q) };
        // SAFETY: as above.
        match unsafe { cell.answer(|a| *a = question + 1) } {
            Delivered::ToCaller(waker) => {
                waker.into_iter().for_each(Waker::wake);
                false
            }
            Delivered::Abandoned => {
                // SAFETY: told so just now.
                unsafe { cell.bury(|question, answer| (*question, *answer) = (0, 0)) };
                true
            }
        }
    }

    /// The caller waits, the shard answers: the answer arrives and the waiter wakes, in every interleaving.
    #[test]
    fn loom_answer_against_poll() {
        loom::model(|| {
            let cell = Arc::new(TestCell::new());
            // SAFETY: the model's only caller.
            unsafe { cell.pose(|q| *q = 41) };
            let shard = Arc::clone(&cell);
            let thread = thread::spawn(move || answer_by_shard(&shard));
            // SAFETY: as above.
            block_on(std::future::poll_fn(|cx| unsafe { cell.poll(cx.waker()) }));
            // SAFETY: polled ready.
            assert_eq!(unsafe { cell.take(|_, a| *a) }, 42);
            assert!(!thread.join().unwrap());
        });
    }

    /// The caller goes while the shard answers: exactly one of them is told to release the slot.
    #[test]
    fn loom_answer_against_abandon() {
        loom::model(|| {
            let cell = Arc::new(TestCell::new());
            // SAFETY: the model's only caller.
            unsafe { cell.pose(|q| *q = 41) };
            let shard = Arc::clone(&cell);
            let thread = thread::spawn(move || answer_by_shard(&shard));
            // SAFETY: as above.
            let shard_releases = unsafe { cell.abandon() };
            if !shard_releases {
                // SAFETY: the answer was there.
                assert_eq!(unsafe { cell.take(|_, a| *a) }, 42);
            }
            assert_eq!(thread.join().unwrap(), shard_releases, "the slot is released once");
        });
    }

    /// The caller polls with two different wakers in turn, then goes: no waker is leaked or used by two.
    #[test]
    fn loom_answer_against_two_wakers_and_abandon() {
        loom::model(|| {
            let cell = Arc::new(TestCell::new());
            // SAFETY: the model's only caller.
            unsafe { cell.pose(|q| *q = 41) };
            let shard = Arc::clone(&cell);
            let thread = thread::spawn(move || answer_by_shard(&shard));
            let mut ready = false;
            for _ in 0..2 {
                // A no-op waker equals itself only by address of its table; a fresh Arc-based one never does.
                let waker = Waker::from(std::sync::Arc::new(NoBell));
                // SAFETY: as above.
                ready = unsafe { cell.poll(&waker) }.is_ready();
            }
            // SAFETY: as above.
            let shard_releases = !ready && unsafe { cell.abandon() };
            if !shard_releases {
                // SAFETY: the answer is there.
                assert_eq!(unsafe { cell.take(|_, a| *a) }, 42);
            }
            assert_eq!(thread.join().unwrap(), shard_releases);
        });
    }

    struct NoBell;

    impl std::task::Wake for NoBell {
        fn wake(self: std::sync::Arc<Self>) {}
    }
}
