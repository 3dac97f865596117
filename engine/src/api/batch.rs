//! Batches: calls that the caller puts together, sent in one go, with their outcomes in order.
//!
//! A batch is a small bulk job whose claims are marked as belonging together; the exchange sends such a claim as one JSON-RPC array
//! if the server takes any, and as single requests written in one go if not. Its calls are calls like all others: each has its
//! place in the window, its time-out, its fate.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use serde::Serialize;

use super::client::Client;
use crate::{
    decode::answer::{self, RawAnswer},
    engine::Engine,
    error::Error,
    model::tool::{ToolCall, ToolResult},
    proto::{
        batch::Fit,
        event::{Failure, Fate, Why},
    },
    shard::{
        inbox::Command,
        runner::job::{Claim, JobShared},
    },
};

/// Calls in the making that will leave together; made by [`Client::batch`].
///
/// Where the server takes JSON-RPC arrays ([`Arrays`](crate::Arrays) says which are asked), the calls go as arrays of at most
/// [`array_calls_max`](crate::ConfigBuilder::array_calls_max) calls, as far as the window has room; everywhere else as single
/// requests, written together. The outcomes are the same: [`Client::stats`] tells which it was.
///
/// ```no_run
/// use serde_json::json;
/// use volley::{Client, Config};
///
/// # async fn example() -> Result<(), volley::Error> {
/// let client = Client::connect("http://127.0.0.1:9000/mcp", Config::default()).await?;
/// let outcomes = client
///     .batch()
///     .call_tool("echo", &json!({"message": "one"}))
///     .call_tool("echo", &json!({"message": "two"}))
///     .send()
///     .await;
/// for outcome in outcomes {
///     match outcome {
///         Ok(result) => println!("{}", result.text()),
///         Err(error) => println!("{error} ({:?})", error.fate()),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a batch does nothing until it is sent"]
pub struct Batch {
    engine: Arc<Engine>,
    shard: usize,
    calls: Vec<Result<ToolCall, Error>>,
    timeout: Option<Duration>,
}

impl Client {
    /// Begins a batch: calls that leave together and whose outcomes come in order. See [`Batch`].
    pub fn batch(&self) -> Batch {
        let first = self.next_shard();
        let handles = &self.engine().handles;
        // One that has panicked refuses; the others go on.
        let shard = (0..handles.len())
            .map(|n| (first + n) % handles.len())
            .find(|shard| !handles[*shard].is_refusing())
            .unwrap_or(first);
        Batch { engine: Arc::clone(self.engine()), shard, calls: Vec::new(), timeout: None }
    }

    /// Sends the calls that `fill` puts into a batch, and returns the outcome of each, in their order.
    ///
    /// ```no_run
    /// # async fn example(client: volley::Client) {
    /// use serde_json::json;
    ///
    /// let outcomes = client
    ///     .with_batch(|batch| {
    ///         for n in 0..10 {
    ///             batch.push_tool("echo", &json!({"message": n.to_string()}));
    ///         }
    ///     })
    ///     .await;
    /// assert_eq!(outcomes.len(), 10);
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping it cancels the calls.
    pub async fn with_batch(&self, fill: impl FnOnce(&mut Batch)) -> Vec<Result<ToolResult, Error>> {
        let mut batch = self.batch();
        fill(&mut batch);
        batch.send().await
    }
}

impl Batch {
    /// Adds a call of a tool. Arguments that are no JSON object become this call's outcome,
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput).
    pub fn call_tool(mut self, tool: &str, arguments: &impl Serialize) -> Self {
        self.push_tool(tool, arguments);
        self
    }

    /// Adds a prepared call.
    pub fn call(mut self, call: ToolCall) -> Self {
        self.push(call);
        self
    }

    /// Adds prepared calls.
    pub fn calls(mut self, calls: impl IntoIterator<Item = ToolCall>) -> Self {
        calls.into_iter().for_each(|call| self.push(call));
        self
    }

    /// As [`Self::call_tool`], in place.
    pub fn push_tool(&mut self, tool: &str, arguments: &impl Serialize) {
        self.calls.push(ToolCall::new(tool, arguments));
    }

    /// As [`Self::call`], in place.
    pub fn push(&mut self, call: ToolCall) {
        self.calls.push(Ok(call));
    }

    /// How long each call may take from when it is put on the wire, unless it says so itself. Default: the client's time-out.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many calls it has.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Has it none?
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Sends the calls. They are on their way when this returns; await the [`BatchAnswers`] for the outcomes.
    pub fn send(self) -> BatchAnswers {
        self.send_to(|raw| raw.tool_result())
    }

    /// As [`Self::send`], with the answers as they came, undecoded.
    pub fn send_raw(self) -> BatchAnswers<RawAnswer> {
        self.send_to(Ok)
    }

    fn send_to<T>(self, read: fn(RawAnswer) -> Result<T, Error>) -> BatchAnswers<T> {
        let Self { engine, shard, calls, timeout } = self;
        let job = Arc::new(JobShared::default());
        let mut outcomes: Vec<Option<Result<T, Error>>> = Vec::with_capacity(calls.len());
        let rules = &engine.config.values.arrays.rules;
        let mut patience_default = engine.config.patience();
        if let Some(timeout) = timeout {
            patience_default.timeout = timeout;
            patience_default.at_most = patience_default.at_most.max(timeout);
        }
        let new_fit = || Fit::new(rules.calls_max, rules.bytes_max);
        let (mut claim, mut fit, mut open) = (Claim::default(), new_fit(), 0);
        for (index, call) in calls.into_iter().enumerate() {
            let call = match call {
                Ok(call) => call,
                Err(error) => {
                    outcomes.push(Some(Err(error)));
                    continue;
                }
            };
            let patience = call.patience(patience_default);
            // What is patient in another way is another claim, and so another array.
            if !claim.calls.is_empty() && (claim.patience != patience || !fit.takes(call.body().len())) {
                job.claims.push(std::mem::take(&mut claim));
                fit = new_fit();
            }
            if claim.calls.is_empty() {
                fit.takes(call.body().len());
            }
            (claim.patience, claim.together) = (patience, true);
            claim.bodies.extend_from_slice(call.body());
            claim.calls.push((index as u64, claim.bodies.len()));
            outcomes.push(None);
            open += 1;
        }
        if !claim.calls.is_empty() {
            job.claims.push(claim);
        }
        let handle = &engine.handles[shard];
        if open > 0 {
            // The claims first: the shard finds all of them in the turn in which it meets the job.
            handle.command(Command::Job(Arc::clone(&job)));
            if handle.is_closed() {
                job.abandon();
            } else if handle.is_refusing() {
                job.refuse_claims(Failure { why: Why::Closed, fate: Fate::NotSent });
            }
        }
        BatchAnswers { engine, shard, job, outcomes, open, read }
    }
}

/// A batch that has been sent; await it for the outcome of each call, in the order of the calls.
///
/// # Cancel safety
/// Dropping it cancels all its calls that have not ended.
#[must_use = "dropped answers are cancelled calls"]
pub struct BatchAnswers<T = ToolResult> {
    engine: Arc<Engine>,
    shard: usize,
    job: Arc<JobShared>,
    outcomes: Vec<Option<Result<T, Error>>>,
    /// Calls without an outcome.
    open: usize,
    read: fn(RawAnswer) -> Result<T, Error>,
}

impl<T> BatchAnswers<T> {
    /// Blocks the thread until all outcomes are there.
    pub fn wait(self) -> Vec<Result<T, Error>> {
        pollster::block_on(self)
    }

    /// Takes the outcomes that have come. Returns whether there were any.
    fn gather(&mut self) -> bool {
        let before = self.open;
        while let Some(mut batch) = self.job.batches.pop() {
            batch.drain(|index, taken| {
                let outcome = match taken {
                    Ok((frame, false)) => (self.read)(RawAnswer { frame }),
                    Ok((frame, true)) => Err(answer::error(&frame)),
                    Err(failure) => Err(self.engine.handles[self.shard].error(failure)),
                };
                self.outcomes[index as usize] = Some(outcome);
                self.open -= 1;
            });
            self.job.spare_batches.push(batch);
        }
        self.open < before
    }

    fn poll_all(&mut self, waker: &Waker) -> Poll<Vec<Result<T, Error>>> {
        loop {
            let gathered = self.gather();
            if self.open == 0 {
                let outcomes = std::mem::take(&mut self.outcomes);
                return Poll::Ready(outcomes.into_iter().flatten().collect());
            }
            if !gathered {
                // Leave the waker first, then look once more.
                self.job.wait(waker);
                if !self.gather() {
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<T> Future for BatchAnswers<T> {
    type Output = Vec<Result<T, Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_all(cx.waker())
    }
}

/// Outcomes are kept by value; nothing points into them.
impl<T> Unpin for BatchAnswers<T> {}

impl<T> Drop for BatchAnswers<T> {
    fn drop(&mut self) {
        self.job.leave();
        self.engine.handles[self.shard].announce_claim();
    }
}
