//! One HTTP/1.1 response after another, taken apart: heads, bodies in whichever framing, and in the bodies either one JSON text,
//! a stream of events, or nothing that anyone wants.
//!
//! A reader is shown the bytes that were received on one socket and says, step by step, what they are. A JSON body with a
//! length is a range of the bytes received: nothing is copied. Bodies in chunks and event streams are put together in a
//! [`Body`], since the framing of HTTP stands between their bytes.
//!
//! Units: bytes. Bounds: `frame_bytes_max` for one JSON body or one event; heads and chunk lines have theirs in `limits.rs`.
//! Owner: one lane. Always: between steps every byte is either unread in the inbox, unread in the body, or done with.
//! Proof: `any_cut_gives_the_same_steps`, below. Follows: RFC 9112, sections 6 and 7; MCP, Streamable HTTP.

use super::{
    body::{Body, Place, Step, Taking, frame_in},
    chunked::{Chunked, Piece},
    head,
};
use crate::base::buffer::{ChunkPool, FrameRef, ReceiveBuffer};

/// The responses of one socket.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    stage: Stage,
    body: Body,
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
    /// The body is whole; not all that it amounts to has been said.
    Done,
}

impl Reader {
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self { stage: Stage::Head, body: Body::new(frame_bytes_max) }
    }

    /// Does the end of the connection end the body properly?
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self.stage, Stage::UntilClose)
    }

    /// Says what to do with the body whose head came last.
    pub(crate) fn take(&mut self, taking: Taking) {
        self.body.take(taking);
    }

    /// A splitter of events within the reader's bound.
    pub(crate) fn events(&self) -> Taking {
        self.body.events()
    }

    /// Says what the next bytes of `inbox` are.
    pub(crate) fn step(&mut self, inbox: &mut ReceiveBuffer, pool: &mut ChunkPool) -> Step {
        loop {
            if let Some(step) = self.body.step(pool) {
                if matches!(step, Step::End) {
                    self.stage = Stage::Head;
                }
                return step;
            }
            match &mut self.stage {
                Stage::Head if inbox.unread().is_empty() => return Step::NeedMore,
                Stage::Head => match head::parse(inbox.unread()) {
                    Ok(Some((head, consumed))) => {
                        inbox.consume(consumed);
                        self.stage = match head.body {
                            head::Body::None => Stage::Length(0),
                            head::Body::Length(bytes) => Stage::Length(bytes),
                            head::Body::Chunked => Stage::Chunks(Chunked::new()),
                            head::Body::UntilClose => Stage::UntilClose,
                        };
                        return Step::Head(head);
                    }
                    Ok(None) => return Step::NeedMore,
                    Err(error) => return Step::Broken(error.to_string()),
                },
                Stage::Length(0) => self.done(),
                Stage::Length(left) if self.body.wants_json() && self.body.may_have(*left) => {
                    let len = *left as usize;
                    if inbox.unread().len() < len {
                        return Step::NeedMore;
                    }
                    self.body.take(Taking::Nothing);
                    self.done();
                    return Step::Json(Place { gathered: false, start: 0, len, consumed: len });
                }
                Stage::Length(left) if self.body.wants_json() => self.body.refuse(*left),
                Stage::Length(left) => {
                    let unread = inbox.unread();
                    let n = unread.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if n == 0 {
                        return Step::NeedMore;
                    }
                    *left -= n as u64;
                    self.body.push(&unread[..n], pool);
                    inbox.consume(n);
                }
                Stage::Chunks(chunked) => match chunked.next(inbox.unread()) {
                    Ok(Piece::Data { data, consumed }) => {
                        self.body.push(&inbox.unread()[data], pool);
                        inbox.consume(consumed);
                    }
                    Ok(Piece::NeedMore { consumed }) => {
                        inbox.consume(consumed);
                        return Step::NeedMore;
                    }
                    Ok(Piece::End { consumed }) => {
                        inbox.consume(consumed);
                        self.done();
                    }
                    Err(error) => return Step::Broken(error.to_string()),
                },
                Stage::UntilClose => {
                    let n = inbox.unread().len();
                    if n == 0 {
                        return Step::NeedMore;
                    }
                    self.body.push(inbox.unread(), pool);
                    inbox.consume(n);
                }
                // The body says that it is over, above.
                Stage::Done => return Step::NeedMore,
            }
        }
    }

    // A body whose framing is somebody else's (HTTP/2): what it amounts to is asked for after each piece.

    /// Adds a piece of the body whose head came last.
    pub(crate) fn feed(&mut self, bytes: &[u8], pool: &mut ChunkPool) {
        self.body.push(bytes, pool);
    }

    /// That was all of it.
    pub(crate) fn feed_end(&mut self) {
        self.body.end();
    }

    /// The text at `place` of a body that was fed.
    pub(crate) fn fed_frame(&self, place: Place) -> Option<FrameRef<'_>> {
        self.body.frame(place)
    }

    /// The text at `place` of a body that was fed has been read.
    pub(crate) fn fed_consume(&mut self, place: Place) {
        self.body.consume(place);
    }

    /// What the pieces amount to; `None` asks for more.
    pub(crate) fn fed_step(&mut self, pool: &mut ChunkPool) -> Option<Step> {
        self.body.step(pool)
    }

    /// The connection has ended, and with it the body that was to end so.
    pub(crate) fn end_with_connection(&mut self) {
        if matches!(self.stage, Stage::UntilClose) {
            self.done();
        }
    }

    /// The text at `place`.
    pub(crate) fn frame<'a>(&'a self, inbox: &'a ReceiveBuffer, place: Place) -> Option<FrameRef<'a>> {
        if place.gathered { self.body.frame(place) } else { frame_in(inbox, place) }
    }

    /// The text at `place` has been read.
    pub(crate) fn consume(&mut self, inbox: &mut ReceiveBuffer, place: Place) {
        if place.gathered { self.body.consume(place) } else { inbox.consume(place.consumed) }
    }

    /// The socket is gone.
    pub(crate) fn reset(&mut self, pool: &mut ChunkPool) {
        self.body.reset(pool);
        self.stage = Stage::Head;
    }

    fn done(&mut self) {
        self.stage = Stage::Done;
        self.body.end();
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::proto::http::{
        event_stream::{Data, Event},
        head::Media,
    };

    /// A bound that is easily met and easily passed.
    const BOUND: usize = 40;

    /// What is said about the bytes, with the texts themselves.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Said {
        Head(u16, Media),
        Json(Vec<u8>),
        Event { id: Option<String>, data: Option<Vec<u8>> },
        Oversized,
        End,
        Broken,
    }

    /// A response, of which the twin knows what it means because it never was bytes.
    #[derive(Clone, Debug)]
    struct Response {
        framing: Framing,
        content: Content,
    }

    #[derive(Clone, Debug)]
    enum Framing {
        Length,
        Chunks(Vec<usize>),
        UntilClose,
    }

    #[derive(Clone, Debug)]
    enum Content {
        /// Status 204: none at all.
        None,
        Json(Vec<u8>),
        /// Events of an id and lines of data, and one that is not finished.
        Events(Vec<(Option<String>, Vec<String>)>, String),
        Other(Vec<u8>),
    }

    impl Response {
        fn body(&self) -> Vec<u8> {
            match &self.content {
                Content::None => Vec::new(),
                Content::Json(bytes) | Content::Other(bytes) => bytes.clone(),
                Content::Events(events, rest) => {
                    let events: String = events.iter().map(|event| written(event) + "\n\n").collect();
                    (events + rest).into_bytes()
                }
            }
        }

        fn bytes(&self) -> Vec<u8> {
            let body = self.body();
            let media = match self.content {
                Content::None => return b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
                Content::Json(_) => "application/json",
                Content::Events(..) => "text/event-stream",
                Content::Other(_) => "text/plain",
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\n");
            match &self.framing {
                Framing::Length => {
                    let length = format!("{head}Content-Length: {}\r\n\r\n", body.len());
                    [length.into_bytes(), body].concat()
                }
                Framing::UntilClose => [head.as_bytes(), b"\r\n", &body].concat(),
                Framing::Chunks(sizes) => {
                    let mut out = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
                    let (mut rest, mut sizes) = (&body[..], sizes.iter().cycle());
                    while !rest.is_empty() {
                        let (chunk, after) = rest.split_at((*sizes.next().unwrap_or(&1)).min(rest.len()));
                        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                        out.extend_from_slice(chunk);
                        out.extend_from_slice(b"\r\n");
                        rest = after;
                    }
                    out.extend_from_slice(b"0\r\n\r\n");
                    out
                }
            }
        }

        /// What the twin says.
        fn meaning(&self, said: &mut Vec<Said>) {
            match &self.content {
                Content::None => said.push(Said::Head(204, Media::Other)),
                Content::Other(_) => said.push(Said::Head(200, Media::Other)),
                Content::Json(bytes) => {
                    said.push(Said::Head(200, Media::Json));
                    match bytes.len() {
                        0 => {}
                        1..=BOUND => said.push(Said::Json(bytes.clone())),
                        _ => said.push(Said::Oversized),
                    }
                }
                Content::Events(events, _) => {
                    said.push(Said::Head(200, Media::EventStream));
                    for event in events {
                        let (id, lines) = event;
                        let data = lines.join("\n").into_bytes();
                        said.push(if written(event).len() > BOUND {
                            Said::Oversized
                        } else {
                            Said::Event { id: id.clone(), data: (!data.is_empty()).then_some(data) }
                        });
                    }
                }
            }
            said.push(Said::End);
        }
    }

    /// An event without the line that ends it.
    fn written((id, lines): &(Option<String>, Vec<String>)) -> String {
        let id = id.iter().map(|id| format!("id: {id}"));
        id.chain(lines.iter().map(|line| format!("data: {line}"))).collect::<Vec<_>>().join("\n")
    }

    /// What a reader says of bytes that come in pieces of these sizes (over and over), and then no more.
    fn read(bytes: &[u8], sizes: &[usize]) -> Vec<Said> {
        let (mut reader, mut inbox, mut pool) =
            (Reader::new(BOUND), ReceiveBuffer::default(), ChunkPool::default());
        let mut said = Vec::new();
        let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
        loop {
            loop {
                let step = reader.step(&mut inbox, &mut pool);
                let text = |reader: &Reader, place| {
                    reader.frame(&inbox, place).map(|frame| frame.bytes().to_vec()).unwrap_or_default()
                };
                match step {
                    Step::NeedMore => break,
                    Step::Head(head) => {
                        said.push(Said::Head(head.status, head.media));
                        let taking = match head.media {
                            Media::Json => Taking::Json,
                            Media::EventStream => reader.events(),
                            Media::Other => Taking::Nothing,
                        };
                        reader.take(taking);
                    }
                    Step::Json(place) => {
                        said.push(Said::Json(text(&reader, place)));
                        reader.consume(&mut inbox, place);
                    }
                    Step::Event(Event { id, data, .. }, place) => {
                        let data = match data {
                            Data::None => None,
                            Data::Joined(text) => Some(text),
                            Data::Here(_) => place.map(|place| text(&reader, place)),
                        };
                        said.push(Said::Event { id: id.map(String::from), data });
                        if let Some(place) = place {
                            reader.consume(&mut inbox, place);
                        }
                    }
                    Step::Oversized(_) => said.push(Said::Oversized),
                    Step::End => said.push(Said::End),
                    Step::Broken(_) => {
                        said.push(Said::Broken);
                        return said;
                    }
                }
            }
            if !rest.is_empty() {
                let (piece, after) = rest.split_at((*sizes.next().unwrap_or(&1)).min(rest.len()));
                inbox.extend(piece, &mut pool);
                rest = after;
            } else if reader.ends_with_connection() {
                reader.end_with_connection();
            } else {
                return said;
            }
        }
    }

    fn content() -> impl Strategy<Value = Content> {
        let event = (option::of("[a-z]{1,8}"), vec("[a-z{}:]{1,30}", 0..3))
            .prop_filter("an event has a line", |(id, lines)| id.is_some() || !lines.is_empty());
        prop_oneof![
            1 => Just(Content::None),
            4 => vec(any::<u8>(), 0..BOUND * 2).prop_map(Content::Json),
            4 => (vec(event, 0..5), "(data: [a-z]{0,60})?").prop_map(|(events, rest)| Content::Events(events, rest)),
            1 => vec(any::<u8>(), 0..100).prop_map(Content::Other),
        ]
    }

    fn framing() -> impl Strategy<Value = Framing> {
        prop_oneof![Just(Framing::Length), vec(1..50_usize, 1..5).prop_map(Framing::Chunks)]
    }

    proptest! {
        /// Responses on one socket, the last of which may end with it, mean the same however they are cut.
        #[test]
        fn any_cut_gives_the_same_steps(
            kept in vec((framing(), content()), 0..5),
            last in option::of(content()),
            sizes in vec(1..80_usize, 1..20),
        ) {
            let kept = kept.into_iter().map(|(framing, content)| Response { framing, content });
            let last = last.map(|content| Response { framing: Framing::UntilClose, content });
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for response in kept.chain(last) {
                bytes.extend(response.bytes());
                response.meaning(&mut expected);
            }
            prop_assert_eq!(&read(&bytes, &sizes), &expected);
            prop_assert_eq!(&read(&bytes, &[1]), &expected);
            prop_assert_eq!(&read(&bytes, &[usize::MAX]), &expected);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..200), sizes in vec(1..50_usize, 1..5)) {
            let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            read(&bytes, &sizes);
            read(&[&head[..], &bytes].concat(), &sizes);
        }
    }

    #[test]
    fn a_json_body_with_a_length_is_not_copied() {
        let (mut reader, mut inbox, mut pool) =
            (Reader::new(BOUND), ReceiveBuffer::default(), ChunkPool::default());
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n";
        inbox.extend(format!("{head}{{}}").as_bytes(), &mut pool);
        assert!(matches!(reader.step(&mut inbox, &mut pool), Step::Head(_)));
        reader.take(Taking::Json);
        let Step::Json(place) = reader.step(&mut inbox, &mut pool) else { panic!("the body is there") };
        assert_eq!(reader.frame(&inbox, place).unwrap().bytes(), b"{}");
        assert!(!place.gathered);
        reader.consume(&mut inbox, place);
        assert!(matches!(reader.step(&mut inbox, &mut pool), Step::End));
        assert!(matches!(reader.stage, Stage::Head) && inbox.unread().is_empty());
    }

    #[test]
    fn a_length_beyond_the_bound_is_told_before_the_body_comes() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 41\r\n\r\n";
        assert_eq!(read(head.as_bytes(), &[7]), [Said::Head(200, Media::Json), Said::Oversized]);
    }
}
