//! A bulk job, seen from both sides: the consumer hands in *claims* of encoded calls and gets *batches* of outcomes back,
//! one for each turn of the shard. Both are recycled, so the steady state allocates nothing.
//!
//! | who | pushes | pops |
//! |---|---|---|
//! | consumer | `claims`, `spare_batches` | `batches`, `spare_claims` |
//! | shard | `batches`, `spare_claims` | `claims`, `spare_batches` |
//!
//! Whoever refuses a claim, which may be either of them, takes a spare batch for that as well: each batch that is pushed was popped, or is one
//! more than there ever were at a time.
//!
//! Bounds: the consumer never has more calls outstanding and unread than its own bound, so no queue can hold more.

use std::{sync::Arc, task::Waker};

use crate::{
    base::{
        buffer::{Chunk, Frame, FrameRef},
        limits::{ANSWER_COPY_BYTES_MAX, CLAIM_BYTES_MAX, CLAIM_CALLS_MAX},
        sync::{AtomicBool, Mutex, Ordering, fence},
        wake::wake,
    },
    proto::event::{Ended, Failure, Fate, Outcome, Patience, Why},
    queue::line::Line,
};

/// Some calls of a job, encoded.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    pub(crate) bodies: Vec<u8>,
    /// For each call its index in the job and where its body ends.
    pub(crate) calls: Vec<(u64, usize)>,
    pub(crate) patience: Patience,
    /// The caller has put them together: they leave as one array where the server takes any.
    pub(crate) together: bool,
    /// Calls that the shard has taken already.
    pub(crate) taken: usize,
}

impl Claim {
    /// An empty one with room for so many calls with bodies of so many bytes, as far as one claim holds that.
    pub(crate) fn for_calls(calls: usize, bytes: usize) -> Self {
        Self {
            bodies: Vec::with_capacity(bytes.min(CLAIM_BYTES_MAX)),
            calls: Vec::with_capacity(calls.min(CLAIM_CALLS_MAX)),
            ..Self::default()
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bodies.clear();
        // A call that was longer has a claim of its own, and many of them may go round.
        self.bodies.shrink_to(CLAIM_BYTES_MAX);
        self.calls.clear();
        self.taken = 0;
    }

    /// Calls that the shard has not taken.
    pub(crate) fn left(&self) -> usize {
        self.calls.len() - self.taken
    }

    /// The call that is `n` behind the next: its index and body.
    #[inline]
    pub(crate) fn ahead(&self, n: usize) -> Option<(u64, &[u8])> {
        let at = self.taken + n;
        let &(index, end) = self.calls.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.calls[before].1);
        Some((index, &self.bodies[start..end]))
    }
}

/// Outcomes of one turn.
///
/// Answers stay in the chunks they were read into. Over HTTP each has a chunk to itself, and with many connections few have one, which would be kept and
/// not read into again until the consumer has looked; so the short ones are copied there, into memory that goes round with the batch.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    chunks: Vec<Arc<Chunk>>,
    copies: Arc<Chunk>,
    has_copies: bool,
    items: Vec<Item>,
}

/// In the place of a chunk: the answer is one of the copies.
const COPIES: u32 = u32::MAX;

#[derive(Debug)]
struct Item {
    index: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Answer { error: bool, chunk: u32, start: u32, len: u32 },
    Failed(Failure),
}

/// One outcome as the consumer gets it: the response and whether it is an error, or why there is none.
pub(crate) type Taken = Result<(Frame, bool), Failure>;

impl Batch {
    /// An empty one with room for as much as stands in this one.
    pub(crate) fn like(other: &Self) -> Self {
        Self {
            chunks: Vec::with_capacity(other.chunks.len()),
            copies: Chunk::like(&other.copies),
            has_copies: false,
            items: Vec::with_capacity(other.items.len()),
        }
    }

    /// So many outcomes may be coming.
    pub(crate) fn make_room(&mut self, outcomes: usize) {
        self.items.reserve(outcomes.saturating_sub(self.items.len()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// `copies_short`: a chunk holds few answers, often one.
    pub(crate) fn push(&mut self, index: u64, call: &Ended<'_>, copies_short: bool) {
        let mut answer = |frame: &FrameRef<'_>, error| {
            let len = frame.len as u32;
            if copies_short && frame.len <= ANSWER_COPY_BYTES_MAX {
                if !std::mem::replace(&mut self.has_copies, true) {
                    Chunk::renew(&mut self.copies);
                }
                let start = Chunk::append(&mut self.copies, frame.bytes()) as u32;
                return What::Answer { error, chunk: COPIES, start, len };
            }
            // Frames of one read share their chunk, so looking at the last one is enough.
            if !self.chunks.last().is_some_and(|chunk| Arc::ptr_eq(chunk, frame.chunk)) {
                self.chunks.push(Arc::clone(frame.chunk));
            }
            let chunk = self.chunks.len() as u32 - 1;
            What::Answer { error, chunk, start: frame.start as u32, len }
        };
        let what = match &call.outcome {
            Outcome::Result(frame) => answer(frame, false),
            Outcome::Error(frame) => answer(frame, true),
            Outcome::Failed(failure) => What::Failed(*failure),
        };
        self.items.push(Item { index, what });
    }

    pub(crate) fn fail(&mut self, index: u64, failure: Failure) {
        self.items.push(Item { index, what: What::Failed(failure) });
    }

    /// Takes all outcomes out, as the consumer.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(u64, Taken)) {
        let Self { chunks, copies, has_copies, items } = self;
        for item in items.drain(..) {
            each(
                item.index,
                match item.what {
                    What::Answer { error, chunk, start, len } => {
                        let chunk = Arc::clone(chunks.get(chunk as usize).unwrap_or(copies));
                        Ok((Frame::new(chunk, start as usize, len as usize), error))
                    }
                    What::Failed(failure) => Err(failure),
                },
            );
        }
        chunks.clear();
        *has_copies = false;
    }
}

/// What the two sides of a job share.
#[derive(Debug, Default)]
pub(crate) struct JobShared {
    pub(crate) claims: Line<Claim>,
    pub(crate) spare_claims: Line<Claim>,
    pub(crate) batches: Line<Batch>,
    pub(crate) spare_batches: Line<Batch>,
    waker: Mutex<Option<Waker>>,
    /// All its claims have been handed in.
    whole: AtomicBool,
    /// And all that came of them has been handed over: the shard has forgotten the job.
    over: AtomicBool,
    /// The consumer has gone.
    gone: AtomicBool,
    /// The shard has gone: claims will not be taken any more.
    abandoned: AtomicBool,
}

impl JobShared {
    // The consumer.

    pub(crate) fn wait(&self, waker: &Waker) {
        let mut place = self.waker.lock();
        match &mut *place {
            Some(stored) => stored.clone_from(waker),
            None => *place = Some(waker.clone()),
        }
    }

    /// No further claim will come.
    pub(crate) fn mark_whole(&self) {
        self.whole.store(true, Ordering::Release);
    }

    /// Goes away. `true`: the shard is to be told, for it has the job still.
    #[must_use = "the shard has to be told"]
    pub(crate) fn leave(&self) -> bool {
        self.gone.store(true, Ordering::Release);
        !self.over.load(Ordering::Acquire)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    // The shard.

    pub(crate) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    pub(crate) fn mark_over(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Hands a batch over; its consumer is to be woken soon.
    pub(crate) fn push(&self, batch: Batch) {
        self.batches.push(batch);
    }

    pub(crate) fn wake(&self) {
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            wake(waker);
        }
    }

    /// The shard will not look at this job again: calls in claims fail.
    pub(crate) fn abandon(&self, why: Why) {
        self.abandoned.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.refuse_claims(Failure { why, fate: Fate::NotSent });
    }

    /// Fails all calls of the claims that nobody has taken. Also called by a consumer that came too late.
    pub(crate) fn refuse_claims(&self, failure: Failure) {
        while let Some(claim) = self.claims.pop() {
            self.refuse(&claim, failure);
        }
    }

    /// Fails the calls of a claim that nobody will take, as far as they have not been taken.
    pub(crate) fn refuse(&self, claim: &Claim, failure: Failure) {
        if claim.left() == 0 {
            return;
        }
        let mut batch = self.spare_batches.pop().unwrap_or_default();
        for &(index, _) in &claim.calls[claim.taken..] {
            batch.fail(index, failure);
        }
        self.push(batch);
        self.wake();
    }
}

#[cfg(all(test, not(any(volley_loom, volley_shuttle))))]
mod tests {
    use super::*;

    /// Each claim that was refused had a batch made for it, which its consumer then put among the spare ones, and nobody took it: a job on a
    /// server that had gone for good grew by five kilobytes for each 128 calls.
    #[test]
    fn refusing_for_ever_takes_no_more_memory() {
        let job = JobShared::default();
        let failure = Failure { why: Why::Unreachable, fate: Fate::NotSent };
        for round in 0..1_000 {
            job.claims.push(Claim { calls: vec![(2 * round, 0), (2 * round + 1, 0)], ..Claim::default() });
            job.refuse_claims(failure);
            let mut batch = job.batches.pop().expect("what became of the claim");
            let mut indexes = Vec::new();
            batch.drain(|index, taken| {
                assert_eq!(taken.err(), Some(failure));
                indexes.push(index);
            });
            assert_eq!(indexes, [2 * round, 2 * round + 1]);
            job.spare_batches.push(batch);
        }
        assert!(job.spare_batches.pop().is_some() && job.spare_batches.pop().is_none(), "one went round");
    }
}
