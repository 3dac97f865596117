//! The future of one answer.

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use event_listener::EventListener;

use super::interceptor::Intercepted;
use crate::{
    base::buffer::Frame,
    decode::answer::{self, RawAnswer},
    engine::Engine,
    error::Error,
    model::{body::Body, tool::ToolResult},
    proto::event::{Failure, Fate, Patience},
    shard::{
        inbox::{self, Command, Question, Refused, Reply, ReplyKind, ShardHandle},
        mailbox::Mailbox,
    },
    slab::key::Key,
};

/// A call that has been made; await it for its answer.
///
/// The call is on its way as soon as it is made, if there is a place for it, so that several calls made one after another
/// are in flight together. If all windows and queues are full it waits for a place when it is polled.
///
/// # Cancel safety
/// Dropping it cancels the call: one that is on no connection yet is never sent; for one that is, the server is told and a late
/// answer is dropped. An answer that has arrived already is discarded.
///
/// With [interceptors](crate::Interceptor), the call is on its way as soon as they let it pass: when it is made, if none of them
/// waits, and otherwise when it is polled.
///
/// The time-out counts from when the call has a place. A call that waits for one waits as long as the calls before it take,
/// each of which has its own time-out.
#[must_use = "a dropped call is a cancelled call"]
pub struct Call<T = ToolResult> {
    state: State,
    engine: Arc<Engine>,
    shard: usize,
    answer: PhantomData<fn() -> T>,
}

enum State {
    /// No place yet.
    Waiting {
        request: Request,
        listener: Option<EventListener>,
    },
    /// In a slot.
    Placed {
        key: Key,
    },
    /// With the interceptors, which have another call placed.
    Intercepted(Intercepted),
    /// Refused before it was placed.
    Refused(Option<Error>),
    Done,
}

/// What is to be sent.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) body: Body,
    pub(crate) patience: Patience,
    /// Where a standing request finds what is told about it.
    pub(crate) mailbox: Option<Arc<Mailbox>>,
}

/// What a call can be awaited as. Sealed: implemented for [`ToolResult`] and [`RawAnswer`].
pub trait Answer: sealed::Sealed + Sized {
    #[doc(hidden)]
    fn is_typed() -> bool;
    #[doc(hidden)]
    fn read(reply: sealed::Taken<'_>) -> Result<Self, Error>;
    #[doc(hidden)]
    fn of(answer: RawAnswer) -> Result<Self, Error>;
}

pub(crate) mod sealed {
    pub trait Sealed {}
    /// A reply that is no failure.
    #[allow(missing_debug_implementations, reason = "cannot be named outside")]
    pub struct Taken<'a>(pub(crate) &'a mut crate::shard::inbox::Reply);
}

impl sealed::Sealed for ToolResult {}
impl Answer for ToolResult {
    fn is_typed() -> bool {
        true
    }

    fn read(reply: sealed::Taken<'_>) -> Result<Self, Error> {
        inbox::read_reply(reply.0)
    }

    fn of(answer: RawAnswer) -> Result<Self, Error> {
        answer.tool_result()
    }
}

impl sealed::Sealed for RawAnswer {}
impl Answer for RawAnswer {
    fn is_typed() -> bool {
        false
    }

    fn read(reply: sealed::Taken<'_>) -> Result<Self, Error> {
        let Reply { short, what } = reply.0;
        match std::mem::take(what) {
            ReplyKind::Short { error: false } => Ok(Self { frame: Frame::from_vec(short.clone()) }),
            ReplyKind::Long { frame, error: false } => Ok(Self { frame }),
            ReplyKind::Short { error: true } => Err(answer::error(short)),
            ReplyKind::Long { frame, error: true } => Err(answer::error(&frame)),
            other => {
                *what = other;
                inbox::read_reply(reply.0).map(|_| unreachable!("only typed calls are read by workers"))
            }
        }
    }

    fn of(answer: RawAnswer) -> Result<Self, Error> {
        Ok(answer)
    }
}

/// Places a call on the first shard that has room, beginning with the one whose turn it is. Full, if any has only no room now;
/// refused, if none will ever take it.
fn place(engine: &Engine, first: usize, request: &Request, typed: bool) -> Result<(usize, Key), Refused> {
    let shards = engine.handles.len();
    let mut refused = None;
    for n in 0..shards {
        let shard = (first + n) % shards;
        let standing = request.patience.standing;
        let submitted = engine.handles[shard].submit(standing, |key, question: &mut Question| {
            if let Some(mailbox) = &request.mailbox {
                // Before anyone can answer.
                mailbox.watch(key.wire());
            }
            question.body.clear();
            question.body.extend_from_slice(request.body.bytes());
            (question.patience, question.typed) = (request.patience, typed);
        });
        match submitted {
            Ok(key) => return Ok((shard, key)),
            Err(Refused::Full) => refused = Some(Refused::Full),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    Err(refused.unwrap_or(Refused::Full))
}

/// Does a chain of interceptors want to see it? Standing requests are not calls.
#[inline]
fn is_intercepted(engine: &Engine, request: &Request) -> bool {
    !engine.config.values.interceptors.is_empty() && !request.patience.standing
}

impl<T: Answer> Call<T> {
    /// Makes a call that is placed at once if there is room, and otherwise when it is polled; with interceptors, as soon as
    /// they let it pass.
    pub(crate) fn make(engine: &Arc<Engine>, shard: usize, request: Result<Request, Error>) -> Self {
        match request {
            Ok(request) if is_intercepted(engine, &request) => Self::intercept(engine, shard, request),
            request => Self::make_plainly(engine, shard, request),
        }
    }

    #[cold]
    fn intercept(engine: &Arc<Engine>, shard: usize, request: Request) -> Self {
        let placing = Arc::clone(engine);
        let place = move |body, patience| {
            let request = Request { body, patience, mailbox: None };
            Call::<RawAnswer>::make_plainly(&placing, shard, Ok(request))
        };
        let state = State::Intercepted(Intercepted::begin(engine, request.body, request.patience, place));
        Self { state, engine: Arc::clone(engine), shard, answer: PhantomData }
    }

    /// Makes a call that no interceptor sees.
    pub(super) fn make_plainly(engine: &Arc<Engine>, shard: usize, request: Result<Request, Error>) -> Self {
        let engine = Arc::clone(engine);
        let (state, shard) = match request {
            Err(error) => (State::Refused(Some(error)), shard),
            Ok(request) => match place(&engine, shard, &request, T::is_typed()) {
                Ok((shard, key)) => (State::Placed { key }, shard),
                Err(Refused::Full) => (State::Waiting { request, listener: None }, shard),
                Err(Refused::For(why)) => {
                    let error = engine.handles[shard].error(Failure { why, fate: Fate::NotSent });
                    (State::Refused(Some(error)), shard)
                }
            },
        };
        Self { state, engine, shard, answer: PhantomData }
    }

    /// Makes a call only if there is room now. With interceptors, room is looked for first, so that they are not asked about a
    /// call that is given back; another call may take it while they wait, and then this one waits for its place too.
    pub(crate) fn try_make(engine: &Arc<Engine>, shard: usize, request: &Request) -> Option<Self> {
        if is_intercepted(engine, request) {
            let has_room = engine.handles.iter().any(|handle| handle.has_room());
            return has_room.then(|| Self::intercept(engine, shard, request.clone()));
        }
        let engine = Arc::clone(engine);
        let (state, shard) = match place(&engine, shard, request, T::is_typed()) {
            Ok((shard, key)) => (State::Placed { key }, shard),
            Err(Refused::Full) => return None,
            Err(Refused::For(why)) => (
                State::Refused(Some(engine.handles[shard].error(Failure { why, fate: Fate::NotSent }))),
                shard,
            ),
        };
        Some(Self { state, engine, shard, answer: PhantomData })
    }

    fn handle(&self) -> &Arc<ShardHandle> {
        &self.engine.handles[self.shard]
    }

    /// Reads the answer and gives the slot back.
    fn take(&mut self, key: Key) -> Result<T, Error> {
        self.state = State::Done;
        let handle = Arc::clone(self.handle());
        let cell = handle.slab.get(key).expect("a placed call's key is live");
        let answer = inbox::take(cell, |question, reply| {
            let answer = match &reply.what {
                ReplyKind::Failed(failure) => Err(handle.error(*failure)),
                _ => T::read(sealed::Taken(reply)),
            };
            inbox::trim(question, reply);
            answer
        });
        handle.release(key);
        answer
    }
}

impl<T: Answer> Future for Call<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Placed { key } => {
                    let key = *key;
                    let cell =
                        this.engine.handles[this.shard].slab.get(key).expect("a placed call's key is live");
                    ready!(inbox::poll(cell, cx.waker()));
                    return Poll::Ready(this.take(key));
                }
                State::Waiting { request, listener } => {
                    match place(&this.engine, this.shard, request, T::is_typed()) {
                        Ok((shard, key)) => (this.state, this.shard) = (State::Placed { key }, shard),
                        Err(Refused::For(why)) => {
                            let failure = Failure { why, fate: Fate::NotSent };
                            this.state = State::Refused(Some(this.engine.handles[this.shard].error(failure)));
                        }
                        Err(Refused::Full) => match listener {
                            // Listen first, then look once more: a slot freed in between is not slept over.
                            None => *listener = Some(this.engine.room.listen()),
                            Some(waiting) => {
                                ready!(Pin::new(waiting).poll(cx));
                                *listener = None;
                            }
                        },
                    }
                }
                State::Intercepted(intercepted) => {
                    let outcome = ready!(intercepted.poll(cx));
                    this.state = State::Done;
                    return Poll::Ready(outcome.and_then(T::of));
                }
                State::Refused(error) => {
                    let error = error.take().expect("a call is not polled after its answer");
                    this.state = State::Done;
                    return Poll::Ready(Err(error));
                }
                State::Done => panic!("a call was polled after its answer"),
            }
        }
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        let State::Placed { key } = self.state else { return };
        let handle = &self.engine.handles[self.shard];
        let Some(cell) = handle.slab.get(key) else { return };
        if inbox::abandon(cell) {
            handle.command(Command::Cancel(key));
        } else {
            inbox::take(cell, inbox::trim);
            handle.release(key);
        }
    }
}
