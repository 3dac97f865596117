//! A shard that is shared by many callers, on a thread of its own or as a task ([`task`]): takes their calls from the inbox, feeds
//! bulk jobs, runs turns, and hands the answers out, all wakes of a turn together.
//!
//! A panic in here is contained: every call the shard had ends with `Panicked`, later ones are refused.

pub(crate) mod desk;
pub(crate) mod job;
#[cfg(feature = "tokio")]
pub(crate) mod task;

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    Gate, Shard,
    inbox::{self, Command, ShardHandle},
    relay::RELAY_WAIT_MAX,
};
use crate::{
    base::{
        limits::{SUBMISSIONS_PER_TURN_MAX, TOLD_WAIT_NS_MAX},
        time::Instant,
        wake::contained,
    },
    proto::{
        event::{Failure, Fate, Why},
        exchange::Exchange,
    },
    slab::key::Key,
};

use desk::Desk;

/// Longest sleep of an idle shard; only a bound, every event ends it earlier.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// How long those who were told of a free slot may leave it alone before another is told.
const TOLD_WAIT_MAX: Duration = Duration::from_nanos(TOLD_WAIT_NS_MAX);

/// Longest sleep of a shard that closes.
const CLOSING_WAIT_MAX: Duration = Duration::from_millis(1);

/// The state of the thread, or of the task.
pub(crate) struct Runner {
    shard: Shard,
    desk: Desk,
    handle: Arc<ShardHandle>,
    /// The call between the ring and the exchange, for the case of a panic.
    in_hand: Option<Key>,
    /// Since when wakers have lain with the relay, and which.
    relayed: Option<(u64, Instant)>,
    /// Since when callers who wait for a slot have been told of one and have not looked, and how many had looked before.
    told: Option<(u64, Instant)>,
    closing: bool,
    draining: bool,
    /// Whose turn it is, where single calls and jobs want the same room.
    singles_first: bool,
}

/// Keeps the shard awake while there is something in its inbox.
struct InboxGate<'a> {
    handle: &'a ShardHandle,
    claims_seen: u64,
    /// Does the shard sleep in its poll? A task sleeps after its turn.
    sleeps: bool,
    /// It may sleep, and the bell says so; a task gets up again by itself.
    lies: Cell<bool>,
}

/// What a turn came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pace {
    /// There may be more to do.
    Goes,
    /// There is nothing to do before somebody rings, the poll is readable, or the next deadline. Only of a task: its bell says that
    /// it sleeps.
    #[cfg(feature = "tokio")]
    Rests,
}

/// Has a count been the same for at least so long? `since` is what was seen of it, and when.
fn has_stood(since: &mut Option<(u64, Instant)>, count: u64, now: Instant, wait: Duration) -> bool {
    match since {
        Some((seen, at)) if *seen == count => now.since(*at) >= wait,
        _ => {
            *since = Some((count, now));
            false
        }
    }
}

impl Gate for InboxGate<'_> {
    fn may_sleep(&self) -> bool {
        let may_sleep = self.handle.may_sleep(self.claims_seen);
        self.lies.set(may_sleep);
        may_sleep && self.sleeps
    }

    /// Without this, calls that were taken on or cancelled in this turn would show only when the next answer comes, and that may be never.
    fn rests(&self, exchange: &mut Exchange) {
        self.handle.stats.publish(exchange.stats());
    }

    fn woke(&self) {
        if self.sleeps {
            self.handle.woke();
        }
    }

    fn has_news(&self) -> bool {
        self.handle.has_news(self.claims_seen)
    }
}

impl Runner {
    pub(crate) fn new(shard: Shard, desk: Desk, handle: Arc<ShardHandle>) -> Self {
        Self {
            shard,
            desk,
            handle,
            in_hand: None,
            relayed: None,
            told: None,
            closing: false,
            draining: false,
            singles_first: true,
        }
    }

    /// Runs until closed.
    pub(crate) fn run(mut self) {
        let ran = catch_unwind(AssertUnwindSafe(|| {
            // The poll fails only if its descriptor is broken; then there is no going on.
            while self.turn(true).is_ok() && !self.is_finished() {}
        }));
        self.end(ran.is_err());
    }

    /// Whatever is left ends now, and later calls are refused.
    fn end(mut self, panicked: bool) {
        let handle = Arc::clone(&self.handle);
        let why = if panicked { Why::Panicked } else { Why::Closed };
        // What is left must end even now.
        contained(|| {
            if let Some(key) = self.in_hand.take() {
                self.desk.fail(key, Failure { why, fate: Fate::NotSent });
            }
            // Without a last write: it may be what panicked.
            let now = self.shard.clock.now();
            self.shard.exchange.close(now, why, &mut self.desk);
            self.desk.fail_claims(Failure { why, fate: Fate::NotSent });
            self.publish(false, false);
        });
        // Connections and windows may be in the state that panicked, and then this panicked too: what it did not reach has no part in them.
        let now = self.shard.clock.now();
        contained(|| self.shard.exchange.abandon(now, why, &mut self.desk));
        contained(|| self.desk.fail_claims(Failure { why, fate: Fate::NotSent }));
        contained(|| self.publish(false, false));
        contained(|| drop(self.shard));
        self.desk.abandon_jobs(why);
        handle.close(panicked);
    }

    /// One turn. A shard that `sleeps` waits in it when there is nothing to do.
    fn turn(&mut self, sleeps: bool) -> std::io::Result<Pace> {
        // Read first: what is announced from here on keeps the shard awake for another turn.
        let claims_seen = self.handle.claims();
        self.take_commands();
        self.take_calls();
        let now = self.shard.clock.now();
        if self.draining {
            // They would never end by themselves.
            self.shard.exchange.end_standing(now, Why::Closed, &mut self.desk);
        }
        self.share_room(now);
        // Drained, it closes after this turn, and nothing else may come that would end its sleep.
        let has_drained = self.draining && self.shard.exchange.is_idle() && self.desk.is_idle();
        let wait = match self.closing {
            // The end is an event like others, or a deadline; what is neither is looked for now and then.
            true => CLOSING_WAIT_MAX,
            false if has_drained => Duration::ZERO,
            false => self.look_after_relayed(now).min(self.look_after_the_line(now)),
        };
        let gate = InboxGate { handle: &self.handle, claims_seen, sleeps, lies: Cell::new(false) };
        let has_read = self.shard.turn(wait, &mut self.desk, &gate)?;
        let mut pace = Self::pace(&gate, &self.shard, has_read);
        if self.draining && !self.closing && self.shard.exchange.is_idle() && self.desk.is_idle() {
            self.close();
            pace = Pace::Goes;
        }
        self.publish(has_read, sleeps);
        Ok(pace)
    }

    /// Puts calls of the jobs where there is room. Those that wait in line, single ones and such as a lost connection gave back, have
    /// theirs at the end of the turn, from what the jobs have left: that may be nothing for as long as a job lasts. So they take
    /// turns in going first.
    fn share_room(&mut self, now: Instant) {
        if self.singles_first && self.shard.exchange.assign(now, &mut self.desk) > 0 {
            self.singles_first = false;
        }
        let before = self.shard.exchange.stats().submitted;
        self.desk.feed(now, &mut self.shard.exchange);
        self.singles_first |= self.shard.exchange.stats().submitted != before;
    }

    #[cfg(not(feature = "tokio"))]
    fn pace(_: &InboxGate<'_>, _: &Shard, _: bool) -> Pace {
        Pace::Goes
    }

    #[cfg(feature = "tokio")]
    fn pace(gate: &InboxGate<'_>, shard: &Shard, has_read: bool) -> Pace {
        if gate.sleeps || !gate.lies.get() {
            return Pace::Goes;
        }
        if has_read || shard.has_seen_events() {
            gate.handle.woke();
            return Pace::Goes;
        }
        Pace::Rests
    }

    /// Wakes those whom nobody has handed on for too long. Returns how long the shard may sleep.
    fn look_after_relayed(&mut self, now: Instant) -> Duration {
        let relay = &self.handle.relay;
        if !relay.is_waiting() {
            self.relayed = None;
            return SLEEP_MAX;
        }
        if has_stood(&mut self.relayed, relay.runs(), now, RELAY_WAIT_MAX) {
            relay.hand_on();
        }
        RELAY_WAIT_MAX
    }

    /// Callers who were told of a free slot may never look: nobody polls them. Tells another, if it has been so for too long. Returns how
    /// long the shard may sleep.
    fn look_after_the_line(&mut self, now: Instant) -> Duration {
        let room = &self.handle.room;
        if !room.is_anybody_waiting() {
            self.told = None;
            return SLEEP_MAX;
        }
        if !room.is_anybody_told() {
            self.told = None;
        } else if has_stood(&mut self.told, room.looks(), now, TOLD_WAIT_MAX) {
            // The next one has as long.
            self.told = None;
            if self.handle.has_room() {
                room.tell_next();
            }
        }
        TOLD_WAIT_MAX
    }

    /// Stored numbers first, wakes after: whoever is woken sees counters that include its own call.
    fn publish(&mut self, more: bool, relays: bool) {
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
            // Whoever waits for a place on another shard may have to come here now, or may come here again.
            self.handle.room.tell_all();
            contained(|| status.changed.notify(usize::MAX));
        }
        self.desk.hand_out(more, relays);
    }

    fn take_calls(&mut self) {
        // Only those that are there before the clock is read: no call is dated before its submission.
        let waiting = self.handle.calls_waiting().min(SUBMISSIONS_PER_TURN_MAX);
        if waiting == 0 {
            return;
        }
        let now = self.shard.clock.now();
        for _ in 0..waiting {
            let Some(key) = self.handle.pop_call() else { break };
            self.in_hand = Some(key);
            let Some(cell) = self.handle.slab.get(key) else { continue };
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
                    self.desk.drain();
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
        self.desk.fail_claims(Failure { why: Why::Closed, fate: Fate::NotSent });
        self.shard.close(Why::Closed, &mut self.desk);
    }

    /// When a turn of a task is due even if nothing happens.
    #[cfg(feature = "tokio")]
    fn next_deadline(&self, now: Instant) -> Instant {
        let latest = if self.closing { now.after(CLOSING_WAIT_MAX) } else { Instant::NEVER };
        self.shard.next_deadline().min(latest)
    }

    fn is_finished(&self) -> bool {
        self.closing && !self.shard.has_transports() && self.shard.exchange.is_closed()
    }
}
