//! One HTTP connection: requests in, answers out, strictly in order.
//!
//! Bytes come in slices and leave through the turn's output. A request that is answered at once
//! leaves nothing behind; otherwise it is the connection's *current* exchange, and what is
//! pipelined behind it waits in `pending` until it is over. What the answers say is decided in
//! `endpoint`; here they only get their form.
//!
//! What always holds: no request is looked at while there is a current exchange.
//! Clause: RFC 9112 section 9.3. Proof: `wire_tests`.

use super::super::web_args::ReplyForm;
use super::super::world::{Owner, Turn, Work, World};
use super::answer::{self, Manner};
use super::current::Current;
use super::endpoint::Talk;
use super::exchange::Kind;
use super::hub::{self, Hub};
use super::request::{Read, Reader};

/// The reading and answering of one connection.
pub(in super::super) struct Http {
    reader: Reader,
    /// Bytes of requests that could not be dealt with yet.
    pending: Vec<u8>,
    /// `pending` may begin with a whole request.
    has_requests: bool,
    talk: Talk,
}

impl Http {
    pub(in super::super) fn new(talk: Talk, world: &World) -> Self {
        Self { reader: Reader::new(world.web.body_bytes_max), pending: Vec::new(), has_requests: false, talk }
    }

    /// Takes bytes that were read.
    pub(in super::super) fn take(&mut self, bytes: &[u8], hub: &mut Hub, turn: &mut Turn<'_>) {
        if !self.pending.is_empty() || self.talk.current.is_some() {
            self.pending.extend_from_slice(bytes);
            self.has_requests = true;
            return self.go_on(hub, turn);
        }
        let taken = self.take_requests(bytes, hub, turn);
        self.pending.extend_from_slice(&bytes[taken..]);
    }

    /// Writes what there is for the current exchange, and goes on to the requests behind it.
    pub(in super::super) fn go_on(&mut self, hub: &mut Hub, turn: &mut Turn<'_>) {
        self.talk.pump(hub, turn);
        if !self.has_requests || self.talk.current.is_some() {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let taken = self.take_requests(&pending, hub, turn);
        self.pending = pending;
        self.pending.drain(..taken);
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
    }

    /// Takes whole requests, as long as each is answered at once, and says how many bytes they were.
    fn take_requests(&mut self, bytes: &[u8], hub: &mut Hub, turn: &mut Turn<'_>) -> usize {
        let mut at = 0;
        self.has_requests = true;
        while self.talk.current.is_none() && !self.talk.ending && !turn.world.dying {
            if turn.out.len() >= turn.out_bytes_full {
                return at;
            }
            // Servers step over an empty line before a request.
            while bytes[at..].starts_with(b"\r\n") {
                at += 2;
            }
            if at == bytes.len() {
                break;
            }
            match self.reader.read(&bytes[at..]) {
                Read::Whole { head, body, bytes: length } => {
                    self.talk.serve(&head, body, hub, turn);
                    at += length;
                    self.reader.forget_body();
                }
                Read::More { expects_continue } => {
                    if expects_continue {
                        turn.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    self.has_requests = false;
                    return at;
                }
                Read::Refused(status) => {
                    self.talk.ending = true;
                    let manner = Manner { closes: true, is_old: false };
                    answer::put_whole(turn.out, status, None, &[], b"", manner);
                }
            }
        }
        if self.talk.ending {
            at = bytes.len();
        }
        self.has_requests = at < bytes.len();
        at
    }

    /// Whether reading on makes sense: what is pipelined behind an exchange has a bound.
    pub(in super::super) fn wants_bytes(&self) -> bool {
        self.talk.current.is_none() || self.pending.len() < PENDING_BYTES_MAX
    }

    pub(in super::super) fn has_more(&self) -> bool {
        self.has_requests && self.talk.current.is_none()
    }

    pub(in super::super) fn owes(&self) -> bool {
        self.talk.current.is_some()
    }

    pub(in super::super) fn is_ending(&self) -> bool {
        self.talk.ending
    }

    /// The client ended its side: a stream that waits for nothing, or an exchange that lives
    /// with its connection, ends.
    pub(in super::super) fn handle_end(&mut self, hub: &mut Hub, world: &mut World) {
        let Some(current) = &self.talk.current else { return };
        let waits = hub.exchanges.get(current.key).is_some_and(|exchange| {
            exchange.kind == Kind::Request && exchange.home.is_some() && exchange.track.is_none()
        });
        if !waits {
            self.talk.ending = true;
            self.abandon(hub, world);
        }
    }

    /// The connection is gone.
    pub(in super::super) fn abandon(&mut self, hub: &mut Hub, world: &mut World) {
        if let Some(current) = self.talk.current.take() {
            hub::leave(hub, world, current.key, self.talk.key);
        }
    }
}

impl Talk {
    /// Writes what there is for the current exchange.
    pub(super) fn pump(&mut self, hub: &mut Hub, turn: &mut Turn<'_>) {
        let Some(mut current) = self.current.take() else { return };
        let Some(exchange) = hub.exchanges.get(current.key) else {
            return self.end_reply(&current, turn);
        };
        if exchange.attached != Some(self.key) {
            return self.end_reply(&current, turn);
        }
        if !current.began && current.form == ReplyForm::Json && exchange.leaves_at.is_none() {
            if !exchange.is_over() && exchange.ready_bytes() == 0 {
                self.current = Some(current);
                return;
            }
            if exchange.is_one_answer() {
                return self.put_answer(&current, hub, turn);
            }
        }
        if self.put_events(&mut current, hub, turn) {
            self.current = Some(current);
        }
    }

    /// Writes the one answer of an exchange that is over.
    fn put_answer(&mut self, current: &Current, hub: &mut Hub, turn: &mut Turn<'_>) {
        let Some(mut exchange) = hub.exchanges.take(current.key) else { return };
        let lines = std::mem::take(&mut exchange.lines);
        let status = exchange.session.status.unwrap_or(200);
        exchange.attached = None;
        hub.exchanges.put(current.key, exchange);
        hub::end(hub, turn.world, current.key);
        self.put_single(&lines, &current.session_field, status, current.manner, turn.out);
    }

    /// Writes one message as a whole answer; a torn one ends the connection.
    pub(super) fn put_single(
        &mut self,
        line: &[u8],
        session_field: &[u8],
        status: u16,
        manner: Manner,
        out: &mut Vec<u8>,
    ) {
        let Some(body) = line.strip_suffix(b"\n") else {
            answer::put_torn(out, line);
            self.ending = true;
            return;
        };
        answer::put_whole(out, status, Some("application/json"), &[session_field], body, manner);
        self.finish(manner);
    }

    /// Writes events, and says whether more will follow on this connection.
    fn put_events(&mut self, current: &mut Current, hub: &mut Hub, turn: &mut Turn<'_>) -> bool {
        let Turn { world, out, .. } = turn;
        let Some(mut exchange) = hub.exchanges.take(current.key) else { return false };
        let retry_ms = world.web.retry_ms;
        let manner = current.manner;
        let first = !std::mem::replace(&mut current.began, true);
        if first {
            answer::put_stream_head(out, &[&current.session_field], manner);
        }
        let leaves_at = exchange.leaves_at.take();
        let bytes = leaves_at.unwrap_or(exchange.ready_bytes());
        let mut torn = false;
        answer::put_piece(out, manner, |out| {
            if let Some(track) = &mut exchange.track {
                if let Some(after) = current.again_after.take() {
                    track.put_again(out, after);
                } else if !std::mem::replace(&mut track.primed, true) {
                    answer::put_priming(out, track.last(), retry_ms);
                }
            }
            out.append(&mut current.prelude);
            if std::mem::take(&mut exchange.comment_is_due) && bytes == 0 {
                out.extend_from_slice(b": still here\n\n");
            }
            torn = exchange.put_events(out, bytes);
        });
        let is_over = exchange.is_over() && exchange.lines.is_empty();
        let leaves = leaves_at.is_some() && !torn;
        if let (None, Some(every), false) = (exchange.comment, world.web.comments, is_over || leaves) {
            exchange.comment = Some(world.arm(every, Owner::Exchange(current.key), Work::Comment));
        }
        let stays = exchange.track.is_some() && exchange.home.is_some();
        if leaves || is_over {
            exchange.attached = None;
        }
        hub.exchanges.put(current.key, exchange);
        if torn {
            self.ending = true;
            hub::end(hub, world, current.key);
            return false;
        }
        if is_over && !stays {
            hub::end(hub, world, current.key);
        }
        if leaves || is_over {
            answer::put_stream_end(out, manner);
            self.finish(manner);
            return false;
        }
        true
    }

    /// The exchange is gone before its answer: its stream ends, or there is no such thing.
    fn end_reply(&mut self, current: &Current, turn: &mut Turn<'_>) {
        if current.began {
            answer::put_stream_end(turn.out, current.manner);
        } else {
            answer::put_whole(turn.out, 404, None, &[], b"", current.manner);
        }
        self.finish(current.manner);
    }

    /// An answer is complete; the connection may have to end with it.
    pub(super) fn finish(&mut self, manner: Manner) {
        self.ending |= manner.closes;
    }
}

/// Requests pipelined behind an exchange beyond this stay unread.
const PENDING_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
