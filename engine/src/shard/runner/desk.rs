//! The desk where a shard's outcomes are handed out: to single calls through their cells, to bulk jobs in batches, and what
//! the server starts to the porter.
//!
//! Jobs stand in numbered places, which are used again; there may be tens of thousands for a while (a batch is one). A turn looks at those that
//! have outcomes, and until the room is full at those that have claims; at all that are open only if a claim of a job that stood here was announced,
//! or that somebody left.
//!
//! Owner: the shard's thread. Wakes are gathered during a turn and done at its end in one go. Always: `open` has each place with a job
//! once, `vacant` the others, `told` those with outcomes that their consumers have not been woken for, `ready` those with claims that were seen.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    task::Waker,
};

use super::job::{Batch, Claim, JobShared};
use crate::{
    base::{
        buffer::Frame,
        limits::{ANSWER_COPY_BYTES_MAX, INBOUND_QUEUE_MAX},
        time::Instant,
        wake::{contained, wake},
    },
    decode::{
        answer,
        pool::{self, Pool},
    },
    proto::{
        event::{Ended, Failure, Fate, Inbound, Outcome, OwnerKind, Reception, Sink, Why},
        exchange::{Exchange, Full},
    },
    shard::{
        inbox::{self, Note, Reply, ReplyKind, ShardHandle},
        porter::Porter,
    },
    slab::key::Key,
    telemetry::counters::Stats,
};

/// A job's index among the shard's jobs stands above the index of the call in the tag.
const INDEX_BITS: u32 = 48;

/// Notifications of the caller that may wait for a connection; more are refused.
const NOTES_MAX: usize = INBOUND_QUEUE_MAX;

/// Jobs of one shard at a time, as the tag can name no more; further ones wait until one of them is over.
const JOBS_MAX: usize = 1 << (64 - INDEX_BITS);

/// With no job open, so many places are kept.
const PLACES_KEPT: usize = 64;

/// A job's consumer is woken when its outcomes are this part of what is still in flight: a quarter of a window costs
/// one wake instead of the two to four of its slices, and the claims that wait keep the wire busy meanwhile.
const WAKE_SHARE: u64 = 4;

/// So many turns its outcomes wait for more of them: others may keep the shard busy for ever.
const HELD_TURNS_MAX: u32 = 4;

struct Job {
    shared: Arc<JobShared>,
    claim: Option<Claim>,
    batch: Batch,
    in_flight: u64,
    /// Outcomes that were handed over since its consumer was last woken.
    unwoken: u64,
    /// Turns since the first of them.
    held: u32,
    is_told: bool,
    is_ready: bool,
    /// Where it stands among those that are open.
    at: u32,
}

impl Job {
    fn new(shared: Arc<JobShared>, at: u32) -> Self {
        let batch = Batch::default();
        Self {
            shared,
            claim: None,
            batch,
            in_flight: 0,
            unwoken: 0,
            held: 0,
            is_told: false,
            is_ready: false,
            at,
        }
    }

    /// Has it calls that are not yet in flight?
    fn has_claims(&self) -> bool {
        self.claim.is_some() || !self.shared.claims.is_empty()
    }

    /// May outcomes come of it that are not here yet?
    fn has_more(&self) -> bool {
        self.in_flight > 0 || !self.shared.is_whole() || self.has_claims()
    }

    /// Will nothing come of it any more?
    fn is_over(&self) -> bool {
        self.batch.is_empty() && !self.has_more()
    }
}

/// Where outcomes go.
pub(crate) struct Desk {
    handle: Arc<ShardHandle>,
    porter: Arc<Porter>,
    pool: Pool,
    offload_bytes: usize,
    /// A chunk seldom holds more than one answer.
    copies_short: bool,
    /// Tasks to be woken at the end of the turn.
    wakers: Vec<Waker>,
    /// The same of callers that block their threads.
    blocked: Vec<Waker>,
    jobs: Vec<Option<Job>>,
    /// Places with a job, and those without.
    open: Vec<u32>,
    vacant: Vec<u32>,
    told: Vec<u32>,
    /// Scratch of `hand_out`: jobs that are over.
    over: Vec<u32>,
    /// Jobs that wait for a place.
    waiting: VecDeque<Arc<JobShared>>,
    /// Those that may have claims, the next one in front.
    ready: VecDeque<u32>,
    /// How many claims had been announced when all jobs were looked at.
    claims_seen: u64,
    /// Notifications of the caller that wait for a ready connection.
    notes: Vec<Note>,
    notifications_dropped: u64,
    /// The shard waits for its last call.
    draining: bool,
    /// A call ended in this turn.
    has_ended: bool,
}

impl Desk {
    pub(crate) fn new(
        handle: Arc<ShardHandle>,
        porter: Arc<Porter>,
        pool: Pool,
        offload_bytes: usize,
        copies_short: bool,
    ) -> Self {
        Self {
            handle,
            porter,
            pool,
            offload_bytes,
            copies_short,
            wakers: Vec::new(),
            blocked: Vec::new(),
            jobs: Vec::new(),
            open: Vec::new(),
            vacant: Vec::new(),
            told: Vec::new(),
            over: Vec::new(),
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            claims_seen: 0,
            notes: Vec::new(),
            notifications_dropped: 0,
            draining: false,
            has_ended: false,
        }
    }

    // Bulk jobs.

    pub(crate) fn open_job(&mut self, shared: Arc<JobShared>) {
        if shared.has_left() {
            // Nothing of it has been sent, nor will be; that it left may have been announced before it stood here.
            forget(shared);
            return;
        }
        let place = self.vacant.pop().or_else(|| {
            let next = self.jobs.len();
            (next < JOBS_MAX).then(|| {
                self.jobs.push(None);
                next as u32
            })
        });
        match place {
            Some(place) => {
                self.jobs[place as usize] = Some(Job::new(shared, self.open.len() as u32));
                self.open.push(place);
                // What its consumer has announced may have been seen before it stood here.
                self.make_ready(place);
            }
            None => self.waiting.push_back(shared),
        }
    }

    fn make_ready(&mut self, place: u32) {
        if let Some(job) = &mut self.jobs[place as usize]
            && !std::mem::replace(&mut job.is_ready, true)
        {
            self.ready.push_back(place);
        }
    }

    fn open_jobs(&self) -> impl Iterator<Item = &Job> {
        self.open.iter().filter_map(|place| self.jobs[*place as usize].as_ref())
    }

    /// Puts calls of the jobs on connections that have room, in turn.
    pub(crate) fn feed(&mut self, now: Instant, exchange: &mut Exchange) {
        self.send_notes(now, exchange);
        if self.open.is_empty() {
            return;
        }
        // Whoever leaves announces that as well.
        let claims = self.handle.claims();
        if std::mem::replace(&mut self.claims_seen, claims) != claims {
            self.close_left_jobs(now, exchange);
            for n in 0..self.open.len() {
                let place = self.open[n];
                if self.jobs[place as usize].as_ref().is_some_and(Job::has_claims) {
                    self.make_ready(place);
                }
            }
        }
        if self.ready.is_empty() && self.waiting.is_empty() {
            return;
        }
        if let Some(why) = exchange.refuses_own(now) {
            let failure = Failure { why, fate: Fate::NotSent };
            if self.ready.is_empty() {
                self.refuse_waiting(failure);
            } else {
                self.fail_claims(failure);
            }
            return;
        }
        while let Some(place) = self.ready.pop_front() {
            let Some(job) = &mut self.jobs[place as usize] else { continue };
            if job.claim.is_none() {
                job.claim = job.shared.claims.pop();
            }
            // What is handed in from here on is announced, and will have been since the claims were counted.
            job.is_ready = false;
            let Some(claim) = &mut job.claim else { continue };
            job.batch.make_room(claim.calls.len());
            let together = exchange.may_gather(now, claim.together);
            let mut took = false;
            while claim.left() > 0 {
                let Ok(taken) = submit_some(now, exchange, place as usize, claim, together) else {
                    // A claim at a time from each, and where the room ends the next one begins when there is some again: so a long job does
                    // not starve a short one.
                    job.is_ready = true;
                    if took {
                        self.ready.push_back(place);
                    } else {
                        self.ready.push_front(place);
                    }
                    return;
                };
                claim.taken += taken;
                job.in_flight += taken as u64;
                took = true;
            }
            if let Some(mut claim) = job.claim.take() {
                claim.clear();
                job.shared.spare_claims.push(claim);
            }
            if job.has_claims() {
                self.make_ready(place);
            }
        }
    }

    fn close_left_jobs(&mut self, now: Instant, exchange: &mut Exchange) {
        if self.waiting.iter().any(|shared| shared.has_left()) {
            let (left, wait) = self.waiting.drain(..).partition::<VecDeque<_>, _>(|shared| shared.has_left());
            self.waiting = wait;
            left.into_iter().for_each(forget);
        }
        let of_place = |place: &u32| self.jobs[*place as usize].as_ref();
        let has_left = |place: &u32| of_place(place).is_some_and(|job| job.shared.has_left());
        let mut left: Vec<u32> = self.open.iter().copied().filter(has_left).collect();
        if left.is_empty() {
            return;
        }
        left.sort_unstable();
        let stays = |place: &u32| left.binary_search(place).is_err();
        // Jobs stay in their places while their calls are cancelled, so that the outcomes have somewhere to go. Most have none left: a
        // batch is over when all its calls are. All calls of the shard are looked at, so once for all that have left.
        if left.iter().filter_map(of_place).any(|job| job.in_flight > 0) {
            let is_left = |tag: u64| left.binary_search(&((tag >> INDEX_BITS) as u32)).is_ok();
            exchange.cancel_owned(now, |owner| owner.kind == OwnerKind::Drawn && is_left(owner.tag), self);
        }
        self.told.retain(stays);
        self.ready.retain(stays);
        left.into_iter().for_each(|place| self.close_job(place));
        self.fill_places();
    }

    fn close_job(&mut self, place: u32) {
        let Some(job) = self.jobs[place as usize].take() else { return };
        self.open.swap_remove(job.at as usize);
        if let Some(&moved) = self.open.get(job.at as usize)
            && let Some(moved) = &mut self.jobs[moved as usize]
        {
            moved.at = job.at;
        }
        self.vacant.push(place);
        forget(job);
    }

    /// After jobs were closed.
    fn fill_places(&mut self) {
        if self.open.is_empty() && self.jobs.len() > PLACES_KEPT {
            (self.jobs, self.vacant, self.open) = (Vec::new(), Vec::new(), Vec::new());
            self.ready = VecDeque::new();
        }
        while self.open.len() < JOBS_MAX
            && let Some(shared) = self.waiting.pop_front()
        {
            self.open_job(shared);
        }
    }

    pub(crate) fn fail_claims(&mut self, failure: Failure) {
        for place in &self.open {
            let Some(job) = &mut self.jobs[*place as usize] else { continue };
            if let Some(claim) = job.claim.take() {
                for &(index, _) in &claim.calls[claim.taken..] {
                    job.batch.fail(index, failure);
                }
            }
            job.shared.refuse_claims(failure);
            job.is_ready = false;
            // It may be over with this.
            if !std::mem::replace(&mut job.is_told, true) {
                self.told.push(*place);
            }
        }
        self.ready.clear();
        self.refuse_waiting(failure);
    }

    fn refuse_waiting(&self, failure: Failure) {
        self.waiting.iter().for_each(|shared| shared.refuse_claims(failure));
    }

    /// From now on the last call may be the end of everything, whoever waits for it.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    pub(crate) fn abandon_jobs(&mut self, why: Why) {
        for job in self.jobs.drain(..).flatten() {
            contained(|| job.shared.abandon(why));
            forget(job);
        }
        for shared in self.waiting.drain(..) {
            contained(|| shared.abandon(why));
        }
        (self.open, self.vacant, self.told) = (Vec::new(), Vec::new(), Vec::new());
        self.ready.clear();
    }

    /// Has no job a call that is not yet in flight?
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.iter().all(|shared| shared.claims.is_empty()) && !self.open_jobs().any(Job::has_claims)
    }

    // Notifications of the caller.

    /// Takes a notification on; it is sent when a connection is ready.
    pub(crate) fn notify(&mut self, note: Note) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note);
        } else {
            note.end(Some(Why::Unreachable));
        }
    }

    fn send_notes(&mut self, now: Instant, exchange: &mut Exchange) {
        if self.notes.is_empty() {
            return;
        }
        let refused = exchange.refuses(now);
        // Where one finds no connection none does: each would look at all of them.
        let takes = |note: &&Note| exchange.notify(&note.method, note.params.as_deref());
        let sent = self.notes.iter().take_while(takes).count();
        self.notes.drain(..sent).for_each(|note| note.end(None));
        if refused.is_some() {
            self.notes.drain(..).for_each(|note| note.end(refused));
        }
    }

    // The end of a turn.

    /// Adds the desk's own counts.
    pub(crate) fn add_counts(&self, stats: &mut Stats) {
        stats.notifications_dropped = self.notifications_dropped;
    }

    /// Hands everything out that was gathered during the turn. Wakes of tasks of another thread's go by the relay. A bulk job's
    /// consumer is woken when there is enough for it, when the turn had nothing to read (`more` may come otherwise), or after a few
    /// turns.
    pub(crate) fn hand_out(&mut self, more: bool, relays: bool) {
        let jobs = &mut self.jobs;
        self.told.retain(|place| {
            let Some(job) = &mut jobs[*place as usize] else { return false };
            if !job.batch.is_empty() {
                job.unwoken += job.batch.len() as u64;
                let spare = job.shared.spare_batches.pop();
                let fresh = || if job.has_more() { Batch::like(&job.batch) } else { Batch::default() };
                let spare = spare.unwrap_or_else(fresh);
                job.shared.push(std::mem::replace(&mut job.batch, spare));
            }
            job.held += 1;
            if !more || job.unwoken * WAKE_SHARE >= job.in_flight || job.held >= HELD_TURNS_MAX {
                (job.unwoken, job.held, job.is_told) = (0, 0, false);
                if job.is_over() {
                    // Its consumer may hold what came of it for as long as it likes, and others wait for a place.
                    job.shared.mark_over();
                    self.over.push(*place);
                }
                job.shared.wake();
            }
            job.is_told
        });
        if !self.over.is_empty() {
            let mut over = std::mem::take(&mut self.over);
            over.drain(..).for_each(|place| self.close_job(place));
            self.over = over;
            self.fill_places();
        }
        if relays {
            self.handle.relay.leave(&mut self.wakers);
        } else {
            self.wakers.drain(..).for_each(wake);
        }
        self.blocked.drain(..).for_each(wake);
        self.has_ended = false;
    }

    /// Fails a single call that the exchange does not know.
    pub(crate) fn fail(&mut self, key: Key, failure: Failure) {
        self.deliver(key, |reply, _| reply.set(ReplyKind::Failed(failure)));
    }

    /// Hands an answer over, which `write` puts there, knowing whether its caller wants it in a type; the caller is woken at the end of the turn.
    fn deliver(&mut self, key: Key, write: impl FnOnce(&mut Reply, bool)) {
        let ways = |cell| inbox::question(cell, |question| (question.blocks, question.typed));
        let (blocks, typed) = self.handle.slab.get(key).map(ways).unwrap_or_default();
        let wakers = if blocks { &mut self.blocked } else { &mut self.wakers };
        wakers.extend(self.handle.deliver(key, |reply| write(reply, typed)));
    }

    fn ended_single(&mut self, call: &Ended<'_>) {
        let (frame, error) = match &call.outcome {
            Outcome::Result(frame) => (frame, false),
            Outcome::Error(frame) => (frame, true),
            Outcome::Failed(failure) => {
                self.fail(call.key, *failure);
                return;
            }
        };
        if frame.len <= ANSWER_COPY_BYTES_MAX {
            self.deliver(call.key, |reply, typed| reply.copy(frame.bytes(), error, typed));
            return;
        }
        let frame = frame.keep();
        let typed = self
            .handle
            .slab
            .get(call.key)
            .is_some_and(|cell| inbox::question(cell, |question| question.typed));
        let frame = if typed && !error && frame.len() >= self.offload_bytes {
            match self.pool.place(frame.len()) {
                Some(place) => {
                    let (handle, key) = (Arc::clone(&self.handle), call.key);
                    place.hand_in(move || read_by_worker(&handle, key, frame));
                    return;
                }
                // The workers are behind: the caller reads it.
                None => frame,
            }
        } else {
            frame
        };
        self.deliver(call.key, |reply, _| reply.set(ReplyKind::Long { frame, error }));
    }
}

/// Lets go of a job: its last owner, it may be, and with it a waker of somebody's, which may panic as it goes.
fn forget<J>(job: J) {
    contained(|| drop(job));
}

/// Reads a long answer on a worker and hands the value over. The chunk is free before the caller has it.
fn read_by_worker(handle: &ShardHandle, key: Key, frame: Frame) {
    // Nobody reads for a caller that has gone: the delivery finds that out and buries the call.
    let is_wanted = handle.slab.get(key).is_some_and(|cell| !cell.is_abandoned());
    let read = is_wanted.then(|| pool::guarded(|| answer::tool_result(&frame)));
    drop(frame);
    let what = read.map_or(ReplyKind::Nothing, |read| ReplyKind::Read(Box::new(read)));
    if let Some(waker) = handle.deliver(key, |reply| reply.set(what)) {
        wake(waker);
    }
}

/// Submits as many of a claim's next calls as go at once; as an array if they go `together`.
fn submit_some(
    now: Instant,
    exchange: &mut Exchange,
    place: usize,
    claim: &Claim,
    together: bool,
) -> Result<usize, Full> {
    let tag = |n| (place as u64) << INDEX_BITS | claim.ahead(n).map_or(0, |(index, _)| index);
    let body = |n| claim.ahead(n).map_or(&[][..], |(_, body)| body);
    if together {
        let lengths = (0..).map_while(|n| claim.ahead(n)).map(|(_, body)| body.len());
        let write = |n, out: &mut Vec<u8>| out.extend_from_slice(body(n));
        exchange.submit_together(now, &claim.patience, lengths, tag, write)
    } else {
        exchange.submit_run(now, &claim.patience, claim.left(), tag, |n| [body(n), &[]])
    }
}

impl Sink for Desk {
    #[inline]
    fn ended(&mut self, _now: Instant, call: Ended<'_>) {
        self.has_ended = true;
        match call.owner.kind {
            OwnerKind::Shared => self.ended_single(&call),
            OwnerKind::Drawn => {
                let (place, index) = (call.owner.tag >> INDEX_BITS, call.owner.tag & ((1 << INDEX_BITS) - 1));
                if let Some(job) = self.jobs.get_mut(place as usize).and_then(Option::as_mut) {
                    job.in_flight -= 1;
                    if job.batch.is_empty()
                        && let Some(small) = job.shared.take_back()
                    {
                        job.unwoken = job.unwoken.saturating_sub(small.len() as u64);
                        if !job.is_told {
                            // Its consumer was woken for these and may be looking for them just now: it is woken again at the end of this turn.
                            job.held = HELD_TURNS_MAX - 1;
                        }
                        job.shared.spare_batches.push(std::mem::replace(&mut job.batch, small));
                    }
                    job.batch.push(index, &call, self.copies_short);
                    if !std::mem::replace(&mut job.is_told, true) {
                        self.told.push(place as u32);
                    }
                }
            }
        }
    }

    fn inbound(&mut self, message: Inbound<'_>) -> Reception {
        match message {
            Inbound::Notification { method, frame, subscription } => {
                let subscription = subscription.map(Key::wire);
                self.notifications_dropped +=
                    self.porter.bring_notification(method, subscription, || frame.keep().detach());
                Reception::Taken
            }
            Inbound::Request { connection, epoch, method, frame } => {
                let handle = Arc::clone(&self.handle);
                self.porter.bring_request(method, || frame.keep().detach(), handle, connection, epoch)
            }
        }
    }

    fn blamed(&mut self, reason: &Arc<str>) {
        *self.handle.status.reason.lock() = Some(Arc::clone(reason));
    }

    fn owes(&self) -> bool {
        !self.wakers.is_empty()
            || !self.blocked.is_empty()
            || self.draining && self.has_ended
            || !self.told.is_empty()
    }

    fn body(&mut self, key: Key, write: &mut dyn FnMut(&[u8])) {
        if let Some(cell) = self.handle.slab.get(key) {
            inbox::question(cell, |question| write(&question.body));
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for note in self.notes.drain(..) {
            note.end(Some(Why::Closed));
        }
        // Nobody may sleep on a shard that is gone.
        self.handle.status.ready.store(0, Ordering::Release);
        self.wakers.drain(..).chain(self.blocked.drain(..)).for_each(wake);
    }
}

#[cfg(all(test, not(any(volley_loom, volley_shuttle))))]
mod tests {
    use super::*;
    use crate::{
        base::sync::Mutex,
        config::Config,
        proto::event::Patience,
        queue::{completion::Cell, room::Room},
        shard::{
            inbox::Standing,
            memory::{Memory, ShardMemory},
        },
        slab::{Slab, key::KeyLayout},
    };

    const NOW: Instant = Instant::from_ns(1);
    const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

    /// A desk and an exchange with one connection that is ready, for four calls.
    fn shard() -> (Arc<ShardHandle>, Desk, Exchange) {
        shard_with(Pool::new(0).expect("no thread"), usize::MAX)
    }

    fn shard_with(pool: Pool, offload_bytes: usize) -> (Arc<ShardHandle>, Desk, Exchange) {
        const CALLS: u32 = 4;
        // What nobody has drawn is there for single calls.
        const SLOTS: u32 = 1 + 2 * CALLS;
        let config = Config::builder().plain_json_rpc().in_flight(CALLS).build().expect("valid");
        let layout = KeyLayout::for_slots(SLOTS, 0, 1);
        let slab = Slab::new(layout, SLOTS, Cell::new);
        drop(slab.draw(1));
        let magazine = slab.draw(CALLS);
        let standing = Standing { slots: 0..0, free: Mutex::new(slab.draw(0)) };
        let handle = Arc::new(ShardHandle::new(slab, standing, Arc::new(Room::new())));
        let memory = Arc::new(ShardMemory { memory: Arc::new(Memory::default()), may_probe: true });
        let mut exchange = Exchange::new(config.settings(0, 7), memory, layout, SLOTS, magazine);
        assert_eq!(exchange.poll_dial(NOW), Some(0));
        exchange.handle_opened(NOW, 0, false);
        let porter = Arc::new(Porter::new(None, None).expect("no thread without a handler"));
        let desk = Desk::new(Arc::clone(&handle), porter, pool, offload_bytes, false);
        (handle, desk, exchange)
    }

    /// A single call that has been sent.
    fn call(handle: &ShardHandle, desk: &mut Desk, exchange: &mut Exchange, typed: bool) -> Key {
        let patience = Patience { timeout: MINUTE, at_most: MINUTE, progress: false, standing: false };
        let submitted = handle.submit(false, |_, question| {
            question.body.extend_from_slice(br#""method":"m","params":{"#);
            (question.typed, question.patience) = (typed, patience);
        });
        let key = submitted.expect("a place");
        assert_eq!(handle.pop_call(), Some(key));
        exchange.enqueue(NOW, key, key.wire(), &patience, desk);
        assert_eq!(exchange.assign(NOW, desk), 1);
        while let Some(n) = exchange.poll_dirty() {
            let bytes = exchange.transmit(n).len();
            exchange.handle_transmitted(n, bytes);
        }
        key
    }

    /// Its answer comes in, with a text of so many bytes.
    fn answer(exchange: &mut Exchange, desk: &mut Desk, key: Key, bytes: usize) {
        let text = "x".repeat(bytes);
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[{{"type":"text","text":"{text}"}}]}}}}"#,
            key.wire()
        );
        let mut rest = [line.as_bytes(), b"\n"].concat();
        while !rest.is_empty() {
            let space = exchange.space(0);
            let taken = rest.len().min(space.len());
            space[..taken].copy_from_slice(&rest[..taken]);
            rest.drain(..taken);
            exchange.handle_received(NOW, 0, taken, desk);
        }
    }

    /// If the shard read it itself, all other calls of the shard would wait: sockets could show that as a time only. Here the one worker is busy,
    /// so what is answered has been read by nobody, and what waits has been left to the worker.
    #[test]
    fn a_long_typed_answer_is_left_to_a_worker() {
        const OFFLOAD: usize = 64 * 1024;
        let pool = Pool::new(1).expect("a thread");
        let (go, held) = crossbeam::channel::bounded::<()>(0);
        pool.place(0).expect("nothing waits").hand_in(move || {
            // Ends with an error, once nobody holds the other end.
            let _ = held.recv();
        });
        let (handle, mut desk, mut exchange) = shard_with(pool, OFFLOAD);
        let long = call(&handle, &mut desk, &mut exchange, true);
        answer(&mut exchange, &mut desk, long, OFFLOAD);
        let cell = |key| handle.slab.get(key).expect("nobody has taken it");
        assert!(!cell(long).is_answered(), "the worker is busy with something else");
        for (typed, bytes) in [(true, OFFLOAD / 2), (false, OFFLOAD)] {
            let other = call(&handle, &mut desk, &mut exchange, typed);
            answer(&mut exchange, &mut desk, other, bytes);
            assert!(cell(other).is_answered(), "short ones and raw ones need no worker");
            let unread = inbox::take(cell(other), |_, reply| matches!(reply.what, ReplyKind::Long { .. }));
            assert!(unread, "its caller reads it");
        }
        assert!(!cell(long).is_answered());
        drop(go);
        while !cell(long).is_answered() {
            std::thread::yield_now();
        }
        let read = inbox::take(cell(long), |_, reply| std::mem::take(&mut reply.what));
        let ReplyKind::Read(result) = read else { panic!("not read by the worker: {read:?}") };
        assert_eq!(result.expect("a result").text().len(), OFFLOAD);
    }

    /// A job that has handed in a call.
    fn job() -> Arc<JobShared> {
        let body = br#""method":"m","params":{"#;
        let shared = Arc::new(JobShared::default());
        shared.claims.push(Claim { bodies: body.to_vec(), calls: vec![(0, body.len())], ..Claim::default() });
        shared
    }

    /// Its leaving had been counted in the turn before the shard heard of it. So nobody looked for it any more, and its calls were sent.
    #[test]
    fn a_job_that_left_before_it_stood_has_nothing_sent() {
        let (handle, mut desk, mut exchange) = shard();
        desk.open_job(job());
        desk.feed(NOW, &mut exchange);
        assert_eq!(exchange.stats().submitted, 1);
        let dropped = job();
        assert!(dropped.leave());
        handle.announce();
        desk.feed(NOW, &mut exchange);
        desk.open_job(Arc::clone(&dropped));
        desk.feed(NOW, &mut exchange);
        assert_eq!(exchange.stats().submitted, 1);
        assert_eq!(Arc::strong_count(&dropped), 1, "it is forgotten");
    }

    /// A claim each while there is room; whoever found none goes first when there is some again.
    #[test]
    fn jobs_take_turns() {
        let (_handle, mut desk, mut exchange) = shard();
        let jobs: Vec<_> = (0..6).map(|_| job()).collect();
        jobs.iter().for_each(|job| desk.open_job(Arc::clone(job)));
        desk.feed(NOW, &mut exchange);
        let in_flight: Vec<_> = desk.open_jobs().map(|job| job.in_flight).collect();
        assert_eq!(in_flight, [1, 1, 1, 1, 0, 0]);
        assert_eq!(desk.ready, [4, 5]);
        jobs[0].claims.push(jobs[5].claims.pop().expect("not taken yet"));
        desk.handle.announce();
        desk.feed(NOW, &mut exchange);
        assert_eq!(desk.ready, [4, 5, 0], "behind those that waited");
    }
}
