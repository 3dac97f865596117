//! How other threads talk to a shard: a ring of submitted calls, a queue of rarer commands, and the doorbell.
//!
//! The ring holds keys. Its capacity is the number of slots of the client's slab, and a slot's key stands in it at most
//! once, so a push always finds room; backpressure is in the slab. A cancellation goes through the commands. It may
//! overtake its own submission; then the shard finds the cell abandoned when the key comes up.
//!
//! **Closing.** The shard sets `closed`, then empties the ring. Whoever pushes looks at `closed` afterwards, and empties the
//! ring as well if it is set. So a key that came too late is answered by one of the two, and by one only, because
//! each key is popped once.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use crate::{
    base::{
        buffer::{Chunk, Frame},
        limits::SLOT_BUFFER_BYTES_KEPT,
        sync::{ArrayQueue, AtomicBool, AtomicU32, AtomicU64, Event, Mutex, Ordering, SegQueue, fence},
        wake::{contained, wake},
    },
    decode::{answer, pool},
    error::{Error, ErrorKind, Phase},
    model::tool::ToolResult,
    proto::{
        event::{Failure, Fate, Patience, Why},
        exchange::Reason,
    },
    queue::{
        completion::{Cell, Delivered},
        doorbell::Doorbell,
        room::Room,
    },
    slab::{Slab, key::Key, magazine::Magazine},
    telemetry::counters::SharedStats,
};

use super::{alarm::Alarm, relay::Relay, runner::job::JobShared};

/// A single call on its way to the shard. Its buffer stays with the slot.
#[derive(Debug, Default)]
pub(crate) struct Question {
    pub(crate) body: Vec<u8>,
    pub(crate) patience: Patience,
    /// The caller wants a `ToolResult`: long answers may be read by the workers.
    pub(crate) typed: bool,
    /// The caller blocks its thread: the shard wakes it itself.
    pub(crate) blocks: bool,
}

/// What came back. The memory for short answers stays with the slot: of those that are read where they lie, and of raw ones, which share it as
/// long as somebody keeps them. (To look whether somebody does is an atomic step, and the memory behind it one line more to fetch.)
#[derive(Debug, Default)]
pub(crate) struct Reply {
    text: Vec<u8>,
    pub(crate) short: Option<Arc<Chunk>>,
    pub(crate) what: ReplyKind,
}

/// The memory of a slot for typed answers grows by so much.
const TEXT_BYTES_STEP: usize = 64;

impl Reply {
    /// Puts a copy of a short answer where none is, for a caller who has it read into its type or keeps it as it is.
    pub(crate) fn copy(&mut self, bytes: &[u8], error: bool, typed: bool) {
        if typed {
            self.text.clear();
            if bytes.len() > self.text.capacity() {
                // There are as many of these as calls in flight: not twice of what is needed, but enough for an answer some digits longer.
                self.text.reserve_exact(bytes.len().next_multiple_of(TEXT_BYTES_STEP));
            }
            self.text.extend_from_slice(bytes);
            self.set(ReplyKind::Text { error });
        } else {
            Chunk::refill(&mut self.short, bytes);
            self.set(ReplyKind::Short { error });
        }
    }

    /// Puts an answer where none is: of what is not there nothing has to be freed.
    pub(crate) fn set(&mut self, what: ReplyKind) {
        debug_assert!(matches!(self.what, ReplyKind::Nothing));
        std::mem::forget(std::mem::replace(&mut self.what, what));
    }
}

/// The forms of a reply.
#[derive(Debug, Default)]
pub(crate) enum ReplyKind {
    #[default]
    Nothing,
    /// In `text`: of a typed call.
    Text {
        error: bool,
    },
    /// In `short`: of a raw one.
    Short {
        error: bool,
    },
    /// In its chunk.
    Long {
        frame: Frame,
        error: bool,
    },
    /// Read by a worker.
    Read(Box<Result<ToolResult, Error>>),
    Failed(Failure),
}

pub(crate) type CallCell = Cell<Question, Reply>;

/// The rarer wishes.
pub(crate) enum Command {
    Cancel(Key),
    Job(Arc<JobShared>),
    Notify(Note),
    Respond { connection: u32, epoch: u32, id: Box<str>, member: &'static str, value: Box<str> },
    Drain,
    Close,
}

/// What a shard and its callers share.
pub(crate) struct ShardHandle {
    pub(crate) slab: Slab<CallCell>,
    standing: Standing,
    ring: ArrayQueue<Key>,
    commands: SegQueue<Command>,
    /// Counts the claims of bulk jobs, and callers who came first to an empty line, so that the shard does not sleep over one.
    claims: AtomicU64,
    bell: Doorbell,
    alarm: OnceLock<Alarm>,
    /// Wakes that are on their way.
    pub(crate) relay: Relay,
    closed: AtomicBool,
    panicked: AtomicBool,
    refusing: AtomicBool,
    /// A slot became free, here or on another shard of the same engine.
    pub(crate) room: Arc<Room>,
    pub(crate) stats: SharedStats,
    pub(crate) status: Status,
}

/// The slots of standing calls, apart from those of calls: neither takes the other's places.
pub(crate) struct Standing {
    /// Slots that were drawn for them.
    pub(crate) slots: Range<u32>,
    pub(crate) free: Mutex<Magazine>,
}

/// How a shard is doing, for those who wait for it.
#[derive(Default)]
pub(crate) struct Status {
    pub(crate) ready: AtomicU32,
    pub(crate) down: AtomicBool,
    /// It is down for want of a token.
    pub(crate) unauthorized: AtomicBool,
    pub(crate) reason: Mutex<Option<Reason>>,
    pub(crate) changed: Event,
}

/// The shard's answer to a push: full, or it takes no more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    For(Why),
}

impl ShardHandle {
    pub(crate) fn new(slab: Slab<CallCell>, standing: Standing, room: Arc<Room>) -> Self {
        Self {
            ring: ArrayQueue::new(slab.capacity().max(1)),
            slab,
            standing,
            commands: SegQueue::new(),
            claims: AtomicU64::new(0),
            bell: Doorbell::new(),
            alarm: OnceLock::new(),
            relay: Relay::default(),
            closed: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            room,
            stats: SharedStats::default(),
            status: Status::default(),
        }
    }

    // Callers.

    /// Submits a call, or a standing one; `write` fills in the question and may note the key.
    pub(crate) fn submit(
        &self,
        standing: bool,
        write: impl FnOnce(Key, &mut Question),
    ) -> Result<Key, Refused> {
        if self.refusing.load(Ordering::Acquire) {
            return Err(Refused::For(self.why_closed()));
        }
        let free = if standing { self.standing.free.lock().take() } else { self.slab.reserve() };
        let Some(key) = free else {
            return Err(if self.slab.is_exhausted() { Refused::For(Why::Exhausted) } else { Refused::Full });
        };
        let cell = self.slab.get(key).expect("a key that was just reserved is live");
        pose(cell, |question| write(key, question));
        let pushed = self.ring.push(key);
        debug_assert!(pushed.is_ok(), "the ring has a place for every slot");
        // The bell's fence stands between the push and the look at `closed` as well.
        self.ring_bell();
        if self.closed.load(Ordering::Relaxed) {
            self.refuse_all();
        }
        Ok(key)
    }

    pub(crate) fn command(&self, command: Command) {
        self.commands.push(command);
        // The bell's fence stands between the push and the look at `closed`.
        self.ring_bell();
        if self.closed.load(Ordering::Relaxed) {
            self.refuse_commands();
        }
    }

    /// A bulk job has a new claim, or callers wait for a slot, and the shard has to look after them.
    pub(crate) fn announce(&self) {
        self.claims.fetch_add(1, Ordering::Release);
        self.ring_bell();
    }

    pub(crate) fn ring_bell(&self) {
        if self.bell.must_ring()
            && let Some(alarm) = self.alarm.get()
        {
            alarm.ring();
        }
    }

    /// The caller is done with a slot.
    pub(crate) fn release(&self, key: Key) {
        if self.standing.slots.contains(&self.slab.slot(key)) {
            self.slab.renew(key);
            self.standing.free.lock().give_back(key);
            self.room.tell_standing();
            return;
        }
        self.slab.release(key);
        if self.slab.is_exhausted() {
            // None will ever come free again, which all have to hear.
            self.room.tell_all();
        } else {
            self.room.tell_one();
        }
    }

    /// Would a call get a place just now, or be told that none will ever?
    pub(crate) fn has_room(&self) -> bool {
        !self.slab.is_full() || self.slab.is_exhausted() || self.is_refusing()
    }

    /// Does it take no new calls any more?
    pub(crate) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// New calls are refused from now on.
    pub(crate) fn refuse(&self) {
        self.refusing.store(true, Ordering::Release);
        self.room.tell_all();
    }

    /// Puts a failure into words.
    pub(crate) fn error(&self, failure: Failure) -> Error {
        let reason = self.status.reason.lock().clone();
        Error::from_failure(failure, reason.as_deref())
    }

    /// What calls fail with that come too late.
    pub(crate) fn why_closed(&self) -> Why {
        if self.panicked.load(Ordering::Acquire) { Why::Panicked } else { Why::Closed }
    }

    /// Does it take calls, as far as is known?
    pub(crate) fn is_well(&self) -> bool {
        !self.is_refusing() && !self.status.down.load(Ordering::Acquire)
    }

    // The shard.

    pub(crate) fn set_alarm(&self, alarm: Alarm) {
        // Set once, before the handle is shared.
        let _ = self.alarm.set(alarm);
    }

    /// A task is polled with this waker now.
    #[cfg(feature = "tokio")]
    pub(crate) fn leave_waker(&self, waker: &std::task::Waker) {
        if let Some(alarm) = self.alarm.get() {
            alarm.leave(waker);
        }
    }

    /// Has somebody rung since the shard lay down?
    #[cfg(feature = "tokio")]
    pub(crate) fn was_rung(&self) -> bool {
        !self.bell.is_asleep()
    }

    /// Calls that wait in the ring, at least.
    pub(crate) fn calls_waiting(&self) -> usize {
        self.ring.len()
    }

    pub(crate) fn pop_call(&self) -> Option<Key> {
        self.ring.pop()
    }

    pub(crate) fn pop_command(&self) -> Option<Command> {
        self.commands.pop()
    }

    pub(crate) fn claims(&self) -> u64 {
        self.claims.load(Ordering::Acquire)
    }

    /// About to sleep; `claims_seen` is what [`Self::claims`] said when the jobs were looked at.
    pub(crate) fn may_sleep(&self, claims_seen: u64) -> bool {
        self.bell.lie_down();
        let quiet = !self.has_news(claims_seen);
        if !quiet {
            self.bell.get_up();
        }
        quiet
    }

    /// Has anything been pushed that the shard has not taken? `claims_seen` as above.
    pub(crate) fn has_news(&self, claims_seen: u64) -> bool {
        !self.ring.is_empty() || !self.commands.is_empty() || self.claims() != claims_seen
    }

    pub(crate) fn woke(&self) {
        self.bell.get_up();
    }

    /// The last thing a shard does: everything that comes from now on is refused.
    pub(crate) fn close(&self, panicked: bool) {
        self.panicked.store(panicked, Ordering::Release);
        // Nobody is told before all is said: who is told may be any code.
        self.refusing.store(true, Ordering::Release);
        self.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.refuse_all();
        self.refuse_commands();
        self.relay.hand_on();
        self.room.tell_all();
        contained(|| self.status.changed.notify(usize::MAX));
    }

    /// Answers all calls in the ring that no shard will take any more.
    fn refuse_all(&self) {
        while let Some(key) = self.ring.pop() {
            let failure = Failure { why: self.why_closed(), fate: Fate::NotSent };
            if let Some(waker) = self.deliver(key, |reply| reply.set(ReplyKind::Failed(failure))) {
                wake(waker);
            }
        }
    }

    /// Ends all commands that no shard will take any more.
    fn refuse_commands(&self) {
        while let Some(command) = self.commands.pop() {
            match command {
                Command::Notify(note) => note.end(Some(self.why_closed())),
                Command::Job(job) => job.abandon(self.why_closed()),
                Command::Cancel(_) | Command::Respond { .. } | Command::Drain | Command::Close => {}
            }
        }
    }

    /// Hands an answer over, or buries the call whose caller has gone. The waker, if any, has to be woken.
    pub(crate) fn deliver(&self, key: Key, write: impl FnOnce(&mut Reply)) -> Option<std::task::Waker> {
        let Some(cell) = self.slab.get(key) else {
            debug_assert!(false, "a live call has a live key");
            return None;
        };
        answer_cell(cell, write, || self.release(key))
    }
}

// The unsafe steps of the hand-over, with the duties that this file fulfils: a key is held by one caller from `reserve` to
// `release`, and by one shard (or whoever empties its ring) from the pop to the answer.
mod hand_over {
    #![allow(unsafe_code, reason = "the cell's contract is kept by who holds the key (docs/unsafe.md)")]

    use std::task::{Poll, Waker};

    use super::{CallCell, Delivered, Question, Reply, trim};

    pub(crate) fn pose(cell: &CallCell, write: impl FnOnce(&mut Question)) {
        // SAFETY: called by `submit` only, right after it has reserved the slot or taken it from those that were drawn.
        unsafe { cell.pose(write) }
    }

    pub(crate) fn question<R>(cell: &CallCell, read: impl FnOnce(&mut Question) -> R) -> R {
        // SAFETY: called by the shard only, for a key that it popped and has not answered.
        unsafe { cell.question(read) }
    }

    pub(crate) fn answer_cell(
        cell: &CallCell,
        write: impl FnOnce(&mut Reply),
        release: impl FnOnce(),
    ) -> Option<Waker> {
        // SAFETY: called by the holder of a popped key, once: the exchange ends every call once, and a key that was
        // popped from the ring while closing never reached the exchange.
        match unsafe { cell.answer(write) } {
            Delivered::ToCaller(waker) => waker,
            Delivered::Abandoned => {
                // SAFETY: told so just now, and told once.
                unsafe { cell.bury(trim) };
                release();
                None
            }
        }
    }

    pub(crate) fn poll(cell: &CallCell, waker: &Waker) -> Poll<()> {
        // SAFETY: called by the `Call` that holds the key, which it gives up in `take` or `abandon`.
        unsafe { cell.poll(waker) }
    }

    pub(crate) fn take<R>(cell: &CallCell, read: impl FnOnce(&mut Question, &mut Reply) -> R) -> R {
        // SAFETY: called by the `Call` that holds the key, after `poll` was ready or `abandon` said that the answer is
        // there; the call gives its key up with it.
        unsafe { cell.take(read) }
    }

    pub(crate) fn abandon(cell: &CallCell) -> bool {
        // SAFETY: called by the `Call` that holds the key, when it is dropped.
        unsafe { cell.abandon() }
    }
}

pub(crate) use hand_over::{abandon, answer_cell, poll, pose, question, take};

/// Trims the buffers of a slot whose call was large, when its answer has been taken or its caller has gone.
pub(crate) fn trim(question: &mut Question, reply: &mut Reply) {
    question.body.clear();
    if question.body.capacity() > SLOT_BUFFER_BYTES_KEPT {
        question.body.shrink_to(SLOT_BUFFER_BYTES_KEPT);
    }
    if !matches!(reply.what, ReplyKind::Nothing) {
        reply.what = ReplyKind::Nothing;
    }
}

/// Turns a reply that is not a failure into a typed result.
pub(crate) fn read_reply(reply: &mut Reply) -> Result<ToolResult, Error> {
    let Reply { text, short, what } = reply;
    let short = || short.as_deref().map(Chunk::bytes).unwrap_or_default();
    match std::mem::take(what) {
        ReplyKind::Text { error: false } => pool::guarded(|| answer::tool_result(text)),
        ReplyKind::Text { error: true } => Err(answer::error(text)),
        ReplyKind::Short { error: false } => pool::guarded(|| answer::tool_result(short())),
        ReplyKind::Short { error: true } => Err(answer::error(short())),
        ReplyKind::Long { frame, error: false } => pool::guarded(|| answer::tool_result(&frame)),
        ReplyKind::Long { frame, error: true } => Err(answer::error(&frame)),
        ReplyKind::Read(read) => *read,
        ReplyKind::Failed(_) | ReplyKind::Nothing => {
            Err(Error::new(ErrorKind::Internal, Fate::Unknown, Phase::Decode, "a reply was read twice"))
        }
    }
}

/// A notification of the caller on its way to a connection.
pub(crate) struct Note {
    pub(crate) method: Box<str>,
    pub(crate) params: Option<Box<str>>,
    pub(crate) outcome: Arc<NoteOutcome>,
}

/// What became of a [`Note`].
#[derive(Default)]
pub(crate) struct NoteOutcome {
    pub(crate) ended: Latch,
    pub(crate) failed: Mutex<Option<Why>>,
}

impl Note {
    /// It stands in a connection's output, or will never.
    pub(crate) fn end(self, failed: Option<Why>) {
        *self.outcome.failed.lock() = failed;
        self.outcome.ended.open();
    }
}

/// A door that opens once and stays open.
#[derive(Default)]
pub(crate) struct Latch {
    is_open: AtomicBool,
    opened: Event,
}

impl Latch {
    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
        contained(|| self.opened.notify(usize::MAX));
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    pub(crate) async fn wait(&self) {
        while !self.is_open() {
            let listener = self.opened.listen();
            if self.is_open.load(Ordering::Acquire) {
                return;
            }
            listener.await;
        }
    }
}

#[cfg(all(test, not(any(volley_loom, volley_shuttle))))]
mod tests {
    use super::*;
    use crate::{shard::runner::job::JobShared, slab::key::KeyLayout};

    fn handle(slots: u32) -> ShardHandle {
        let slab = Slab::new(KeyLayout::for_slots(slots, 0, 1), slots, Cell::new);
        let standing = Standing { slots: 0..0, free: Mutex::new(slab.draw(0)) };
        ShardHandle::new(slab, standing, Arc::new(Room::new()))
    }

    /// Only whoever took an answer trimmed its slot: a hundred long calls that were all given up kept their bodies for as long as the client stood.
    #[test]
    fn a_call_that_was_given_up_leaves_no_long_body() {
        let handle = handle(4);
        let pose = |bytes| {
            handle.submit(false, |_, question| question.body.resize(bytes, b'x')).expect("there is a place")
        };
        let keys: Vec<Key> = (0..4).map(|_| pose(1 << 20)).collect();
        for key in keys {
            let cell = handle.slab.get(key).expect("a live key");
            assert!(abandon(cell), "it was not answered");
            assert_eq!(handle.pop_call(), Some(key));
            let failure = Failure { why: Why::Cancelled, fate: Fate::NotSent };
            assert!(handle.deliver(key, |reply| reply.set(ReplyKind::Failed(failure))).is_none());
        }
        for _ in 0..4 {
            let key = pose(1);
            let kept =
                question(handle.slab.get(key).expect("a live key"), |question| question.body.capacity());
            assert!(kept <= SLOT_BUFFER_BYTES_KEPT, "{kept} bytes");
        }
    }

    /// What came after the end stood in the queue until the client went, as no shard would take it.
    #[test]
    fn a_command_that_comes_after_the_end_is_ended() {
        let handle = handle(1);
        handle.close(false);
        let job = Arc::new(JobShared::default());
        handle.command(Command::Job(Arc::clone(&job)));
        assert!(job.is_abandoned());
        assert_eq!(Arc::strong_count(&job), 1, "nobody else holds it");
    }
}
