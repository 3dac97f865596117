//! Newline framing: the bytes of a stream become lines, the lines become frames.
//!
//! A state machine over a buffer that the caller owns. It is shown all bytes that were received and not
//! yet consumed, and says what the next of them are; it copies none (but for the edges of a line that is
//! too long) and remembers how far it has looked, so that a frame that arrives in a thousand pieces is
//! still scanned once. Blank lines and noise, which servers print to the wrong stream, are counted and
//! passed over; they never reach the decoder.
//!
//! Unit: bytes, of which each goes through the newline search once. Cost: that search and some ten
//! instructions a frame, no memory. Owner: one connection, on one thread. Always: what stays in the
//! buffer after [`Split::NeedMore`] is at most `frame_bytes_max` bytes of one frame, or a byte-order mark
//! cut in two. Proof: `any_cut_gives_the_same_frames`, below. Follows: MCP 2025-11-25, basic/transports,
//! stdio ("delimited by newlines, and MUST NOT contain embedded newlines"); RFC 8259, section 2, for the
//! blanks: a raw line feed cannot occur inside a JSON string, so the search need not know about strings.

use std::{ops::Range, sync::LazyLock};

/// What the next bytes are.
#[derive(Debug)]
pub(crate) enum Split {
    /// One frame. `frame` is its range in the bytes that were shown, without the blanks around it (a
    /// carriage return is one); `consumed` bytes may be dropped from the front once it has been read.
    Frame { frame: Range<usize>, consumed: usize },
    /// A line longer than the bound has ended, its line feed included in `consumed`.
    Oversized { line: Box<Oversized>, consumed: usize },
    /// No whole line. `consumed` bytes may be dropped from the front (blank lines, noise, the inside of a
    /// line too long); the rest must be shown again, followed by more.
    NeedMore { consumed: usize },
}

/// What is left of a line that was too long: its size and its edges, where an id may still be found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Oversized {
    /// Bytes from the first that is not blank to the line feed, which is not counted.
    pub(crate) bytes: u64,
    /// The first of them, at most [`EDGE_BYTES_MAX`].
    pub(crate) head: Vec<u8>,
    /// The last of them, at most [`EDGE_BYTES_MAX`]; in a short line they overlap `head`.
    pub(crate) tail: Vec<u8>,
}

/// Lines that did not become frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FramingCounters {
    /// Lines of nothing but blanks.
    pub(crate) blank_lines: u64,
    /// Lines that begin with neither `{` nor `[`: a banner, a log line. Counted at their first byte.
    pub(crate) noise_lines: u64,
    /// Lines longer than the bound. Counted when the bound is passed, which may be long before the end.
    pub(crate) oversized_lines: u64,
}

/// The splitter of one stream.
///
/// Invariant: `scanned` counts bytes at the front of what is shown next, among which there is no line
/// feed. It is above zero only inside a frame, whose first byte then is the first one shown.
#[derive(Debug)]
pub(crate) struct Newline {
    frame_bytes_max: usize,
    scanned: usize,
    search: &'static Search,
    skipping: Skipping,
    counters: FramingCounters,
}

/// The search for line feeds. `memchr` looks anew at each call which of its searches this processor has, and prepares it; frames are
/// short, and that was a third of finding their ends. So it is asked once.
#[derive(Clone, Copy, Debug)]
struct Search {
    #[cfg(target_arch = "x86_64")]
    avx2: Option<memchr::arch::x86_64::avx2::memchr::One>,
}

/// One for all streams: it is as long as all else that is known of one.
static SEARCH: LazyLock<Search> = LazyLock::new(Search::new);

impl Search {
    fn new() -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            avx2: memchr::arch::x86_64::avx2::memchr::One::new(b'\n'),
        }
    }

    #[inline]
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = &self.avx2 {
            return avx2.find(bytes);
        }
        memchr::memchr(b'\n', bytes)
    }
}

/// The line whose bytes are consumed as they come, if there is one.
#[derive(Debug)]
enum Skipping {
    Nothing,
    Noise,
    Oversized(Box<Oversized>),
}

/// How a line begins, once its blanks (so many bytes) are passed over.
enum Opening {
    /// With `{` or `[`.
    Frame(usize),
    /// With anything else.
    Noise(usize),
    /// It ends there: it was blank.
    LineFeed(usize),
    /// Not yet known.
    Open(usize),
}

impl Newline {
    /// A splitter at the start of a stream.
    ///
    /// A line may have `frame_bytes_max` bytes from its first that is not blank to its line feed, which
    /// is not counted. A buffer with room for one byte more never gets stuck.
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self {
            frame_bytes_max,
            scanned: 0,
            search: &SEARCH,
            skipping: Skipping::Nothing,
            counters: FramingCounters::default(),
        }
    }

    /// Says what the next bytes are. `unread` is all that was received and not yet consumed.
    ///
    /// # Panics
    ///
    /// When bytes that were not consumed are missing from `unread`: a bug of the caller.
    #[inline]
    pub(crate) fn split(&mut self, unread: &[u8]) -> Split {
        // The common case by itself: a frame stands right at the front and ends in sight. All else is
        // left to the other path, which goes on from `scanned` and so does not look twice.
        if let (Some(b'{' | b'['), Skipping::Nothing) = (unread.first(), &self.skipping)
            && let Some(end) = self.line_end(unread)
            && end <= self.frame_bytes_max
        {
            self.scanned = 0;
            return Split::Frame { frame: 0..trimmed_end(unread, end), consumed: end + 1 };
        }
        self.split_uncommon(unread)
    }

    /// The stream has ended: was it inside a frame? Valid once [`Self::split`] has asked for more.
    ///
    /// Between frames, or inside noise, the end is peace.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn is_inside_frame(&self) -> bool {
        self.scanned > 0 || matches!(self.skipping, Skipping::Oversized(_))
    }

    /// The lines so far that did not become frames.
    pub(crate) fn counters(&self) -> FramingCounters {
        self.counters
    }

    #[inline(never)]
    fn split_uncommon(&mut self, unread: &[u8]) -> Split {
        let mut consumed = 0;
        loop {
            let rest = &unread[consumed..];
            if !matches!(self.skipping, Skipping::Nothing) {
                let line_end = self.line_end(rest);
                self.scanned = 0; // These bytes are gone with this call, and the cursor with them.
                let piece = &rest[..line_end.unwrap_or(rest.len())];
                if let Skipping::Oversized(line) = &mut self.skipping {
                    line.push(piece);
                }
                if line_end.is_none() {
                    return Split::NeedMore { consumed: unread.len() };
                }
                consumed += piece.len() + 1;
                if let Skipping::Oversized(line) = std::mem::replace(&mut self.skipping, Skipping::Nothing) {
                    return Split::Oversized { line, consumed };
                }
                continue;
            }
            match opening(rest) {
                Opening::Open(blanks) => return Split::NeedMore { consumed: consumed + blanks },
                Opening::LineFeed(blanks) => {
                    self.counters.blank_lines += 1;
                    consumed += blanks + 1;
                }
                Opening::Noise(blanks) => {
                    self.counters.noise_lines += 1;
                    self.skipping = Skipping::Noise;
                    consumed += blanks;
                }
                Opening::Frame(blanks) => {
                    consumed += blanks;
                    let line = &rest[blanks..];
                    match self.line_end(line) {
                        Some(end) if end <= self.frame_bytes_max => {
                            self.scanned = 0;
                            let frame = consumed..consumed + trimmed_end(line, end);
                            return Split::Frame { frame, consumed: consumed + end + 1 };
                        }
                        None if line.len() <= self.frame_bytes_max => return Split::NeedMore { consumed },
                        // Too long, whether or not its end is in sight. The cursor stays for the next round.
                        _ => {
                            self.counters.oversized_lines += 1;
                            self.skipping = Skipping::Oversized(Box::default());
                        }
                    }
                }
            }
        }
    }

    /// Where the line ends, if that is in sight, looking only at bytes not looked at before.
    #[inline]
    fn line_end(&mut self, line: &[u8]) -> Option<usize> {
        let found = self.search.find(&line[self.scanned..]).map(|at| self.scanned + at);
        self.scanned = found.unwrap_or(line.len());
        found
    }
}

impl Oversized {
    /// Adds the next bytes of the line.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        let head_room = EDGE_BYTES_MAX - self.head.len();
        self.head.extend_from_slice(&piece[..piece.len().min(head_room)]);
        let last = &piece[piece.len().saturating_sub(EDGE_BYTES_MAX)..];
        let surplus = (self.tail.len() + last.len()).saturating_sub(EDGE_BYTES_MAX);
        self.tail.drain(..surplus);
        self.tail.extend_from_slice(last);
    }
}

/// How the line begins. A byte-order mark counts as a blank: some runtimes put one before each write.
fn opening(line: &[u8]) -> Opening {
    let mut at = 0;
    loop {
        match line[at..] {
            [b' ' | b'\t' | b'\r', ..] => at += 1,
            [0xEF, 0xBB, 0xBF, ..] => at += BYTE_ORDER_MARK.len(),
            [] | [0xEF] | [0xEF, 0xBB] => return Opening::Open(at),
            [b'\n', ..] => return Opening::LineFeed(at),
            [b'{' | b'[', ..] => return Opening::Frame(at),
            [_, ..] => return Opening::Noise(at),
        }
    }
}

/// The end of the frame in a line that ends at `end`: blanks there, a carriage return above all, fall off.
#[inline]
fn trimmed_end(line: &[u8], mut end: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\r') = line[..end].last() {
        end -= 1;
    }
    end
}

/// Kept from each edge of a line that is too long. An envelope takes some 60 bytes; the rest is for people
/// who read the log.
pub(crate) const EDGE_BYTES_MAX: usize = 256;

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// The twin: it has all bytes at once, cuts them at the line feeds and looks at each line.
#[cfg(any(test, feature = "internals"))]
pub(crate) mod naive {
    use super::{EDGE_BYTES_MAX, FramingCounters, Newline, Oversized, Split};

    /// All that can be said about a stream.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(crate) struct Account {
        pub(crate) lines: Vec<Line>,
        pub(crate) counters: FramingCounters,
        pub(crate) is_inside_frame: bool,
    }

    #[derive(Debug, PartialEq, Eq)]
    pub(crate) enum Line {
        Frame(Vec<u8>),
        Oversized(Oversized),
    }

    /// The account of the twin.
    pub(crate) fn account(stream: &[u8], frame_bytes_max: usize) -> Account {
        let mut account = Account::default();
        let mut rest = stream;
        loop {
            let feed = rest.iter().position(|&byte| byte == b'\n');
            let line = without_blanks_before(&rest[..feed.unwrap_or(rest.len())]);
            let is_frame = line.starts_with(b"{") || line.starts_with(b"[");
            let is_cut_mark = feed.is_none() && (line == [0xEF] || line == [0xEF, 0xBB]);
            let is_too_long = is_frame && line.len() > frame_bytes_max;
            account.counters.noise_lines += u64::from(!is_frame && !line.is_empty() && !is_cut_mark);
            account.counters.oversized_lines += u64::from(is_too_long);
            let Some(feed) = feed else {
                account.is_inside_frame = is_frame;
                return account;
            };
            account.counters.blank_lines += u64::from(line.is_empty());
            if is_too_long {
                let edge = line.len().min(EDGE_BYTES_MAX);
                account.lines.push(Line::Oversized(Oversized {
                    bytes: line.len() as u64,
                    head: line[..edge].to_vec(),
                    tail: line[line.len() - edge..].to_vec(),
                }));
            } else if is_frame {
                let blanks = line.iter().rev().take_while(|byte| b" \t\r".contains(byte)).count();
                account.lines.push(Line::Frame(line[..line.len() - blanks].to_vec()));
            }
            rest = &rest[feed + 1..];
        }
    }

    /// The account of the splitter, told by a reader that receives the stream in pieces of these sizes
    /// (the last size goes on for ever) and keeps what the splitter leaves.
    pub(crate) fn account_in_pieces(
        stream: &[u8],
        frame_bytes_max: usize,
        sizes: impl IntoIterator<Item = usize>,
    ) -> Account {
        let mut splitter = Newline::new(frame_bytes_max);
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
                let (line, consumed) = match splitter.split(&buffer) {
                    Split::Frame { frame, consumed } => (Line::Frame(buffer[frame].to_vec()), consumed),
                    Split::Oversized { line, consumed } => (Line::Oversized(*line), consumed),
                    Split::NeedMore { consumed } => {
                        buffer.drain(..consumed);
                        break;
                    }
                };
                assert!(consumed > 0 && consumed <= unread_bytes, "{consumed} of {unread_bytes} bytes");
                buffer.drain(..consumed);
                account.lines.push(line);
            }
            // All that stays was searched already and is not searched again, and it stays bounded. The one
            // exception is a byte-order mark of which the end is missing.
            if !buffer.starts_with(&[0xEF]) {
                assert_eq!(splitter.scanned, buffer.len(), "the cursor is not at the end");
                assert!(buffer.len() <= frame_bytes_max, "{} bytes kept", buffer.len());
            } else {
                assert!(buffer.len() < 3, "{} bytes kept", buffer.len());
            }
        }
        account.counters = splitter.counters();
        account.is_inside_frame = splitter.is_inside_frame();
        account
    }

    fn without_blanks_before(mut line: &[u8]) -> &[u8] {
        let blanks: [&[u8]; 4] = [b" ", b"\t", b"\r", "\u{FEFF}".as_bytes()];
        while let Some(rest) = blanks.iter().find_map(|blank| line.strip_prefix(*blank)) {
            line = rest;
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::naive::{Account, Line, account, account_in_pieces};
    use super::*;

    /// What streams are made of, and what they should not be made of.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let fixed = |text: &'static str| Just(text.as_bytes().to_vec());
        let part = prop_oneof![
            6 => fixed("\n"),
            2 => fixed("\r\n"),
            3 => fixed(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
            2 => fixed(r#"{"id":2,"result":"żółć 😀 \n"}"#),
            1 => fixed("[]"),
            1 => fixed("{"),
            1 => fixed("\u{FEFF}"),
            1 => fixed(" \t"),
            1 => fixed("\r"),
            1 => fixed("INFO: listening"),
            1 => vec(any::<u8>(), 0..6),
            1 => (0..700_usize).prop_map(|bytes| (0..bytes).map(|at| b'a' + (at % 26) as u8).collect()),
        ];
        vec(part, 0..30).prop_map(|parts| parts.concat())
    }

    proptest! {
        /// However the stream is cut, the splitter tells what one tells who has all of it.
        #[test]
        fn any_cut_gives_the_same_frames(
            stream in stream(),
            frame_bytes_max in prop_oneof![0..50_usize, Just(300), Just(100_000)],
            sizes in vec(1..100_usize, 0..50),
        ) {
            let expected = account(&stream, frame_bytes_max);
            prop_assert_eq!(&account_in_pieces(&stream, frame_bytes_max, sizes), &expected);
            prop_assert_eq!(&account_in_pieces(&stream, frame_bytes_max, [1]), &expected);
            prop_assert_eq!(&account_in_pieces(&stream, frame_bytes_max, [stream.len()]), &expected);
        }
    }

    fn frames(stream: &[u8]) -> Vec<Vec<u8>> {
        let Account { lines, .. } = account_in_pieces(stream, 1_000, [stream.len()]);
        let frame = |line| match line {
            Line::Frame(frame) => frame,
            Line::Oversized(line) => panic!("{line:?}"),
        };
        lines.into_iter().map(frame).collect()
    }

    #[test]
    fn blanks_around_a_frame_fall_off() {
        assert_eq!(frames(b"\xEF\xBB\xBF{}\r\n \t{} \r\n\r\n[]\n"), [&b"{}"[..], b"{}", b"[]"]);
    }

    #[test]
    fn noise_is_counted_and_passed_over() {
        let account = account_in_pieces(b"starting\n{}\n\n  \r\nWARN: {}\n{}\nbye", 1_000, [4]);
        assert_eq!(account.lines.len(), 2);
        let expected = FramingCounters { blank_lines: 2, noise_lines: 3, oversized_lines: 0 };
        assert_eq!(account.counters, expected);
        assert!(!account.is_inside_frame, "noise at the end is no frame cut short");
    }

    #[test]
    fn the_bound_itself_is_allowed() {
        let mut splitter = Newline::new(4);
        assert!(matches!(splitter.split(b"{12}"), Split::NeedMore { consumed: 0 }));
        assert!(splitter.is_inside_frame());
        assert!(matches!(
            splitter.split(b"{12}\n"),
            Split::Frame { frame: Range { start: 0, end: 4 }, consumed: 5 }
        ));
        assert!(!splitter.is_inside_frame());
    }

    #[test]
    fn one_byte_more_is_dropped_before_the_line_ends() {
        let mut splitter = Newline::new(4);
        assert!(matches!(splitter.split(b"{123}"), Split::NeedMore { consumed: 5 }));
        assert_eq!(splitter.counters().oversized_lines, 1);
        assert!(splitter.is_inside_frame());
        let Split::Oversized { line, consumed: 3 } = splitter.split(b"45\n{}\n") else { panic!("not over") };
        assert_eq!(*line, Oversized { bytes: 7, head: b"{123}45".to_vec(), tail: b"{123}45".to_vec() });
        assert!(matches!(splitter.split(b"{}\n"), Split::Frame { consumed: 3, .. }));
    }

    #[test]
    fn the_edges_of_a_long_line_are_kept() {
        let body: Vec<u8> = (0..10_000_u32).map(|at| b'a' + (at % 23) as u8).collect();
        let stream = [b"{", &body[..], b"\n"].concat();
        for size in [1, 7, 255, 256, 257, 1_000, stream.len()] {
            let account = account_in_pieces(&stream, 1_000, [size]);
            let [Line::Oversized(line)] = &account.lines[..] else { panic!("{account:?}") };
            assert_eq!(line.bytes, 10_001);
            assert_eq!(line.head, stream[..256]);
            assert_eq!(line.tail, body[body.len() - 256..]);
        }
    }
}
