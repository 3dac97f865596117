//! The future of one answer.

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use crate::{
    base::buffer::Frame,
    decode::answer::{self, RawAnswer},
    engine::Engine,
    error::Error,
    model::tool::ToolResult,
    proto::event::{Failure, Fate, Patience},
    queue::room::Waiting,
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
        listener: Option<Waiting>,
    },
    /// In a slot.
    Placed {
        key: Key,
    },
    /// Refused before it was placed.
    Refused(Option<Error>),
    Done,
}

/// What is to be sent.
pub(crate) struct Request {
    pub(crate) body: Vec<u8>,
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
            question.body.extend_from_slice(&request.body);
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

impl<T: Answer> Call<T> {
    /// Makes a call that is placed at once if there is room, and otherwise when it is polled.
    pub(crate) fn make(engine: &Arc<Engine>, shard: usize, request: Result<Request, Error>) -> Self {
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

    /// Makes a call only if there is room now.
    pub(crate) fn try_make(engine: &Arc<Engine>, shard: usize, request: &Request) -> Option<Self> {
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
