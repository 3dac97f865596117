//! A world: one engine core, its callers, its kernel, its servers and its clock, all drawn from one seed.
//!
//! The driver's turn is the shard's (`engine/src/shard/mod.rs`), without a socket. Between turns anything may happen. After
//! every single step the world looks at what the engine told and at every connection, and panics at the first thing that
//! should not be.

use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use volley::{
    Config,
    internals::exchange::{Core, Told, Wait},
};

use crate::{
    ledger::Ledger,
    pipe::Pipe,
    server::{Habits, Item, Mode, Server},
};

/// What a world is like; drawn from its seed, or set by a test.
#[derive(Clone, Debug)]
pub struct Nature {
    pub connections: usize,
    pub in_flight: u32,
    pub frame_bytes_max: usize,
    pub mode: Mode,
    pub habits: Habits,
    /// Percent of steps in which a transport breaks, an opening fails, the kernel blocks.
    pub breaks: u32,
    pub fails_to_open: u32,
    pub blocks: u32,
    /// Percent of transports on which another sort of server answers than before.
    pub changes: u32,
    /// Percent of steps in which somebody cancels.
    pub cancels: u32,
    /// Percent of steps in which much time passes.
    pub naps: u32,
}

impl Nature {
    pub fn drawn(rng: &mut Rng) -> Self {
        let some = |rng: &mut Rng, most: u32| if rng.bool() { 0 } else { rng.u32(1..=most) };
        let frame_bytes_max = 1024 + rng.usize(..512);
        Self {
            connections: [1, 1, 2, 3, 5][rng.usize(..5)],
            in_flight: [1, 2, 4, 16][rng.usize(..4)],
            frame_bytes_max,
            mode: draw_mode(rng),
            habits: Habits {
                answers: [15, 60, 95][rng.usize(..3)],
                odd_spelling: some(rng, 60),
                twice: some(rng, 30),
                unusable: some(rng, 20),
                chatter: some(rng, 40),
                forges: some(rng, 10),
                frame_bytes_max,
            },
            breaks: some(rng, 6),
            fails_to_open: some(rng, 40),
            blocks: some(rng, 10),
            changes: some(rng, 30),
            cancels: some(rng, 20),
            naps: some(rng, 10),
        }
    }

    /// Servers that do as they should, on transports that never break.
    pub fn calm(connections: usize, in_flight: u32, mode: Mode) -> Self {
        let habits = Habits {
            answers: 100,
            odd_spelling: 0,
            twice: 0,
            unusable: 0,
            chatter: 0,
            forges: 0,
            frame_bytes_max: 1024,
        };
        Self {
            connections,
            in_flight,
            frame_bytes_max: 1024,
            mode,
            habits,
            breaks: 0,
            fails_to_open: 0,
            blocks: 0,
            changes: 0,
            cancels: 0,
            naps: 0,
        }
    }
}

fn draw_mode(rng: &mut Rng) -> Mode {
    [
        Mode::Modern,
        Mode::Modern,
        Mode::Modern,
        Mode::Legacy,
        Mode::Legacy,
        Mode::LegacyElsewhere,
        Mode::DiesOfProbe,
        Mode::DeafToProbe,
        Mode::Mute,
    ][rng.usize(..9)]
}

/// A connection as its driver has it.
enum Line {
    Nothing,
    Dialling,
    Open(Box<Pipe>),
}

/// See the module.
pub struct World {
    pub core: Core,
    pub ledger: Ledger,
    pub rng: Rng,
    pub now: u64,
    pub nature: Nature,
    lines: Vec<Line>,
    mode: Mode,
    /// Notifications of servers that were delivered, and that the engine told of.
    pub notifications_delivered: u64,
    pub notifications_told: u64,
    /// What the last step told, of which somebody may want to see more.
    told: Vec<Told>,
    /// Requests of servers that wait for the handler.
    handler: Vec<(u32, u32, String)>,
    /// Ended shared calls whose slot was not given back yet.
    unreleased: Vec<u64>,
    pub notes_taken: u64,
    pub notes_placed: u64,
    pub notes_left: u64,
    cancellations: u64,
}

const MS: u64 = 1_000_000;

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let nature = Nature::drawn(&mut rng);
        Self::of(nature, rng)
    }

    pub fn of(nature: Nature, mut rng: Rng) -> Self {
        let config = Config::builder()
            .connections(nature.connections)
            .in_flight(nature.in_flight)
            .frame_bytes_max(nature.frame_bytes_max)
            .connect_timeout(Duration::from_millis(800))
            .probe_timeout(Duration::from_millis(100))
            .backoff(Duration::from_millis(5), Duration::from_millis(200))
            .orphan_debt(Duration::from_millis(rng.u64(1..300)))
            .attempts_max(rng.u32(2..8))
            .build()
            .expect("a valid configuration");
        let core = Core::new(&config, rng.u64(..));
        Self {
            core,
            ledger: Ledger::default(),
            now: rng.u64(1..1_000_000_000),
            lines: (0..nature.connections).map(|_| Line::Nothing).collect(),
            mode: nature.mode,
            nature,
            rng,
            notifications_delivered: 0,
            notifications_told: 0,
            told: Vec::new(),
            handler: Vec::new(),
            unreleased: Vec::new(),
            notes_taken: 0,
            notes_placed: 0,
            notes_left: 0,
            cancellations: 0,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    /// Takes note of all that the last step told and put into the outboxes. Before the next step, always.
    fn note(&mut self) {
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
    pub fn call(&mut self, shared: bool) -> bool {
        let wait = self.wait();
        self.call_with(shared, wait)
    }

    pub fn call_with(&mut self, shared: bool, wait: Wait) -> bool {
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
    pub fn cancel(&mut self, tag: usize) {
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
    pub fn notify(&mut self) {
        self.notes_taken += u64::from(self.core.notify("user/note", Some(r#"{"x":1}"#)));
        self.note();
    }

    // What the machine does.

    /// One turn of the driver, in the shard's order. Returns how much it did.
    pub fn turn(&mut self) -> usize {
        let mut did = 0;
        if self.now >= self.core.poll_deadline() {
            self.core.handle_time(self.now);
            self.note();
        }
        while let Some(connection) = self.core.poll_hang_up() {
            self.end_line(connection);
            self.core.handle_gone(connection);
            self.note();
            did += 1;
        }
        while let Some(connection) = self.core.poll_dial(self.now) {
            assert!(matches!(self.lines[connection as usize], Line::Nothing), "dialled twice");
            did += 1;
            if self.chance(self.nature.fails_to_open) {
                self.lose(connection, "cannot open");
            } else if self.rng.bool() {
                self.open(connection);
            } else {
                self.lines[connection as usize] = Line::Dialling;
            }
        }
        did += self.core.assign(self.now);
        self.note();
        did += self.write();
        for connection in 0..self.lines.len() as u32 {
            if self.rng.bool() {
                did += usize::from(self.read(connection));
            }
        }
        did += self.told.len();
        self.told.clear();
        self.check();
        did
    }

    fn open(&mut self, connection: u32) {
        if self.chance(self.nature.changes) {
            self.mode = draw_mode(&mut self.rng);
        }
        let server = Server::new(self.mode, &mut self.rng);
        let epoch = self.core.view(connection).epoch;
        self.lines[connection as usize] = Line::Open(Box::new(Pipe::new((connection, epoch), server)));
        self.core.handle_opened(self.now, connection);
        self.note();
    }

    fn end_line(&mut self, connection: u32) {
        if let Line::Open(pipe) = std::mem::replace(&mut self.lines[connection as usize], Line::Nothing) {
            self.notes_placed += pipe.notes_placed;
            self.notes_left += pipe.notes_left;
            self.cancellations += pipe.cancellations;
        }
    }

    fn lose(&mut self, connection: u32, reason: &str) {
        self.end_line(connection);
        self.core.handle_lost(self.now, connection, reason);
        self.note();
    }

    fn write(&mut self) -> usize {
        let mut did = 0;
        let mut again = Vec::new();
        while let Some(connection) = self.core.poll_dirty() {
            let Line::Open(pipe) = &mut self.lines[connection as usize] else {
                panic!("output for a connection without a transport");
            };
            if pipe.broken {
                self.lose(connection, "broken pipe");
                did += 1;
                continue;
            }
            if self.rng.u32(..100) < self.nature.blocks {
                if !self.core.handle_busy(self.now, connection) {
                    self.lose(connection, "no buffer space");
                }
                did += 1;
                continue;
            }
            let taken = pipe.take(self.core.transmit(connection), &mut self.ledger, &mut self.rng);
            if taken == 0 {
                // As after a refusal: somebody will tell when there is room again.
                pipe.blocked = true;
                continue;
            }
            did += 1;
            self.core.handle_transmitted(connection, taken);
            if !self.core.transmit(connection).is_empty() {
                again.push(connection);
            }
        }
        for connection in again {
            self.core.more_to_write(connection);
        }
        did
    }

    /// Delivers some bytes, cut anywhere.
    pub fn read(&mut self, connection: u32) -> bool {
        let most = [1, 7, 300, 20_000][self.rng.usize(..4)];
        let Line::Open(pipe) = &mut self.lines[connection as usize] else { return false };
        let bytes = if pipe.broken { Vec::new() } else { pipe.next_bytes(most) };
        if bytes.is_empty() {
            let has_ended = pipe.broken || pipe.server.dead;
            if has_ended {
                self.lose(connection, "the server closed the connection");
            }
            return has_ended;
        }
        let shaken = pipe.server.has_shaken_hands();
        let before = self.core.view(connection).epoch;
        let taken = self.core.handle_received(self.now, connection, &bytes);
        self.note();
        let Line::Open(pipe) = &mut self.lines[connection as usize] else { return true };
        let items = pipe.delivered(taken);
        let view = self.core.view(connection);
        assert!(view.unread_bytes <= self.nature.frame_bytes_max, "{} bytes kept", view.unread_bytes);
        if view.epoch != before || pipe.place.1 != view.epoch {
            // The line that did that was the last one that counted.
            self.notifications_delivered = self.notifications_told;
            return true;
        }
        for item in items {
            match item {
                Item::Answer(id) => {
                    if let Some(call) = self.ledger.by_id(id) {
                        let here = call.placed == Some(pipe.place);
                        assert!(!here || call.ended, "an answer to {id} was delivered and did not end it");
                    }
                }
                Item::Notification(_) => self.notifications_delivered += 1,
                Item::Request(id) if shaken && view.ready => pipe.requests.push(id),
                Item::Request(_) => {}
            }
        }
        assert_eq!(self.notifications_delivered, self.notifications_told, "notifications delivered and told");
        true
    }

    /// Something happens out there.
    pub fn happen(&mut self) {
        let nature = self.nature.clone();
        let n = self.rng.usize(..self.lines.len());
        if matches!(self.lines[n], Line::Dialling) {
            match self.rng.u32(..4) {
                0 => self.open(n as u32),
                1 if self.chance(nature.fails_to_open) => self.lose(n as u32, "refused"),
                _ => {}
            }
            return;
        }
        let foreign: Vec<u64> = {
            let calls = self.ledger.live.iter().map(|tag| &self.ledger.calls[*tag]);
            calls.filter(|call| call.placed.is_none_or(|(at, _)| at != n as u32)).map(|call| call.id).take(8).collect()
        };
        let (breaks, blocks, deafens) = (self.chance(nature.breaks), self.chance(nature.blocks), self.chance(3));
        let Line::Open(pipe) = &mut self.lines[n] else { return };
        pipe.broken |= breaks;
        pipe.blocked = blocks;
        pipe.deaf = deafens && nature.blocks > 0;
        if !pipe.blocked {
            self.core.more_to_write(n as u32);
        }
        pipe.let_server_read(&mut self.rng);
        assert!(pipe.server.in_flight() <= nature.in_flight as usize, "more in flight than the window has");
        for _ in 0..self.rng.usize(1..4) {
            if let Some(forged) = pipe.server.act(&nature.habits, &foreign, &mut self.rng) {
                let place = pipe.place;
                if let Some(call) = self.ledger.by_id(forged) {
                    call.forged.insert(place);
                }
            }
        }
    }

    /// One random step.
    pub fn step(&mut self) {
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

    fn answer_requests(&mut self) {
        for (connection, epoch, id) in std::mem::take(&mut self.handler) {
            self.core.respond(connection, epoch, &id, "{}");
        }
        let takes = self.rng.bool();
        self.core.take_requests(takes);
        self.note();
    }

    fn release(&mut self) {
        let keep = self.rng.usize(..=self.unreleased.len());
        for id in self.unreleased.split_off(keep) {
            self.core.release(id);
        }
    }

    // What must hold.

    /// After every turn.
    fn check(&mut self) {
        self.ledger.check_deadlines(self.now);
        let stats = self.core.stats();
        assert_eq!(stats.submitted, self.ledger.calls.len() as u64);
        assert_eq!(stats.live, self.ledger.live.len() as u64);
        let ended = (stats.answered, stats.failed, stats.cancelled);
        assert_eq!(ended, (self.ledger.answered, self.ledger.failed, self.ledger.cancelled));
        assert_eq!(stats.notifications, self.notifications_told);
        for n in 0..self.lines.len() as u32 {
            let view = self.core.view(n);
            let here = self.ledger.live.iter().map(|tag| &self.ledger.calls[*tag]);
            let here = here.filter(|call| call.placed == Some((n, view.epoch))).count();
            assert_eq!(view.in_flight as usize, here, "the window of connection {n} and its calls");
            assert!(view.in_flight + view.room <= self.nature.in_flight);
            let aborted = (self.ledger.cancelled + self.ledger.failed) as usize;
            assert!(view.orphan_entries <= 4 * aborted + 64, "{} entries of orphans", view.orphan_entries);
        }
        let line_bound = 2 * (2 * self.ledger.live_most + 65);
        assert!(self.core.unplaced_entries() <= line_bound, "{} entries in line", self.core.unplaced_entries());
    }

    /// With time standing still and nothing happening, the driver soon has nothing left to do.
    pub fn come_to_rest(&mut self) {
        let mut turns = 0;
        let mut quiet = 0;
        // A turn may by chance have read nothing; a dozen of these in a row is no chance.
        while quiet < 12 {
            quiet = if self.turn() == 0 { quiet + 1 } else { 0 };
            turns += 1;
            assert!(turns < 5000, "no rest after {turns} turns at one moment");
        }
        let deadline = self.core.poll_deadline();
        assert!(deadline > self.now, "at rest, and due since {} ns", self.now - deadline);
    }

    /// The end: no new calls; then everything has to end by itself, and nothing may be left.
    pub fn finish(&mut self) {
        let last = self.ledger.live.iter().map(|tag| &self.ledger.calls[*tag]);
        let last = last.map(|call| call.submitted_at + call.wait.at_most.as_nanos() as u64).max().unwrap_or(self.now);
        while !self.core.is_idle() {
            assert!(self.now <= last + 50 * MS, "calls live on");
            self.now = self.core.poll_deadline().clamp(self.now + MS, self.now + 20 * MS);
            self.happen();
            self.turn();
        }
        // All debts expire, and every place in every window is free again.
        self.nature.breaks = 0;
        self.nature.blocks = 0;
        self.nature.fails_to_open = 0;
        self.nature.changes = 0;
        self.now += 400 * MS;
        self.turn();
        self.come_to_rest();
        self.check_windows();
        self.check_requests();
        self.close();
    }

    fn check_windows(&mut self) {
        let ready = (0..self.lines.len() as u32).map(|n| self.core.view(n)).filter(|view| view.ready);
        let mut room = 0;
        for view in ready {
            assert_eq!((view.in_flight, view.room), (0, self.nature.in_flight), "a place was not given back");
            room += view.room as usize;
        }
        assert_eq!(self.core.room(), room, "a key of the magazine was not given back");
    }

    fn check_requests(&mut self) {
        self.answer_requests();
        for _ in 0..200 {
            self.nature.habits.chatter = 0;
            self.happen();
            self.turn();
            self.answer_requests();
        }
        for line in &self.lines {
            if let Line::Open(pipe) = line
                && !pipe.blocked
            {
                let mut asked = pipe.requests.clone();
                let mut replies = pipe.server.replies.clone();
                asked.sort();
                replies.sort();
                assert_eq!(asked, replies, "requests of a server, and the replies to them");
            }
        }
    }

    fn close(&mut self) {
        // Every slot can be reserved again, and what waits when the engine closes ends with it.
        for id in self.unreleased.drain(..) {
            self.core.release(id);
        }
        if !self.core.refuses(self.now) {
            let slots = 2 * self.nature.connections * self.nature.in_flight as usize;
            for n in 0..slots / 2 {
                assert!(self.call(true), "slot {n} was not given back");
            }
        }
        self.ledger.closed = true;
        self.core.close(self.now);
        self.note();
        self.come_to_rest();
        assert!(self.core.is_closed() && self.core.is_idle());
        assert!(self.ledger.calls.iter().all(|call| call.ended), "a call did not end");
        assert_eq!(self.core.poll_deadline(), u64::MAX, "closed, and waiting for something");
        let stats = self.core.stats();
        assert!(self.cancellations <= stats.cancellations_sent);
        assert_eq!(self.notes_placed, self.notes_taken, "notifications taken, and put on a wire");
    }
}
