//! How a shard's lines begin and end: dialling, the next address when one is silent, hanging up, and the reason when a line is
//! lost.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use super::{Line, Shard, show};
use crate::{base::time::Instant, config::dial::Dial, proto::event::Sink, transport::Transport};

/// How long one of several addresses may be silent before the next is tried; the least that RFC 8305 recommends is 100 ms, and
/// two seconds its most.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(2);

impl Shard {
    pub(super) fn dial_and_hang_up(&mut self, now: Instant, sink: &mut impl Sink) {
        while let Some(at) = self.exchange.poll_hang_up() {
            if let Some(mut line) = self.lines[at as usize].take() {
                line.transport.deregister(self.lookout.registry());
            }
            self.exchange.handle_gone(at);
        }
        while let Some(at) = self.exchange.poll_dial(now) {
            let dial = Arc::clone(&self.dial);
            let mut more = VecDeque::new();
            let opened = match &*dial {
                Dial::Net(net) => {
                    let attempts = self.exchange.connection(self.exchange.connection_of(at)).attempts;
                    more = in_turn(net.addresses.len(), self.stood, attempts);
                    // The first of them, like any other.
                    Err(io::ErrorKind::AddrNotAvailable.into())
                }
                Dial::Unix(path) => Transport::unix(path),
                Dial::Stdio(command, household) => Transport::stdio(command, *household, self.close_grace),
            };
            let connecting = matches!(*dial, Dial::Net(_));
            self.install(at, opened, more, connecting, sink);
        }
    }

    fn install(
        &mut self,
        at: u32,
        opened: io::Result<Transport>,
        mut more: VecDeque<u8>,
        connecting: bool,
        sink: &mut impl Sink,
    ) {
        let (mut opened, mut address) = (opened, 0);
        loop {
            let registered = opened.and_then(|mut transport| {
                transport.register(self.lookout.registry(), at)?;
                Ok(transport)
            });
            match registered {
                Ok(transport) => {
                    let next_address_at = if connecting && !more.is_empty() {
                        self.clock.now().after(ADDRESS_PATIENCE)
                    } else {
                        Instant::NEVER
                    };
                    self.next_address_at = self.next_address_at.min(next_address_at);
                    self.lines[at as usize] = Some(Line {
                        transport,
                        connecting,
                        address,
                        more,
                        next_address_at,
                        readable: false,
                        writable: !connecting,
                        awaits_room: false,
                        ended: false,
                        exited: false,
                        stderr_more: false,
                    });
                    if !connecting {
                        let now = self.clock.now();
                        self.exchange.handle_opened(now, at, false);
                        self.write_all(now, sink);
                    }
                    return;
                }
                Err(error) => match (&*self.dial, more.pop_front()) {
                    (Dial::Net(net), Some(next)) => {
                        (opened, address) = (Transport::net(net.addresses[usize::from(next)], net), next);
                    }
                    _ => {
                        let now = self.clock.now();
                        self.exchange.handle_lost(now, at, &format!("connecting failed: {error}"), sink);
                        return;
                    }
                },
            }
        }
    }

    pub(super) fn finish_connecting(&mut self, at: u32, sink: &mut impl Sink) {
        let Some(line) = self.lines[at as usize].as_mut() else { return };
        match line.transport.is_connected() {
            Ok(false) if line.transport.has_reached() => {
                // Somebody is there: what follows has the whole attempt.
                line.next_address_at = Instant::NEVER;
            }
            Ok(false) => {}
            Ok(true) => {
                (line.connecting, line.writable) = (false, true);
                self.stood = line.address;
                let is_h2 = line.transport.is_h2();
                let now = self.clock.now();
                self.exchange.handle_opened(now, at, is_h2);
                self.write_all(now, sink);
            }
            Err(error) => {
                let more = std::mem::take(&mut line.more);
                self.lines[at as usize] = None;
                self.install(at, Err(error), more, true, sink);
            }
        }
    }

    /// Tries the next address of those lines whose present one has been silent for long enough.
    pub(super) fn try_next_addresses(&mut self, now: Instant, sink: &mut impl Sink) {
        self.next_address_at = Instant::NEVER;
        for at in 0..self.lines.len() as u32 {
            let Some(line) = self.lines[at as usize].as_mut().filter(|line| line.connecting) else {
                continue;
            };
            if line.next_address_at <= now {
                let more = std::mem::take(&mut line.more);
                self.lines[at as usize] = None;
                self.install(at, Err(io::ErrorKind::TimedOut.into()), more, true, sink);
            } else {
                self.next_address_at = self.next_address_at.min(line.next_address_at);
            }
        }
    }

    /// The line has ended, for the first reason that is found; a line that is gone cannot end again.
    pub(super) fn lose(&mut self, at: u32, reason: String, sink: &mut impl Sink) {
        let Some(reason) = self.drop_line(at, reason) else { return };
        let now = self.clock.now();
        self.exchange.handle_lost(now, at, &reason, sink);
    }

    /// The server has closed a line in an orderly way.
    pub(super) fn end(&mut self, at: u32, reason: String, sink: &mut impl Sink) {
        let Some(reason) = self.drop_line(at, reason) else { return };
        let now = self.clock.now();
        self.exchange.handle_ended(now, at, &reason, sink);
    }

    /// Shuts what is left of a line; returns why it is gone, with a child's last words.
    fn drop_line(&mut self, at: u32, reason: String) -> Option<String> {
        let mut line = self.lines[at as usize].take()?;
        line.transport.deregister(self.lookout.registry());
        let mut reason = reason;
        let see = self.on_stderr.as_ref();
        if let Some(words) =
            line.transport.child().and_then(|child| child.last_words(|bytes| show(see, bytes)))
        {
            reason = format!("{reason}; its last words on stderr: {words}");
        }
        Some(reason)
    }
}

/// So many addresses in the order in which an attempt tries them: the one that stood last in front, but each attempt in a row begins with another,
/// so that none that is silent is the only one ever tried.
fn in_turn(addresses: usize, stood: u8, attempts: u32) -> VecDeque<u8> {
    // Nobody has more, and a line has one byte to remember which it uses.
    let mut order: VecDeque<u8> = (0..=u8::MAX).take(addresses).collect();
    if !order.is_empty() {
        order.rotate_left((usize::from(stood) + attempts as usize) % order.len());
    }
    order
}

#[cfg(all(test, not(any(volley_loom, volley_shuttle))))]
mod tests {
    use super::*;

    /// Of a host whose first address was dead each new socket waited two seconds there before it tried the one that all others stood on.
    #[test]
    fn the_address_that_stood_comes_first_and_no_attempt_begins_as_the_last_did() {
        assert_eq!(in_turn(3, 0, 0), [0, 1, 2]);
        assert_eq!(in_turn(3, 1, 0), [1, 2, 0]);
        assert_eq!(in_turn(3, 1, 1), [2, 0, 1]);
        assert_eq!(in_turn(3, 1, 2), [0, 1, 2]);
        assert_eq!(in_turn(3, 0, 4), [1, 2, 0]);
        assert!(in_turn(0, 0, 7).is_empty());
        assert_eq!(in_turn(1_000, 0, 0).len(), 256);
    }
}
