//! One connection, seen from the protocol: what it has received, what it has to say, how many calls it may have in
//! flight, and where it stands in its life. Sans IO: whoever has the socket reads into [`Connection::inbox`] and writes from
//! [`Connection::outbox`]. The exchange joins the connections of a shard and makes the decisions that concern several.
//!
//! Owner: one shard, on one thread, for life; `epoch` counts the transports it has had.

use std::{collections::VecDeque, num::NonZeroU32, sync::Arc, time::Duration};

use super::{
    framing::newline::Newline,
    health::Health,
    http::{pool::Pool, settings::HttpSettings},
    lifecycle::{Event, State},
    message::encode::{self, Tail},
    orphans::Orphans,
    outbox::Outbox,
    pacing::Pacing,
    revision::Revision,
    window::Window,
};
use crate::{
    base::{
        buffer::ReceiveBuffer,
        limits::{ORPHANS_MAX, OUTBOX_BYTES_HIGH, OUTBOX_BYTES_HIGH_ALL, OUTBOX_BYTES_HIGH_MIN},
        time::Instant,
    },
    policy::backoff::Backoff,
    slab::key::Key,
};

/// A connection is suspect when more than this many timed-out calls, or than half its window, have met nothing but silence.
const SILENT_CALLS_MIN: usize = 64;

/// The machines of one connection.
///
/// In the order of their use: a call on a stream looks at the first five cache lines and at none of the others. Among ten thousand
/// connections none of them is in the cache (ADR 0026).
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Connection {
    /// Over HTTP: the sockets and what is on them. Then `inbox`, `framing` and `outbox` stay empty.
    pub(crate) http: Option<Box<Pool>>,
    pub(crate) outbox: Outbox,
    /// It takes no calls while this much of its output waits.
    outbox_bytes_high: usize,
    // The second line.
    pub(crate) inbox: ReceiveBuffer,
    pub(crate) window: Window,
    /// The same for all connections of one revision.
    pub(crate) tail: Arc<Tail>,
    pub(crate) last_heard: Instant,
    /// Which transport in the life of this connection; old transports' events are told apart by it.
    pub(crate) epoch: u32,
    state: State,
    /// Stands in the exchange's list of connections with room.
    pub(crate) listed: bool,
    /// Stands in the exchange's list of connections with output.
    pub(crate) dirty: bool,
    pub(crate) revision: Option<Revision>,
    // The third.
    pub(crate) framing: Newline,
    // The fourth.
    /// Lines that its framing found to be noise or blank and that are counted already.
    pub(crate) counted: (u64, u64),
    /// Where the notifications of the caller begin in the output, of those of which no byte has left.
    notes: VecDeque<u64>,
    pub(crate) write_again_at: Instant,
    /// Sends in a row that found the kernel busy, and when to try again.
    pub(crate) busy_retries: u32,
    /// Attempts since the last success.
    pub(crate) attempts: u32,
    // The fifth, which has the calls that timed out at its end.
    /// What moves its window, and stops it for a while.
    pub(crate) pacing: Pacing,
    pub(crate) orphans: Orphans,
    /// Which of all transports of the shard that became ready, from 1 on.
    pub(crate) opened_as: u64,
    /// Calls of the last array that was sent on this transport, of a stream; 0 if none was.
    pub(crate) last_array: u32,
    /// The request of the opening that is out, or `Key::NONE`.
    pub(crate) opening: Key,
    /// The opening's next deadline: of the probe, or of the whole attempt.
    pub(crate) opening_deadline: Instant,
    /// When the whole attempt is given up.
    pub(crate) attempt_deadline: Instant,
    /// Probes sent on this transport.
    pub(crate) probes: u32,
    /// The last transport ended during the probe: go straight to `initialize` on the next.
    pub(crate) skip_probe: bool,
    /// It was opened once more because the server turned out to be of the other era, since it was ready last.
    pub(crate) has_reopened: bool,
    /// The transport that is being let go of was no failed attempt.
    pub(crate) is_forgiven: bool,
    /// A transport has been asked for and neither stands nor failed yet.
    pub(crate) dialling: bool,
    /// When to try again, in `Backoff`.
    pub(crate) retry_at: Instant,
    pub(crate) backoff: Backoff,
    /// How much of its output had left when it was first seen to be clogged, and when that was, or `NEVER`.
    clogged: (u64, Instant),
    pub(crate) health: Health,
    /// Where its output ended when it was first seen to have no call, and when that was, or `NEVER`.
    unused: (u64, Instant),
    /// One of the overflow: when to see whether it is still needed.
    pub(crate) look_again_at: Instant,
}

impl Connection {
    /// One of so many `connections` of its shard.
    pub(crate) fn new(
        connections: u32,
        window: NonZeroU32,
        standing_max: u32,
        frame_bytes_max: usize,
        backoff: Backoff,
        http: Option<&HttpSettings>,
        tail: Arc<Tail>,
    ) -> Self {
        Self {
            http: http.map(|http| Box::new(Pool::new(http, window.get() + standing_max, frame_bytes_max))),
            state: State::Starting,
            epoch: 0,
            opened_as: 0,
            last_array: 0,
            revision: None,
            tail,
            inbox: ReceiveBuffer::default(),
            framing: Newline::new(frame_bytes_max),
            outbox: Outbox::default(),
            window: Window::new(window),
            orphans: Orphans::default(),
            pacing: Pacing::default(),
            opening: Key::NONE,
            opening_deadline: Instant::NEVER,
            attempt_deadline: Instant::NEVER,
            probes: 0,
            skip_probe: false,
            has_reopened: false,
            is_forgiven: false,
            retry_at: Instant::NEVER,
            backoff,
            clogged: (0, Instant::NEVER),
            health: Health::default(),
            unused: (0, Instant::NEVER),
            look_again_at: Instant::NEVER,
            attempts: 0,
            dialling: false,
            listed: false,
            counted: (0, 0),
            dirty: false,
            last_heard: Instant::default(),
            busy_retries: 0,
            write_again_at: Instant::NEVER,
            outbox_bytes_high: (OUTBOX_BYTES_HIGH_ALL / connections.max(1) as usize)
                .clamp(OUTBOX_BYTES_HIGH_MIN, OUTBOX_BYTES_HIGH),
            notes: VecDeque::new(),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Brings what a call looks at into the cache: a word of each of its lines.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        let Self { outbox, epoch, framing, attempts, pacing, .. } = self;
        outbox.end()
            ^ u64::from(*epoch)
            ^ framing.counters().noise_lines
            ^ u64::from(*attempts)
            ^ u64::from(pacing.failed_in_a_row)
    }

    /// The only place where the state changes.
    pub(crate) fn step(&mut self, event: Event) -> State {
        self.state = self.state.after(event);
        self.state
    }

    /// May a call be put on it now?
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.state == State::Ready
            && self.window.has_room()
            && self.outbox_room() > 0
            && self.http.as_ref().is_none_or(|pool| pool.has_lane(self.window.limit()))
    }

    /// Bytes of calls that its output takes before they have to wait.
    #[inline]
    pub(crate) fn outbox_room(&self) -> usize {
        self.outbox_bytes_high.saturating_sub(self.outbox.waiting().len())
    }

    /// An answer came, or what is as good.
    #[inline]
    pub(crate) fn prove_alive(&mut self) {
        self.orphans.server_is_alive();
        if self.attempts != 0 {
            self.attempts = 0;
            self.backoff.reset();
        }
    }

    /// So many calls may time out in silence; one more makes a connection suspect.
    pub(crate) fn silent_calls_max(&self) -> usize {
        // More than `ORPHANS_MAX` are not remembered.
        SILENT_CALLS_MIN.max((self.window.limit() as usize / 2).min(ORPHANS_MAX - 1))
    }

    /// When a stream on which that has happened is to be given up, if nothing at all is heard.
    pub(crate) fn suspect_at(&self, silence: Duration) -> Instant {
        let is_stream = self.state == State::Ready && self.http.is_none();
        let since = self.orphans.more_timed_out_at(self.silent_calls_max()).filter(|_| is_stream);
        since.map_or(Instant::NEVER, |since| since.max(self.last_heard).after(silence))
    }

    /// Is it a stream that takes no more calls, as its output is full, and on which no call is left?
    pub(crate) fn is_clogged(&self) -> bool {
        self.state == State::Ready
            && self.http.is_none()
            && self.outbox_room() == 0
            && self.window.calls() == 0
    }

    /// Was everything sent, and every call answered or given up by its caller? One that timed out is owed until anything is answered.
    pub(crate) fn owes_nothing(&self) -> bool {
        self.window.calls() == 0
            && self.orphans.more_timed_out_at(0).is_none()
            && self.outbox.waiting().is_empty()
    }

    /// Looks whether anything of a clogged output has left since it was looked at last. `true`: nothing, for so long.
    pub(crate) fn stands_still(&mut self, now: Instant, silence: Duration) -> bool {
        let left = self.outbox.end() - self.outbox.waiting().len() as u64;
        if !self.is_clogged() {
            self.clogged = (left, Instant::NEVER);
        } else if self.clogged.1 == Instant::NEVER || self.clogged.0 != left {
            self.clogged = (left, now);
        }
        self.clogged.1.after(silence) <= now
    }

    /// Since when it has been seen to have no call, and none between; `NEVER` if it has one now.
    pub(crate) fn unused_at(&mut self, now: Instant) -> Instant {
        let end = self.outbox.end();
        if self.window.in_flight() > 0 {
            self.unused = (end, Instant::NEVER);
        } else if self.unused.1 == Instant::NEVER || self.unused.0 != end {
            self.unused = (end, now);
        }
        self.unused.1
    }

    /// What stands in its output from here on is no call.
    pub(crate) fn has_said(&mut self, from: u64) {
        self.unused.0 += self.outbox.end() - from;
    }

    /// The next moment at which this connection wants to be looked at.
    pub(crate) fn next_deadline(
        &self,
        orphan_debt: Duration,
        silence: Duration,
        idle_timeout: Duration,
    ) -> Instant {
        let own = match self.state {
            State::Backoff => self.retry_at,
            State::Starting if self.dialling => self.attempt_deadline,
            State::Probing | State::Initializing => self.opening_deadline,
            State::Ready => self.clogged.1.after(silence).min(self.health.look_at).min(self.look_again_at),
            _ => Instant::NEVER,
        };
        let own = match &self.http {
            Some(pool) => own.min(pool.next_deadline(idle_timeout)),
            None => own,
        };
        own.min(self.orphans.next_expiry(orphan_debt))
            .min(self.suspect_at(silence))
            .min(self.write_again_at)
            .min(self.pacing.next_deadline())
    }

    /// Puts a notification of the caller into the output.
    pub(crate) fn notify(&mut self, method: &str, params: Option<&str>) {
        let start = self.outbox.end();
        self.notes.push_back(start);
        encode::notification(self.outbox.bytes(), method, params);
        self.has_said(start);
    }

    /// The kernel took `bytes` of the output.
    pub(crate) fn written(&mut self, bytes: usize) {
        self.outbox.written(bytes);
        while self.notes.front().is_some_and(|start| self.outbox.has_left(*start)) {
            self.notes.pop_front();
        }
    }

    /// Clears what belonged to the transport that is gone; returns how many notifications of the caller went with it unsent.
    /// The inbox is cleared by whoever has the pool.
    #[must_use]
    pub(crate) fn forget_transport(&mut self, frame_bytes_max: usize) -> u64 {
        self.epoch = self.epoch.wrapping_add(1);
        self.last_array = 0;
        // The next server may be of another revision; until it says so, nothing is known.
        self.revision = None;
        self.framing = Newline::new(frame_bytes_max);
        self.outbox.clear();
        self.window.reset();
        self.orphans.clear();
        self.opening = Key::NONE;
        self.opening_deadline = Instant::NEVER;
        self.attempt_deadline = Instant::NEVER;
        self.dialling = false;
        self.probes = 0;
        self.dirty = false;
        self.busy_retries = 0;
        self.write_again_at = Instant::NEVER;
        self.clogged = (0, Instant::NEVER);
        self.health = Health::default();
        (self.unused, self.look_again_at) = ((0, Instant::NEVER), Instant::NEVER);
        let unsent = self.notes.len() as u64;
        self.notes.clear();
        unsent
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    /// Where the lines begin that a call looks at, and that what it looks at in the fifth ends with it. If a compiler lays it out in another
    /// way nothing breaks, but ten thousand connections are slower.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_call_looks_at_five_cache_lines() {
        let begins = [
            offset_of!(Connection, inbox),
            offset_of!(Connection, framing),
            offset_of!(Connection, counted),
            offset_of!(Connection, pacing),
        ];
        assert_eq!(begins, [64, 128, 192, 256]);
        let timed_out_end = offset_of!(Connection, orphans) + size_of::<VecDeque<Instant>>();
        assert_eq!(timed_out_end, 320);
    }
}
