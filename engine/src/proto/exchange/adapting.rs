//! What the exchange makes of how calls end: adaptive windows, pauses, and connections that fail everything at once.
//!
//! With an adaptive window each connection has a control law ([`Concurrency`]) that is told of each answer and of each sign of too
//! much, and says how many calls there may be in flight. Over HTTP these are the lanes, so the pool grows and shrinks with it.
//!
//! With several connections, one that refuses or fails its calls at once has always room and few calls in flight, so that it would draw all
//! calls (a black hole). After [`FAILED_IN_A_ROW`] such ends in a row it rests: 1 ms, then twice as long each time, up to a second. It
//! rests only while another ready connection does not, so a server that refuses everybody is not mistaken for one bad connection.
//!
//! A connection that pauses or rests has a window of 0: it costs the way of a call nothing.
//!
//! Cost: with fixed windows on one connection a compare for each answer; otherwise a few additions. Owner: one exchange. Always:
//! `resting` counts the ready connections that rest, and is less than the ready ones. Proof: the tests of `policy/concurrency.rs`,
//! `tests/simulation/capacity`.

use std::time::Duration;

use super::Exchange;
use crate::{
    base::time::Instant,
    policy::concurrency::{Change, Concurrency, Pushback},
    proto::{batch, busy, connection::Connection, event::Outcome, lifecycle::State},
};

/// Ends in a row that say nothing of the call and all of the connection.
const FAILED_IN_A_ROW: u32 = 3;

/// The shortest and the longest rest.
const REST_MIN: Duration = Duration::from_millis(1);
const REST_MAX: Duration = Duration::from_secs(1);

impl Exchange {
    /// Gives each connection its law, if windows are adaptive.
    pub(super) fn adapt(&mut self) {
        self.learns = self.settings.window_min.is_some() || self.connections.len() > 1;
        let max = self.settings.window.get();
        if let Some(min) = self.settings.window_min {
            for conn in &mut self.connections {
                conn.pacing.law = Some(Box::new(Concurrency::new(min, max)));
                conn.window.set_limit(min);
            }
        }
        self.stats.window =
            u64::from(self.settings.window_min.unwrap_or(max)) * u64::from(self.settings.lasting());
    }

    /// So many calls were put on a connection; they have taken their places in the window.
    #[inline]
    pub(super) fn begin(&mut self, connection: u32, calls: u32) {
        if self.learns {
            let conn = &mut self.connections[connection as usize];
            if conn.window.calls() == calls
                && let Some(law) = &mut conn.pacing.law
            {
                law.begun(self.last_now);
            }
        }
    }

    /// A call was answered on a connection; it still has its place in the window.
    #[inline]
    pub(super) fn learn(&mut self, now: Instant, connection: u32, outcome: &Outcome<'_>) {
        if self.learns {
            self.learn_of(now, connection, outcome);
        }
    }

    fn learn_of(&mut self, now: Instant, connection: u32, outcome: &Outcome<'_>) {
        if let Outcome::Error(frame) = outcome
            && busy::is_busy_error(frame.bytes())
        {
            self.stats.refusals += 1;
            self.push_back(now, connection, Pushback::Refused { wait: None });
            return;
        }
        let turn = self.last_now;
        let conn = &mut self.connections[connection as usize];
        conn.pacing.failed_in_a_row = 0;
        let calls = conn.window.calls();
        let Some(law) = &mut conn.pacing.law else { return };
        let before = law.limit();
        if let Some(change) = law.answered(now, turn, calls) {
            self.apply(now, connection, change, before);
        }
    }

    /// The server answered a call with a status of HTTP that is no success; the call still has its place in the window.
    pub(super) fn heed_refusal(&mut self, now: Instant, connection: u32, status: u16, wait_s: Option<u32>) {
        if busy::is_busy_status(status) {
            self.stats.refusals += 1;
            let wait = wait_s.map(|wait| Duration::from_secs(wait.into()));
            self.push_back(now, connection, Pushback::Refused { wait });
        } else if busy::is_ailing_status(status) {
            self.ail(now, connection);
        }
    }

    /// Has the response on this line a status that [`Self::heed_refusal`] has heeded?
    pub(super) fn has_refused(&mut self, line: u32) -> bool {
        let status = self.lane(line).status;
        busy::is_busy_status(status) || busy::is_ailing_status(status)
    }

    /// Something says that a connection has too much.
    pub(super) fn push_back(&mut self, now: Instant, connection: u32, pushback: Pushback) {
        if !self.learns {
            return;
        }
        if matches!(pushback, Pushback::Refused { .. }) {
            self.ail(now, connection);
        }
        let conn = &mut self.connections[connection as usize];
        let Some(law) = &mut conn.pacing.law else { return };
        let before = law.limit();
        if let Some(change) = law.pushed_back(now, pushback) {
            match pushback {
                _ if matches!(change, Change::Paused { .. }) => {}
                Pushback::Refused { .. } => self.stats.window_cuts_refused += 1,
                Pushback::TimedOut => self.stats.window_cuts_timed_out += 1,
                Pushback::Lost => self.stats.window_cuts_lost += 1,
            }
            self.apply(now, connection, change, before);
        }
    }

    /// A call gives its place in the window back, and was not answered, or not in a way that can be used.
    pub(super) fn give_back(&mut self, now: Instant, connection: u32) {
        self.connections[connection as usize].window.give_back();
        self.left_unanswered(now, connection);
    }

    /// A call has left the window without an answer.
    pub(super) fn left_unanswered(&mut self, now: Instant, connection: u32) {
        let conn = &mut self.connections[connection as usize];
        if conn.window.calls() == 0
            && let Some(law) = &mut conn.pacing.law
        {
            law.emptied(now);
        }
    }

    fn apply(&mut self, now: Instant, connection: u32, change: Change, before: u32) {
        let conn = &mut self.connections[connection as usize];
        let Some(law) = &conn.pacing.law else { return };
        let limit = law.limit();
        self.stats.window = self.stats.window + u64::from(limit) - u64::from(before);
        match change {
            Change::Trial => {}
            Change::Raised => self.stats.window_raises += 1,
            Change::Flat => self.stats.window_cuts_flat += 1,
            Change::Pushed { pause } | Change::Paused { pause } if !pause.is_zero() => {
                let until = now.after(pause);
                conn.pacing.pause_until(until);
                self.next_care = self.next_care.min(until);
            }
            Change::Pushed { .. } | Change::Paused { .. } => {}
        }
        conn.window.set_limit(if conn.pacing.is_held() { 0 } else { limit });
        self.list(connection);
    }

    /// A call ended in a way that is the connection's doing.
    fn ail(&mut self, now: Instant, connection: u32) {
        let others_work = self.resting + 1 < self.ready;
        let conn = &mut self.connections[connection as usize];
        let is_ready = conn.state() == State::Ready;
        let pacing = &mut conn.pacing;
        if pacing.rests() {
            // It was sent before the rest began.
            return;
        }
        pacing.failed_in_a_row = pacing.failed_in_a_row.saturating_add(1);
        let over = pacing.failed_in_a_row.checked_sub(FAILED_IN_A_ROW);
        let Some(over) = over.filter(|_| others_work && is_ready) else { return };
        let rest = (REST_MIN * 2u32.saturating_pow(over.min(10))).min(REST_MAX);
        let until = now.after(rest);
        pacing.rests_until = until;
        conn.window.set_limit(0);
        self.resting += 1;
        self.next_care = self.next_care.min(until);
        self.stats.rests += 1;
    }

    /// The time of a pause or of a rest is over.
    pub(super) fn wake_up(&mut self, now: Instant, connection: u32) {
        let pacing = &mut self.connections[connection as usize].pacing;
        if pacing.next_deadline() > now {
            return;
        }
        if pacing.paused_until <= now {
            pacing.paused_until = Instant::NEVER;
        }
        if pacing.rests_until <= now {
            self.end_rest(connection);
        }
        self.open_window(connection);
    }

    fn end_rest(&mut self, connection: u32) {
        let pacing = &mut self.connections[connection as usize].pacing;
        self.resting -= usize::from(pacing.rests());
        pacing.rests_until = Instant::NEVER;
    }

    /// The window of a connection as it stands when nothing holds it.
    pub(super) fn full_window(&self, connection: u32) -> u64 {
        let law = self.connections[connection as usize].pacing.law.as_ref();
        law.map_or(self.settings.window.get(), |law| law.limit()).into()
    }

    /// Opens the window again, unless something else holds it.
    fn open_window(&mut self, connection: u32) {
        let limit = self.full_window(connection) as u32;
        let conn = &mut self.connections[connection as usize];
        if conn.pacing.is_held() {
            return;
        }
        conn.window.set_limit(limit);
        // No event brought this room: whoever has calls to put there is asked before the shard sleeps.
        self.changed = true;
        self.list(connection);
    }

    /// A connection is about to lose its transport. Was it ready? It is not, after this.
    pub(super) fn leave_ready(&mut self, now: Instant, connection: u32, lost: bool) {
        if self.connections[connection as usize].state() != State::Ready {
            return;
        }
        let had_calls = self.connections[connection as usize].window.calls() > 0;
        if lost && had_calls {
            self.push_back(now, connection, Pushback::Lost);
        }
        if self.connections[connection as usize].pacing.is_held() {
            self.connections[connection as usize].pacing.paused_until = Instant::NEVER;
            self.end_rest(connection);
            self.open_window(connection);
        }
        let conn = &mut self.connections[connection as usize];
        conn.pacing.failed_in_a_row = 0;
        if let Some(law) = &mut conn.pacing.law {
            let before = law.limit();
            law.restart();
            let limit = law.limit();
            self.stats.window = self.stats.window + u64::from(limit) - u64::from(before);
            conn.window.set_limit(limit);
        }
        if self.is_extra(connection) {
            self.stats.window -= self.full_window(connection);
        }
        self.ready -= 1;
        let had_arrays = batch::has_arrays(self.connections[connection as usize].revision);
        self.array_speakers -= usize::from(had_arrays);
        if self.resting > 0 && self.resting >= self.ready {
            // Nobody is left who does not rest. What the server asked for stands.
            for other in 0..self.connections.len() as u32 {
                if other != connection && self.connections[other as usize].pacing.rests() {
                    self.end_rest(other);
                    self.open_window(other);
                }
            }
        }
    }
}

impl super::picking::Lines for Vec<Connection> {
    #[inline]
    fn load(&self, connection: u32) -> Option<u32> {
        let conn = &self[connection as usize];
        conn.has_room().then(|| conn.window.occupied())
    }

    #[inline]
    fn strike(&mut self, connection: u32) {
        self[connection as usize].listed = false;
    }
}
