//! A lane: one socket of an HTTP connection's pool, and the one exchange that is on it.
//!
//! HTTP/1.1 answers in order, so a socket carries one request at a time and the window over HTTP is a number of lanes. The
//! request stays in the lane until its response has ended: of a request of which no byte has left, or which the
//! server refused without looking at it, the body can be taken back and sent again elsewhere.
//!
//! Over HTTP/2 the socket is another lane's, a carrier's, on which this one rides.
//!
//! Owner: one connection. Always: `left <= request.len()`; a lane with a load has a socket, rides on one, or waits for one that
//! is being dialled.

use super::{h2::H2, reader::Reader};
use crate::{
    base::{buffer::ReceiveBuffer, time::Instant},
    proto::event::Why,
    slab::key::Key,
};

/// The socket of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Socket {
    /// There is none.
    #[default]
    None,
    /// It has been asked for.
    Dialling,
    Open,
    /// It has been given up and the driver has not yet said that it is gone.
    Shutting,
}

/// What a lane's request is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Load {
    /// Nothing: it is free.
    #[default]
    Nothing,
    /// A call.
    Call(Key),
    /// Calls, as one JSON-RPC array; [`Lane::array`] has them.
    Array,
    /// Two pings, as one array: does the server answer such?
    ArrayProbe,
    /// A call that has been answered; the rest of the response is still coming.
    Answered,
    /// A call that was cancelled or timed out; its answer may still come.
    Orphan(Key),
    /// `server/discover`, `initialize` or `tools/list` of an opening.
    Opening(Key),
    /// A notification, a reply to the server, a cancellation.
    Errand,
    /// The stream of events of HTTP+SSE, which carries all answers.
    Events,
    /// The stream for what the server starts outside of calls.
    Listening,
    /// A stream that goes on where a call's stream ended.
    Resumed(Key),
    /// The end of the session.
    Delete,
    /// None of its own: its socket carries the exchanges of other lanes, over HTTP/2.
    Carrier,
}

/// One socket and its exchange.
#[derive(Debug)]
pub(crate) struct Lane {
    /// This, `load` and `rides` change through the pool only, which counts them.
    pub(crate) socket: Socket,
    pub(crate) load: Load,
    /// HTTP/2 is spoken on its socket.
    pub(crate) h2: Option<Box<H2>>,
    /// The lane whose socket carries this exchange, if it has no socket of its own.
    pub(crate) rides: Option<u32>,
    /// Head and body of the request.
    pub(crate) request: Vec<u8>,
    /// The calls of an array.
    pub(crate) array: Together,
    /// Where its body begins.
    pub(crate) body_at: usize,
    /// How much of it the kernel has taken.
    pub(crate) left: usize,
    /// The session that the request names, if any, by the epoch of the connection in which it was placed.
    pub(crate) session: Option<u32>,
    pub(crate) inbox: ReceiveBuffer,
    pub(crate) reader: Reader,
    /// Status of the response that is being read; 0 before its head.
    pub(crate) status: u16,
    /// The version of the token that the request has.
    pub(crate) token: u64,
    /// The request was refused for want of authorization, and may be sent again.
    pub(crate) again: bool,
    /// The server keeps the socket open after this response.
    pub(crate) keep_alive: bool,
    /// How long the server wants to be left alone, in seconds.
    pub(crate) retry_after_s: Option<u32>,
    /// The id of the last event of this response.
    pub(crate) last_event: Option<Box<str>>,
    /// When the exchange is given up, if it has a time of its own.
    pub(crate) until: Instant,
    /// When the opening of its socket is given up.
    pub(crate) dial_until: Instant,
    /// Stands in the exchange's list of lines with output.
    pub(crate) dirty: bool,
    /// Since when it is free; of a lane that rides, when it got on; of a carrier, when anything was last heard.
    pub(crate) idle_since: Instant,
    /// Requests that this socket has carried.
    pub(crate) served: u64,
    /// Counts the sockets this lane has had.
    pub(crate) generation: u32,
}

/// The calls of one array.
#[derive(Debug, Default)]
pub(crate) struct Together {
    /// All of them, sorted.
    pub(crate) keys: Vec<Key>,
    /// Those that have not ended.
    pub(crate) live: usize,
    /// Those that have been answered.
    pub(crate) answered: usize,
    /// The server has said that it could make nothing of something, and not of what.
    pub(crate) refused: bool,
    /// It has named one of them in an answer, whether or not anybody waited for that still.
    pub(crate) named: bool,
    /// A message of its response answered something else.
    pub(crate) strayed: bool,
    /// The server has complained of something, and not of the message.
    pub(crate) complained: bool,
    /// One of its answers was longer than the bound, and it is not known whose.
    pub(crate) oversized: Option<Why>,
}

impl Together {
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        (self.live, self.answered, self.refused, self.named) = (0, 0, false, false);
        (self.strayed, self.complained) = (false, false);
        self.oversized = None;
    }
}

impl Lane {
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self {
            socket: Socket::None,
            load: Load::Nothing,
            h2: None,
            rides: None,
            request: Vec::new(),
            array: Together::default(),
            body_at: 0,
            left: 0,
            session: None,
            inbox: ReceiveBuffer::default(),
            reader: Reader::new(frame_bytes_max),
            status: 0,
            token: 0,
            again: false,
            keep_alive: true,
            retry_after_s: None,
            last_event: None,
            until: Instant::NEVER,
            dial_until: Instant::NEVER,
            dirty: false,
            idle_since: Instant::default(),
            served: 0,
            generation: 0,
        }
    }

    /// What is still to be written, on a socket that stands.
    pub(crate) fn waiting(&self) -> &[u8] {
        if let Some(h2) = &self.h2 {
            return h2.pumped();
        }
        if self.socket == Socket::Open { &self.request[self.left..] } else { &[] }
    }

    /// Has any byte of the request left, on a socket of its own?
    pub(crate) fn has_left(&self) -> bool {
        self.left > 0
    }

    /// Has it neither a socket nor anything to do?
    pub(crate) fn is_free(&self) -> bool {
        self.socket == Socket::None && self.load == Load::Nothing
    }

    /// Does it wait for a socket that others will share?
    pub(crate) fn waits(&self) -> bool {
        self.load != Load::Nothing && self.socket == Socket::None && self.rides.is_none()
    }

    /// Is anything to come on its socket?
    pub(crate) fn expects(&self) -> bool {
        self.h2.as_ref().map_or(self.left > 0, |machine| machine.streams() > 0)
    }

    /// Is there a request of which nothing has left?
    pub(crate) fn is_unsent(&self) -> bool {
        self.left == 0 && !self.request.is_empty()
    }

    /// Has all of the request left?
    pub(crate) fn is_sent(&self) -> bool {
        self.left == self.request.len()
    }

    /// The JSON text of the request.
    pub(crate) fn body(&self) -> &[u8] {
        &self.request[self.body_at..]
    }

    /// The exchange is over (`Pool::unload`); the request's memory is kept if it is small.
    pub(super) fn unload(&mut self) -> Load {
        self.request.clear();
        if self.request.capacity() > REQUEST_BYTES_KEPT {
            self.request.shrink_to(REQUEST_BYTES_KEPT);
        }
        (self.body_at, self.left, self.status) = (0, 0, 0);
        self.again = false;
        self.array.clear();
        (self.retry_after_s, self.last_event, self.until) = (None, None, Instant::NEVER);
        std::mem::take(&mut self.load)
    }
}

/// A lane whose request was longer gives the memory back.
const REQUEST_BYTES_KEPT: usize = 16 * 1024;
