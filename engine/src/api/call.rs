//! The future of one answer.

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use super::interceptor::Intercepted;
use crate::{
    base::buffer::Chunk,
    decode::answer::{self, RawAnswer},
    engine::Engine,
    error::Error,
    model::{body::Body, tool::ToolResult},
    proto::event::{Failure, Fate, Patience, Why},
    queue::room::Seeker,
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
/// each of which has its own time-out. Places are given in the order in which those who wait were first polled, and a call that is
/// made while others wait goes behind them.
#[must_use = "a dropped call is a cancelled call"]
pub struct Call<T = ToolResult> {
    state: State,
    engine: Arc<Engine>,
    shard: usize,
    answer: PhantomData<fn() -> T>,
}

enum State {
    /// No place yet.
    Waiting(Box<Waiting>),
    /// In a slot.
    Placed {
        key: Key,
    },
    /// With the interceptors, which have another call placed. In a box, so that the calls without are short.
    Intercepted(Box<Intercepted>),
    /// Refused before it was placed.
    Refused(Option<Error>),
    Done,
}

/// A call that has no place yet.
struct Waiting {
    request: Request,
    blocks: bool,
    seeker: Seeker,
}

impl Waiting {
    fn new(request: Request, blocks: bool) -> Box<Self> {
        let seeker = Seeker::new(request.patience.standing);
        Box::new(Self { request, blocks, seeker })
    }

    /// Where it has its place, or why it will never have one.
    fn poll_place(
        &mut self,
        engine: &Engine,
        shard: usize,
        typed: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(usize, Key), Why>> {
        let wish = self.request.wish(self.blocks);
        let look = || match place(engine, shard, &wish, typed) {
            Ok(placed) => Some(Ok(placed)),
            Err(Refused::For(why)) => Some(Err(why)),
            Err(Refused::Full) => None,
        };
        let has_room = || askable(engine, shard).any(|(_, handle)| handle.has_room());
        let begins_line = || engine.handles.iter().for_each(|handle| handle.announce());
        self.seeker.poll(&engine.room, cx, look, has_room, begins_line)
    }
}

/// What is to be sent.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) body: Body,
    pub(crate) patience: Patience,
    /// Where a standing request finds what is told about it.
    pub(crate) mailbox: Option<Arc<Mailbox>>,
}

/// The same, borrowed: where there is a place, nothing has to be kept.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) body: &'a Body,
    pub(crate) patience: Patience,
    pub(crate) mailbox: Option<&'a Arc<Mailbox>>,
    /// Its caller will block a thread.
    pub(crate) blocks: bool,
}

impl Request {
    fn wish(&self, blocks: bool) -> Wish<'_> {
        Wish { body: &self.body, patience: self.patience, mailbox: self.mailbox.as_ref(), blocks }
    }
}

impl Wish<'_> {
    fn keep(&self) -> Request {
        Request { body: self.body.clone(), patience: self.patience, mailbox: self.mailbox.cloned() }
    }
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
        let Reply { short, what, .. } = &mut *reply.0;
        match (std::mem::take(what), short) {
            // The slot's own memory, without a copy: its next answer goes elsewhere while this one is kept.
            (ReplyKind::Short { error: false }, Some(short)) => Ok(Self { frame: Chunk::frame(short) }),
            (ReplyKind::Long { frame, error: false }, _) => Ok(Self { frame }),
            (ReplyKind::Long { frame, error: true }, _) => Err(answer::error(&frame)),
            (other, _) => {
                reply.0.what = other;
                inbox::read_reply(reply.0).map(|_| unreachable!("only typed calls are read by workers"))
            }
        }
    }

    fn of(answer: RawAnswer) -> Result<Self, Error> {
        Ok(answer)
    }
}

/// The shards that a call may go to, in turn, beginning with this one. One that is down takes calls and fails them at once, so it always has
/// room: it is asked only if all are. (Calls for which the others had no room just then failed on it, instead of waiting.)
fn askable(engine: &Engine, first: usize) -> impl Iterator<Item = (usize, &ShardHandle)> {
    let (before, from) = engine.handles.split_at(first);
    let shards = (first..).zip(from).chain((0..).zip(before)).map(|(shard, handle)| (shard, &**handle));
    let is_any_well = engine.handles.len() > 1 && engine.handles.iter().any(|handle| handle.is_well());
    shards.filter(move |(_, handle)| !is_any_well || handle.is_well())
}

/// Places a call on the first shard that has room, beginning with the one whose turn it is. Full, if any has only no room now;
/// refused, if none will ever take it.
fn place(engine: &Engine, first: usize, wish: &Wish<'_>, typed: bool) -> Result<(usize, Key), Refused> {
    let mut refused = None;
    for (shard, handle) in askable(engine, first) {
        let standing = wish.patience.standing;
        let submitted = handle.submit(standing, |key, question: &mut Question| {
            if let Some(mailbox) = wish.mailbox {
                // Before anyone can answer.
                mailbox.watch(key.wire());
            }
            question.body.clear();
            question.body.extend_from_slice(wish.body.bytes());
            (question.patience, question.typed, question.blocks) = (wish.patience, typed, wish.blocks);
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
fn is_intercepted(engine: &Engine, patience: Patience) -> bool {
    !engine.config.values.interceptors.is_empty() && !patience.standing
}

/// Does a call wait, whose place this one would take? Standing requests have places of their own.
#[inline]
fn comes_after_others(engine: &Engine, patience: Patience) -> bool {
    engine.room.is_anybody_waiting() && !patience.standing
}

impl<T: Answer> Call<T> {
    /// Makes a call that is placed at once if there is room, and otherwise when it is polled; with interceptors, as soon as
    /// they let it pass.
    pub(crate) fn make(engine: &Arc<Engine>, shard: usize, request: Result<Request, Error>) -> Self {
        match request {
            Err(error) => Self::refused(engine, shard, error),
            Ok(request) if is_intercepted(engine, request.patience) => {
                Self::intercept(engine, shard, request)
            }
            Ok(request) => Self::make_plainly(engine, shard, request),
        }
    }

    /// The same of a borrowed request, which is copied only if there is no room, or for interceptors.
    pub(crate) fn make_wish(engine: &Arc<Engine>, shard: usize, wish: &Wish<'_>) -> Self {
        if is_intercepted(engine, wish.patience) {
            return Self::intercept(engine, shard, wish.keep());
        }
        let comes_after_others = comes_after_others(engine, wish.patience);
        let placed = if comes_after_others { None } else { Self::place_now(engine, shard, wish) };
        placed.unwrap_or_else(|| {
            let waiting = Waiting::new(wish.keep(), wish.blocks);
            Self::of(engine, shard, State::Waiting(waiting))
        })
    }

    /// Makes a call only if there is room now. With interceptors, room is looked for first, so that they are not asked about a
    /// call that is given back; another call may take it while they wait, and then this one waits for its place too.
    pub(crate) fn try_make(engine: &Arc<Engine>, shard: usize, wish: &Wish<'_>) -> Option<Self> {
        if is_intercepted(engine, wish.patience) {
            let has_room = askable(engine, shard).any(|(_, handle)| handle.has_room());
            return has_room.then(|| Self::intercept(engine, shard, wish.keep()));
        }
        Self::place_now(engine, shard, wish)
    }

    #[cold]
    fn intercept(engine: &Arc<Engine>, shard: usize, request: Request) -> Self {
        let placing = Arc::clone(engine);
        let place = move |body, patience| {
            let request = Request { body, patience, mailbox: None };
            Call::<RawAnswer>::make_plainly(&placing, shard, request)
        };
        let begun = Intercepted::begin(engine, request.body, request.patience, place);
        Self::of(engine, shard, State::Intercepted(Box::new(begun)))
    }

    /// Makes a call that no interceptor sees.
    pub(super) fn make_plainly(engine: &Arc<Engine>, shard: usize, request: Request) -> Self {
        let comes_after_others = comes_after_others(engine, request.patience);
        let placed =
            if comes_after_others { None } else { Self::place_now(engine, shard, &request.wish(false)) };
        placed.unwrap_or_else(|| Self::of(engine, shard, State::Waiting(Waiting::new(request, false))))
    }

    /// The call in its place, or with why it will never have one; `None` while there is no room.
    fn place_now(engine: &Arc<Engine>, shard: usize, wish: &Wish<'_>) -> Option<Self> {
        match place(engine, shard, wish, T::is_typed()) {
            Ok((shard, key)) => Some(Self::of(engine, shard, State::Placed { key })),
            Err(Refused::Full) => None,
            Err(Refused::For(why)) => {
                let error = engine.handles[shard].error(Failure { why, fate: Fate::NotSent });
                Some(Self::refused(engine, shard, error))
            }
        }
    }

    /// A call that ends with this error.
    pub(crate) fn refused(engine: &Arc<Engine>, shard: usize, error: Error) -> Self {
        Self::of(engine, shard, State::Refused(Some(error)))
    }

    fn of(engine: &Arc<Engine>, shard: usize, state: State) -> Self {
        Self { state, engine: Arc::clone(engine), shard, answer: PhantomData }
    }

    /// Reads the answer and gives the slot back.
    fn take(&mut self, key: Key) -> Result<T, Error> {
        self.state = State::Done;
        let handle = &self.engine.handles[self.shard];
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
        this.engine.handles[this.shard].relay.hand_on();
        loop {
            match &mut this.state {
                State::Placed { key } => {
                    let key = *key;
                    let cell =
                        this.engine.handles[this.shard].slab.get(key).expect("a placed call's key is live");
                    ready!(inbox::poll(cell, cx.waker()));
                    return Poll::Ready(this.take(key));
                }
                State::Waiting(waiting) => {
                    let placed = ready!(waiting.poll_place(&this.engine, this.shard, T::is_typed(), cx));
                    match placed {
                        Ok((shard, key)) => (this.state, this.shard) = (State::Placed { key }, shard),
                        Err(why) => {
                            let failure = Failure { why, fate: Fate::NotSent };
                            this.state = State::Refused(Some(this.engine.handles[this.shard].error(failure)));
                        }
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
        let handle = &self.engine.handles[self.shard];
        // It may have been woken to hand the others on.
        handle.relay.hand_on();
        let State::Placed { key } = self.state else { return };
        let Some(cell) = handle.slab.get(key) else { return };
        if inbox::abandon(cell) {
            handle.command(Command::Cancel(key));
        } else {
            inbox::take(cell, inbox::trim);
            handle.release(key);
        }
    }
}
