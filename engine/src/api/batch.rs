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

use super::{
    block::block_on,
    call::{Call, Request},
    client::Client,
    together::Together,
};
use crate::{
    decode::answer::{self, RawAnswer},
    engine::Engine,
    error::Error,
    model::{
        body::Body,
        tool::{ToolCall, ToolResult},
    },
    proto::{
        batch::Fit,
        event::{Failure, Fate, Patience},
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
///
/// With [interceptors](crate::Interceptor) each call is made as a single call, after they have let it pass; they run on the task that
/// awaits the [`BatchAnswers`].
#[must_use = "a batch does nothing until it is sent"]
pub struct Batch {
    engine: Arc<Engine>,
    /// Where it goes if it can.
    first: usize,
    calls: Vec<Result<ToolCall, Error>>,
    timeout: Option<Duration>,
}

impl Client {
    /// Begins a batch: calls that leave together and whose outcomes come in order. See [`Batch`].
    pub fn batch(&self) -> Batch {
        let (engine, first) = (Arc::clone(self.engine()), self.next_shard());
        Batch { engine, first, calls: Vec::new(), timeout: None }
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

    /// Sends the calls. They are on their way when this returns, if there are no interceptors; await the [`BatchAnswers`] for the outcomes.
    pub fn send(self) -> BatchAnswers {
        self.send_to(|raw| raw.tool_result())
    }

    /// As [`Self::send`], with the answers as they came, undecoded.
    pub fn send_raw(self) -> BatchAnswers<RawAnswer> {
        self.send_to(Ok)
    }

    fn send_to<T>(self, read: fn(RawAnswer) -> Result<T, Error>) -> BatchAnswers<T> {
        let mut default = self.engine.config.patience();
        if let Some(timeout) = self.timeout {
            default.timeout = timeout;
            default.at_most = default.at_most.max(timeout);
        }
        let mut outcomes: Vec<Option<Result<T, Error>>> = Vec::with_capacity(self.calls.len());
        let mut calls = Vec::with_capacity(self.calls.len());
        for (index, call) in self.calls.into_iter().enumerate() {
            outcomes.push(match call {
                Ok(call) => {
                    let patience = call.patience(default);
                    calls.push((index as u64, call.into_body(), patience));
                    None
                }
                Err(error) => Some(Err(error)),
            });
        }
        let (engine, open) = (self.engine, calls.len());
        let way = if engine.config.values.interceptors.is_empty() {
            let shard = engine.willing_shard(self.first);
            Way::Job { shard, job: begin_job(&engine, shard, calls) }
        } else {
            let mut together = Together::default();
            for (index, body, patience) in calls {
                let shard = engine.willing_shard(self.first + index as usize);
                together
                    .add(index, Call::make(&engine, shard, Ok(Request { body, patience, mailbox: None })));
            }
            Way::Intercepted(Box::new(together))
        };
        BatchAnswers { engine, way, outcomes, open, read }
    }
}

/// Hands calls to a shard, in claims that each fit one array.
fn begin_job(engine: &Engine, shard: usize, calls: Vec<(u64, Body, Patience)>) -> Arc<JobShared> {
    let job = Arc::new(JobShared::default());
    if calls.is_empty() {
        return job;
    }
    let rules = &engine.config.values.arrays.rules;
    let new_fit = || Fit::new(rules.calls_max, rules.bytes_max);
    let bytes = calls.iter().map(|(_, body, _)| body.bytes().len()).sum::<usize>();
    let (mut claim, mut fit) = (Claim::for_calls(calls.len(), bytes), new_fit());
    for (index, body, patience) in calls {
        let body = body.bytes();
        // What is patient in another way is another claim, and so another array.
        if !claim.calls.is_empty() && (claim.patience != patience || !fit.takes(body.len())) {
            job.claims.push(std::mem::take(&mut claim));
            fit = new_fit();
        }
        if claim.calls.is_empty() {
            fit.takes(body.len());
        }
        (claim.patience, claim.together) = (patience, true);
        claim.bodies.extend_from_slice(body);
        claim.calls.push((index, claim.bodies.len()));
    }
    job.claims.push(claim);
    job.mark_whole();
    // The claims first: the shard finds all of them in the turn in which it meets the job.
    let handle = &engine.handles[shard];
    handle.command(Command::Job(Arc::clone(&job)));
    if handle.is_closed() {
        job.abandon(handle.why_closed());
    } else if handle.is_refusing() {
        job.refuse_claims(Failure { why: handle.why_closed(), fate: Fate::NotSent });
    }
    job
}

/// A batch that has been sent; await it for the outcome of each call, in the order of the calls.
///
/// # Cancel safety
/// Dropping it cancels all its calls that have not ended.
#[must_use = "dropped answers are cancelled calls"]
pub struct BatchAnswers<T = ToolResult> {
    engine: Arc<Engine>,
    way: Way,
    outcomes: Vec<Option<Result<T, Error>>>,
    /// Calls without an outcome.
    open: usize,
    read: fn(RawAnswer) -> Result<T, Error>,
}

/// How the calls go.
enum Way {
    Job {
        shard: usize,
        job: Arc<JobShared>,
    },
    /// Each by itself, after the interceptors.
    Intercepted(Box<Together<Call<RawAnswer>>>),
}

impl<T> BatchAnswers<T> {
    /// Blocks the thread until all outcomes are there.
    pub fn wait(self) -> Vec<Result<T, Error>> {
        let driver = self.engine.config.values.driver;
        block_on(driver, self)
    }

    /// Takes the outcomes that have come. Returns whether there were any.
    fn gather(&mut self, waker: &Waker) -> bool {
        let before = self.open;
        match &mut self.way {
            Way::Job { shard, job } => {
                while let Some(mut batch) = job.batches.pop() {
                    batch.drain(|index, taken| {
                        let outcome = match taken {
                            Ok((frame, false)) => (self.read)(RawAnswer { frame }),
                            Ok((frame, true)) => Err(answer::error(&frame)),
                            Err(failure) => Err(self.engine.handles[*shard].error(failure)),
                        };
                        self.outcomes[index as usize] = Some(outcome);
                        self.open -= 1;
                    });
                    job.spare_batches.push(batch);
                }
            }
            Way::Intercepted(together) => {
                while let Poll::Ready(Some((index, answer))) = together.poll_next(waker) {
                    self.outcomes[index as usize] = Some(answer.and_then(self.read));
                    self.open -= 1;
                }
            }
        }
        self.open < before
    }

    fn poll_all(&mut self, waker: &Waker) -> Poll<Vec<Result<T, Error>>> {
        loop {
            let gathered = self.gather(waker);
            if self.open == 0 {
                let outcomes = std::mem::take(&mut self.outcomes);
                return Poll::Ready(outcomes.into_iter().flatten().collect());
            }
            if !gathered {
                // Leave the waker first, then look once more.
                if let Way::Job { job, .. } = &self.way {
                    job.wait(waker);
                }
                if !self.gather(waker) {
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
        if let Way::Job { shard, job } = &self.way
            && job.leave()
        {
            self.engine.handles[*shard].announce();
        }
    }
}
