//! A bulk job whose calls go through a chain of interceptors.
//!
//! Claims are packed before a shard sees them and their outcomes come back in batches; an interceptor wants to see each call by
//! itself and may wait. So such a job does not use claims at all: its calls are single calls, as many at a time as the job's
//! bound allows, and their interceptors run on the consumer's task. It costs what single calls cost, and the chain.
//!
//! Unit: calls. Bound: the job's. Owner: the job, on its consumer's task. Always: each call that was pulled is in `together`, in
//! `line`, or was yielded. Proof: `tests/integration/interceptors.rs`.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Poll, Waker},
};

use super::{
    call::{Call, Request},
    together::Together,
};
use crate::{
    decode::answer::RawAnswer, engine::Engine, error::Error, model::tool::ToolCall, proto::event::Patience,
};

/// What a job knows of its calls.
#[derive(Default)]
pub(super) struct Intercepted {
    together: Together<Call<RawAnswer>>,
    /// Finished or not, by index from `next_yield` on (ordered mode).
    line: VecDeque<Option<Result<RawAnswer, Error>>>,
    next_index: u64,
    next_yield: u64,
}

/// What the job was told.
pub(super) struct Terms<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) patience: Patience,
    pub(super) bound: usize,
    pub(super) ordered: bool,
}

impl Intercepted {
    /// The next outcome; `None` when all calls have had theirs.
    pub(super) fn poll(
        &mut self,
        calls: &mut Option<impl Iterator<Item = ToolCall>>,
        terms: &Terms<'_>,
        waker: &Waker,
    ) -> Poll<Option<(u64, Result<RawAnswer, Error>)>> {
        loop {
            if let Some(outcome) = self.line.front_mut().and_then(Option::take) {
                self.line.pop_front();
                self.next_yield += 1;
                return Poll::Ready(Some((self.next_yield - 1, outcome)));
            }
            self.pull(calls, terms);
            // The bound is used up by what the layer above holds: it asks again when it has less.
            if calls.is_some() && self.together.len() == 0 && self.line.is_empty() {
                return Poll::Pending;
            }
            match self.together.poll_next(waker) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some((index, outcome))) if terms.ordered => {
                    self.line[(index - self.next_yield) as usize] = Some(outcome);
                }
                Poll::Ready(ended) => return Poll::Ready(ended),
            }
        }
    }

    fn pull(&mut self, calls: &mut Option<impl Iterator<Item = ToolCall>>, terms: &Terms<'_>) {
        while let Some(iterator) = calls {
            let unread = if terms.ordered { self.line.len() } else { self.together.len() };
            if unread >= terms.bound {
                return;
            }
            let Some(call) = iterator.next() else {
                *calls = None;
                return;
            };
            let patience = call.patience(terms.patience);
            let request = Request { body: call.into_body(), patience, mailbox: None };
            let shard = terms.engine.willing_shard(self.next_index as usize);
            self.together.add(self.next_index, Call::make(terms.engine, shard, Ok(request)));
            if terms.ordered {
                self.line.push_back(None);
            }
            self.next_index += 1;
        }
    }
}
