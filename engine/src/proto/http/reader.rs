//! One HTTP response after another, taken apart: heads, bodies in whichever framing, and in the bodies either one JSON text,
//! a stream of events, or nothing that anyone wants.
//!
//! A reader is shown the bytes that were received on one socket and says, step by step, what they are. A JSON body with a
//! length is a range of the bytes received: nothing is copied. Bodies in chunks and event streams are put together in a
//! buffer of the reader's own, since the framing of HTTP stands between their bytes.
//!
//! Units: bytes. Bounds: `frame_bytes_max` for one JSON body or one event; heads and chunk lines have theirs in `limits.rs`.
//! Owner: one lane. Always: between steps every byte is either unread in the inbox, unread in `gathered`, or done with.
//! Proof: `any_cut_gives_the_same_steps`, below. Follows: RFC 9112, sections 6 and 7; MCP, Streamable HTTP.

use super::{
    chunked::{Chunked, Piece},
    event_stream::{Event, EventStream, Split},
    head::{self, Body, Head},
};
use crate::{
    base::buffer::{ChunkPool, FrameRef, ReceiveBuffer},
    proto::framing::newline::Oversized,
};

/// What to do with a body.
#[derive(Debug, Default)]
pub(crate) enum Taking {
    /// Read it and drop it.
    #[default]
    Nothing,
    /// One JSON text.
    Json,
    /// Events, each with a JSON text or nothing in it.
    Events(EventStream),
}

/// The responses of one socket.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    stage: Stage,
    taking: Taking,
    gathered: ReceiveBuffer,
    /// `gathered` may hold a whole event.
    pending: bool,
    frame_bytes_max: usize,
}

#[derive(Debug, Default)]
enum Stage {
    /// Between responses, or in a head.
    #[default]
    Head,
    /// So many bytes of the body are to come.
    Length(u64),
    Chunks(Chunked),
    /// The body ends with the connection.
    UntilClose,
    /// The body is whole.
    Done,
}

/// What the next bytes are.
#[derive(Debug)]
pub(crate) enum Step {
    /// More bytes are needed.
    NeedMore,
    /// A head. Say what to do with its body ([`Reader::take`]) before the next step.
    Head(Head),
    /// A whole JSON body.
    Json(Place),
    /// An event; the place is that of its data, if it has any in one piece.
    Event(Event, Option<Place>),
    /// A body or an event beyond the bound; it is not kept.
    Oversized(Box<Oversized>),
    /// The response is over.
    End,
    /// The bytes are no HTTP.
    Broken(String),
}

/// Where a text stands. It is there until [`Reader::consume`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    gathered: bool,
    start: usize,
    len: usize,
    consumed: usize,
}

impl Reader {
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max, ..Self::default() }
    }

    /// Does the end of the connection end the body properly?
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self.stage, Stage::UntilClose)
    }

    /// Says what to do with the body whose head came last.
    pub(crate) fn take(&mut self, taking: Taking) {
        self.taking = taking;
    }

    /// A splitter of events within the reader's bound.
    pub(crate) fn events(&self) -> Taking {
        Taking::Events(EventStream::new(self.frame_bytes_max))
    }

    /// Says what the next bytes of `inbox` are.
    pub(crate) fn step(&mut self, inbox: &mut ReceiveBuffer, pool: &mut ChunkPool) -> Step {
        loop {
            if self.pending
                && let Some(step) = self.event()
            {
                return step;
            }
            match &mut self.stage {
                Stage::Head => match head::parse(inbox.unread()) {
                    Ok(Some((head, consumed))) => {
                        inbox.consume(consumed);
                        self.stage = match head.body {
                            Body::None => Stage::Done,
                            Body::Length(bytes) => Stage::Length(bytes),
                            Body::Chunked => Stage::Chunks(Chunked::new()),
                            Body::UntilClose => Stage::UntilClose,
                        };
                        self.taking = Taking::Nothing;
                        return Step::Head(head);
                    }
                    Ok(None) => return Step::NeedMore,
                    Err(error) => return Step::Broken(error.to_string()),
                },
                Stage::Length(left) => {
                    let unread = inbox.unread().len();
                    if matches!(self.taking, Taking::Json) {
                        if *left > self.frame_bytes_max as u64 {
                            let oversized = Oversized { bytes: *left, ..Oversized::default() };
                            self.taking = Taking::Nothing;
                            return Step::Oversized(Box::new(oversized));
                        }
                        let len = *left as usize;
                        if unread < len {
                            return Step::NeedMore;
                        }
                        self.stage = Stage::Done;
                        self.taking = Taking::Nothing;
                        return Step::Json(Place { gathered: false, start: 0, len, consumed: len });
                    }
                    if *left == 0 {
                        self.stage = Stage::Done;
                        continue;
                    }
                    let n = unread.min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if n == 0 {
                        return Step::NeedMore;
                    }
                    *left -= n as u64;
                    let gone = self.piece(inbox, 0, n, pool);
                    inbox.consume(n);
                    if let Some(step) = gone {
                        return step;
                    }
                }
                Stage::Chunks(chunked) => match chunked.next(inbox.unread()) {
                    Ok(Piece::Data { data, consumed }) => {
                        let gone = self.piece(inbox, data.start, data.len(), pool);
                        inbox.consume(consumed);
                        if let Some(step) = gone {
                            return step;
                        }
                    }
                    Ok(Piece::NeedMore { consumed }) => {
                        inbox.consume(consumed);
                        return Step::NeedMore;
                    }
                    Ok(Piece::End { consumed }) => {
                        inbox.consume(consumed);
                        self.stage = Stage::Done;
                    }
                    Err(error) => return Step::Broken(error.to_string()),
                },
                Stage::UntilClose => {
                    let n = inbox.unread().len();
                    if n == 0 {
                        return Step::NeedMore;
                    }
                    let gone = self.piece(inbox, 0, n, pool);
                    inbox.consume(n);
                    if let Some(step) = gone {
                        return step;
                    }
                }
                Stage::Done => {
                    if matches!(self.taking, Taking::Json) && !self.gathered.unread().is_empty() {
                        self.taking = Taking::Nothing;
                        let len = self.gathered.unread().len();
                        return Step::Json(Place { gathered: true, start: 0, len, consumed: len });
                    }
                    self.stage = Stage::Head;
                    // An event that was not finished is none (WHATWG, 9.2.6).
                    self.gathered.clear(pool);
                    return Step::End;
                }
            }
        }
    }

    /// The connection has ended, and with it the body that was to end so.
    pub(crate) fn end_with_connection(&mut self) {
        if matches!(self.stage, Stage::UntilClose) {
            self.stage = Stage::Done;
        }
    }

    /// The text at `place`.
    pub(crate) fn frame<'a>(&'a self, inbox: &'a ReceiveBuffer, place: Place) -> Option<FrameRef<'a>> {
        let buffer = if place.gathered { &self.gathered } else { inbox };
        buffer.origin().map(|(chunk, origin)| FrameRef { chunk, start: origin + place.start, len: place.len })
    }

    /// The text at `place` has been read.
    pub(crate) fn consume(&mut self, inbox: &mut ReceiveBuffer, place: Place) {
        if place.gathered { &mut self.gathered } else { inbox }.consume(place.consumed);
    }

    /// The socket is gone.
    pub(crate) fn reset(&mut self, pool: &mut ChunkPool) {
        self.gathered.clear(pool);
        (self.stage, self.taking, self.pending) = (Stage::Head, Taking::Nothing, false);
    }

    /// Takes `len` bytes of a body from `at` on.
    fn piece(&mut self, inbox: &ReceiveBuffer, at: usize, len: usize, pool: &mut ChunkPool) -> Option<Step> {
        match self.taking {
            Taking::Nothing => {}
            Taking::Json if self.gathered.unread().len() + len > self.frame_bytes_max => {
                let bytes = (self.gathered.unread().len() + len) as u64;
                self.taking = Taking::Nothing;
                self.gathered.clear(pool);
                return Some(Step::Oversized(Box::new(Oversized { bytes, ..Oversized::default() })));
            }
            Taking::Json => self.gathered.extend(&inbox.unread()[at..at + len], pool),
            Taking::Events(_) => {
                self.gathered.extend(&inbox.unread()[at..at + len], pool);
                self.pending = true;
            }
        }
        None
    }

    /// The next event among the bytes gathered.
    fn event(&mut self) -> Option<Step> {
        let Taking::Events(events) = &mut self.taking else {
            self.pending = false;
            return None;
        };
        match events.split(self.gathered.unread()) {
            Split::Event { event, consumed } => {
                let place = match &event.data {
                    super::event_stream::Data::Here(data) => {
                        Some(Place { gathered: true, start: data.start, len: data.len(), consumed })
                    }
                    _ => {
                        self.gathered.consume(consumed);
                        None
                    }
                };
                Some(Step::Event(event, place))
            }
            Split::Oversized { line, consumed } => {
                self.gathered.consume(consumed);
                Some(Step::Oversized(line))
            }
            Split::NeedMore { consumed } => {
                self.gathered.consume(consumed);
                self.pending = false;
                None
            }
        }
    }
}
