//! A shard on a thread of its own, shared by many callers: takes their calls from the inbox, feeds bulk jobs, runs turns, and
//! hands the answers out, all wakes of a turn together.
//!
//! A panic in here is contained: every call the shard had ends with `Panicked`, later ones are refused.

pub(crate) mod desk;
pub(crate) mod job;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    Gate, Shard,
    inbox::{self, Command, ShardHandle},
};
use crate::{
    base::limits::SUBMISSIONS_PER_TURN_MAX,
    proto::{
        event::{Failure, Fate, Why},
        exchange::Exchange,
    },
    slab::key::Key,
};

use desk::Desk;

/// Longest sleep of an idle shard; only a bound, every event ends it earlier.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// The thread's state.
pub(crate) struct Runner {
    shard: Shard,
    desk: Desk,
    handle: Arc<ShardHandle>,
    /// The call between the ring and the exchange, for the case of a panic.
    in_hand: Option<Key>,
    closing: bool,
    draining: bool,
}

/// Keeps the shard awake while there is something in its inbox.
struct InboxGate<'a> {
    handle: &'a ShardHandle,
    claims_seen: u64,
}

impl Gate for InboxGate<'_> {
    fn may_sleep(&self) -> bool {
        self.handle.may_sleep(self.claims_seen)
    }

    /// Without this, calls that were taken on would show only when the next answer comes, and that may be never.
    fn rests(&self, exchange: &mut Exchange) {
        if exchange.stats().submitted != self.handle.stats.submitted() {
            self.handle.stats.publish(exchange.stats());
        }
    }

    fn woke(&self) {
        self.handle.woke();
    }

    fn has_news(&self) -> bool {
        self.handle.has_news(self.claims_seen)
    }
}

impl Runner {
    pub(crate) fn new(shard: Shard, desk: Desk, handle: Arc<ShardHandle>) -> Self {
        Self { shard, desk, handle, in_hand: None, closing: false, draining: false }
    }

    /// Runs until closed.
    pub(crate) fn run(mut self) {
        let handle = Arc::clone(&self.handle);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            // The poll fails only if its descriptor is broken; then there is no going on.
            while self.turn().is_ok() && !self.is_finished() {}
        }));
        let panicked = ran.is_err();
        let why = if panicked { Why::Panicked } else { Why::Closed };
        // What is left must end even now. If this panics too, the slots it did not reach are lost; nothing else is.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if let Some(key) = self.in_hand.take() {
                self.desk.fail(key, Failure { why, fate: Fate::NotSent });
            }
            let now = self.shard.clock.now();
            self.shard.exchange.close(now, why, &mut self.desk);
            self.desk.fail_claims(Failure { why, fate: Fate::NotSent });
            self.publish();
        }));
        drop(self.shard);
        self.desk.abandon_jobs();
        handle.close(panicked);
    }

    fn turn(&mut self) -> std::io::Result<()> {
        // Read first: what is announced from here on keeps the shard awake for another turn.
        let claims_seen = self.handle.claims();
        self.take_commands();
        self.take_calls();
        let now = self.shard.clock.now();
        if self.draining {
            // They would never end by themselves.
            self.shard.exchange.end_standing(now, Why::Closed, &mut self.desk);
        }
        let more = self.desk.feed(now, &mut self.shard.exchange);
        let wait = if more || self.closing { Duration::ZERO } else { SLEEP_MAX };
        let gate = InboxGate { handle: &self.handle, claims_seen };
        self.shard.turn(wait, &mut self.desk, &gate)?;
        if self.draining && !self.closing && self.shard.exchange.is_idle() && self.desk.is_idle() {
            self.close();
        }
        self.publish();
        Ok(())
    }

    /// Stored numbers first, wakes after: whoever is woken sees counters that include its own call.
    fn publish(&mut self) {
        self.shard.exchange.gather_counts();
        self.desk.add_counts(self.shard.exchange.stats_mut());
        self.handle.stats.publish(self.shard.exchange.stats());
        let status = &self.handle.status;
        if let Some(reason) = self.shard.exchange.take_news() {
            *status.reason.lock() = Some(reason);
        }
        let ready = self.shard.ready() as u32;
        let down = self.shard.exchange.down_reason().is_some();
        if status.ready.load(Ordering::Relaxed) != ready || status.down.load(Ordering::Relaxed) != down {
            let unauthorized = self.shard.exchange.down_why() == Why::Unauthorized;
            status.unauthorized.store(unauthorized, Ordering::Release);
            status.ready.store(ready, Ordering::Release);
            status.down.store(down, Ordering::Release);
            status.changed.notify(usize::MAX);
        }
        self.desk.hand_out();
    }

    fn take_calls(&mut self) {
        for _ in 0..SUBMISSIONS_PER_TURN_MAX {
            let Some(key) = self.handle.pop_call() else { break };
            self.in_hand = Some(key);
            let Some(cell) = self.handle.slab.get(key) else { continue };
            // One reading for the turn would date a call that came during a long turn before its submission.
            let now = self.shard.clock.now();
            let patience = inbox::question(cell, |question| question.patience);
            let abandoned = cell.is_abandoned();
            self.in_hand = None;
            self.shard.exchange.enqueue(now, key, key.wire(), &patience, &mut self.desk);
            if abandoned {
                // Its caller went before the shard saw it: it must never be sent.
                self.shard.exchange.cancel(now, key, &mut self.desk);
            }
        }
    }

    fn take_commands(&mut self) {
        while let Some(command) = self.handle.pop_command() {
            match command {
                Command::Cancel(key) => {
                    let now = self.shard.clock.now();
                    self.shard.exchange.cancel(now, key, &mut self.desk);
                }
                Command::Job(job) => self.desk.open_job(job),
                Command::Notify(note) => self.desk.notify(note),
                Command::Respond { connection, epoch, id, member, value } => {
                    self.shard.exchange.respond(connection, epoch, &id, member, &value);
                }
                Command::Drain => {
                    self.draining = true;
                    self.handle.refuse();
                }
                Command::Close => self.close(),
            }
        }
        self.shard.exchange.handle_news();
    }

    fn close(&mut self) {
        self.closing = true;
        self.handle.refuse();
        let now = self.shard.clock.now();
        self.desk.fail_claims(Failure { why: Why::Closed, fate: Fate::NotSent });
        self.shard.exchange.close(now, Why::Closed, &mut self.desk);
    }

    fn is_finished(&self) -> bool {
        self.closing && !self.shard.has_transports() && self.shard.exchange.is_closed()
    }
}
