//! What the machine of a world does: the driver's turn, which is the shard's (`engine/src/shard/mod.rs`) without a socket,
//! and the accidents between two turns.

use volley::internals::exchange::Told;

use crate::{
    nature::draw_mode,
    pipe::Pipe,
    server::{Item, Server},
    world::{Line, World},
};

impl World {
    /// One turn of the driver, in the shard's order. Returns how much it did.
    pub(crate) fn turn(&mut self) -> usize {
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
            self.dials += 1;
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

    pub(crate) fn open(&mut self, connection: u32) {
        if self.chance(self.nature.changes) {
            self.mode = draw_mode(&mut self.rng);
        }
        let server = Server::new(self.mode, self.nature.arrays, &mut self.rng);
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

    pub(crate) fn lose(&mut self, connection: u32, reason: &str) {
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
    pub(crate) fn read(&mut self, connection: u32) -> bool {
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
        let told_before = self.told.len();
        let taken = self.core.handle_received(self.now, connection, &bytes);
        self.note();
        let Line::Open(pipe) = &mut self.lines[connection as usize] else { return true };
        let items = pipe.delivered(taken);
        let view = self.core.view(connection);
        assert!(view.unread_bytes <= self.nature.frame_bytes_max, "{} bytes kept", view.unread_bytes);
        if view.epoch != before || pipe.place.1 != view.epoch {
            // The line that did that was the last one that counted.
            return true;
        }
        let mut told = self.told[told_before..].iter().filter_map(|told| match told {
            Told::Notification { message } => Some(message),
            _ => None,
        });
        for item in items {
            match item {
                Item::Answer(id) => {
                    if let Some(call) = self.ledger.by_id(id) {
                        let here = call.placed == Some(pipe.place);
                        assert!(!here || call.ended, "an answer to {id} was delivered and did not end it");
                    }
                }
                Item::Notification(text) => {
                    assert_eq!(told.next(), Some(&text), "a notification was dropped")
                }
                Item::Request(id) if shaken && view.ready => pipe.requests.push(id),
                Item::Request(_) => {}
            }
        }
        assert_eq!(told.next(), None, "a notification that nobody sent");
        true
    }

    /// Something happens out there.
    pub(crate) fn happen(&mut self) {
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
            calls
                .filter(|call| call.placed.is_none_or(|(at, _)| at != n as u32))
                .map(|call| call.id)
                .take(8)
                .collect()
        };
        let (breaks, blocks, deafens) =
            (self.chance(nature.breaks), self.chance(nature.blocks), self.chance(3));
        let Line::Open(pipe) = &mut self.lines[n] else { return };
        pipe.broken |= breaks;
        pipe.blocked = blocks;
        pipe.deaf = deafens && nature.blocks > 0;
        if !pipe.blocked {
            self.core.more_to_write(n as u32);
        }
        pipe.let_server_read(&mut self.rng);
        // A forged answer frees a place while the server that was asked still works.
        let in_flight = pipe.server.in_flight();
        assert!(
            in_flight <= nature.in_flight as usize || nature.habits.forges > 0,
            "{in_flight} calls in flight"
        );
        for _ in 0..self.rng.usize(1..4) {
            if let Some(forged) = pipe.server.act(&nature.habits, &foreign, &mut self.rng) {
                let place = pipe.place;
                if let Some(call) = self.ledger.by_id(forged) {
                    call.forged.insert(place);
                }
            }
        }
    }
}
