//! The body of one response, freed of how it was framed: one JSON text, a stream of events, or nothing that anyone wants.
//!
//! A body is shown its bytes in pieces and says what they amount to. Where the framing stands between the bytes (chunks of
//! HTTP/1.1, frames of HTTP/2) they are put together in a buffer of the body's own; a JSON text that lies in one piece where
//! it was received never comes here, see [`reader`](super::reader).
//!
//! Units: bytes. Cost: one copy of what is wanted. Bound: `frame_bytes_max` for a JSON text or an event; what is longer is
//! dropped and said to be. Owner: one lane. Always: between steps every byte pushed is unread in `gathered` or done with.
//! Proof: `any_cut_gives_the_same_steps`, in `reader`; `steps_come_in_the_order_of_the_bytes`, below.

use super::{
    event_stream::{Data, Event, EventStream, Split},
    head::Head,
};
use crate::{
    base::buffer::{ChunkPool, FrameRef, ReceiveBuffer},
    proto::framing::newline::Oversized,
};

/// The body that is being read.
#[derive(Debug, Default)]
pub(crate) struct Body {
    taking: Taking,
    gathered: ReceiveBuffer,
    /// `gathered` may hold a whole event.
    pending: bool,
    /// A JSON text was longer than the bound, by then of so many bytes, and nobody has been told.
    oversized: Option<u64>,
    /// Nothing is added any more.
    ended: bool,
    frame_bytes_max: usize,
}

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

/// What the next bytes of a response are.
#[derive(Debug)]
pub(crate) enum Step {
    /// More bytes are needed.
    NeedMore,
    /// A head. Say what to do with its body before the next step.
    Head(Head),
    /// A whole JSON body; an empty one is none.
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

/// Where a text stands. It is there until it is consumed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// In the body's own buffer; else where it was received.
    pub(super) gathered: bool,
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) consumed: usize,
}

impl Body {
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max, ..Self::default() }
    }

    /// Says what to do with the body that begins.
    pub(crate) fn take(&mut self, taking: Taking) {
        self.taking = taking;
    }

    /// A splitter of events within the bound.
    pub(crate) fn events(&self) -> Taking {
        Taking::Events(EventStream::new(self.frame_bytes_max))
    }

    /// Adds the next bytes. What they amount to, the steps say: all of them before more is added.
    pub(crate) fn push(&mut self, bytes: &[u8], pool: &mut ChunkPool) {
        match self.taking {
            Taking::Nothing => {}
            Taking::Json => {
                let all = self.gathered.unread().len() + bytes.len();
                if all > self.frame_bytes_max {
                    self.refuse(all as u64);
                    self.gathered.clear(pool);
                } else {
                    self.gathered.extend(bytes, pool);
                }
            }
            Taking::Events(_) => {
                self.gathered.extend(bytes, pool);
                self.pending = true;
            }
        }
    }

    /// Nothing is to be added any more.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// What the bytes amount to; `None` asks for more. [`Step::End`] comes once, and the next body may begin.
    pub(crate) fn step(&mut self, pool: &mut ChunkPool) -> Option<Step> {
        if let Some(bytes) = self.oversized.take() {
            return Some(Step::Oversized(Box::new(Oversized { bytes, ..Oversized::default() })));
        }
        if self.pending
            && let Some(step) = self.event()
        {
            return Some(step);
        }
        if !self.ended {
            return None;
        }
        if matches!(self.taking, Taking::Json) && !self.gathered.unread().is_empty() {
            self.taking = Taking::Nothing;
            let len = self.gathered.unread().len();
            return Some(Step::Json(Place { gathered: true, start: 0, len, consumed: len }));
        }
        // An event that was not finished is none (WHATWG, 9.2.6).
        self.reset(pool);
        Some(Step::End)
    }

    /// The text at `place`, which is one of this body's.
    pub(crate) fn frame(&self, place: Place) -> Option<FrameRef<'_>> {
        frame_in(&self.gathered, place)
    }

    /// The text at `place` has been read.
    pub(crate) fn consume(&mut self, place: Place) {
        self.gathered.consume(place.consumed);
    }

    /// Whatever there was is void.
    pub(crate) fn reset(&mut self, pool: &mut ChunkPool) {
        self.gathered.clear(pool);
        (self.taking, self.pending, self.oversized, self.ended) = (Taking::Nothing, false, None, false);
    }

    /// Is one JSON text wanted, of which nothing has come?
    pub(super) fn wants_json(&self) -> bool {
        matches!(self.taking, Taking::Json)
    }

    /// May a body have so many bytes?
    pub(super) fn may_have(&self, bytes: u64) -> bool {
        bytes <= self.frame_bytes_max as u64
    }

    /// The body has more bytes than it may; they are dropped as they come.
    pub(super) fn refuse(&mut self, bytes: u64) {
        self.taking = Taking::Nothing;
        self.oversized = Some(bytes);
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
                    Data::Here(data) => {
                        Some(Place { gathered: true, start: data.start, len: data.len(), consumed })
                    }
                    Data::None | Data::Joined(_) => {
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

/// The text at `place` of a buffer.
pub(super) fn frame_in(buffer: &ReceiveBuffer, place: Place) -> Option<FrameRef<'_>> {
    buffer.origin().map(|(chunk, origin)| FrameRef { chunk, start: origin + place.start, len: place.len })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All steps there are, as text.
    fn steps(body: &mut Body, pool: &mut ChunkPool) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(step) = body.step(pool) {
            let text = |place: Place| {
                let frame = body.frame(place).expect("a place of this body");
                String::from_utf8_lossy(frame.bytes()).into_owned()
            };
            match step {
                Step::Json(place) => {
                    said.push(format!("json {}", text(place)));
                    body.consume(place);
                }
                Step::Event(_, Some(place)) => {
                    said.push(format!("event {}", text(place)));
                    body.consume(place);
                }
                Step::Event(_, None) => said.push("event".to_owned()),
                Step::Oversized(oversized) => said.push(format!("oversized {}", oversized.bytes)),
                Step::End => said.push("end".to_owned()),
                Step::NeedMore | Step::Head(_) | Step::Broken(_) => said.push("not of a body".to_owned()),
            }
        }
        said
    }

    #[test]
    fn steps_come_in_the_order_of_the_bytes() {
        let (mut body, mut pool) = (Body::new(16), ChunkPool::default());
        body.take(body.events());
        body.push(b"data: 1\n\ndata: 2\n\nid: 3\n\nda", &mut pool);
        assert_eq!(steps(&mut body, &mut pool), ["event 1", "event 2", "event"]);
        body.push(b"ta: 4\n\ndata: unfinished", &mut pool);
        body.end();
        assert_eq!(steps(&mut body, &mut pool), ["event 4", "end"]);
        body.take(Taking::Json);
        body.push(b"{\"a\"", &mut pool);
        assert!(steps(&mut body, &mut pool).is_empty());
        body.push(b":1}", &mut pool);
        body.end();
        assert_eq!(steps(&mut body, &mut pool), ["json {\"a\":1}", "end"]);
        body.push(b"nobody wants this", &mut pool);
        body.end();
        assert_eq!(steps(&mut body, &mut pool), ["end"]);
    }

    #[test]
    fn a_text_beyond_the_bound_is_told_once_and_not_kept() {
        let (mut body, mut pool) = (Body::new(16), ChunkPool::default());
        body.take(Taking::Json);
        body.push(&[b' '; 16], &mut pool);
        assert!(steps(&mut body, &mut pool).is_empty());
        body.push(b"1", &mut pool);
        assert_eq!(steps(&mut body, &mut pool), ["oversized 17"]);
        body.push(&[b' '; 1000], &mut pool);
        assert!(body.gathered.unread().is_empty());
        body.end();
        assert_eq!(steps(&mut body, &mut pool), ["end"]);
    }
}
