//! A bulk job whose answers are decoded: short ones by the consumer as it takes them, long ones by the decode workers meanwhile.
//!
//! A layer over [`Bulk`], which gives it raw answers, in order or as they come. A long answer is handed to a worker if there is a
//! place for it, and the job goes on taking others; with no place, the consumer decodes it itself. What is being decoded, or is
//! decoded and not yet yielded, counts as unread, so the job's bound is the same. Cost: none for a short answer; for a long one
//! what a hand-over costs.
//!
//! Owner: the consumer's thread; a worker reaches `Done` only. Always: each outcome is yielded once, and with `ordered` in the order
//! of the calls, however many workers decode. Proof: `tests/integration/long_answers.rs`.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crossbeam::queue::SegQueue;
use parking_lot::Mutex;

use super::{block::block_on, bulk::Bulk};
use crate::{
    base::buffer::Frame,
    decode::{
        answer::{self, RawAnswer},
        pool,
    },
    error::Error,
    model::tool::{ToolCall, ToolResult},
};

impl<I: Iterator<Item = ToolCall>> Bulk<I> {
    /// Decodes the answers. Long ones are decoded by the workers ([`decode_workers`](crate::ConfigBuilder::decode_workers),
    /// [`decode_offload_bytes`](crate::ConfigBuilder::decode_offload_bytes)) while the job goes on; with
    /// [`ordered`](Self::ordered) they are yielded in the order of the calls all the same.
    pub fn decoded(self) -> DecodedBulk<I> {
        DecodedBulk::new(self, answer::tool_result)
    }

    /// The same into any type, as [`RawAnswer::result`] does.
    pub fn decoded_as<T: serde::de::DeserializeOwned + Send + 'static>(self) -> DecodedBulk<I, T> {
        DecodedBulk::new(self, |bytes| answer::result(bytes))
    }
}

/// A stream of `(index, outcome)` as [`Bulk`] is, of decoded answers; made by [`Bulk::decoded`] and [`Bulk::decoded_as`].
///
/// ```no_run
/// use serde_json::json;
/// use volley::{Client, Config, ToolCall};
///
/// # async fn example() -> Result<(), volley::Error> {
/// let config = Config::builder().decode_workers(4).build()?;
/// let client = Client::connect("tcp://127.0.0.1:9000", config).await?;
/// let calls = (0..100).map(|page| ToolCall::new("export", &json!({"page": page})).expect("an object"));
/// let mut pages = client.bulk(calls).ordered().decoded();
/// while let Some((page, outcome)) = pages.next().await {
///     println!("page {page}: {} bytes", outcome?.text().len());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// As of [`Bulk`].
pub struct DecodedBulk<I: Iterator<Item = ToolCall>, T = ToolResult> {
    bulk: Bulk<I>,
    decode: fn(&[u8]) -> Result<T, Error>,
    offload_bytes: usize,
    done: Arc<Done<T>>,
    /// Answers with the workers.
    decoding: usize,
    /// In order: what was taken from the job and not yet yielded, from `next_yield` on.
    line: VecDeque<Slot<T>>,
    next_yield: u64,
    is_over: bool,
}

enum Slot<T> {
    /// With a worker.
    Awaited,
    /// Short, to be decoded when it is yielded, or failed.
    Raw(Result<RawAnswer, Error>),
    Decoded(Result<T, Error>),
}

/// Where workers leave what they have decoded.
struct Done<T> {
    decoded: SegQueue<(u64, Result<T, Error>)>,
    waker: Mutex<Option<Waker>>,
}

impl<I: Iterator<Item = ToolCall>, T: Send + 'static> DecodedBulk<I, T> {
    pub(super) fn new(bulk: Bulk<I>, decode: fn(&[u8]) -> Result<T, Error>) -> Self {
        Self {
            offload_bytes: bulk.engine().config.values.decode_offload_bytes,
            bulk,
            decode,
            done: Arc::new(Done { decoded: SegQueue::new(), waker: Mutex::new(None) }),
            decoding: 0,
            line: VecDeque::new(),
            next_yield: 0,
            is_over: false,
        }
    }

    /// The next outcome, or `None` when every call has had its own.
    pub async fn next(&mut self) -> Option<(u64, Result<T, Error>)> {
        std::future::poll_fn(|cx| self.poll_outcome(cx.waker())).await
    }

    /// The same as an iterator that blocks.
    pub fn blocking(self) -> BlockingDecodedBulk<I, T> {
        BlockingDecodedBulk(self)
    }

    fn poll_outcome(&mut self, waker: &Waker) -> Poll<Option<(u64, Result<T, Error>)>> {
        loop {
            if let Some(outcome) = self.decoded() {
                return Poll::Ready(Some(outcome));
            }
            // What is with the workers, or waits for it in the line, is unread.
            self.bulk.hold(self.decoding.max(self.line.len()));
            match if self.is_over { Poll::Ready(None) } else { self.bulk.poll_outcome(waker) } {
                Poll::Ready(Some((index, outcome))) => {
                    if let Some(outcome) = self.take_on(index, outcome) {
                        return Poll::Ready(Some(outcome));
                    }
                    continue;
                }
                Poll::Ready(None) => {
                    self.is_over = true;
                    if self.decoding == 0 && self.line.is_empty() {
                        return Poll::Ready(None);
                    }
                }
                Poll::Pending => {}
            }
            if self.decoding == 0 {
                return Poll::Pending;
            }
            // Leave the waker first, then look once more.
            self.done.wait(waker);
            if self.done.decoded.is_empty() {
                return Poll::Pending;
            }
        }
    }

    /// An outcome of the job: given on, put into the line, or handed to a worker.
    fn take_on(&mut self, index: u64, outcome: Result<RawAnswer, Error>) -> Option<(u64, Result<T, Error>)> {
        let slot = match outcome {
            Ok(answer) if answer.frame.len() >= self.offload_bytes => match self.offload(index, answer.frame)
            {
                Ok(()) => Slot::Awaited,
                Err(frame) => Slot::Raw(Ok(RawAnswer { frame })),
            },
            other => Slot::Raw(other),
        };
        if self.bulk.is_ordered() {
            self.line.push_back(slot);
            return None;
        }
        match slot {
            Slot::Raw(outcome) => Some((index, self.read(outcome))),
            Slot::Awaited | Slot::Decoded(_) => None,
        }
    }

    /// Decodes a short answer. The type is the caller's, and if it panics this call fails, here as with a worker.
    fn read(&self, outcome: Result<RawAnswer, Error>) -> Result<T, Error> {
        outcome.and_then(|answer| pool::guarded(|| (self.decode)(&answer.frame)))
    }

    /// Hands an answer to a worker; gives it back when the workers are behind.
    fn offload(&mut self, index: u64, frame: Frame) -> Result<(), Frame> {
        let Some(place) = self.bulk.engine().pool.place(frame.len()) else { return Err(frame) };
        let (done, decode) = (Arc::downgrade(&self.done), self.decode);
        place.hand_in(move || {
            // Nobody decodes for a job that was dropped.
            if done.strong_count() == 0 {
                return;
            }
            let decoded = pool::guarded(|| decode(&frame));
            drop(frame);
            if let Some(done) = done.upgrade() {
                done.put(index, decoded);
            }
        });
        self.decoding += 1;
        Ok(())
    }

    /// The next outcome that is at hand.
    fn decoded(&mut self) -> Option<(u64, Result<T, Error>)> {
        while let Some((index, decoded)) = self.done.decoded.pop() {
            self.decoding -= 1;
            if !self.bulk.is_ordered() {
                return Some((index, decoded));
            }
            self.line[(index - self.next_yield) as usize] = Slot::Decoded(decoded);
        }
        if matches!(self.line.front()?, Slot::Awaited) {
            return None;
        }
        let outcome = match self.line.pop_front()? {
            Slot::Decoded(outcome) => outcome,
            Slot::Raw(outcome) => self.read(outcome),
            Slot::Awaited => return None,
        };
        self.next_yield += 1;
        Some((self.next_yield - 1, outcome))
    }
}

impl<T> Done<T> {
    fn put(&self, index: u64, decoded: Result<T, Error>) {
        self.decoded.push((index, decoded));
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wait(&self, waker: &Waker) {
        let mut place = self.waker.lock();
        match &mut *place {
            Some(stored) => stored.clone_from(waker),
            None => *place = Some(waker.clone()),
        }
    }
}

/// Nothing in it is pinned.
impl<I: Iterator<Item = ToolCall> + Unpin, T> Unpin for DecodedBulk<I, T> {}

impl<I: Iterator<Item = ToolCall> + Unpin, T: Send + 'static> futures_core::Stream for DecodedBulk<I, T> {
    type Item = (u64, Result<T, Error>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_outcome(cx.waker())
    }
}

/// [`DecodedBulk`] as an iterator that blocks its thread.
pub struct BlockingDecodedBulk<I: Iterator<Item = ToolCall>, T = ToolResult>(DecodedBulk<I, T>);

impl<I: Iterator<Item = ToolCall>, T: Send + 'static> Iterator for BlockingDecodedBulk<I, T> {
    type Item = (u64, Result<T, Error>);

    fn next(&mut self) -> Option<Self::Item> {
        let driver = self.0.bulk.engine().config.values.driver;
        block_on(driver, self.0.next())
    }
}
