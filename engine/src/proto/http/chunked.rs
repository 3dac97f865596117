//! Chunked coding: the bytes of an HTTP/1.1 body without the sizes between them.
//!
//! A state machine over a buffer that the caller owns. It is shown bytes not yet consumed and says which of them
//! are body; all others it takes in one by one and remembers nothing of but a number, so that nothing has to be
//! shown twice. Extensions and trailers are passed over. Line ends are carriage return and line feed, nothing
//! less: where two readers could disagree about a line end, they could be made to disagree about a body.
//!
//! Unit: bytes of the coded body. Cost: some ten instructions for each byte of a size line, a few for each chunk
//! of data however long; no memory. Owner: one exchange, on one thread. Always: [`Piece::NeedMore`] consumes all
//! that was shown, so no buffer can fill up here. Proof: `any_cut_gives_the_same_body`, below. Follows: RFC 9112,
//! section 7.1; blanks after a size are let pass, as old servers pad it.

use std::fmt;
use std::ops::Range;

use crate::base::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes of the body, at least one: their range in what was shown. `consumed` is where they end.
    Data { data: Range<usize>, consumed: usize },
    /// Not a byte of the body. All that was shown is consumed; what follows it is to be shown next.
    NeedMore { consumed: usize },
    /// The body has ended, trailers included. What stands behind `consumed` is another answer's.
    End { consumed: usize },
}

/// Why the rest of the body cannot be read. The peer's fault, each of them, and the end of the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ChunkError {
    /// A byte stands where the size of a chunk, its end or an extension has to be.
    NotASize { byte: u8 },
    /// The size has more digits than 16, or is beyond 2^63 - 1.
    SizeTooLarge,
    /// The line with the size is longer than the bound.
    LineTooLong { bytes_max: usize },
    /// A byte stands where a carriage return or its line feed has to be.
    NotALineEnd { byte: u8 },
    /// The trailers are longer than the bound.
    TrailersTooLong { bytes_max: usize },
}

/// The decoder of one body.
///
/// Invariant: `line_bytes` is at most [`CHUNK_LINE_BYTES_MAX`] in a size line and at most [`TRAILER_BYTES_MAX`]
/// in the trailers, which it counts together; `size` is at most 2^63 - 1.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    /// Of the line with a size; in [`State::Data`], the bytes of the chunk that are still to come.
    size: u64,
    line_bytes: usize,
}

/// What the next byte is expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A digit of the size, after so many of them.
    Size { digits: u8 },
    /// A blank after the size.
    Padding,
    /// A byte of an extension.
    Extension,
    /// The line feed of a size line.
    SizeFeed,
    /// A byte of the body.
    Data,
    /// The carriage return after a chunk.
    DataReturn,
    /// Its line feed.
    DataFeed,
    /// The first byte of a trailer, or the carriage return of the blank line.
    Trailer,
    /// A further byte of a trailer.
    InTrailer,
    /// The line feed of a trailer.
    TrailerFeed,
    /// The last byte of all.
    LastFeed,
    /// Nothing.
    Done,
}

impl Chunked {
    /// A decoder at the start of a body.
    pub(crate) fn new() -> Self {
        Self { state: State::Size { digits: 0 }, size: 0, line_bytes: 0 }
    }

    /// Says what the next bytes are. `unread` begins where the last call ended. After an error there is nothing
    /// more to be learned from this body; after [`Piece::End`] the answer stays.
    ///
    /// # Errors
    ///
    /// When the coding is broken or beyond a bound.
    pub(crate) fn next(&mut self, unread: &[u8]) -> Result<Piece, ChunkError> {
        let mut consumed = 0;
        while self.state != State::Done {
            let Some(byte) = unread.get(consumed) else { return Ok(Piece::NeedMore { consumed }) };
            if self.state == State::Data {
                let shown = unread.len() - consumed;
                let taken = usize::try_from(self.size).map_or(shown, |size| size.min(shown));
                self.size -= taken as u64;
                if self.size == 0 {
                    self.state = State::DataReturn;
                }
                let data = consumed..consumed + taken;
                return Ok(Piece::Data { consumed: data.end, data });
            }
            self.take(*byte)?;
            consumed += 1;
        }
        Ok(Piece::End { consumed })
    }

    /// Takes one byte that is not body.
    fn take(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.state = match (self.state, byte) {
            (State::Size { digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.count_line()?;
                // Of 15 digits there may be any, the 16th may find no room.
                let size = self.size.checked_mul(16).filter(|_| digits < DIGITS_MAX);
                let size =
                    size.map(|size| size | u64::from(hex_digit(byte))).filter(|size| *size <= SIZE_MAX);
                self.size = size.ok_or(ChunkError::SizeTooLarge)?;
                State::Size { digits: digits + 1 }
            }
            (State::Size { digits: 0 }, _) => return Err(ChunkError::NotASize { byte }),
            (State::Size { .. } | State::Padding, b' ' | b'\t') => {
                self.count_line()?;
                State::Padding
            }
            (State::Size { .. } | State::Padding, b';') => {
                self.count_line()?;
                State::Extension
            }
            (State::Size { .. } | State::Padding | State::Extension, b'\r') => State::SizeFeed,
            (State::Extension, b'\n') => return Err(ChunkError::NotALineEnd { byte }),
            (State::Extension, _) => {
                self.count_line()?;
                State::Extension
            }
            (State::Size { .. } | State::Padding, _) => return Err(ChunkError::NotASize { byte }),
            (State::SizeFeed, b'\n') => {
                self.line_bytes = 0;
                if self.size == 0 { State::Trailer } else { State::Data }
            }
            (State::DataReturn, b'\r') => State::DataFeed,
            (State::DataFeed, b'\n') => State::Size { digits: 0 },
            (State::Trailer | State::InTrailer | State::TrailerFeed | State::LastFeed, _) => {
                self.count_trailer()?;
                match (self.state, byte) {
                    (State::Trailer, b'\r') => State::LastFeed,
                    (State::InTrailer, b'\r') => State::TrailerFeed,
                    (State::Trailer | State::InTrailer, _) if byte != b'\n' => State::InTrailer,
                    (State::TrailerFeed, b'\n') => State::Trailer,
                    (State::LastFeed, b'\n') => State::Done,
                    _ => return Err(ChunkError::NotALineEnd { byte }),
                }
            }
            (State::SizeFeed | State::DataReturn | State::DataFeed, _) => {
                return Err(ChunkError::NotALineEnd { byte });
            }
            (State::Data | State::Done, _) => unreachable!("these take no byte"),
        };
        Ok(())
    }

    fn count_line(&mut self) -> Result<(), ChunkError> {
        self.line_bytes += 1;
        let bytes_max = CHUNK_LINE_BYTES_MAX;
        if self.line_bytes > bytes_max { Err(ChunkError::LineTooLong { bytes_max }) } else { Ok(()) }
    }

    fn count_trailer(&mut self) -> Result<(), ChunkError> {
        self.line_bytes += 1;
        let bytes_max = TRAILER_BYTES_MAX;
        if self.line_bytes > bytes_max { Err(ChunkError::TrailersTooLong { bytes_max }) } else { Ok(()) }
    }
}

/// The value of a byte that is a hexadecimal digit.
fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASize { byte } => write!(f, "byte {byte:#04x} in the size of a chunk"),
            Self::SizeTooLarge => {
                write!(f, "the size of a chunk has more than {DIGITS_MAX} digits or is beyond {SIZE_MAX}")
            }
            Self::LineTooLong { bytes_max } => {
                write!(f, "the line with the size of a chunk is longer than {bytes_max} bytes")
            }
            Self::NotALineEnd { byte } => {
                write!(f, "byte {byte:#04x} where a line of the chunked coding ends")
            }
            Self::TrailersTooLong { bytes_max } => {
                write!(f, "the trailers of a chunked body are longer than {bytes_max} bytes")
            }
        }
    }
}

impl std::error::Error for ChunkError {}

/// Digits of a size, leading zeros included.
const DIGITS_MAX: u8 = 16;

/// The largest chunk one can speak of; sums of two stay within 64 bits.
const SIZE_MAX: u64 = i64::MAX as u64;

/// The twin: it has all bytes at once and takes the body apart line by line.
#[cfg(any(test, feature = "internals"))]
pub(crate) mod naive {
    use super::{CHUNK_LINE_BYTES_MAX, Chunked, Piece, TRAILER_BYTES_MAX};

    /// All that can be said about a coded body.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(crate) struct Account {
        pub(crate) data: Vec<u8>,
        /// Where the body ends, if it does.
        pub(crate) end: Option<usize>,
        pub(crate) is_broken: bool,
    }

    /// The account of the twin.
    pub(crate) fn account(stream: &[u8]) -> Account {
        let mut account = Account::default();
        let mut at = 0;
        loop {
            let Some((line, is_whole)) = line(&stream[at..]) else {
                return Account { is_broken: true, ..account };
            };
            let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let (digits, rest) = line.split_at(digits);
            let digits = str::from_utf8(digits).expect("digits");
            let blanks = rest.iter().take_while(|byte| b" \t".contains(byte)).count();
            let is_extension = matches!(rest.get(blanks), None | Some(b';'));
            // A line of which nothing has come yet is neither right nor wrong.
            let size = if stream[at..].is_empty() { Ok(0) } else { i64::from_str_radix(digits, 16) };
            if digits.len() > 16 || line.len() > CHUNK_LINE_BYTES_MAX || !is_extension || size.is_err() {
                return Account { is_broken: true, ..account };
            }
            if !is_whole {
                return account;
            }
            at += line.len() + 2;
            let size = size.expect("no error").unsigned_abs() as usize;
            if size == 0 {
                break;
            }
            let shown = (stream.len() - at).min(size);
            account.data.extend(&stream[at..at + shown]);
            at += shown;
            match &stream[at..] {
                [b'\r', b'\n', ..] => at += 2,
                [] | [b'\r'] => return account,
                _ => return Account { is_broken: true, ..account },
            }
        }
        let trailers = at;
        loop {
            let Some((line, is_whole)) = line(&stream[at..]) else {
                return Account { is_broken: true, ..account };
            };
            let bytes = if is_whole { at + line.len() + 2 } else { stream.len() } - trailers;
            if bytes > TRAILER_BYTES_MAX {
                return Account { is_broken: true, ..account };
            }
            if !is_whole {
                return account;
            }
            at += line.len() + 2;
            if line.is_empty() {
                return Account { end: Some(at), ..account };
            }
        }
    }

    /// The first line, without its end, and whether that has come. `None` if its end is a wrong one.
    fn line(rest: &[u8]) -> Option<(&[u8], bool)> {
        match rest.iter().position(|byte| b"\r\n".contains(byte)) {
            None => Some((rest, false)),
            Some(end) => match &rest[end..] {
                [b'\r', b'\n', ..] => Some((&rest[..end], true)),
                [b'\r'] => Some((&rest[..end], false)),
                _ => None,
            },
        }
    }

    /// The account of the decoder, shown the stream in pieces of these sizes (the last goes on for ever).
    pub(crate) fn account_in_pieces(stream: &[u8], sizes: impl IntoIterator<Item = usize>) -> Account {
        let mut decoder = Chunked::new();
        let mut account = Account::default();
        let mut sizes = sizes.into_iter();
        let (mut size, mut at, mut shown) = (1, 0, 0);
        loop {
            match decoder.next(&stream[at..shown]) {
                Err(_) => return Account { is_broken: true, ..account },
                Ok(Piece::Data { data, consumed }) => {
                    assert!(!data.is_empty() && data.end == consumed && at + consumed <= shown);
                    account.data.extend(&stream[at..shown][data]);
                    at += consumed;
                }
                Ok(Piece::End { consumed }) => {
                    at += consumed;
                    assert_eq!(decoder.next(&stream[at..]), Ok(Piece::End { consumed: 0 }), "the end stays");
                    return Account { end: Some(at), ..account };
                }
                Ok(Piece::NeedMore { consumed }) => {
                    at += consumed;
                    assert_eq!(at, shown, "bytes stay in the buffer");
                    if shown == stream.len() {
                        return account;
                    }
                    size = sizes.next().unwrap_or(size).max(1);
                    shown = (shown + size).min(stream.len());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::naive::{Account, account, account_in_pieces};
    use super::*;

    /// Chunks in many spellings, and bytes that break them.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let fixed = |text: &'static str| Just(text.as_bytes().to_vec());
        let chunk = (1..300_usize).prop_map(|bytes| {
            let data: Vec<u8> = (0..bytes).map(|at| b'a' + (at % 26) as u8).collect();
            [format!("{bytes:X}\r\n").as_bytes(), &data, b"\r\n"].concat()
        });
        let part = prop_oneof![
            6 => chunk,
            2 => fixed("2\r\n\r\n\r\n"),
            1 => fixed("003 \t;name=\"va;lue\"; x\r\n{}\n\r\n"),
            1 => fixed("1;\r\n,\r\n"),
            1 => fixed("3\n{}\n\r\n"),
            1 => fixed("1\r\nab\r\n"),
            1 => fixed("7fffffffffffffff\r\n"),
            1 => fixed("8000000000000000\r\n"),
            1 => fixed("00000000000000001\r\n"),
            1 => (4_080..4_110_usize).prop_map(|bytes| format!("1;{}\r\nx\r\n", "e".repeat(bytes)).into_bytes()),
            1 => vec(any::<u8>(), 0..4),
        ];
        let end = prop_oneof![
            4 => fixed("0\r\n\r\n"),
            1 => fixed("000;last\r\nDigest: x\r\n\tfolded\r\n\r\n"),
            1 => fixed("0\r\nA: b\n\r\n"),
            1 => (16_370..16_390_usize).prop_map(|bytes| format!("0\r\n{}\r\n\r\n", "t".repeat(bytes)).into_bytes()),
            1 => fixed(""),
        ];
        let after = vec(any::<u8>(), 0..4);
        (vec(part, 0..8), end, after).prop_map(|(parts, end, after)| [parts.concat(), end, after].concat())
    }

    proptest! {
        /// However the coded body is cut, it is the one that somebody reads who has all of it.
        #[test]
        fn any_cut_gives_the_same_body(stream in stream(), sizes in vec(1..100_usize, 0..50)) {
            let expected = account(&stream);
            prop_assert_eq!(&account_in_pieces(&stream, sizes), &expected);
            prop_assert_eq!(&account_in_pieces(&stream, [1]), &expected);
            prop_assert_eq!(&account_in_pieces(&stream, [stream.len()]), &expected);
        }
    }

    fn error(stream: &[u8]) -> ChunkError {
        let mut decoder = Chunked::new();
        let mut at = 0;
        loop {
            match decoder.next(&stream[at..]) {
                Ok(Piece::Data { consumed, .. }) => at += consumed,
                Ok(other) => panic!("{other:?}"),
                Err(error) => return error,
            }
        }
    }

    #[test]
    fn a_body_is_read_without_its_sizes() {
        let stream = b"4\r\n{\"a\"\r\n3;x=y\r\n:1}\r\n0\r\nTrailer: z\r\n\r\nHTTP/1.1";
        let expected = Account { data: b"{\"a\":1}".to_vec(), end: Some(38), is_broken: false };
        assert_eq!(account_in_pieces(stream, [stream.len()]), expected);
        assert_eq!(account_in_pieces(stream, [1]), expected);
        assert_eq!(&stream[38..], b"HTTP/1.1");
    }

    #[test]
    fn data_is_a_range_of_what_was_shown() {
        let mut decoder = Chunked::new();
        assert_eq!(decoder.next(b"5"), Ok(Piece::NeedMore { consumed: 1 }));
        assert_eq!(decoder.next(b"\r\nab"), Ok(Piece::Data { data: 2..4, consumed: 4 }));
        assert_eq!(decoder.next(b""), Ok(Piece::NeedMore { consumed: 0 }));
        assert_eq!(decoder.next(b"cde\r\n0"), Ok(Piece::Data { data: 0..3, consumed: 3 }));
        assert_eq!(decoder.next(b"\r\n0\r\n\r\n"), Ok(Piece::End { consumed: 7 }));
        assert_eq!(decoder.next(b"5"), Ok(Piece::End { consumed: 0 }));
    }

    #[test]
    fn line_ends_are_strict() {
        assert_eq!(error(b"1\nx\r\n"), ChunkError::NotASize { byte: b'\n' });
        assert_eq!(error(b"1;a\nx\r\n"), ChunkError::NotALineEnd { byte: b'\n' });
        assert_eq!(error(b"1\rx"), ChunkError::NotALineEnd { byte: b'x' });
        assert_eq!(error(b"1\r\nx\n"), ChunkError::NotALineEnd { byte: b'\n' });
        assert_eq!(error(b"1\r\nxy"), ChunkError::NotALineEnd { byte: b'y' });
        assert_eq!(error(b"1\r\nx\rz"), ChunkError::NotALineEnd { byte: b'z' });
        assert_eq!(error(b"0\r\n\n"), ChunkError::NotALineEnd { byte: b'\n' });
        assert_eq!(error(b"0\r\na\n"), ChunkError::NotALineEnd { byte: b'\n' });
    }

    #[test]
    fn a_size_is_hexadecimal_and_fits() {
        assert_eq!(error(b"\r\n"), ChunkError::NotASize { byte: b'\r' });
        assert_eq!(error(b";x\r\n"), ChunkError::NotASize { byte: b';' });
        assert_eq!(error(b" 1\r\n"), ChunkError::NotASize { byte: b' ' });
        assert_eq!(error(b"+1\r\n"), ChunkError::NotASize { byte: b'+' });
        assert_eq!(error(b"0x1\r\n"), ChunkError::NotASize { byte: b'x' });
        assert_eq!(error(b"1 1\r\n"), ChunkError::NotASize { byte: b'1' });
        assert_eq!(error(b"8000000000000000"), ChunkError::SizeTooLarge);
        assert_eq!(error(b"00000000000000000"), ChunkError::SizeTooLarge);
        assert_eq!(error(b"ffffffffffffffff"), ChunkError::SizeTooLarge);
        let mut decoder = Chunked::new();
        let longest = b"7FFFffffffffffff\r\nx";
        assert_eq!(decoder.next(longest), Ok(Piece::Data { data: 18..19, consumed: 19 }));
    }

    #[test]
    fn the_bounds_themselves_are_allowed() {
        let line = |bytes: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(bytes - 2)).into_bytes();
        assert!(account_in_pieces(&line(CHUNK_LINE_BYTES_MAX), [4_000]).end.is_some());
        let bytes_max = CHUNK_LINE_BYTES_MAX;
        assert_eq!(error(&line(bytes_max + 1)), ChunkError::LineTooLong { bytes_max });

        let trailers = |bytes: usize| format!("0\r\n{}\r\n\r\n", "t".repeat(bytes - 4)).into_bytes();
        assert!(account_in_pieces(&trailers(TRAILER_BYTES_MAX), [4_000]).end.is_some());
        let bytes_max = TRAILER_BYTES_MAX;
        assert_eq!(error(&trailers(bytes_max + 1)), ChunkError::TrailersTooLong { bytes_max });
    }
}
