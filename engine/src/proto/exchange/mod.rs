//! The exchange: calls on one side, connections on the other, and nothing between them but accounts.
//!
//! One exchange is the whole protocol side of one shard. It puts calls on connections that have room, finds the call to
//! every answer, ends calls whose time is over, opens, probes and re-opens connections, and moves calls that were not
//! sent when a connection dies. It has no socket, no thread and no clock; a run is a function of what it is told, so the
//! simulator proves what the shard runs.
//!
//! Methods come in four families: commands (`submit`, `enqueue`, `cancel`, `notify`, `respond`, `close`), what it is
//! told (`handle_*`), what it is asked for (`poll_*`, `transmit`), and looks (`room`, `stats`).
//!
//! Owner: one shard, on one thread. Always: every key in `correlation` belongs to exactly one of: a connection's
//! window, the waiting line, the parked line; and every call ends exactly once, through [`Sink::ended`].
//! Proof: `tests/simulation`.

mod adapting;
mod arrays;
mod asked;
mod down;
mod health;
mod http;
mod life;
mod overflow;
mod picking;
mod placing;
mod receive;
mod standing;

use std::{collections::VecDeque, num::NonZeroU32, sync::Arc, time::Duration};

use picking::Roster;

use super::{
    batch::{ArrayRules, ArrayVerdict, Gathering},
    connection::Connection,
    correlation::{Correlation, Gone, NO_CONNECTION, Standing},
    event::{Ended, Failure, Fate, Outcome, Owner, OwnerKind, Sink, Why},
    health::HealthCheck,
    http::{plans::ToolPlans, pool::lanes_for, settings::HttpSettings},
    lifecycle::State,
    message::{
        encode::{self, Tail},
        handshake::ServerInfo,
    },
    revision::Revision,
};
use crate::{
    base::{
        buffer::ChunkPool,
        limits::{OUTBOX_BYTES_HIGH, OUTBOX_BYTES_MAX},
        time::Instant,
        wake::contained,
    },
    policy::{backoff::Backoff, concurrency::Pushback},
    slab::{
        key::{Key, KeyLayout},
        magazine::Magazine,
    },
    telemetry::counters::Stats,
};

/// What an exchange is told once.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// All of them: the lasting ones, and then those of the overflow.
    pub(crate) connections: u32,
    pub(crate) overflow: Overflow,
    /// How streams that have been silent are asked whether they live, if they are.
    pub(crate) health: Option<HealthCheck>,
    pub(crate) window: NonZeroU32,
    /// Where an adaptive window begins; `window` is its end. `None`: it is fixed.
    pub(crate) window_min: Option<u32>,
    pub(crate) frame_bytes_max: usize,
    /// A revision to insist on; `None` finds out.
    pub(crate) revision: Option<Revision>,
    pub(crate) client_info: String,
    pub(crate) capabilities: String,
    pub(crate) probe_timeout: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) attempts_max: u32,
    /// Attempts while there has never been a success: a wrong address should fail soon.
    pub(crate) first_attempts_max: u32,
    /// Having given up, it tries again by itself after the longest backoff: calls go around a shard that is down, so none would make it.
    pub(crate) revives: bool,
    pub(crate) backoff_base: Duration,
    pub(crate) backoff_cap: Duration,
    pub(crate) orphan_debt: Duration,
    pub(crate) orphan_ttl: Duration,
    /// Standing calls at a time: over HTTP each has a lane beyond those of the window.
    pub(crate) standing_max: u32,
    /// Timed-out calls older than this, with nothing heard since, make a connection suspect.
    pub(crate) silence: Duration,
    /// The server is reached over HTTP.
    pub(crate) http: Option<HttpSettings>,
    /// When calls go together as one array.
    pub(crate) arrays: ArrayRules,
    /// The peer speaks JSON-RPC and nothing of MCP: there is no opening.
    pub(crate) is_plain: bool,
    pub(crate) seed: u64,
}

/// Connections beyond the lasting ones, which are there while they are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overflow {
    pub(crate) connections: u32,
    /// One that had no call for so long is closed.
    pub(crate) idle: Duration,
}

impl Settings {
    /// Connections that are there whether they are needed or not.
    fn lasting(&self) -> u32 {
        self.connections - self.overflow.connections
    }
}

/// What is known of the server's era, shared by the shards of an engine (`shard::memory`).
pub(crate) trait EraMemory {
    /// The revision found earlier: one of the modern era, or any legacy one for "legacy".
    fn recall(&self) -> Option<Revision>;
    /// Remembers, or with `None` forgets, what was found.
    fn remember(&self, revision: Option<Revision>);
    /// May this exchange open its first connection while nothing is known?
    fn may_probe(&self) -> bool;
    /// The exchange that finds out the era has given up before it knew, for this reason; or `None`: it tries again.
    fn set_given_up(&self, _reason: Option<Reason>) {}
    /// Has it?
    fn given_up(&self) -> Option<Reason> {
        None
    }
    /// Tells what the server said of itself.
    fn introduce(&self, info: ServerInfo);
    /// Does the server speak HTTP+SSE only?
    fn is_events_only(&self) -> bool {
        false
    }
    /// It does.
    fn set_events_only(&self) {}
    /// The parameters that tools want mirrored, if they were listed before.
    fn plans(&self) -> Option<Arc<ToolPlans>> {
        None
    }
    /// They were listed.
    fn set_plans(&self, _plans: Arc<ToolPlans>) {}
    /// How many calls the server takes in one array, if that is known.
    fn arrays(&self) -> ArrayVerdict {
        ArrayVerdict::UNKNOWN
    }
    /// It is known.
    fn settle_arrays(&self, _verdict: ArrayVerdict) {}
    /// May this exchange find it out? If so, it says [`Self::asked_for_arrays`] when it has, or cannot.
    fn ask_for_arrays(&self) -> bool {
        true
    }
    /// It does not ask any more.
    fn asked_for_arrays(&self) {}
    /// Changes whenever the token does; 0 while there is none.
    fn token_version(&self) -> u64 {
        0
    }
    /// The value of `Authorization`.
    fn token(&self) -> Option<Box<str>> {
        None
    }
    /// The server refused a request with the token of version `had` for want of authorization, and this is how it wants to be
    /// asked. May the request be sent again as soon as nobody awaits a token?
    fn refused(&self, _had: u64, _status: u16, _challenge: &str) -> bool {
        false
    }
    /// The server accepted a request with the token of version `had`.
    fn accepted(&self, _had: u64) {}
    /// Is somebody about to bring another token?
    fn awaits_token(&self) -> bool {
        false
    }
    /// Why nobody brought one.
    fn why_no_token(&self) -> Option<Reason> {
        None
    }
}

/// Why the last attempt to open a connection failed; for the error that callers see.
pub(crate) type Reason = Arc<str>;

/// The protocol side of one shard.
pub(crate) struct Exchange {
    settings: Settings,
    memory: Arc<dyn EraMemory + Send + Sync>,
    layout: KeyLayout,
    correlation: Correlation,
    magazine: Magazine,
    /// Standing calls that have not ended.
    standing: usize,
    /// Keys for the opening requests, from a slot of their own.
    control: Key,
    connections: Vec<Connection>,
    /// Over HTTP: a call was answered with success.
    has_served: bool,
    /// What ends a request, for each revision that was spoken.
    tails: Vec<(Revision, Arc<Tail>)>,
    /// Memory for output that a connection had no more use for: a thousand connections with little to say need a few of these, which stay
    /// in the cache, instead of one each.
    spares: Vec<Vec<u8>>,
    /// Lines of each connection: one on a stream, one for each lane over HTTP.
    lanes: u32,
    /// Connections that have room.
    open: Roster,
    /// Some connection of the overflow may be closed; and before when none is opened.
    may_spill: bool,
    extra_at: Instant,
    /// Connections that are ready, and those of them that rest.
    ready: usize,
    resting: usize,
    /// How calls end matters to windows, or to the choice between connections.
    learns: bool,
    /// Some connection waits for the era to be known, or for its turn to find it out.
    waits_for_era: bool,
    /// Connections that are ready and whose revision has arrays.
    array_speakers: usize,
    /// Lines with output.
    dirty: Vec<u32>,
    /// Carriers that could take something apart only after something was written.
    unheard: Vec<u32>,
    /// Shared calls that are on no connection yet.
    waiting: VecDeque<Key>,
    /// Frames of calls that were queued on a connection which died before they left.
    parked: VecDeque<Parked>,
    /// Lines that want a transport. The first line of a connection that is `Starting` stands for any of its lines.
    wanted: VecDeque<u32>,
    /// Transports to be shut.
    unwanted: VecDeque<u32>,
    next_sweep: Instant,
    /// The earliest deadline of the connections, or earlier.
    next_care: Instant,
    /// All connections have given up; calls fail until then, the first one after that tries again.
    down_until: Option<Instant>,
    /// What calls fail with then.
    down_why: Why,
    ever_ready: bool,
    /// Some connection has been given up, and not all were opened anew since.
    has_given_up_some: bool,
    closing: bool,
    reason: Option<Reason>,
    reason_is_news: bool,
    /// A connection became ready or was lost, or has room that no event brought; whoever watches is told at the end of the turn.
    changed: bool,
    /// Over HTTP: somebody is about to bring another token, and nothing is sent until then.
    held: bool,
    expired: Vec<Key>,
    pool: ChunkPool,
    /// When it lets the memory of the last long frame go.
    long_chunk_until: Instant,
    rng: fastrand::Rng,
    /// Where requests over HTTP, and arrays, are encoded before their length is known.
    scratch: Vec<u8>,
    arrays: Gathering,
    /// The time of the last turn, for what may be a turn late.
    last_now: Instant,
    stats: Stats,
}

struct Parked {
    key: Key,
    revision: Option<Revision>,
    frame: Vec<u8>,
}

/// The encoding buffer gives its memory back beyond this.
const SCRATCH_BYTES_KEPT: usize = 64 * 1024;

/// No connection takes a call right now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Exchange {
    /// An exchange whose own calls use the slots of `magazine`; all its slots, those of a client's slab included, are below
    /// `slots`. Slot 0 must be in neither: it is the exchange's.
    pub(crate) fn new(
        settings: Settings,
        memory: Arc<dyn EraMemory + Send + Sync>,
        layout: KeyLayout,
        slots: u32,
        magazine: Magazine,
    ) -> Self {
        let mut seeds = fastrand::Rng::with_seed(settings.seed);
        let no_tail = Arc::new(Tail::default());
        let connections: Vec<Connection> = (0..settings.connections)
            .map(|_| {
                let backoff = Backoff::new(settings.backoff_base, settings.backoff_cap, seeds.u64(..));
                let http = settings.http.as_ref();
                Connection::new(
                    settings.connections,
                    settings.window,
                    settings.standing_max,
                    settings.frame_bytes_max,
                    backoff,
                    http,
                    Arc::clone(&no_tail),
                )
            })
            .collect();
        let places = settings.window.get() + settings.standing_max;
        let lanes = settings.http.as_ref().map_or(1, |http| lanes_for(http, places));
        let mut exchange = Self {
            lanes,
            has_served: false,
            tails: Vec::new(),
            spares: Vec::new(),
            scratch: Vec::new(),
            arrays: Gathering::default(),
            last_now: Instant::default(),
            memory,
            layout,
            correlation: Correlation::new(layout, slots),
            magazine,
            standing: 0,
            control: layout.key(KeyLayout::FIRST_GENERATION, 0),
            open: Roster::new(settings.lasting(), seeds.u64(..)),
            may_spill: false,
            extra_at: Instant::default(),
            ready: 0,
            resting: 0,
            learns: false,
            waits_for_era: true,
            array_speakers: 0,
            dirty: Vec::with_capacity(connections.len()),
            unheard: Vec::new(),
            waiting: VecDeque::new(),
            parked: VecDeque::new(),
            wanted: VecDeque::new(),
            unwanted: VecDeque::new(),
            next_sweep: Instant::default(),
            next_care: Instant::NEVER,
            down_until: None,
            down_why: Why::Unreachable,
            ever_ready: false,
            has_given_up_some: false,
            closing: false,
            reason: None,
            reason_is_news: false,
            changed: false,
            held: false,
            expired: Vec::new(),
            pool: ChunkPool::default(),
            long_chunk_until: Instant::NEVER,
            rng: seeds,
            stats: Stats::default(),
            connections,
            settings,
        };
        exchange.adapt();
        exchange.keep_extra_closed();
        exchange.want_transports();
        exchange
    }

    // Commands.

    /// Does it refuse new calls at the moment, and why? Asking after the wait that follows giving up starts it again.
    pub(crate) fn refuses(&mut self, now: Instant) -> Option<Why> {
        if self.closing {
            Some(Why::Closed)
        } else if self.is_down(now) {
            Some(self.down_why)
        } else {
            None
        }
    }

    /// As [`Self::refuses`], for calls with the exchange's own keys, which can be used up.
    pub(crate) fn refuses_own(&mut self, now: Instant) -> Option<Why> {
        if self.magazine.is_exhausted() { Some(Why::Exhausted) } else { self.refuses(now) }
    }

    /// Ends all calls whose owner `is_gone` says has gone.
    pub(crate) fn cancel_owned(
        &mut self,
        now: Instant,
        is_gone: impl Fn(Owner) -> bool,
        sink: &mut impl Sink,
    ) {
        let mut keys = Vec::new();
        self.correlation.all(&mut keys);
        for key in keys {
            if self.correlation.get(key).is_some_and(|row| is_gone(row.owner)) {
                self.cancel(now, key, sink);
            }
        }
    }

    /// The caller gave a call up.
    pub(crate) fn cancel(&mut self, now: Instant, key: Key, sink: &mut impl Sink) {
        if self.correlation.get(key).is_some() {
            self.abort(now, key, Why::Cancelled, "cancelled by the caller", sink);
        }
    }

    /// Sends a notification on a ready connection; `false` if there is none or it is clogged.
    pub(crate) fn notify(&mut self, method: &str, params: Option<&str>) -> bool {
        let ready = self
            .connections
            .iter()
            .position(|conn| conn.state() == State::Ready && conn.outbox.waiting().len() < OUTBOX_BYTES_HIGH);
        let Some(connection) = ready else { return false };
        if self.is_http(connection as u32) {
            let mut message = Vec::new();
            encode::notification(&mut message, method, params);
            return self.http_errand(connection as u32, message);
        }
        self.connections[connection].outbox.borrow(&mut self.spares);
        self.connections[connection].notify(method, params);
        self.mark_dirty(connection as u32);
        true
    }

    /// Answers a request of the server. Replies do not wait for the window; a connection that is gone or clogged with
    /// unread output drops them.
    pub(crate) fn respond(&mut self, connection: u32, epoch: u32, id: &str, member: &str, value: &str) {
        let conn = &mut self.connections[connection as usize];
        if conn.epoch != epoch
            || !matches!(conn.state(), State::Initializing | State::Ready | State::Draining)
        {
            return;
        }
        if conn.http.is_some() {
            let mut message = Vec::new();
            encode::reply(&mut message, id, member, value);
            self.http_say(connection, message);
            return;
        }
        if conn.outbox.waiting().len() > OUTBOX_BYTES_MAX {
            self.stats.output_suppressed += 1;
            return;
        }
        conn.outbox.borrow(&mut self.spares);
        let start = conn.outbox.end();
        encode::reply(conn.outbox.bytes(), id, member, value);
        conn.has_said(start);
        self.mark_dirty(connection);
    }

    // Inside.

    #[inline]
    fn mark_dirty(&mut self, connection: u32) {
        let conn = &mut self.connections[connection as usize];
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(connection);
        }
    }

    /// Ends all calls, each by itself, whatever else is broken: no connection, no window and no line is looked at, and nobody may use this
    /// exchange any more. A panic of the `sink` is its call's.
    pub(crate) fn abandon(&mut self, now: Instant, why: Why, sink: &mut impl Sink) {
        let mut keys = Vec::new();
        self.correlation.all(&mut keys);
        for key in keys {
            let Gone { owner, connection, .. } = self.correlation.remove(key);
            let fate = if connection == NO_CONNECTION { Fate::NotSent } else { Fate::Unknown };
            let outcome = Outcome::Failed(Failure { why, fate });
            self.stats.failed += 1;
            contained(|| sink.ended(now, Ended { key, owner, outcome }));
        }
    }

    /// Ends a live call and tells its owner.
    fn end(&mut self, now: Instant, key: Key, outcome: Outcome<'_>, sink: &mut impl Sink) {
        let gone = self.correlation.remove(key);
        self.tell(now, gone, outcome, sink);
    }

    /// Tells the owner of a call that has been taken out of the table.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "the end of every call, in two places; the outcome is taken apart where it was put together"
    )]
    fn tell(&mut self, now: Instant, gone: Gone, outcome: Outcome<'_>, sink: &mut impl Sink) {
        let Gone { key, owner, connection, standing } = gone;
        if standing != Standing::No {
            self.stand_down(connection);
        }
        if owner.kind == OwnerKind::Drawn {
            self.magazine.give_back(key);
        }
        match outcome {
            Outcome::Result(_) => self.stats.answered += 1,
            Outcome::Error(_) => {
                self.stats.answered += 1;
                self.stats.rpc_errors += 1;
            }
            Outcome::Failed(Failure { why: Why::Cancelled | Why::Revoked, .. }) => self.stats.cancelled += 1,
            Outcome::Failed(failure) => {
                self.stats.failed += 1;
                self.stats.timed_out += u64::from(matches!(failure.why, Why::TimedOut { .. }));
            }
        }
        sink.ended(now, Ended { key, owner, outcome });
    }

    fn fail(&mut self, now: Instant, key: Key, why: Why, fate: Fate, sink: &mut impl Sink) {
        if let Some(reason) = self.reason.as_ref().filter(|_| self.reason_is_news) {
            // Its caller may look at once, and must not find an older reason.
            sink.blamed(reason);
        }
        self.end(now, key, Outcome::Failed(Failure { why, fate }), sink);
    }

    /// Ends a call that may be on a connection without an answer: the server is told, and the window remembers.
    fn abort(&mut self, now: Instant, key: Key, why: Why, reason: &str, sink: &mut impl Sink) {
        let Some(&row) = self.correlation.get(key) else { return };
        let silence = self.settings.silence;
        if row.connection == NO_CONNECTION {
            // Perhaps no connection takes any more, and will not.
            self.next_care = self.next_care.min(now.after(silence));
            self.fail(now, key, why, Fate::NotSent, sink);
            return;
        }
        if self.is_http(row.connection) {
            self.http_abort(now, row, why, reason, sink);
            return;
        }
        let conn = &mut self.connections[row.connection as usize];
        if row.standing == Standing::No {
            conn.window.owe();
            conn.orphans.add(now, key, matches!(why, Why::TimedOut { .. }));
        } else {
            conn.window.give_back();
            conn.orphans.add_free(now, key);
        }
        if self.learns {
            if matches!(why, Why::TimedOut { .. }) && row.standing == Standing::No {
                self.push_back(now, row.connection, Pushback::TimedOut);
            }
            self.left_unanswered(now, row.connection);
        }
        let conn = &mut self.connections[row.connection as usize];
        let look_at = if conn.is_clogged() { now } else { conn.suspect_at(silence) };
        self.next_care = self.next_care.min(now.after(self.settings.orphan_debt)).min(look_at);
        if conn.outbox.waiting().len() < OUTBOX_BYTES_MAX {
            conn.outbox.borrow(&mut self.spares);
            encode::cancelled(conn.outbox.bytes(), key, reason);
            self.stats.cancellations_sent += 1;
            self.mark_dirty(row.connection);
        } else {
            self.stats.output_suppressed += 1;
        }
        // Its bytes may stand in the outbox still, but they will leave: they cannot be taken out of a stream whose
        // offsets others rely on. Unknown is the fate that is never wrong.
        self.fail(now, key, why, Fate::Unknown, sink);
    }
}
