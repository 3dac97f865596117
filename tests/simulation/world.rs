//! A world: one engine core, its callers, its kernel, its servers and its clock, all drawn from one seed.
//!
//! Here is what callers do; `driver` has the turns and the accidents between them, `checks` what must hold. After every
//! single step the world looks at what the engine told and at what it wants to say, and panics at the first thing that
//! should not be.

use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use volley::{
    Arrays, Config, Window,
    internals::exchange::{Core, Told, Wait},
};

use crate::{ledger::Ledger, nature::Nature, pipe::Pipe, server::Mode};

/// A connection as its driver has it.
pub(crate) enum Line {
    Nothing,
    Dialling,
    Open(Box<Pipe>),
}

/// See the module.
pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) ledger: Ledger,
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    pub(crate) nature: Nature,
    pub(crate) lines: Vec<Line>,
    pub(crate) mode: Mode,
    /// Notifications of servers that the engine told of.
    pub(crate) notifications_told: u64,
    /// What the last step told, of which somebody may want to see more.
    pub(crate) told: Vec<Told>,
    /// Requests of servers that wait for the handler.
    pub(crate) handler: Vec<(u32, u32, String)>,
    /// Ended shared calls whose slot was not given back yet.
    pub(crate) unreleased: Vec<u64>,
    /// Transports that the engine asked for.
    pub(crate) dials: usize,
    pub(crate) notes_taken: u64,
    pub(crate) notes_placed: u64,
    pub(crate) notes_left: u64,
    pub(crate) cancellations: u64,
}

/// The longest wait before the next attempt to open a connection.
pub(crate) const BACKOFF_CAP: u64 = 200 * MS;

/// A connection of the overflow that had no call for so long is closed.
const OVERFLOW_IDLE: Duration = Duration::from_millis(150);

/// A millisecond.
pub(crate) const MS: u64 = 1_000_000;

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let nature = Nature::drawn(&mut rng);
        Self::of(nature, rng)
    }

    pub(crate) fn of(nature: Nature, mut rng: Rng) -> Self {
        let most = nature.in_flight;
        let window =
            if nature.adaptive { Window::Adaptive { min: 1, max: most } } else { Window::Fixed(most) };
        let arrays = if nature.arrays.is_some() { Arrays::Auto } else { Arrays::Explicit };
        let mut builder = Config::builder();
        if let Some((every, timeout)) = nature.health {
            builder = builder.health_check(Duration::from_millis(every), Duration::from_millis(timeout));
        }
        let config = builder
            .overflow(nature.extra, OVERFLOW_IDLE)
            .arrays(arrays)
            .array_calls_max(6)
            .array_probe_timeout(Duration::from_millis(50))
            .connections(nature.connections)
            .window(window)
            .frame_bytes_max(nature.frame_bytes_max)
            .connect_timeout(Duration::from_millis(800))
            .probe_timeout(Duration::from_millis(100))
            .backoff(Duration::from_millis(5), Duration::from_nanos(BACKOFF_CAP))
            .orphan_debt(Duration::from_millis(rng.u64(1..300)))
            .attempts_max(rng.u32(2..8))
            .build()
            .expect("a valid configuration");
        let core = Core::new(&config, rng.u64(..));
        Self {
            core,
            ledger: Ledger::default(),
            now: rng.u64(1..1_000_000_000),
            lines: (0..nature.connections + nature.extra).map(|_| Line::Nothing).collect(),
            mode: nature.mode,
            nature,
            rng,
            notifications_told: 0,
            told: Vec::new(),
            handler: Vec::new(),
            unreleased: Vec::new(),
            dials: 0,
            notes_taken: 0,
            notes_placed: 0,
            notes_left: 0,
            cancellations: 0,
        }
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    /// Takes note of all that the last step told and put into the outboxes. Before the next step, always.
    pub(crate) fn note(&mut self) {
        for (n, line) in self.lines.iter_mut().enumerate() {
            if let Line::Open(pipe) = line
                && self.core.view(n as u32).epoch == pipe.place.1
            {
                pipe.watch(self.core.transmit(n as u32), &mut self.ledger);
            }
        }
        for told in self.core.take_told() {
            match &told {
                Told::Ended { id, shared, .. } => {
                    self.ledger.end(self.now, &told);
                    if *shared {
                        self.unreleased.push(*id);
                    }
                }
                Told::Notification { .. } => self.notifications_told += 1,
                Told::Request { connection, epoch, message } => {
                    let message: Value = serde_json::from_slice(message).expect("JSON");
                    assert_ne!(message["method"], "ping", "a ping is no handler's business");
                    self.handler.push((*connection, *epoch, message["id"].to_string()));
                }
            }
            self.told.push(told);
        }
    }

    // What callers do.

    fn wait(&mut self) -> Wait {
        let timeout = self.rng.u64(1..2000) * MS;
        let at_most = timeout * self.rng.u64(1..4);
        let progress = self.rng.bool();
        Wait { timeout: Duration::from_nanos(timeout), at_most: Duration::from_nanos(at_most), progress }
    }

    /// Makes one call, if there is a place for it.
    pub(crate) fn call(&mut self, shared: bool) -> bool {
        let wait = self.wait();
        self.call_with(shared, wait)
    }

    pub(crate) fn call_with(&mut self, shared: bool, wait: Wait) -> bool {
        let tag = self.ledger.calls.len() as u64;
        let mut body = format!(r#""method":"tools/call","params":{{"name":"echo","arguments":{{"n":{tag}"#);
        if self.chance(5) {
            body.push_str(&format!(r#","pad":"{}""#, "p".repeat(self.rng.usize(..20_000))));
        }
        body.push('}');
        let id = if shared {
            self.core.enqueue(self.now, tag, wait, body.as_bytes())
        } else {
            self.core.submit(self.now, tag, wait, body.as_bytes())
        };
        if let Some(id) = id {
            self.ledger.enter(id, shared, self.now, wait);
        }
        self.note();
        id.is_some()
    }

    /// Cancels a call by its tag, ended or not.
    pub(crate) fn cancel(&mut self, tag: usize) {
        let Some(call) = self.ledger.calls.get_mut(tag) else { return };
        call.cancelled = true;
        let id = call.id;
        self.core.cancel(self.now, id);
        self.note();
    }

    fn cancel_many(&mut self) {
        let (divisor, rest) = (self.rng.u64(2..6), self.rng.u64(..2));
        let is_gone = |tag: u64| tag % divisor == rest;
        for tag in self.ledger.live.clone() {
            self.ledger.calls[tag].cancelled |= is_gone(tag as u64);
        }
        self.core.cancel_owned(self.now, is_gone);
        self.note();
    }

    /// Sends a notification of the user's.
    pub(crate) fn notify(&mut self) {
        self.notes_taken += u64::from(self.core.notify("user/note", Some(r#"{"x":1}"#)));
        self.note();
    }

    /// One random step.
    pub(crate) fn step(&mut self) {
        match self.rng.u32(..10) {
            0..=2 => {
                for _ in 0..self.rng.u32(1..6) {
                    let shared = self.rng.bool();
                    self.call(shared);
                }
            }
            3..=5 => self.happen(),
            6 => {
                if self.chance(self.nature.cancels) {
                    if self.chance(20) {
                        self.cancel_many();
                    } else if !self.ledger.calls.is_empty() {
                        let tag = self.rng.usize(..self.ledger.calls.len());
                        self.cancel(tag);
                        self.cancel(tag);
                    }
                }
                if self.chance(20) {
                    self.notify();
                }
                self.answer_requests();
                self.release();
            }
            7 => self.pass_time(),
            _ => {
                self.turn();
            }
        }
    }

    fn pass_time(&mut self) {
        if self.chance(self.nature.naps) {
            self.now += self.rng.u64(..2000) * MS;
        } else if self.chance(30) {
            let deadline = self.core.poll_deadline();
            if deadline < self.now + 1000 * MS {
                self.now = self.now.max(deadline);
            }
        } else {
            self.now += self.rng.u64(..5 * MS);
        }
    }

    pub(crate) fn answer_requests(&mut self) {
        for (connection, epoch, id) in std::mem::take(&mut self.handler) {
            self.core.respond(connection, epoch, &id, "{}");
        }
        let takes = self.rng.bool();
        self.core.take_requests(takes);
        self.note();
    }

    pub(crate) fn release(&mut self) {
        let keep = self.rng.usize(..=self.unreleased.len());
        for id in self.unreleased.split_off(keep) {
            self.core.release(id);
        }
    }
}
