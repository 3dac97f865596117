//! The lives of the connections: opening, probing, initialising, losing, waiting, trying again, closing; and everything that
//! happens because time has passed.

use std::{sync::Arc, time::Duration};

use super::{Exchange, Parked};
use crate::{
    base::{
        limits::{SPARES_MAX, SWEEP_NS_MIN},
        time::Instant,
    },
    proto::{
        batch::{self, ArrayVerdict},
        correlation::{NO_CONNECTION, Standing},
        event::{Fate, Sink, Why},
        http::pool::Stage,
        lifecycle::{Event, State},
        message::{
            encode::{self, Tail},
            handshake::{self, Initialized, Probe, ServerInfo},
        },
        revision::{Era, Revision},
    },
    slab::key::Key,
};

/// Sends that are tried again when the kernel is busy, before anyone hears of it (seed ADR-0007).
const BUSY_RETRIES_MAX: u32 = 3;

/// Probes on one transport: the first, and once more in a revision that the server listed.
pub(super) const PROBES_MAX: u32 = 2;

/// Between two looks at all lines lies at least so much for each of them: 1 ms for a thousand.
const CARE_NS_PER_LINE: u64 = 1_000;

/// A connection that ended with no call on it, and was opened and heard last so long ago, ended because nobody used it: proxies do that. It counts
/// as no failure. One that ends sooner does, each time, until a call is answered: of a server that opens and ends at once nothing else tells.
const IDLE_BEFORE_ITS_END: Duration = Duration::from_secs(5);

impl Exchange {
    // What it is told.

    /// The transport that `poll_dial` asked for stands.
    /// `is_h2`: it was agreed to speak HTTP/2 on it.
    pub(crate) fn handle_opened(&mut self, now: Instant, line: u32, is_h2: bool) {
        if self.settings.http.is_some() {
            self.http_opened(now, line, is_h2);
            return;
        }
        let connection = line;
        let known =
            self.memory.recall().or(self.settings.revision.filter(|pinned| pinned.era() == Era::Legacy));
        let conn = &mut self.connections[connection as usize];
        if conn.state() != State::Starting {
            return;
        }
        conn.dialling = false;
        // What the last transport said is no word of this one.
        conn.last_heard = now;
        // For this transport only, or a server that is found to want the probe would never get it; and never where a modern revision is insisted on.
        let skips_probe = std::mem::take(&mut conn.skip_probe) && self.settings.revision.is_none();
        if self.settings.is_plain {
            conn.step(Event::OpenedModern);
            self.become_ready(connection, Revision::PLAIN);
            return;
        }
        match known {
            Some(revision) if revision.era() == Era::Modern => {
                conn.step(Event::OpenedModern);
                self.become_ready(connection, revision);
            }
            None if !skips_probe => {
                conn.step(Event::OpenedUnknown);
                self.send_probe(now, connection, self.settings.revision.unwrap_or(Revision::LATEST));
            }
            _ => {
                conn.step(Event::OpenedLegacy);
                self.send_initialize(connection);
            }
        }
    }

    /// The server has closed the transport, in an orderly way.
    pub(crate) fn handle_ended(&mut self, now: Instant, line: u32, reason: &str, sink: &mut impl Sink) {
        if self.settings.http.is_none() || !self.http_ended(now, line, sink) {
            self.handle_lost(now, line, reason, sink);
        }
    }

    /// The transport is gone, or never came to stand.
    pub(crate) fn handle_lost(&mut self, now: Instant, line: u32, reason: &str, sink: &mut impl Sink) {
        if self.settings.http.is_some() {
            self.http_lost(now, line, reason, sink);
            return;
        }
        let connection = line;
        let conn = &mut self.connections[connection as usize];
        // Servers that die of an unknown first request get `initialize` first on the next transport: the next that stands, for the server may
        // be on its way up again when it is dialled.
        if conn.state() != State::Starting {
            conn.skip_probe = conn.state() == State::Probing;
        }
        self.stats.disconnects += 1;
        self.blame(reason);
        self.let_go(now, connection, Event::Lost, sink);
    }

    /// The transport that `poll_hang_up` named has been shut.
    pub(crate) fn handle_gone(&mut self, line: u32) {
        if self.settings.http.is_some() {
            self.http_gone(line);
            return;
        }
        let connection = line;
        let conn = &mut self.connections[connection as usize];
        if conn.state() == State::Closing {
            conn.step(Event::Gone);
        }
    }

    /// The kernel took `bytes` of the output.
    pub(crate) fn handle_transmitted(&mut self, line: u32, bytes: usize) {
        self.stats.bytes_out += bytes as u64;
        let connection = self.connection_of(line);
        self.connections[connection as usize].busy_retries = 0;
        if self.settings.http.is_some() {
            let lane = self.lane(line);
            match &mut lane.h2 {
                Some(machine) => {
                    let was_behind = machine.is_behind();
                    machine.written(bytes);
                    // What it holds back comes out as soon as there is room, without anything being heard in between.
                    machine.waiting();
                    if was_behind {
                        self.unheard.push(line);
                    }
                }
                None => lane.left += bytes,
            }
            return;
        }
        let conn = &mut self.connections[connection as usize];
        conn.written(bytes);
        if self.connections.len() > 1
            && let Some(spare) = self.connections[connection as usize].outbox.take_spare()
            && self.spares.len() < SPARES_MAX.min(self.connections.len())
        {
            // (What more there is, because so many had something to say at once, is freed.)
            self.spares.push(spare);
        }
        self.list_unasked(connection);
    }

    /// The kernel took one slice of the output and would take more.
    pub(crate) fn more_to_write(&mut self, line: u32) {
        if self.settings.http.is_some() {
            self.mark_line_dirty(line);
        } else {
            self.mark_dirty(line);
        }
    }

    /// The kernel was short of memory for a moment: write again in about 10 ms, at most [`BUSY_RETRIES_MAX`] times in a
    /// row. `false`: that many have passed, the transport is as good as lost.
    #[must_use]
    pub(crate) fn handle_busy(&mut self, now: Instant, line: u32) -> bool {
        let connection = self.connection_of(line);
        let jitter = self.rng.u64(5_000_000..=15_000_000);
        let conn = &mut self.connections[connection as usize];
        conn.busy_retries += 1;
        conn.write_again_at = now.after(Duration::from_nanos(jitter));
        self.next_care = self.next_care.min(conn.write_again_at);
        conn.busy_retries <= BUSY_RETRIES_MAX
    }

    /// Another shard may have found out the era, or somebody brought a token.
    pub(crate) fn handle_news(&mut self) {
        self.heed_token();
        if self.waits_for_era {
            self.want_transports();
        }
    }

    /// Time has passed: ends calls whose time is over and takes care of the connections.
    pub(crate) fn handle_time(&mut self, now: Instant, sink: &mut impl Sink) {
        if self.correlation.nearest() <= now && self.sweep_allowed(now) {
            let mut expired = std::mem::take(&mut self.expired);
            self.correlation.expired(now, &mut expired);
            for key in expired.drain(..) {
                if let Some(row) = self.correlation.get(key) {
                    let after = row.timeout();
                    self.abort(now, key, Why::TimedOut { after }, "timed out", sink);
                }
            }
            self.expired = expired;
        }
        if self.next_care <= now {
            self.care_for_probe(now);
            self.care_for_down(now);
            if self.long_chunk_until <= now {
                self.long_chunk_until = Instant::NEVER;
                self.pool.let_long_go();
            }
            let mut wants = false;
            for connection in 0..self.connections.len() as u32 {
                wants |= self.care_for(now, connection, sink);
            }
            if wants {
                // Once for all of them: it looks at all of them.
                self.want_transports();
            }
            let (debt, silence) = (self.settings.orphan_debt, self.settings.silence);
            let idle = self.settings.http.as_ref().map_or(Duration::MAX, |http| http.idle_timeout);
            let deadlines = self.connections.iter().map(|conn| conn.next_deadline(debt, silence, idle));
            let others = self.arrays.deadline().min(self.long_chunk_until).min(self.tries_again_at());
            let others = others.min(self.opens_extra_at(now));
            let next = deadlines.min().unwrap_or(Instant::NEVER).min(others);
            // With ten thousand connections somebody's deadline is always near, and this looks at all of them.
            let spacing = CARE_NS_PER_LINE * self.lines() as u64;
            self.next_care = next.max(now.after(Duration::from_nanos(spacing)));
        }
    }

    // Commands.

    /// Ends every call now and shuts every connection.
    pub(crate) fn close(&mut self, now: Instant, why: Why, sink: &mut impl Sink) {
        self.closing = true;
        // Only the end of a session may still want a socket, below.
        self.wanted.clear();
        for connection in 0..self.connections.len() as u32 {
            let conn = &self.connections[connection as usize];
            if self.is_http(connection) {
                self.close_http(now, connection, why, sink);
            } else if !matches!(conn.state(), State::Closing | State::Closed) {
                let had_transport =
                    conn.dialling || conn.state() != State::Starting && conn.state().has_transport();
                self.leave_ready(now, connection, false);
                self.end_calls_on(now, connection, Some(why), sink);
                let idle = self.is_idle();
                let conn = &mut self.connections[connection as usize];
                if idle && conn.state() == State::Ready {
                    // The end of a drain: nothing is under way on it.
                    conn.step(Event::Drain);
                    conn.step(Event::Drained);
                } else {
                    conn.step(Event::Close);
                }
                conn.inbox.clear(&mut self.pool);
                self.stats.notifications_unsent += conn.forget_transport(self.settings.frame_bytes_max);
                if had_transport {
                    self.unwanted.push_back(connection);
                } else {
                    conn.step(Event::Gone);
                }
            }
        }
        self.parked.clear();
        self.fail_unplaced(now, why, sink);
    }

    // Inside.

    /// Asks for transports for those connections that may have one now. While the era is unknown, one connection at a
    /// time finds it out.
    pub(super) fn want_transports(&mut self) {
        if self.closing {
            return;
        }
        let known = self.memory.recall().is_some()
            || self.settings.revision.is_some_and(|pinned| pinned.era() == Era::Legacy && self.ever_ready);
        let mut may_probe = self.memory.may_probe() || self.ever_ready;
        may_probe &= !self.connections.iter().any(|conn| conn.dialling || conn.state().is_opening());
        self.waits_for_era = false;
        for (n, conn) in self.connections.iter_mut().enumerate() {
            if conn.state() == State::Starting && !conn.dialling {
                if known || std::mem::take(&mut may_probe) {
                    conn.dialling = true;
                    self.wanted.push_back(n as u32 * self.lanes);
                } else {
                    self.waits_for_era = true;
                }
            }
        }
    }

    pub(super) fn next_control_key(&mut self) -> Key {
        let key = self.control;
        // 33 bits of openings on one shard will outlast the machine, of questions to ten thousand silent connections a second some days.
        // Staying on the last one is then still correct for every connection but the very one it is in use on.
        self.control = self.layout.next(key).unwrap_or(key);
        key
    }

    pub(super) fn tail(&mut self, revision: Revision) -> Arc<Tail> {
        if let Some((_, tail)) = self.tails.iter().find(|(of, _)| *of == revision) {
            return Arc::clone(tail);
        }
        let tail = Arc::new(Tail::new(revision, &self.settings.client_info, &self.settings.capabilities));
        self.tails.push((revision, Arc::clone(&tail)));
        tail
    }

    pub(super) fn send_probe(&mut self, now: Instant, connection: u32, revision: Revision) {
        let (key, tail) = (self.next_control_key(), self.tail(revision));
        let conn = &mut self.connections[connection as usize];
        conn.probes += 1;
        conn.opening = key;
        // Silence over HTTP says nothing about the era, so there is no shorter time for it; nor is there where the era is given, or
        // where the last transport's server refused `initialize`.
        let may_fall_back = conn.http.is_none() && self.settings.revision.is_none() && !conn.has_reopened;
        let patience = if may_fall_back { self.settings.probe_timeout } else { Duration::MAX };
        conn.opening_deadline = now.after(patience).min(conn.attempt_deadline);
        self.next_care = self.next_care.min(conn.opening_deadline);
        if let Some(http) = &mut conn.http {
            http.template.set_revision(Some(revision));
            self.http_ask(connection, Stage::Discover, key, &tail, handshake::DISCOVER_BODY);
            return;
        }
        encode::request(conn.outbox.bytes(), key, &tail, false, |out| {
            out.extend_from_slice(handshake::DISCOVER_BODY.as_bytes());
        });
        self.mark_dirty(connection);
    }

    pub(super) fn send_initialize(&mut self, connection: u32) {
        let offer = self.settings.revision.unwrap_or(Revision::LATEST_LEGACY);
        let (key, tail) = (self.next_control_key(), self.tail(offer));
        let body = handshake::initialize_body(offer, &self.settings.client_info, &self.settings.capabilities);
        let conn = &mut self.connections[connection as usize];
        conn.opening = key;
        conn.opening_deadline = conn.attempt_deadline;
        self.next_care = self.next_care.min(conn.opening_deadline);
        if let Some(http) = &mut conn.http {
            http.template.forget_session();
            self.http_ask(connection, Stage::Initialize, key, &tail, &body);
            return;
        }
        encode::request(conn.outbox.bytes(), key, &tail, false, |out| out.extend_from_slice(body.as_bytes()));
        self.mark_dirty(connection);
    }

    /// `server/discover` or `initialize` was answered.
    pub(super) fn handle_opening_answer(
        &mut self,
        now: Instant,
        connection: u32,
        frame: &[u8],
        sink: &mut impl Sink,
    ) {
        let conn = &mut self.connections[connection as usize];
        conn.opening = Key::NONE;
        match conn.state() {
            State::Probing => {
                let again = conn.probes < PROBES_MAX;
                self.handle_probe(now, connection, handshake::probe(frame, again), sink);
            }
            State::Initializing => {
                self.handle_initialized(now, connection, handshake::initialized(frame), sink)
            }
            _ => self.stats.unknown += 1,
        }
    }

    pub(super) fn handle_probe(&mut self, now: Instant, connection: u32, probe: Probe, sink: &mut impl Sink) {
        let pinned = self.settings.revision;
        match probe {
            Probe::Modern(found, result) => {
                let revision = match pinned {
                    Some(pinned)
                        if !result["supportedVersions"]
                            .as_array()
                            .is_some_and(|all| all.contains(&pinned.as_str().into())) =>
                    {
                        let offer = result["supportedVersions"].to_string();
                        self.fail_opening(
                            now,
                            connection,
                            &format!("the server offers revisions {offer}, not the configured {pinned}"),
                            sink,
                        );
                        return;
                    }
                    Some(pinned) => pinned,
                    None => found,
                };
                self.connections[connection as usize].step(Event::FoundModern);
                self.memory.introduce(ServerInfo { revision: Some(revision), result });
                self.become_ready(connection, revision);
            }
            Probe::Again(revision) => self.send_probe(now, connection, revision),
            Probe::LegacyElsewhere if pinned.is_none() => {
                // This transport is fixed as modern by its first request; the next one starts with `initialize`.
                self.memory.remember(Some(Revision::LATEST_LEGACY));
                self.reopen(now, connection, sink);
            }
            Probe::Legacy if pinned.is_none() => self.fall_back(connection),
            Probe::Legacy | Probe::LegacyElsewhere => {
                let pinned = pinned.map_or("", Revision::as_str);
                self.fail_opening(
                    now,
                    connection,
                    &format!(
                        "the server is of the handshake era and cannot speak the configured revision {pinned}"
                    ),
                    sink,
                );
            }
            Probe::NothingInCommon(said) => {
                self.fail_opening(
                    now,
                    connection,
                    &format!("no revision in common with the server: {said}"),
                    sink,
                );
            }
        }
    }

    /// The probe found a legacy server, or nobody who knows the question.
    fn fall_back(&mut self, connection: u32) {
        self.connections[connection as usize].step(Event::FoundLegacy);
        self.send_initialize(connection);
    }

    pub(super) fn handle_initialized(
        &mut self,
        now: Instant,
        connection: u32,
        answer: Initialized,
        sink: &mut impl Sink,
    ) {
        let pinned = self.settings.revision;
        match answer {
            Initialized::Agreed(revision, _) if pinned.is_some_and(|pinned| pinned != revision) => {
                let pinned = pinned.map_or("", Revision::as_str);
                self.fail_opening(
                    now,
                    connection,
                    &format!("the server offers revision {revision}, not the configured {pinned}"),
                    sink,
                );
            }
            Initialized::Agreed(revision, result) => {
                if self.is_http(connection) {
                    self.http_agreed(connection, revision, result);
                    return;
                }
                let conn = &mut self.connections[connection as usize];
                conn.step(Event::Agreed);
                encode::notification(conn.outbox.bytes(), encode::INITIALIZED, None);
                self.mark_dirty(connection);
                self.memory.introduce(ServerInfo { revision: Some(revision), result });
                self.become_ready(connection, revision);
            }
            Initialized::Modern if pinned.is_none() => {
                // The probe went unheard (a slow start), or this server's like has been replaced. It is asked once more, and has the whole
                // attempt to answer: a server that was not asked has told its caller nothing of itself.
                self.memory.remember(None);
                self.reopen(now, connection, sink);
            }
            Initialized::Modern => {
                let pinned = pinned.map_or("", Revision::as_str);
                self.fail_opening(
                    now,
                    connection,
                    &format!("the server has no handshake and cannot speak the configured revision {pinned}"),
                    sink,
                );
            }
            Initialized::Refused(reason) => self.fail_opening(now, connection, &reason, sink),
        }
    }

    pub(super) fn become_ready(&mut self, connection: u32, revision: Revision) {
        let tail = self.tail(revision);
        let conn = &mut self.connections[connection as usize];
        debug_assert_eq!(conn.state(), State::Ready);
        (conn.revision, conn.tail) = (Some(revision), tail);
        conn.opening = Key::NONE;
        conn.has_reopened = false;
        (self.ever_ready, self.down_until, self.down_why) = (true, None, Why::Unreachable);
        self.changed = true;
        self.stats.connects += 1;
        self.connections[connection as usize].opened_as = self.stats.connects;
        self.ready += 1;
        if self.is_extra(connection) {
            self.stats.window += self.full_window(connection);
            self.begin_looks(connection);
        }
        self.begin_checks(connection);
        self.array_speakers += usize::from(batch::has_arrays(Some(revision)));
        self.list(connection);
        if self.memory.recall() != Some(revision) {
            self.memory.remember(Some(revision));
        }
        if self.waits_for_era {
            self.want_transports();
        }
    }

    /// The opening failed, and the same would happen again on the next transport for all we know.
    pub(super) fn fail_opening(&mut self, now: Instant, connection: u32, reason: &str, sink: &mut impl Sink) {
        self.blame(reason);
        self.stats.disconnects += 1;
        self.hang_up(connection);
        self.let_go(now, connection, Event::OpeningFailed, sink);
    }

    /// Another transport, at once: this one was opened in the wrong era.
    fn reopen(&mut self, now: Instant, connection: u32, sink: &mut impl Sink) {
        self.blame("the server fixed the connection in another era");
        self.hang_up(connection);
        let conn = &mut self.connections[connection as usize];
        // Something was learnt, so it is no failed attempt. Once: a server that is of the other era each time is of none.
        conn.is_forgiven = !std::mem::replace(&mut conn.has_reopened, true);
        self.let_go(now, connection, Event::OpeningFailed, sink);
        let conn = &mut self.connections[connection as usize];
        (conn.is_forgiven, conn.retry_at) = (false, now);
        self.next_care = now;
    }

    /// The connection's transport is to be shut. Over HTTP all its sockets are, in [`Self::let_go`].
    fn hang_up(&mut self, connection: u32) {
        if !self.is_http(connection) {
            self.unwanted.push_back(connection);
        }
    }

    /// Everything that follows when a transport ends, by whoever's doing.
    pub(super) fn let_go(&mut self, now: Instant, connection: u32, event: Event, sink: &mut impl Sink) {
        let frame_bytes_max = self.settings.frame_bytes_max;
        self.changed = true;
        if event == Event::Lost {
            self.down_why = Why::Unreachable;
        }
        let conn = &self.connections[connection as usize];
        let was_ready = conn.state() == State::Ready;
        let was_idle = was_ready && conn.owes_nothing() && now.since(conn.last_heard) >= IDLE_BEFORE_ITS_END;
        self.leave_ready(now, connection, event == Event::Lost);
        self.count_noise(connection);
        self.end_calls_on(now, connection, None, sink);
        if self.is_http(connection) {
            self.shut_all(connection);
            self.stats.notifications_unsent += self.http(connection).forget_session();
        }
        // (One of the overflow that could not be opened says nothing of the others.)
        let may_be_another = !self.is_http(connection) && (was_ready || !self.is_extra(connection));
        if may_be_another && self.memory.arrays().calls_max().is_some_and(|calls| calls > 1) {
            // The next program on this stream may be another one, and on a stream an array can be dropped without a word.
            self.memory.settle_arrays(ArrayVerdict::UNKNOWN);
        }
        let conn = &mut self.connections[connection as usize];
        conn.counted = (0, 0);
        if was_idle {
            // It did nothing wrong, nor would a further one.
            conn.attempts = 0;
            conn.backoff.reset();
        }
        let never_proven = conn.attempts > 0;
        conn.inbox.clear(&mut self.pool);
        self.stats.notifications_unsent += conn.forget_transport(frame_bytes_max);
        let before = conn.state();
        match conn.step(event) {
            // It had ended already, for another reason; that one counts.
            after if after == before => {}
            State::Backoff if std::mem::take(&mut conn.is_forgiven) => {}
            State::Backoff => {
                conn.attempts += 1;
                // After a proven connection the first attempt is at once.
                let wait = if conn.attempts == 1 && was_ready { Duration::ZERO } else { conn.backoff.next() };
                conn.retry_at = now.after(wait);
                self.next_care = self.next_care.min(conn.retry_at);
                if never_proven && was_ready && !self.is_extra(connection) {
                    // It opened in the remembered era and never answered: find out anew.
                    self.memory.remember(None);
                }
                let attempts_max = if self.ever_ready {
                    self.settings.attempts_max
                } else {
                    self.settings.first_attempts_max
                };
                if was_ready && !never_proven && self.ready_connections() == 0 {
                    // The last one that worked is gone. (One that opens and never answers has not worked: a server that dies
                    // of each call would be tried for ever.) Those that failed beside it failed for reasons of their own; now
                    // that nobody is left, each has its full number of attempts again.
                    for conn in &mut self.connections {
                        conn.attempts = conn.attempts.min(1);
                    }
                }
                let is_used_up = self.connections[connection as usize].attempts >= attempts_max;
                if self.is_extra(connection) {
                    self.shut_extra(connection);
                    self.down_if_spent(now, sink);
                } else if is_used_up && self.ready_connections() == 0 {
                    // (While another connection works there is no need to give this one up: it goes on at the longest wait.)
                    self.give_up(now, connection, sink);
                }
            }
            State::Closing => {
                conn.step(Event::Gone);
            }
            _ => {}
        }
    }

    /// Sweeps no more often than every 10 ms, whatever the deadlines.
    fn sweep_allowed(&mut self, now: Instant) -> bool {
        let allowed = now >= self.next_sweep;
        if allowed {
            self.next_sweep = Instant::from_ns(now.ns() + SWEEP_NS_MIN);
        }
        allowed
    }

    /// Calls that were on a connection end, or move if no byte of them had left. With `why`, all end.
    pub(super) fn end_calls_on(
        &mut self,
        now: Instant,
        connection: u32,
        why: Option<Why>,
        sink: &mut impl Sink,
    ) {
        let mut keys = std::mem::take(&mut self.expired);
        let calls = self.connections[connection as usize].window.in_flight() as usize;
        self.correlation.on_connection(connection, calls, &mut keys);
        for key in keys.drain(..) {
            let Some(&row) = self.correlation.get(key) else { continue };
            if self.is_http(connection) {
                self.http_end_call(now, row, why, sink);
                continue;
            }
            let conn = &mut self.connections[connection as usize];
            conn.window.give_back();
            if conn.outbox.has_left(row.start) {
                self.fail(now, key, why.unwrap_or(Why::ConnectionLost), Fate::Unknown, sink);
            } else if let Some(why) = why {
                self.fail(now, key, why, Fate::NotSent, sink);
            } else if let Some(frame) = conn.outbox.slice(row.start, row.len as usize) {
                let mut frame = frame.to_vec();
                if let Some(end) = frame.last_mut() {
                    // In an array it was a comma or a bracket.
                    *end = b'\n';
                }
                self.parked.push_back(Parked { key, revision: conn.revision, frame });
                if row.standing != Standing::No {
                    conn.window.narrow();
                }
                self.correlation.place(key, NO_CONNECTION);
            }
        }
        self.expired = keys;
        self.thin_out();
    }

    /// Ends all calls that are on no connection.
    pub(super) fn fail_unplaced(&mut self, now: Instant, why: Why, sink: &mut impl Sink) {
        let mut keys = std::mem::take(&mut self.expired);
        self.correlation.all(&mut keys);
        for key in keys.drain(..) {
            if self.correlation.get(key).is_some_and(|row| row.connection == NO_CONNECTION) {
                self.fail(now, key, why, Fate::NotSent, sink);
            }
        }
        self.expired = keys;
        self.waiting.clear();
        self.parked.clear();
    }

    /// Does what is due on a connection. Does it want a transport now?
    fn care_for(&mut self, now: Instant, connection: u32, sink: &mut impl Sink) -> bool {
        let (debt, ttl) = (self.settings.orphan_debt, self.settings.orphan_ttl);
        let conn = &mut self.connections[connection as usize];
        for _ in 0..conn.orphans.expire(now, debt, ttl) {
            conn.window.settle();
        }
        self.list_unasked(connection);
        if self.is_http(connection) {
            self.http_care(now, connection, sink);
        }
        self.wake_up(now, connection);
        let conn = &mut self.connections[connection as usize];
        if conn.write_again_at <= now {
            conn.write_again_at = Instant::NEVER;
            self.mark_all_dirty(connection);
        }
        let conn = &mut self.connections[connection as usize];
        match conn.state() {
            State::Backoff if conn.retry_at <= now => {
                conn.step(Event::WaitOver);
                return true;
            }
            State::Starting if conn.http.is_none() && conn.dialling && conn.attempt_deadline <= now => {
                let wait = self.settings.attempt_timeout;
                self.unwanted.push_back(connection);
                self.handle_lost(now, connection, &format!("connecting took longer than {wait:?}"), sink);
            }
            State::Probing if conn.opening_deadline <= now && now < conn.attempt_deadline => {
                self.fall_back(connection);
            }
            State::Probing | State::Initializing if conn.attempt_deadline <= now => {
                let wait = self.settings.attempt_timeout;
                let reason = format!("the server did not answer its opening request within {wait:?}");
                self.fail_opening(now, connection, &reason, sink);
            }
            State::Ready if !self.is_http(connection) => {
                self.suspect(now, connection, sink);
                self.check_health(now, connection, sink);
                self.close_unused(now, connection);
            }
            _ => {}
        }
        false
    }

    /// Retires a connection on which many calls have timed out and nothing at all was heard. A single time-out never does, unless it was that of
    /// the last call on a connection whose output is full and which the server has stopped to read: no other would ever be put there.
    fn suspect(&mut self, now: Instant, connection: u32, sink: &mut impl Sink) {
        let silence = self.settings.silence;
        let conn = &mut self.connections[connection as usize];
        let reason = if conn.suspect_at(silence) <= now {
            let bound = conn.silent_calls_max();
            format!("the server answered none of more than {bound} calls and was silent for {silence:?}")
        } else if conn.stands_still(now, silence) {
            let bytes = conn.outbox.waiting().len();
            format!("the server read nothing of {bytes} bytes for {silence:?}")
        } else {
            return;
        };
        self.stats.retired += 1;
        self.unwanted.push_back(connection);
        self.handle_lost(now, connection, &reason, sink);
    }
}
