//! A bulk job, seen from both sides: the consumer hands in *claims* of encoded calls and gets *batches* of outcomes back,
//! one for each turn of the shard, or for some turns if it has not come for a small one. Both are recycled, so the steady state allocates nothing.
//!
//! | who | pushes | pops |
//! |---|---|---|
//! | consumer | `claims`, `spare_batches` | `batches`, `spare_claims` |
//! | shard | `batches`, `spare_claims`, `spare_batches` | `claims`, `spare_batches`, the last of `batches` |
//!
//! A consumer that was woken for a batch which is taken back may be looking for it just then, and is woken again when it is pushed.
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

/// Outcomes of one turn, or of some.
///
/// Answers stay in the chunks they were read into, but for the first few short ones: where a turn brings no more than those, as with a small window, each
/// would keep a whole chunk, which is not read into again until the consumer has looked, and a consumer that is some turns behind would have chunks
/// made for it. These are copied into memory that goes round with the batch. Over HTTP, where each answer has a chunk to itself, and with many
/// connections, where few have one, all short ones are.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    chunks: Vec<Arc<Chunk>>,
    copies: Arc<Chunk>,
    has_copies: bool,
    /// Bytes of the copies that were there before this turn.
    copied_before: usize,
    items: Vec<Item>,
}

/// Bytes of the first short answers of a turn, which are copied whatever the transport: some fifteen of the usual length, a small part of what a
/// wide window brings.
const FEW_COPIED_BYTES_MAX: usize = 2 * 1024;

/// Room for copies to begin with: a batch that goes round has soon what it needs, and one that comes once needs little.
const COPIES_BYTES_MIN: usize = 512;

/// A batch of fewer outcomes is gone on with, if nobody has come for it.
const SMALL_BATCH_MAX: usize = 64;

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
            copied_before: 0,
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
            let copied = if self.has_copies { self.copies.bytes().len() } else { 0 };
            if frame.len <= ANSWER_COPY_BYTES_MAX
                && (copies_short || copied + frame.len <= self.copied_before + FEW_COPIED_BYTES_MAX)
            {
                if !std::mem::replace(&mut self.has_copies, true) {
                    Chunk::renew(&mut self.copies, COPIES_BYTES_MIN);
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
        let Self { chunks, copies, has_copies, items, .. } = self;
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
        (*has_copies, self.copied_before) = (false, 0);
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

    /// Takes the last batch back to go on with it, if it is small and its consumer has not come for it. While one that is slow is behind, what a narrow
    /// window brings would be a batch for each answer, up to all that may be unread.
    pub(crate) fn take_back(&self) -> Option<Batch> {
        let mut batch = self.batches.take_back_if(|batch| batch.len() < SMALL_BATCH_MAX)?;
        batch.copied_before = if batch.has_copies { batch.copies.bytes().len() } else { 0 };
        Some(batch)
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
    use crate::{
        proto::event::{Owner, OwnerKind},
        slab::key::Key,
    };

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

    fn chunk(byte: u8) -> Arc<Chunk> {
        Arc::clone(Frame::from_vec(vec![byte; 100]).as_frame_ref().chunk)
    }

    /// What the shard does with the answers of a turn.
    fn answers_come(job: &JobShared, own: &mut Batch, chunk: &Arc<Chunk>, indexes: std::ops::Range<u64>) {
        for index in indexes {
            if own.is_empty()
                && let Some(small) = job.take_back()
            {
                job.spare_batches.push(std::mem::replace(own, small));
            }
            let frame = FrameRef { chunk, start: 0, len: 100 };
            let owner = Owner { tag: index, kind: OwnerKind::Drawn };
            own.push(index, &Ended { key: Key::NONE, owner, outcome: Outcome::Result(frame) }, false);
        }
        let spare = job.spare_batches.pop().unwrap_or_else(|| Batch::like(own));
        job.push(std::mem::replace(own, spare));
    }

    /// With one call in flight each answer was a batch and kept a whole chunk, so for a consumer that was some turns behind both were made anew: 0.2
    /// allocations a call over stdio, where shard, consumer and server have two cores for three.
    #[test]
    fn a_consumer_that_is_behind_finds_little_batches_in_one_and_holds_no_chunk() {
        let job = JobShared::default();
        let mut own = Batch::default();
        let chunks: Vec<_> = (0..SMALL_BATCH_MAX as u64 + 10)
            .map(|n| {
                let chunk = chunk(n as u8);
                answers_come(&job, &mut own, &chunk, n..n + 1);
                chunk
            })
            .collect();
        assert!(chunks.iter().all(|chunk| Arc::strong_count(chunk) == 1));
        let mut seen = Vec::new();
        let mut batches = 0;
        while let Some(mut batch) = job.batches.pop() {
            batches += 1;
            batch.drain(|index, taken| {
                let (frame, error) = taken.expect("an answer");
                assert!(!error && frame[..] == [index as u8; 100]);
                seen.push(index);
            });
            job.spare_batches.push(batch);
        }
        assert_eq!(batches, 2, "one that is not small is left alone");
        assert!(seen.iter().copied().eq(0..SMALL_BATCH_MAX as u64 + 10));
        // What many bring in one turn stays where it is, but for the first few.
        let chunk = chunk(7);
        answers_come(&job, &mut own, &chunk, 0..1_000);
        assert_eq!(Arc::strong_count(&chunk), 2);
        let mut batch = job.batches.pop().expect("it was handed over");
        let mut held = Vec::new();
        batch.drain(|_, taken| held.push(taken.expect("an answer").0));
        assert!(held.iter().all(|frame| frame[..] == [7; 100]));
        let copied = FEW_COPIED_BYTES_MAX / 100;
        drop(batch);
        assert_eq!(Arc::strong_count(&chunk), 1 + 1_000 - copied);
    }
}
