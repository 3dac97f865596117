//! One exchange: the messages that belong to one request over HTTP, or to one stream.
//!
//! An exchange holds a conversation of its own and the messages that came of it and were not
//! handed on yet. It belongs to no connection: one may write for it, leave it, and another may
//! come back for the rest by the id of the last event it saw. What was handed on as events with
//! ids is kept for that, within bounds.
//!
//! What always holds: numbers of events rise by one from 1; `log` has the newest of them without a
//! gap, at most [`LOG_BYTES_MAX`] bytes or one event. Clause: MCP 2025-11-25, transports, resumability.
//! Proof: `wire_tests`.

use std::collections::VecDeque;

use super::super::session::{Era, Session};
use super::super::slots::SlotKey;
use super::super::timer::Ticket;
use super::super::world::ConnectionKey;
use super::answer::{self, EventId};

/// The messages of one request or one stream.
pub(super) struct Exchange {
    pub(super) session: Session,
    /// Messages that no connection has taken yet, one a line.
    pub(super) lines: Vec<u8>,
    pub(super) kind: Kind,
    /// The session it belongs to.
    pub(super) home: Option<SlotKey>,
    /// The connection that writes for it.
    pub(super) attached: Option<ConnectionKey>,
    /// The stream leaves its connection when so many bytes of `lines` were taken.
    pub(super) leaves_at: Option<usize>,
    /// Its events have ids.
    pub(super) track: Option<Track>,
    /// Its answer waits to be shuffled among others, or did so already.
    pub(super) parking: Parking,
    /// The comment that is due when nothing else was written.
    pub(super) comment: Option<Ticket>,
    pub(super) comment_is_due: bool,
}

/// What an exchange is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To answer requests; it ends when they are settled.
    Request,
    /// To carry what is nobody's answer; it ends with its session or its connection.
    Stream,
    /// To carry everything, answers too, for a client of revision 2024-11-05.
    Channel,
}

/// Where an exchange stands on the way to being shuffled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parking {
    Ahead,
    Parked,
    Behind,
}

/// The ids of a stream's events, and the newest events.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) stream: u64,
    /// A client has been given a place to come back to.
    pub(super) primed: bool,
    number: u64,
    log: VecDeque<Vec<u8>>,
    log_bytes: usize,
}

impl Exchange {
    pub(super) fn new(session: Session, kind: Kind, home: Option<SlotKey>) -> Self {
        Self {
            session,
            lines: Vec::new(),
            kind,
            home,
            attached: None,
            leaves_at: None,
            track: None,
            parking: Parking::Ahead,
            comment: None,
            comment_is_due: false,
        }
    }

    /// Lets the stream leave its connection if the conversation wants that and somebody can come
    /// back for the rest.
    pub(super) fn heed(&mut self, new_track: impl FnOnce() -> Track) {
        let Some(place) = self.session.leaves_at.take() else { return };
        let may_return =
            self.kind == Kind::Request && self.home.is_some() && matches!(self.session.era, Era::Legacy(_));
        if may_return {
            self.track.get_or_insert_with(new_track);
            self.leaves_at = Some(place);
        }
    }

    fn is_answered(&self) -> bool {
        self.kind == Kind::Request && self.session.is_settled()
    }

    /// Lets the answer to a call wait until enough of them can be shuffled, and says whether it does.
    pub(super) fn park(&mut self, reorder: usize) -> bool {
        let is_due = self.parking == Parking::Ahead && self.is_answered() && self.session.heard.call;
        if reorder > 0 && is_due {
            self.parking = Parking::Parked;
        }
        reorder > 0 && is_due
    }

    /// How much of `lines` may be handed on.
    pub(super) fn ready_bytes(&self) -> usize {
        if self.parking == Parking::Parked { 0 } else { self.lines.len() }
    }

    /// Whether nothing will follow what is in `lines`.
    pub(super) fn is_over(&self) -> bool {
        self.is_answered() && self.parking != Parking::Parked || self.session.ending
    }

    /// Whether the messages there are are one answer and nothing else.
    pub(super) fn is_one_answer(&self) -> bool {
        self.is_over()
            && memchr::memchr_iter(b'\n', &self.lines).take(2).count() <= 1
            && !self.lines.is_empty()
    }

    /// Hands on the first `bytes` of the lines as events, and says whether the last one was torn.
    pub(super) fn put_events(&mut self, out: &mut Vec<u8>, bytes: usize) -> bool {
        let mut at = 0;
        while at < bytes {
            let rest = &self.lines[at..bytes];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(rest);
                self.lines.clear();
                return true;
            };
            let data = rest[..end].trim_ascii();
            at += end + 1;
            let id = self.track.as_mut().map(|track| track.push(data));
            answer::put_event(out, id, data);
        }
        self.lines.drain(..bytes);
        false
    }
}

impl Track {
    pub(super) fn new(stream: u64) -> Self {
        Self { stream, primed: false, number: 0, log: VecDeque::new(), log_bytes: 0 }
    }

    /// The id of the last event so far.
    pub(super) fn last(&self) -> EventId {
        EventId { stream: self.stream, number: self.number }
    }

    fn push(&mut self, data: &[u8]) -> EventId {
        self.number += 1;
        self.log_bytes += data.len();
        self.log.push_back(data.to_vec());
        while self.log.len() > 1 && (self.log_bytes > LOG_BYTES_MAX || self.log.len() > LOG_EVENTS_MAX) {
            let Some(oldest) = self.log.pop_front() else { break };
            self.log_bytes -= oldest.len();
        }
        self.last()
    }

    /// Whether a client that saw this event last can get all the rest.
    pub(super) fn can_follow(&self, number: u64) -> bool {
        number <= self.number && self.number - number <= self.log.len() as u64
    }

    /// Hands on again what followed this event.
    pub(super) fn put_again(&self, out: &mut Vec<u8>, after: u64) {
        let first = self.number - self.log.len() as u64 + 1;
        for (data, number) in self.log.iter().zip(first..).filter(|&(_, number)| number > after) {
            answer::put_event(out, Some(EventId { stream: self.stream, number }), data);
        }
    }
}

/// What one stream keeps for clients that come back.
const LOG_BYTES_MAX: usize = 1 << 20;
const LOG_EVENTS_MAX: usize = 1024;
