//! Event streams (`text/event-stream`): the bytes of a body become lines, the lines become events.
//!
//! A state machine over a buffer that the caller owns, as the newline framing is one. The bytes of an event stay
//! in the buffer until its blank line has come, so that the data of an event with one `data` line, which is to say
//! of nearly all, is a range and no copy. How far the lines were read is remembered. Between events nothing stays:
//! blank lines and comments, which servers send to keep a connection alive, are consumed as they come.
//!
//! Unit: bytes of the body, of which each goes through the search for line ends once. Cost: that search and some
//! tens of instructions a line; memory for an id and for data of several lines. Owner: one exchange, on one thread.
//! Always: what stays in the buffer after [`Split::NeedMore`] is at most `event_bytes_max` bytes of one event and
//! the end of its last line. Proof: `any_cut_gives_the_same_events`, below. Follows: WHATWG HTML, section 9.2,
//! "Server-sent events"; MCP 2025-11-25, basic/transports, for events without data.

use std::ops::Range;

use memchr::{memchr, memchr2};

use crate::proto::framing::newline::Oversized;

/// What the next bytes are.
#[derive(Debug)]
pub(crate) enum Split {
    /// One event. Its ranges are of the bytes that were shown, of which `consumed` may be dropped from the front once
    /// it has been read.
    Event { event: Event, consumed: usize },
    /// An event longer than the bound has ended: the size and the edges of its data.
    Oversized { line: Box<Oversized>, consumed: usize },
    /// No whole event. `consumed` bytes may be dropped from the front; the rest must be shown again, followed by
    /// more. If nothing follows, an event that was begun is to be forgotten.
    NeedMore { consumed: usize },
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: Name,
    pub(crate) data: Data,
    /// The value of `id`, if the event had one: an empty one means that what went before no longer holds.
    pub(crate) id: Option<Box<str>>,
    /// The value of `retry`, if the event had one made of digits.
    pub(crate) retry_ms: Option<u64>,
}

/// The value of `event`: the kinds that MCP knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Name {
    /// `message`, or none.
    #[default]
    Message,
    /// `endpoint`, by which a server of 2024-11-05 says where to send.
    Endpoint,
    /// Any other, to be ignored.
    Other,
}

/// The data of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// None, or only empty lines: an event that carries an id or a time to wait, and no message.
    None,
    /// One line, in the bytes that were shown.
    Here(Range<usize>),
    /// Several lines, joined by line feeds.
    Joined(Vec<u8>),
}

/// The splitter of one body.
///
/// Invariant: `line_start <= scanned`, and from the one to the other, counted from the first byte shown next, there
/// is no line end. Both are above zero only inside an event, whose first byte then is the first one shown.
#[derive(Debug)]
pub(crate) struct EventStream {
    event_bytes_max: usize,
    place: Place,
    /// The last byte looked at was a carriage return that ended a line: a line feed now would be its other half.
    after_return: bool,
    line_start: usize,
    scanned: usize,
    event: Draft,
    comments: u64,
}

/// What the first byte shown next belongs to.
#[derive(Debug)]
enum Place {
    /// The body, or a byte-order mark before it.
    Start,
    /// A line, of which nothing is known, after the end of an event.
    Between,
    /// A comment between two events.
    Comment,
    /// The first line of an event.
    Event,
    /// A line of an event that is too long.
    Skipped(Box<Oversized>, SkippedLine),
}

/// A line of an event that is too long.
#[derive(Clone, Copy, Debug)]
enum SkippedLine {
    Start,
    Data,
    Comment,
    Other,
}

/// What the lines of an event have said so far.
#[derive(Debug, Default)]
struct Draft {
    name: Name,
    id: Option<Box<str>>,
    retry_ms: Option<u64>,
    data_lines: usize,
    /// Where the data lies, from the event's first byte on, while there is one line of it.
    line: Range<usize>,
    /// The data, once there are several lines.
    joined: Vec<u8>,
}

impl EventStream {
    /// A splitter at the start of a body.
    ///
    /// An event may have `event_bytes_max` bytes, from the first of its first line to the last of its last, the ends
    /// of the lines between them included. Comments before it are not counted, those inside are. A buffer with room
    /// for three bytes more never gets stuck.
    pub(crate) fn new(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            place: Place::Start,
            after_return: false,
            line_start: 0,
            scanned: 0,
            event: Draft::default(),
            comments: 0,
        }
    }

    /// Says what the next bytes are. `unread` is all that was received and not yet consumed.
    ///
    /// # Panics
    ///
    /// When bytes that were not consumed are missing from `unread`: a bug of the caller.
    pub(crate) fn split(&mut self, unread: &[u8]) -> Split {
        let mut consumed = 0;
        loop {
            let rest = &unread[consumed..];
            match &mut self.place {
                Place::Start if rest.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(rest) => {
                    return Split::NeedMore { consumed };
                }
                Place::Start => {
                    self.place = Place::Between;
                    if rest.starts_with(&BYTE_ORDER_MARK) {
                        consumed += BYTE_ORDER_MARK.len();
                    }
                }
                Place::Between => {
                    let Some(first) = rest.first() else { return Split::NeedMore { consumed } };
                    match first {
                        b'\r' | b'\n' => {
                            self.after_return = *first == b'\r';
                            consumed += 1;
                        }
                        b':' => self.place = Place::Comment,
                        _ => {
                            self.after_return = false;
                            self.place = Place::Event;
                        }
                    }
                }
                Place::Comment => match self.line_end(rest) {
                    Some(end) => {
                        self.comments += 1;
                        self.place = Place::Between;
                        self.restart_lines();
                        consumed += end + 1;
                    }
                    None => {
                        self.restart_lines();
                        return Split::NeedMore { consumed: unread.len() };
                    }
                },
                Place::Event => {
                    if let Some(split) = self.split_event(rest, &mut consumed) {
                        return split;
                    }
                }
                Place::Skipped(..) => {
                    if let Some(split) = self.split_skipped(rest, &mut consumed) {
                        return split;
                    }
                }
            }
        }
    }

    /// Comments so far: lines that begin with a colon and have ended.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn comments(&self) -> u64 {
        self.comments
    }

    /// Reads the lines of an event that begins with `rest`. `None` if it turned out to be too long.
    fn split_event(&mut self, rest: &[u8], consumed: &mut usize) -> Option<Split> {
        loop {
            if self.after_return && self.scanned == self.line_start && self.scanned < rest.len() {
                self.after_return = false;
                self.line_start += usize::from(rest[self.line_start] == b'\n');
                self.scanned = self.line_start;
            }
            let end = self.line_end(rest);
            let line_end = end.unwrap_or(rest.len());
            if line_end == self.line_start {
                if end.is_none() {
                    return Some(Split::NeedMore { consumed: *consumed });
                }
                let event = std::mem::take(&mut self.event).finish(*consumed);
                self.place = Place::Between;
                self.restart_lines();
                return Some(Split::Event { event, consumed: *consumed + line_end + 1 });
            }
            if line_end > self.event_bytes_max {
                self.place = Place::Skipped(self.event.overflow(rest), SkippedLine::Start);
                // The line goes on to be read from its start, and to be searched from where the search was.
                *consumed += self.line_start;
                self.scanned -= self.line_start;
                self.line_start = 0;
                return None;
            }
            if end.is_none() {
                return Some(Split::NeedMore { consumed: *consumed });
            }
            self.comments += u64::from(rest[self.line_start] == b':');
            self.event.take_line(rest, self.line_start..line_end);
            self.line_start = line_end + 1;
            self.scanned = self.line_start;
        }
    }

    /// Reads on, one line or what there is of it, in an event that is too long. `None` if there is more to read.
    fn split_skipped(&mut self, rest: &[u8], consumed: &mut usize) -> Option<Split> {
        let Place::Skipped(oversized, line) = &mut self.place else { return None };
        if let SkippedLine::Start = line {
            let value_start = match rest {
                [] => return Some(Split::NeedMore { consumed: *consumed }),
                [b'\n', ..] if self.after_return => {
                    self.after_return = false;
                    *consumed += 1;
                    return None;
                }
                [end @ (b'\r' | b'\n'), ..] => {
                    let line = std::mem::take(oversized);
                    self.after_return = *end == b'\r';
                    self.event = Draft::default();
                    self.place = Place::Between;
                    return Some(Split::Oversized { line, consumed: *consumed + 1 });
                }
                // Where its value begins, if it has one, is seen with the next byte or two.
                [b'd'] | [b'd', b'a'] | [b'd', b'a', b't'] | b"data" | b"data:" => {
                    self.after_return = false;
                    return Some(Split::NeedMore { consumed: *consumed });
                }
                [b'd', b'a', b't', b'a', b':', b' ', ..] => Some("data: ".len()),
                [b'd', b'a', b't', b'a', b':', ..] => Some("data:".len()),
                [b'd', b'a', b't', b'a', b'\r' | b'\n', ..] => Some("data".len()),
                _ => None,
            };
            self.after_return = false;
            *line = match value_start {
                Some(_) => SkippedLine::Data,
                None if rest[0] == b':' => SkippedLine::Comment,
                None => SkippedLine::Other,
            };
            if let Some(value_start) = value_start {
                if self.event.data_lines > 0 {
                    oversized.push(b"\n");
                }
                self.event.data_lines += 1;
                *consumed += value_start;
                self.scanned = self.scanned.saturating_sub(value_start);
                return None;
            }
        }
        let end = line_end_from(rest, self.scanned);
        let piece = &rest[..end.unwrap_or(rest.len())];
        if let SkippedLine::Data = line {
            oversized.push(piece);
        }
        *consumed += piece.len();
        self.scanned = 0; // These bytes are gone with this call, and the cursor with them.
        let Some(end) = end else { return Some(Split::NeedMore { consumed: *consumed }) };
        self.comments += u64::from(matches!(line, SkippedLine::Comment));
        *line = SkippedLine::Start;
        self.after_return = rest[end] == b'\r';
        *consumed += 1;
        None
    }

    /// Where the line ends, if that is in sight, looking only at bytes not looked at before.
    fn line_end(&mut self, rest: &[u8]) -> Option<usize> {
        let found = line_end_from(rest, self.scanned);
        self.scanned = found.unwrap_or(rest.len());
        if let Some(end) = found {
            self.after_return = rest[end] == b'\r';
        }
        found
    }

    /// The next bytes shown begin a line, and none of them was looked at.
    fn restart_lines(&mut self) {
        self.line_start = 0;
        self.scanned = 0;
    }
}

impl Draft {
    /// Takes what the line at `line` says.
    fn take_line(&mut self, event: &[u8], line: Range<usize>) {
        let text = &event[line.clone()];
        let colon = memchr(b':', text).unwrap_or(text.len());
        let (field, after) = text.split_at(colon);
        let value = match after {
            [b':', b' ', value @ ..] | [b':', value @ ..] => value,
            _ => after,
        };
        match field {
            b"data" => {
                self.data_lines += 1;
                if self.data_lines == 1 {
                    self.line = line.end - value.len()..line.end;
                    return;
                }
                if self.data_lines == 2 {
                    self.joined.extend_from_slice(&event[self.line.clone()]);
                }
                self.joined.push(b'\n');
                self.joined.extend_from_slice(value);
            }
            b"event" => {
                self.name = match value {
                    b"message" | b"" => Name::Message,
                    b"endpoint" => Name::Endpoint,
                    _ => Name::Other,
                }
            }
            b"id" if !value.contains(&0) => self.id = Some(String::from_utf8_lossy(value).into()),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                // A number beyond 64 bits is none that anybody means.
                let number = str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                self.retry_ms = number.or(self.retry_ms);
            }
            _ => {}
        }
    }

    /// The event, whose first byte is at `start` in the bytes shown.
    fn finish(self, start: usize) -> Event {
        let data = match self.data_lines {
            0 => Data::None,
            1 if self.line.is_empty() => Data::None,
            1 => Data::Here(start + self.line.start..start + self.line.end),
            _ if self.joined.iter().all(|byte| *byte == b'\n') => Data::None,
            _ => Data::Joined(self.joined),
        };
        Event { name: self.name, data, id: self.id, retry_ms: self.retry_ms }
    }

    /// The edges of the data so far, of an event that begins with `event` and is too long. Of the draft remains how
    /// many lines of data there were.
    fn overflow(&mut self, event: &[u8]) -> Box<Oversized> {
        let draft = std::mem::take(self);
        let mut oversized = Box::<Oversized>::default();
        match draft.data_lines {
            0 => {}
            1 => oversized.push(&event[draft.line]),
            _ => oversized.push(&draft.joined),
        }
        self.data_lines = draft.data_lines;
        oversized
    }
}

fn line_end_from(rest: &[u8], start: usize) -> Option<usize> {
    memchr2(b'\r', b'\n', &rest[start..]).map(|at| start + at)
}

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// The twin: it has all bytes at once, cuts them into lines and looks at each.
#[cfg(any(test, feature = "internals"))]
pub(crate) mod naive {
    use super::{Data, EventStream, Name, Oversized, Place, Split};
    use crate::proto::framing::newline::EDGE_BYTES_MAX;

    /// All that can be said about a body.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(crate) struct Account {
        pub(crate) told: Vec<Told>,
        pub(crate) comments: u64,
    }

    #[derive(Debug, PartialEq, Eq)]
    pub(crate) enum Told {
        /// `data` is empty for [`Data::None`].
        Event {
            name: Name,
            data: Vec<u8>,
            id: Option<Box<str>>,
            retry_ms: Option<u64>,
        },
        Oversized(Oversized),
    }

    /// The account of the twin.
    pub(crate) fn account(stream: &[u8], event_bytes_max: usize) -> Account {
        let stream = stream.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(stream);
        let mut account = Account::default();
        // The lines of the event, and where its first one begins.
        let mut event: Vec<&[u8]> = Vec::new();
        let mut event_start = 0;
        let mut is_too_long = false;
        let mut at = 0;
        while let Some(length) = stream[at..].iter().position(|byte| b"\r\n".contains(byte)) {
            let line = &stream[at..at + length];
            let is_comment = line.first() == Some(&b':');
            account.comments += u64::from(is_comment);
            if event.is_empty() {
                event_start = at;
            }
            if !line.is_empty() && (!is_comment || !event.is_empty()) {
                event.push(line);
                is_too_long |= at + length - event_start > event_bytes_max;
            }
            if line.is_empty() && !event.is_empty() {
                account.told.push(told(&event, is_too_long));
                event.clear();
                is_too_long = false;
            }
            at += length + if stream[at + length..].starts_with(b"\r\n") { 2 } else { 1 };
        }
        account
    }

    fn told(lines: &[&[u8]], is_too_long: bool) -> Told {
        let values = |wanted: &[u8]| -> Vec<Vec<u8>> {
            let field = |line: &&[u8]| {
                let mut halves = line.splitn(2, |byte| *byte == b':');
                let is_wanted = halves.next() == Some(wanted);
                let value = halves.next().unwrap_or_default();
                is_wanted.then(|| value.strip_prefix(b" ").unwrap_or(value).to_vec())
            };
            lines.iter().filter_map(field).collect()
        };
        let data = values(b"data").join(&b'\n');
        if is_too_long {
            let edge = data.len().min(EDGE_BYTES_MAX);
            return Told::Oversized(Oversized {
                bytes: data.len() as u64,
                head: data[..edge].to_vec(),
                tail: data[data.len() - edge..].to_vec(),
            });
        }
        let name = values(b"event").pop().unwrap_or_default();
        let digits = |value: Vec<u8>| String::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
        Told::Event {
            name: match String::from_utf8_lossy(&name).as_ref() {
                "" | "message" => Name::Message,
                "endpoint" => Name::Endpoint,
                _ => Name::Other,
            },
            data: if data.iter().any(|byte| *byte != b'\n') { data } else { Vec::new() },
            id: values(b"id")
                .into_iter()
                .rfind(|id| !id.contains(&0))
                .map(|id| String::from_utf8_lossy(&id).into()),
            retry_ms: values(b"retry")
                .into_iter()
                .filter_map(|value| digits(value)?.parse().ok())
                .next_back(),
        }
    }

    /// The account of the splitter, told by a reader that receives the body in pieces of these sizes (the last size
    /// goes on for ever) and keeps what the splitter leaves.
    pub(crate) fn account_in_pieces(
        stream: &[u8],
        event_bytes_max: usize,
        sizes: impl IntoIterator<Item = usize>,
    ) -> Account {
        let mut splitter = EventStream::new(event_bytes_max);
        let mut account = Account::default();
        let mut buffer = Vec::new();
        let mut rest = stream;
        let mut sizes = sizes.into_iter();
        let mut size = 1;
        while !rest.is_empty() {
            size = sizes.next().unwrap_or(size);
            let (piece, after) = rest.split_at(size.clamp(1, rest.len()));
            rest = after;
            buffer.extend_from_slice(piece);
            loop {
                let unread_bytes = buffer.len();
                let (told, consumed) = match splitter.split(&buffer) {
                    Split::Event { event, consumed } => {
                        let data = match event.data {
                            Data::None => Vec::new(),
                            Data::Here(range) => buffer[range].to_vec(),
                            Data::Joined(data) => data,
                        };
                        let (name, id, retry_ms) = (event.name, event.id, event.retry_ms);
                        (Told::Event { name, data, id, retry_ms }, consumed)
                    }
                    Split::Oversized { line, consumed } => (Told::Oversized(*line), consumed),
                    Split::NeedMore { consumed } => {
                        buffer.drain(..consumed);
                        break;
                    }
                };
                assert!(consumed > 0 && consumed <= unread_bytes, "{consumed} of {unread_bytes} bytes");
                buffer.drain(..consumed);
                account.told.push(told);
            }
            // What stays is bounded and was searched already, but for the start of a body or of a line in an event
            // that is too long, of which a few bytes are looked at twice.
            match splitter.place {
                Place::Event => {
                    assert_eq!(splitter.scanned, buffer.len(), "the cursor is not at the end");
                    assert!(buffer.len() <= event_bytes_max + 2, "{} bytes kept", buffer.len());
                }
                Place::Start => assert!(buffer.len() < 3, "{} bytes kept", buffer.len()),
                Place::Skipped(..) => assert!(buffer.len() < 6, "{} bytes kept", buffer.len()),
                Place::Between | Place::Comment => assert_eq!(buffer, b"", "bytes kept between events"),
            }
        }
        account.comments = splitter.comments();
        account
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::naive::{Account, Told, account, account_in_pieces};
    use super::*;

    /// What bodies are made of, and what they should not be made of.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let fixed = |text: &'static str| Just(text.as_bytes().to_vec());
        let line = prop_oneof![
            4 => fixed("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}"),
            2 => fixed("data:żółć 😀"),
            1 => fixed("data"),
            1 => fixed("data:"),
            1 => fixed("data:  : x "),
            1 => fixed("datum: x"),
            2 => fixed("event: message"),
            1 => fixed("event:endpoint"),
            1 => fixed("event"),
            2 => fixed("id: 7_1"),
            1 => fixed("id:a\0b"),
            1 => fixed("id"),
            1 => fixed("retry: 3000"),
            1 => fixed("retry: +3"),
            1 => fixed("retry: 99999999999999999999"),
            2 => fixed(": ping"),
            1 => fixed(":"),
            1 => fixed("\u{FEFF}"),
            1 => vec(any::<u8>(), 0..6),
            1 => (0..700_usize).prop_map(|bytes| {
                let data = (0..bytes).map(|at| b'a' + (at % 26) as u8);
                b"data: ".iter().copied().chain(data).collect()
            }),
        ];
        let line =
            (line, prop_oneof![fixed("\n"), fixed("\r\n"), fixed("\r"), fixed("\n\n"), fixed("\r\n\r\n")]);
        let lines = vec(line.prop_map(|(line, end)| [line, end].concat()), 0..30);
        (prop_oneof![fixed(""), fixed("\u{FEFF}")], lines)
            .prop_map(|(mark, lines)| [mark, lines.concat()].concat())
    }

    proptest! {
        /// However the body is cut, the splitter tells what one tells who has all of it.
        #[test]
        fn any_cut_gives_the_same_events(
            stream in stream(),
            event_bytes_max in prop_oneof![0..60_usize, Just(300), Just(100_000)],
            sizes in vec(1..100_usize, 0..50),
        ) {
            let expected = account(&stream, event_bytes_max);
            prop_assert_eq!(&account_in_pieces(&stream, event_bytes_max, sizes), &expected);
            prop_assert_eq!(&account_in_pieces(&stream, event_bytes_max, [1]), &expected);
            prop_assert_eq!(&account_in_pieces(&stream, event_bytes_max, [stream.len()]), &expected);
        }
    }

    fn message(data: &str) -> Told {
        Told::Event { name: Name::Message, data: data.into(), id: None, retry_ms: None }
    }

    /// What a body tells, however it is cut.
    fn told(stream: &str) -> Vec<Told> {
        let Account { told, .. } = account_in_pieces(stream.as_bytes(), 1_000, [stream.len()]);
        for size in [1, 2, 3, 7] {
            assert_eq!(account_in_pieces(stream.as_bytes(), 1_000, [size]).told, told, "in pieces of {size}");
        }
        told
    }

    #[test]
    fn one_line_of_data_is_not_copied() {
        let mut splitter = EventStream::new(1_000);
        let stream = b"\r\n: hello\nevent: message\r\ndata: {}\r\nid: 5\r\n\r\ndata";
        let Split::Event { event, consumed } = splitter.split(stream) else { panic!("no event") };
        assert_eq!(event.data, Data::Here(32..34));
        assert_eq!(&stream[32..34], b"{}");
        assert_eq!((event.name, event.id.as_deref(), event.retry_ms), (Name::Message, Some("5"), None));
        assert_eq!(splitter.comments(), 1);
        assert!(matches!(splitter.split(&stream[consumed..]), Split::NeedMore { consumed: 1 }));
        assert!(matches!(splitter.split(b"data"), Split::NeedMore { consumed: 0 }));
    }

    #[test]
    fn every_line_end_ends_a_line() {
        let expected = [message("{}"), message("[]")];
        for end in ["\n", "\r", "\r\n"] {
            assert_eq!(told(&"data: {}||data: []||".replace('|', end)), expected, "{end:?}");
        }
        assert_eq!(told("data: {}\n\r\ndata: []\r\r"), expected);
        assert_eq!(told("data: {}\r\n\ndata: []\n\r"), expected);
        assert_eq!(told("data: {}\r\n"), [], "half a line end is no blank line");
    }

    #[test]
    fn an_event_ends_with_the_carriage_return_already() {
        let mut splitter = EventStream::new(1_000);
        assert!(matches!(splitter.split(b"data:1\r\n\r"), Split::Event { consumed: 9, .. }));
        assert!(matches!(splitter.split(b"\n"), Split::NeedMore { consumed: 1 }));
        assert!(matches!(splitter.split(b"\n"), Split::NeedMore { consumed: 1 }));
    }

    #[test]
    fn data_of_several_lines_is_joined() {
        assert_eq!(told("data: {\ndata:  1\ndata\n: between\ndata:}\n\n"), [message("{\n 1\n\n}")]);
    }

    #[test]
    fn an_event_without_data_carries_no_message() {
        let priming = |id: Option<&str>, retry_ms| {
            let id = id.map(Into::into);
            Told::Event { name: Name::Message, data: Vec::new(), id, retry_ms }
        };
        assert_eq!(told("id: 0\ndata:\n\n"), [priming(Some("0"), None)]);
        assert_eq!(told("data\ndata: \nid\n\n"), [priming(Some(""), None)]);
        assert_eq!(told("retry: 250\n\n"), [priming(None, Some(250))]);
        assert_eq!(told("retry: 2s\nretry:\nid: a\0\n\n"), [priming(None, None)]);
        assert_eq!(told(": only a comment\n\n\n:\n\n"), []);
    }

    #[test]
    fn the_name_says_whether_it_is_a_message() {
        let named = |name| Told::Event { name, data: b"/m?s=1".to_vec(), id: None, retry_ms: None };
        assert_eq!(told("event: endpoint\ndata: /m?s=1\n\n"), [named(Name::Endpoint)]);
        assert_eq!(told("data: /m?s=1\nevent: ping\n\n"), [named(Name::Other)]);
        assert_eq!(told("event: Message\ndata: /m?s=1\n\n"), [named(Name::Other)], "case counts");
        assert_eq!(told("event: ping\nevent\ndata: /m?s=1\n\n"), [named(Name::Message)], "the last counts");
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_once() {
        assert_eq!(told("\u{FEFF}data: 1\n\n"), [message("1")]);
        assert_eq!(told("\u{FEFF}\u{FEFF}data: 1\n\n"), [message("")], "a field of another name");
    }

    #[test]
    fn an_unfinished_event_is_no_event() {
        assert_eq!(told("data: 1\n\ndata: 2\n"), [message("1")]);
    }

    #[test]
    fn the_bound_itself_is_allowed() {
        let of = |stream: &[u8]| account_in_pieces(stream, 10, [1]).told;
        assert_eq!(of(b"data:1\nid:\r\n\r\n").len(), 1);
        assert!(matches!(of(b"data:1\nid:\r\n\r\n")[..], [Told::Event { .. }]));
        assert!(matches!(of(b"data:1\r\nid:\r\n\r\n")[..], [Told::Oversized(_)]));
        assert!(matches!(of(b": long before it\ndata:1\nid:\n\n")[..], [Told::Event { .. }]));
    }

    #[test]
    fn a_long_event_is_skipped_and_the_next_is_read() {
        let mut splitter = EventStream::new(12);
        assert!(matches!(splitter.split(b"data:12\nid: 345678"), Split::NeedMore { consumed: 18 }));
        assert!(matches!(splitter.split(b"9\ndata"), Split::NeedMore { consumed: 2 }));
        assert!(matches!(splitter.split(b"data: 34"), Split::NeedMore { consumed: 8 }));
        let rest = b"5\n: x\n\ndata:6\n\n";
        let Split::Oversized { line, consumed: 7 } = splitter.split(rest) else { panic!("not over") };
        assert_eq!(*line, Oversized { bytes: 6, head: b"12\n345".to_vec(), tail: b"12\n345".to_vec() });
        assert_eq!(splitter.comments(), 1);
        assert!(matches!(splitter.split(&rest[7..]), Split::Event { consumed: 8, .. }));
    }

    #[test]
    fn the_edges_of_long_data_are_kept() {
        let body: Vec<u8> = (0..10_000_u32).map(|at| b'a' + (at % 23) as u8).collect();
        let stream = [b"id: 1\ndata: ", &body[..], b"\ndata: end\n\n"].concat();
        for size in [1, 7, 255, 256, 257, 1_000, stream.len()] {
            let account = account_in_pieces(&stream, 1_000, [size]);
            let [Told::Oversized(line)] = &account.told[..] else { panic!("{account:?}") };
            assert_eq!(line.bytes, 10_004);
            assert_eq!(line.head, body[..256]);
            assert_eq!(line.tail, [&body[body.len() - 252..], b"\nend"].concat());
        }
    }
}
