//! A shard that answers every call at once with its own body: the order of `runner/mod.rs` without an exchange, so that loom
//! has to explore what is shared and nothing else.

use std::sync::Arc;

use super::{Model, Sleeper};
use crate::{
    base::buffer::Chunk,
    proto::event::{Failure, Fate, Why},
    shard::{
        inbox::{Command, ReplyKind, ShardHandle, question},
        runner::job::JobShared,
    },
};

/// What a shard saw in its life.
#[derive(Default, Debug)]
pub(crate) struct Seen {
    /// Calls that it answered.
    pub(crate) answered: usize,
    /// Calls whose caller had gone before it took them.
    pub(crate) abandoned: usize,
    pub(crate) cancels: usize,
    /// Calls of bulk jobs.
    pub(crate) bulk: usize,
}

/// See the module.
pub(crate) struct Echo {
    handle: Arc<ShardHandle>,
    sleeper: Arc<Sleeper>,
}

/// The mark of a bulk call that was answered.
pub(crate) const ECHOED: Why = Why::Malformed;

impl Echo {
    pub(crate) fn of(model: &Model) -> Self {
        Self { handle: Arc::clone(&model.handle), sleeper: Arc::clone(&model.sleeper) }
    }

    /// Runs until told to close.
    pub(crate) fn run(self) -> Seen {
        self.run_until(usize::MAX)
    }

    /// Runs until so many single calls have ended, or until told to close.
    pub(crate) fn run_until(self, calls: usize) -> Seen {
        let handle = &self.handle;
        let (mut seen, mut jobs) = (Seen::default(), Vec::<Arc<JobShared>>::new());
        loop {
            let claims_seen = handle.claims();
            let (mut did, mut closing) = (false, false);
            while let Some(command) = handle.pop_command() {
                did = true;
                match command {
                    Command::Cancel(_) => seen.cancels += 1,
                    Command::Job(job) => jobs.push(job),
                    Command::Notify(note) => note.end(None),
                    Command::Close => closing = true,
                    Command::Respond { .. } | Command::Drain => {}
                }
            }
            let mut wakers = Vec::new();
            while let Some(key) = handle.pop_call() {
                did = true;
                let cell = handle.slab.get(key).expect("a popped key is live");
                let body = question(cell, |question| question.body.clone());
                if cell.is_abandoned() {
                    seen.abandoned += 1;
                    let failure = Failure { why: Why::Cancelled, fate: Fate::NotSent };
                    wakers.extend(handle.deliver(key, |reply| reply.set(ReplyKind::Failed(failure))));
                } else {
                    seen.answered += 1;
                    wakers.extend(handle.deliver(key, |reply| {
                        reply.copy(&body, false, false);
                    }));
                }
            }
            jobs.retain(|job| !job.has_left());
            for job in &jobs {
                while let Some(claim) = job.claims.pop() {
                    did = true;
                    let spare = || job.spare_batches.pop().unwrap_or_default();
                    let mut batch = job.take_back().unwrap_or_else(spare);
                    for &(index, _) in &claim.calls {
                        seen.bulk += 1;
                        batch.fail(index, Failure { why: ECHOED, fate: Fate::Answered });
                    }
                    job.push(batch);
                    job.wake();
                }
            }
            wakers.into_iter().for_each(std::task::Waker::wake);
            if closing {
                break;
            }
            if seen.answered + seen.abandoned >= calls {
                return seen;
            }
            if !did && handle.may_sleep(claims_seen) {
                self.sleeper.sleep();
                handle.woke();
            }
        }
        jobs.iter().for_each(|job| job.abandon(Why::Closed));
        handle.close(false);
        seen
    }
}
