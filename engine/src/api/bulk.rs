//! Calls in bulk: an iterator of calls becomes a stream of outcomes, with the windows full all the while.
//!
//! The consumer's thread pulls calls, encodes them into claims and hands these to the shards; the shards put them on the wire
//! as windows allow and give the outcomes back in batches. What has been pulled and not yet yielded is bounded.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{
    block::block_on,
    bulk_intercepted::{Intercepted, Terms},
};
use crate::{
    base::{
        limits::{CLAIM_BYTES_MAX, CLAIM_CALLS_MAX},
        sync::{Ordering, fence},
    },
    decode::answer::{self, RawAnswer},
    engine::Engine,
    error::Error,
    model::tool::ToolCall,
    proto::event::{Failure, Fate, Patience},
    shard::{
        inbox::Command,
        runner::job::{Claim, JobShared, Taken},
    },
};

/// How a bulk job goes about it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BulkOptions {
    ordered: bool,
    bound: Option<usize>,
}

/// A stream of `(index, outcome)`, one for each call of the iterator; made by [`Client::bulk`](crate::Client::bulk).
///
/// The iterator is pulled lazily: at most [`buffer`](Self::buffer) calls are in flight or finished and unread. Each call has
/// exactly one outcome, an answer to decode at leisure or an [`Error`] with a fate. A JSON-RPC error is such an `Error`; a
/// tool's own failure (`isError`) is an answer.
///
/// With [interceptors](crate::Interceptor) each call is made as a single call, after they have let it pass, and they run on the
/// consumer's task: whoever does not poll the job holds them up. That costs what single calls cost.
///
/// As a [`Stream`](futures_core::Stream) it works in any executor; [`next`](Self::next) needs no stream library, and
/// [`blocking`](Self::blocking) no executor at all.
///
/// ```no_run
/// use serde_json::json;
/// use volley::{Client, Config, ToolCall};
///
/// # async fn example() -> Result<(), volley::Error> {
/// let client = Client::connect("tcp://127.0.0.1:9000", Config::default()).await?;
/// let calls = (0..10_000).map(|i| ToolCall::new("echo", &json!({"message": i.to_string()})).expect("an object"));
/// let mut bulk = client.bulk(calls);
/// while let Some((index, outcome)) = bulk.next().await {
///     match outcome {
///         Ok(answer) => println!("{index}: {}", answer.tool_result()?.text()),
///         Err(error) => println!("{index}: {error} ({:?})", error.fate()),
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// Dropping a pending `next` loses nothing. Dropping the job cancels all its calls.
pub struct Bulk<I: Iterator<Item = ToolCall>> {
    engine: Arc<Engine>,
    /// One on each shard.
    jobs: Vec<Arc<JobShared>>,
    /// Calls handed to each shard and not yet back.
    outstanding: Vec<usize>,
    calls: Option<I>,
    options: BulkOptions,
    bound: usize,
    /// Calls that all windows together take.
    windows: usize,
    patience: Patience,
    next_index: u64,
    /// Finished and unread, in the order in which they came (unordered mode).
    finished: VecDeque<(u64, Arrived)>,
    /// Finished, by index from `next_yield` on (ordered mode).
    line: VecDeque<Option<Arrived>>,
    next_yield: u64,
    /// A call that did not fit the last claim.
    left_over: Option<ToolCall>,
    /// The next claim. Between two polls there is something in it only if the iterator has panicked.
    filling: Claim,
    /// Calls whose outcomes have been taken and are still unread, by the layer above.
    held: usize,
    /// The job of a client with interceptors, which goes another way.
    intercepted: Option<Box<Intercepted>>,
}

/// An outcome, and the shard that it came from, which knows why it failed.
struct Arrived(usize, Taken);

impl<I: Iterator<Item = ToolCall>> Bulk<I> {
    pub(crate) fn new(engine: Arc<Engine>, calls: I, options: BulkOptions) -> Self {
        let shards = engine.handles.len();
        let intercepted = (!engine.config.values.interceptors.is_empty()).then(Box::default);
        let jobs: Vec<Arc<JobShared>> = engine
            .handles
            .iter()
            .filter(|_| intercepted.is_none())
            .map(|handle| {
                let job = Arc::new(JobShared::default());
                handle.command(Command::Job(Arc::clone(&job)));
                if handle.is_closed() {
                    job.abandon(handle.why_closed());
                }
                job
            })
            .collect();
        let windows: usize = (0..shards).map(|shard| engine.config.window_of(shard) as usize).sum();
        let patience = engine.config.patience();
        Self {
            engine,
            jobs,
            outstanding: vec![0; shards],
            calls: Some(calls),
            options,
            bound: (2 * windows).max(2 * CLAIM_CALLS_MAX),
            windows,
            patience,
            next_index: 0,
            finished: VecDeque::new(),
            line: VecDeque::new(),
            next_yield: 0,
            left_over: None,
            filling: Claim::default(),
            held: 0,
            intercepted,
        }
    }

    /// Yields outcomes in the order of the calls. One slow call then holds up those behind it, up to the bound.
    #[must_use]
    pub fn ordered(mut self) -> Self {
        self.options.ordered = true;
        self
    }

    /// At most so many calls in flight or finished and unread. Default: twice the windows, so that the wire is busy while
    /// the consumer reads.
    #[must_use]
    pub fn buffer(mut self, calls: usize) -> Self {
        self.options.bound = Some(calls.max(1));
        self.bound = calls.max(1);
        self
    }

    /// How long each call may take from when it is put on the wire. Default: the client's time-out.
    #[must_use]
    pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
        self.patience.timeout = timeout;
        self.patience.at_most = self.patience.at_most.max(timeout);
        self
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.options.ordered
    }

    /// So many outcomes have been taken and count as unread.
    pub(super) fn hold(&mut self, held: usize) {
        self.held = held;
    }

    /// The next outcome, or `None` when every call has had its own.
    pub async fn next(&mut self) -> Option<(u64, Result<RawAnswer, Error>)> {
        std::future::poll_fn(|cx| self.poll_outcome(cx.waker())).await
    }

    /// The same as an iterator that blocks.
    pub fn blocking(self) -> BlockingBulk<I> {
        BlockingBulk(self)
    }

    fn unread(&self) -> usize {
        if self.options.ordered { self.line.len() } else { self.finished.len() }
    }

    pub(super) fn poll_outcome(&mut self, waker: &Waker) -> Poll<Option<(u64, Result<RawAnswer, Error>)>> {
        if let Some(intercepted) = &mut self.intercepted {
            // Each of its calls takes a slot until its outcome is read: so many, and callers beside it find others.
            let windows = self.bound.min(self.windows);
            let (ordered, bound) = (self.options.ordered, windows.saturating_sub(self.held));
            let terms = Terms { engine: &self.engine, patience: self.patience, bound, ordered };
            return intercepted.poll(&mut self.calls, &terms, waker);
        }
        loop {
            if let Some((index, taken)) = self.pop() {
                return Poll::Ready(Some((index, self.outcome(taken))));
            }
            let gathered = self.gather();
            let handed_in = self.hand_in();
            if gathered || handed_in {
                continue;
            }
            if self.calls.is_none() && self.outstanding.iter().all(|n| *n == 0) {
                return Poll::Ready(None);
            }
            // Leave the waker first, then look once more.
            for job in &self.jobs {
                job.wait(waker);
            }
            if !self.gather() {
                return Poll::Pending;
            }
        }
    }

    fn pop(&mut self) -> Option<(u64, Arrived)> {
        if !self.options.ordered {
            return self.finished.pop_front();
        }
        let taken = self.line.front_mut()?.take()?;
        self.line.pop_front();
        let index = self.next_yield;
        self.next_yield += 1;
        Some((index, taken))
    }

    fn outcome(&self, Arrived(shard, taken): Arrived) -> Result<RawAnswer, Error> {
        match taken {
            Ok((frame, false)) => Ok(RawAnswer { frame }),
            Ok((frame, true)) => Err(answer::error(&frame)),
            Err(failure) => Err(self.engine.handles[shard].error(failure)),
        }
    }

    /// Collects the batches that have come.
    fn gather(&mut self) -> bool {
        let mut any = false;
        for (shard, (job, outstanding)) in self.jobs.iter().zip(&mut self.outstanding).enumerate() {
            while let Some(mut batch) = job.batches.pop() {
                batch.drain(|index, taken| {
                    *outstanding -= 1;
                    any = true;
                    if self.options.ordered {
                        let place = (index - self.next_yield) as usize;
                        self.line[place] = Some(Arrived(shard, taken));
                    } else {
                        self.finished.push_back((index, Arrived(shard, taken)));
                    }
                });
                job.spare_batches.push(batch);
            }
        }
        any
    }

    /// Pulls calls and hands them to the shards while the bound allows. Returns whether any was handed in.
    fn hand_in(&mut self) -> bool {
        let mut any = false;
        while self.calls.is_some() {
            let outstanding: usize = self.outstanding.iter().sum();
            let used = if self.options.ordered { self.unread() } else { outstanding + self.unread() };
            let used = used + self.held;
            let room = self.bound.saturating_sub(used);
            // Small claims would cost a wake each: wait until a fair piece of the bound is free, unless nothing is in flight.
            if room == 0 || (outstanding > 0 && room < CLAIM_CALLS_MAX.min(self.bound / 4)) {
                break;
            }
            // A shard that refuses has nothing outstanding at once, and would be given nearly all that others would answer.
            let merit = |shard: &usize| (!self.engine.handles[*shard].is_well(), self.outstanding[*shard]);
            let Some(shard) = (0..self.jobs.len()).min_by_key(merit) else {
                break;
            };
            let claim = self.fill(shard, room.min(CLAIM_CALLS_MAX));
            if claim.calls.is_empty() {
                break;
            }
            self.outstanding[shard] += claim.calls.len();
            any = true;
            if self.engine.handles[shard].is_refusing() {
                // Draining or closed: what has been handed in may end, this comes too late.
                self.jobs[shard].refuse(&claim, self.too_late(shard));
                continue;
            }
            self.jobs[shard].claims.push(claim);
            // Against a shard that goes away just now: either it sees this claim, or this thread sees that it has gone.
            fence(Ordering::SeqCst);
            if self.jobs[shard].is_abandoned() {
                self.jobs[shard].refuse_claims(self.too_late(shard));
            }
            self.engine.handles[shard].announce();
        }
        any
    }

    /// Why a shard that takes no more does not.
    fn too_late(&self, shard: usize) -> Failure {
        Failure { why: self.engine.handles[shard].why_closed(), fate: Fate::NotSent }
    }

    /// The next calls, for a shard. The iterator is the caller's: if it panics, those that it gave before stay here, and go with the
    /// next.
    fn fill(&mut self, shard: usize, calls_max: usize) -> Claim {
        if self.filling.calls.is_empty() {
            self.filling = self.jobs[shard].spare_claims.pop().unwrap_or_default();
            self.filling.clear();
        }
        while self.filling.calls.len() < calls_max {
            let pulled = self.left_over.take().or_else(|| self.calls.as_mut().and_then(Iterator::next));
            let Some(call) = pulled else {
                self.calls = None;
                break;
            };
            let claim = &mut self.filling;
            let patience = call.patience(self.patience);
            // What is patient in another way is another claim.
            let fits =
                claim.patience == patience && claim.bodies.len() + call.body().len() <= CLAIM_BYTES_MAX;
            if !claim.calls.is_empty() && !fits {
                self.left_over = Some(call);
                break;
            }
            claim.patience = patience;
            claim.bodies.extend_from_slice(call.body());
            claim.calls.push((self.next_index, claim.bodies.len()));
            if self.options.ordered {
                self.line.push_back(None);
            }
            self.next_index += 1;
        }
        std::mem::take(&mut self.filling)
    }
}

impl<I: Iterator<Item = ToolCall> + Unpin> futures_core::Stream for Bulk<I> {
    type Item = (u64, Result<RawAnswer, Error>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_outcome(cx.waker())
    }
}

impl<I: Iterator<Item = ToolCall>> Drop for Bulk<I> {
    fn drop(&mut self) {
        for (job, handle) in self.jobs.iter().zip(&self.engine.handles) {
            if job.leave() {
                handle.announce();
            }
        }
    }
}

/// [`Bulk`] as an iterator that blocks its thread.
pub struct BlockingBulk<I: Iterator<Item = ToolCall>>(Bulk<I>);

impl<I: Iterator<Item = ToolCall>> Iterator for BlockingBulk<I> {
    type Item = (u64, Result<RawAnswer, Error>);

    fn next(&mut self) -> Option<Self::Item> {
        // Most outcomes come with others, and nobody has to wait for them.
        match self.0.pop() {
            Some((index, taken)) => Some((index, self.0.outcome(taken))),
            None => {
                let driver = self.0.engine.config.values.driver;
                block_on(driver, self.0.next())
            }
        }
    }
}
