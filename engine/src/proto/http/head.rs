//! The head of an HTTP/1 answer: status, how the body ends, and the few headers that MCP gives a meaning.
//!
//! A function of the bytes received so far: it says what the head says once all of it is there, and asks for
//! more until then. The grammar is httparse's, and so are its leniencies (a bare line feed ends a line, a value
//! may be folded); what the headers mean together is decided here. What would let two readers see two different
//! bodies in the same bytes is an error, never a guess.
//!
//! Unit: bytes from the first of an answer to the blank line. Cost: one pass, at each call anew, so that a head
//! that comes in n pieces is read n times; no memory, but for a session id, a challenge or a location if there
//! is one. Owner: one connection, on one thread. Always: at most [`HEAD_BYTES_MAX`] bytes and [`HEADERS_MAX`]
//! headers are looked at, and a refused head was refused for good. Proof: `any_cut_gives_the_same_head`, below.
//! Follows: RFC 9112, sections 4 to 6 and 9; RFC 9110, sections 8, 10.2 and 11.6; MCP 2025-11-25,
//! basic/transports, "Session Management".

use std::borrow::Cow;
use std::fmt;
use std::mem::MaybeUninit;
use std::time::Duration;

use httparse::{ParserConfig, Response, Status};

use crate::base::limits::{HEAD_BYTES_MAX, HEADERS_MAX};

/// What the head of an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// From 200 on: interim answers are passed over.
    pub(crate) status: u16,
    pub(crate) body: Body,
    pub(crate) media: Media,
    /// The connection may carry another exchange after the body.
    pub(crate) keep_alive: bool,
    /// `Mcp-Session-Id`, if it is made of visible ASCII as it must.
    pub(crate) session: Option<Box<str>>,
    /// `Retry-After` in seconds. As a date it is ignored: the engine has no use for the time of day.
    pub(crate) retry_after: Option<Duration>,
    /// `WWW-Authenticate`, several joined by `, `.
    pub(crate) challenge: Option<Box<str>>,
    /// `Location`, as it was sent.
    pub(crate) location: Option<Box<str>>,
}

/// How the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// There is none.
    None,
    /// After so many bytes, at most 2^63 - 1; zero is a body too.
    Length(u64),
    /// With its last chunk.
    Chunked,
    /// With the connection, which therefore carries nothing after it; over HTTP/2, with its stream.
    UntilClose,
}

/// What the body is made of, by `Content-Type` without its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/json`.
    Json,
    /// `text/event-stream`.
    EventStream,
    /// Anything else, or not said.
    Other,
}

/// Why a head was refused. The peer's fault, each of them, and the end of the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// No end in sight within the bound; `bytes` had come by then.
    TooLong { bytes: usize, bytes_max: usize },
    /// More headers than the bound.
    TooMany { headers_max: usize },
    /// It breaks the grammar, or a value that everything depends on cannot be read.
    Malformed(&'static str),
    /// It says twice, and differently, how long the body is.
    ConflictingLength,
    /// The body is coded in a way that was not asked for: the codings, cut at some length.
    UnsupportedCoding(Box<str>),
}

/// Reads the head at the front of `unread`, which is all that was received and not yet consumed: the head and its
/// length in bytes, interim (1xx) heads and blank lines before it included. `None` asks for more bytes.
pub(crate) fn parse(unread: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
    let shown = &unread[..unread.len().min(HEAD_BYTES_MAX)];
    let mut consumed = 0;
    loop {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = Response::new(&mut []);
        let mut grammar = ParserConfig::default();
        grammar.allow_obsolete_multiline_headers_in_responses(true);
        match grammar.parse_response_with_uninit_headers(&mut response, &shown[consumed..], &mut headers) {
            Ok(Status::Complete(bytes)) => consumed += bytes,
            Ok(Status::Partial) if unread.len() >= HEAD_BYTES_MAX => {
                return Err(HeadError::TooLong { bytes: unread.len(), bytes_max: HEAD_BYTES_MAX });
            }
            Ok(Status::Partial) => return Ok(None),
            Err(error) => return Err(broken_grammar(error)),
        }
        match response.code.unwrap_or_default() {
            101 => return Err(HeadError::Malformed("status 101, but no upgrade was asked for")),
            100..=199 => {}
            200.. => return Ok(Some((read(&response)?, consumed))),
            _ => return Err(HeadError::Malformed("a status below 100")),
        }
    }
}

/// What a complete answer's headers mean.
fn read(response: &Response<'_, '_>) -> Result<Head, HeadError> {
    let status = response.code.unwrap_or_default();
    let is_1_1 = response.version == Some(1);
    let mut fields = Fields::default();
    for header in response.headers.iter() {
        fields.take(header.name, header.value)?;
    }
    if let Some(coding) = &fields.transfer_coding {
        if fields.length.is_some() {
            return Err(HeadError::ConflictingLength);
        }
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(unsupported(coding));
        }
    }
    let is_chunked = fields.transfer_coding.is_some();
    let body = match (status, fields.length) {
        (204 | 304, _) => Body::None,
        _ if is_chunked => Body::Chunked,
        (_, Some(bytes)) => Body::Length(bytes),
        (_, None) => Body::UntilClose,
    };
    // HTTP/1.0 knows no chunks: an answer that has them anyway is read, and its connection not trusted with another.
    let is_persistent = if is_1_1 { true } else { fields.says_keep_alive && !is_chunked };
    // A server that announces a body where there is none may send it all the same, to be taken for the next response.
    let announces_one = is_chunked || status == 204 && fields.length.is_some_and(|bytes| bytes > 0);
    let is_in_step = body != Body::UntilClose && !(body == Body::None && announces_one);
    let keep_alive = is_persistent && !fields.says_close && is_in_step;
    fields.head(status, body, keep_alive)
}

/// What the headers of an HTTP/2 answer mean, whose framing they have no part in: the body ends with the stream, and the
/// connection goes on. Interim answers are not for this.
///
/// # Errors
///
/// When the body is coded, or its length is said in a way that cannot be read.
#[cfg(feature = "http2")]
pub(crate) fn of_stream<'h>(
    status: u16,
    headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    has_body: bool,
) -> Result<Head, HeadError> {
    let mut fields = Fields::default();
    for (name, value) in headers {
        fields.take(name, value)?;
    }
    let body = match fields.length {
        _ if !has_body || matches!(status, 204 | 304) => Body::None,
        Some(bytes) => Body::Length(bytes),
        None => Body::UntilClose,
    };
    fields.head(status, body, true)
}

/// What the headers that mean anything have said so far.
#[derive(Default)]
struct Fields<'h> {
    length: Option<u64>,
    transfer_coding: Option<Cow<'h, [u8]>>,
    content_coding: Option<&'h [u8]>,
    media: Option<Media>,
    says_close: bool,
    says_keep_alive: bool,
    session: Option<Box<str>>,
    retry_after: Option<Duration>,
    challenge: Option<Box<str>>,
    location: Option<Box<str>>,
}

impl<'h> Fields<'h> {
    fn take(&mut self, name: &str, value: &'h [u8]) -> Result<(), HeadError> {
        // By length first: it tells nearly all of the names apart, and most headers are none of ours.
        match name.len() {
            8 if name.eq_ignore_ascii_case("location") => {
                self.location = self.location.take().or_else(|| Some(text(value)));
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                for token in elements(value) {
                    self.says_close |= token.eq_ignore_ascii_case(b"close");
                    self.says_keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            11 if name.eq_ignore_ascii_case("retry-after") => {
                self.retry_after = self.retry_after.or(seconds(value));
            }
            12 if name.eq_ignore_ascii_case("content-type") => {
                self.media = self.media.or(Some(media_of(value)));
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                for element in elements(value) {
                    let bytes = decimal(element).filter(|bytes| *bytes <= LENGTH_MAX);
                    let bytes = bytes.ok_or(HeadError::Malformed("content-length is no length"))?;
                    if self.length.is_some_and(|length| length != bytes) {
                        return Err(HeadError::ConflictingLength);
                    }
                    self.length = Some(bytes);
                }
            }
            14 if name.eq_ignore_ascii_case("mcp-session-id") => {
                self.session = self.session.take().or_else(|| visible(value));
            }
            16 if name.eq_ignore_ascii_case("content-encoding") => {
                let mut codings = elements(value).filter(|coding| !coding.is_empty());
                if codings.any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
                    self.content_coding = self.content_coding.or(Some(value));
                }
            }
            16 if name.eq_ignore_ascii_case("www-authenticate") => {
                self.challenge = Some(match self.challenge.take() {
                    Some(before) => format!("{before}, {}", text(value)).into(),
                    None => text(value),
                });
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                self.transfer_coding = Some(match self.transfer_coding.take() {
                    Some(before) => Cow::Owned([&before, &b", "[..], value].concat()),
                    None => Cow::Borrowed(value),
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn head(self, status: u16, body: Body, keep_alive: bool) -> Result<Head, HeadError> {
        if let Some(coding) = self.content_coding
            && !matches!(body, Body::None | Body::Length(0))
        {
            return Err(unsupported(coding));
        }
        Ok(Head {
            status,
            body,
            media: self.media.unwrap_or(Media::Other),
            keep_alive,
            session: self.session,
            retry_after: self.retry_after,
            challenge: self.challenge,
            location: self.location,
        })
    }
}

/// The elements of a list, without the blanks (and folds) around them.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn media_of(value: &[u8]) -> Media {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        Media::Json
    } else if essence.eq_ignore_ascii_case(b"text/event-stream") {
        Media::EventStream
    } else {
        Media::Other
    }
}

/// Digits and nothing else, of a number that fits.
fn decimal(text: &[u8]) -> Option<u64> {
    let digits = text.iter().map(|byte| byte.is_ascii_digit().then(|| u64::from(byte - b'0')));
    let number =
        digits.into_iter().try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(digit?));
    number.filter(|_| !text.is_empty())
}

fn seconds(value: &[u8]) -> Option<Duration> {
    decimal(value).map(Duration::from_secs)
}

fn visible(value: &[u8]) -> Option<Box<str>> {
    let is_visible = !value.is_empty() && value.iter().all(u8::is_ascii_graphic);
    is_visible.then(|| text(value))
}

/// A value as text: folds become blanks, and what is no UTF-8 the sign for that.
fn text(value: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(value);
    if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], " ").into() } else { text.into() }
}

fn unsupported(coding: &[u8]) -> HeadError {
    HeadError::UnsupportedCoding(text(&coding[..coding.len().min(CODING_BYTES_MAX)]))
}

fn broken_grammar(error: httparse::Error) -> HeadError {
    use httparse::Error;
    HeadError::Malformed(match error {
        Error::TooManyHeaders => return HeadError::TooMany { headers_max: HEADERS_MAX },
        Error::Version => "the version is neither http/1.0 nor http/1.1",
        Error::Status => "an invalid byte in the status line",
        Error::HeaderName => "an invalid byte in the name of a header",
        Error::HeaderValue => "an invalid byte in the value of a header",
        Error::NewLine => "a carriage return without its line feed",
        Error::Token => "an invalid byte in a token",
    })
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes, bytes_max } => {
                write!(
                    f,
                    "the head of the http answer does not end in {bytes} bytes, the bound is {bytes_max}"
                )
            }
            Self::TooMany { headers_max } => {
                write!(f, "the http answer has more headers than the bound of {headers_max}")
            }
            Self::Malformed(what) => write!(f, "malformed http answer: {what}"),
            Self::ConflictingLength => f.write_str("the http answer gives two different lengths of its body"),
            Self::UnsupportedCoding(coding) => {
                write!(f, "the http answer comes in a coding that was not asked for: {coding:?}")
            }
        }
    }
}

impl std::error::Error for HeadError {}

/// The longest body one can speak of: sums of lengths stay within 64 bits.
const LENGTH_MAX: u64 = i64::MAX as u64;

/// What an error quotes of a coding.
const CODING_BYTES_MAX: usize = 64;

/// The twin: it waits for the blank line, then takes the head apart line by line, as text.
#[cfg(any(test, feature = "internals"))]
pub(crate) mod naive {
    use std::mem::discriminant;

    use super::{Body, HEAD_BYTES_MAX, HEADERS_MAX, Head, HeadError, Media};

    type Answer = Result<Option<(Head, usize)>, HeadError>;

    /// The parser, shown the stream in pieces of these sizes (the last goes on for ever), says the same as when shown
    /// all of it, and the same as the twin.
    pub(crate) fn assert_agrees(stream: &[u8], sizes: impl IntoIterator<Item = usize>) {
        let at_once = super::parse(stream);
        let mut sizes = sizes.into_iter();
        let (mut size, mut shown) = (1, 0);
        while shown < stream.len() {
            size = sizes.next().unwrap_or(size).max(1);
            shown = (shown + size).min(stream.len());
            let so_far = super::parse(&stream[..shown]);
            if so_far != Ok(None) {
                assert!(is_same(&so_far, &at_once), "{so_far:?} of {shown} bytes, {at_once:?} of all");
                break;
            }
        }
        match (&at_once, parse(stream)) {
            // The twin knows nothing before the blank line. What was refused before must be so with one, too.
            (Err(_), Ok(None)) => {
                let completed = parse(&[stream, b"\r\n\r\n"].concat());
                assert!(completed.is_err(), "{at_once:?}, but the twin {completed:?}");
            }
            // Its errors come in another order: what matters is that there is one.
            (Err(_), Err(_)) => {}
            (at_once, expected) => assert_eq!(*at_once, expected),
        }
    }

    fn is_same(one: &Answer, other: &Answer) -> bool {
        match (one, other) {
            (Err(one), Err(other)) => discriminant(one) == discriminant(other),
            _ => one == other,
        }
    }

    /// What the twin says.
    pub(crate) fn parse(unread: &[u8]) -> Answer {
        const BROKEN: Answer = Err(HeadError::Malformed("the twin says so"));
        // One character a byte, so that places in the text are places in the bytes.
        let text: String = unread.iter().take(HEAD_BYTES_MAX).map(|byte| char::from(*byte)).collect();
        let text: Vec<char> = text.chars().collect();
        let mut at = 0;
        loop {
            let mut lines: Vec<String> = Vec::new();
            loop {
                let Some(feed) = text[at..].iter().position(|char| *char == '\n') else {
                    let bytes_max = HEAD_BYTES_MAX;
                    let is_full = unread.len() >= bytes_max;
                    return if is_full { Err(HeadError::TooLong { bytes: 0, bytes_max }) } else { Ok(None) };
                };
                let line: String = text[at..=at + feed].iter().collect();
                at += feed + 1;
                let is_blank = line == "\n" || line == "\r\n";
                match &mut lines[..] {
                    [] if is_blank => {}
                    _ if is_blank => break,
                    [_, .., last] if line.starts_with([' ', '\t']) => last.push_str(&line),
                    _ => lines.push(line),
                }
            }
            if lines.len() - 1 > HEADERS_MAX || lines.iter().any(|line| !is_clean(line)) {
                return BROKEN;
            }
            let status_line = lines[0].trim_end_matches(['\r', '\n']);
            let (Some(version), Some(code)) = (status_line.get(..9), status_line.get(9..12)) else {
                return BROKEN;
            };
            let is_reason_apart = matches!(status_line.chars().nth(12), None | Some(' '));
            if !["HTTP/1.0 ", "HTTP/1.1 "].contains(&version) || !is_digits(code) || !is_reason_apart {
                return BROKEN;
            }
            let mut headers = Vec::new();
            for line in &lines[1..] {
                let Some((name, value)) = line.split_once(':') else { return BROKEN };
                let is_token = |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char);
                if name.is_empty() || !name.chars().all(is_token) {
                    return BROKEN;
                }
                headers.push((name.to_ascii_lowercase(), without_blanks(value).to_owned()));
            }
            match code.parse() {
                Ok(100 | 102..=199) => {}
                Ok(status @ 200..) => {
                    return meaning(status, version.ends_with("1 "), &headers).map(|head| Some((head, at)));
                }
                _ => return BROKEN,
            }
        }
    }

    fn meaning(status: u16, is_1_1: bool, headers: &[(String, String)]) -> Result<Head, HeadError> {
        let all = |wanted: &str| -> Vec<&str> {
            headers.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect()
        };
        let list = |wanted: &str| -> Vec<String> {
            let value = all(wanted).join(",").to_ascii_lowercase();
            value.split(',').map(|element| without_blanks(element).to_owned()).collect()
        };
        let is_chunked = !all("transfer-encoding").is_empty();
        if is_chunked && list("transfer-encoding") != ["chunked"] {
            return Err(HeadError::UnsupportedCoding("".into()));
        }
        let mut lengths = Vec::new();
        if !all("content-length").is_empty() {
            for length in list("content-length") {
                let length: Option<i64> = length.parse().ok().filter(|_| is_digits(&length));
                lengths.push(length.ok_or(HeadError::Malformed("length"))?);
            }
        }
        lengths.dedup();
        let body = match (lengths[..].as_ref(), is_chunked) {
            ([_, _, ..], _) | ([_], true) => return Err(HeadError::ConflictingLength),
            _ if status == 204 || status == 304 => Body::None,
            (_, true) => Body::Chunked,
            ([length], false) => Body::Length(length.unsigned_abs()),
            ([], false) => Body::UntilClose,
        };
        let is_coded =
            list("content-encoding").iter().any(|coding| !["", "identity"].contains(&coding.as_str()));
        if is_coded && body != Body::None && body != Body::Length(0) {
            return Err(HeadError::UnsupportedCoding("".into()));
        }
        let media = all("content-type").first().map(|value| value.to_ascii_lowercase()).unwrap_or_default();
        let essence = media.split_once(';').map_or(&media[..], |(essence, _)| essence);
        let media = match without_blanks(essence) {
            "application/json" => Media::Json,
            "text/event-stream" => Media::EventStream,
            _ => Media::Other,
        };
        let says = |token: &str| list("connection").iter().any(|element| element == token);
        let announced_more = is_chunked && matches!(status, 204 | 304)
            || status == 204 && lengths.first().is_some_and(|length| *length != 0);
        let keep_alive = body != Body::UntilClose
            && !says("close")
            && !announced_more
            && (is_1_1 || says("keep-alive") && !is_chunked);
        let boxed = |value: &str| -> Box<str> {
            let bytes: Vec<u8> = value.chars().map(|char| char as u8).collect();
            String::from_utf8_lossy(&bytes).replace(['\r', '\n'], " ").into()
        };
        let is_visible =
            |value: &&str| !value.is_empty() && value.chars().all(|char| ('!'..='~').contains(&char));
        let retry_after = all("retry-after").into_iter().filter(|value| is_digits(value));
        Ok(Head {
            status,
            body,
            media,
            keep_alive,
            session: all("mcp-session-id").into_iter().find(is_visible).map(boxed),
            retry_after: retry_after
                .filter_map(|value| value.parse().ok())
                .next()
                .map(super::Duration::from_secs),
            challenge: all("www-authenticate").into_iter().map(boxed).reduce(|a, b| [a, b].join(", ").into()),
            location: all("location").first().map(|value| boxed(value)),
        })
    }

    /// Every carriage return is followed by a line feed, and there is no other control character but the tab.
    fn is_clean(line: &str) -> bool {
        let line = line.replace("\r\n", "").replace('\n', "");
        line.chars().all(|char| char == '\t' || char >= ' ' && char != '\u{7F}')
    }

    fn without_blanks(text: &str) -> &str {
        text.trim_matches([' ', '\t', '\r', '\n'])
    }

    fn is_digits(text: &str) -> bool {
        !text.is_empty() && text.chars().all(|char| char.is_ascii_digit())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A few interim heads, a head of lines that mean something together, and things that should not be there.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let fixed = |text: &'static str| Just(text.as_bytes().to_vec());
        let status = prop_oneof![
            4 => fixed("HTTP/1.1 200 OK\r\n"),
            1 => fixed("HTTP/1.0 200 OK\n"),
            1 => fixed("HTTP/1.1 204\r\n"),
            1 => fixed("HTTP/1.1 304 \r\n"),
            1 => fixed("HTTP/1.1 401 żółć\r\n"),
            2 => fixed("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\n"),
            1 => fixed("HTTP/1.1 101 Switching\r\n"),
            1 => fixed("\r\n\nHTTP/1.1 099 x\r\n"),
            1 => fixed("HTTP/2 200\r\n"),
        ];
        let line = prop_oneof![
            3 => fixed("content-type: Application/JSON;charset=utf-8\r\n"),
            1 => fixed("Content-Type: text/event-stream\r\n"),
            3 => fixed("Content-Length: 5\r\n"),
            1 => fixed("Content-Length: 5, 005\n"),
            1 => fixed("Content-Length: 6\r\n"),
            1 => fixed("Content-Length: +6\r\n"),
            2 => fixed("Transfer-Encoding: Chunked\r\n"),
            1 => fixed("Transfer-Encoding: gzip, chunked\r\n"),
            1 => fixed("Transfer-Encoding:\r\n"),
            1 => fixed("Content-Encoding: identity\r\n"),
            1 => fixed("Content-Encoding: br\r\n"),
            1 => fixed("Connection: upgrade, Close\r\n"),
            1 => fixed("connection: keep-alive\r\n"),
            1 => fixed("Mcp-Session-Id: 1f-2a\r\n"),
            1 => fixed("Mcp-Session-Id: 1f 2a\r\n"),
            1 => fixed("Retry-After: 120\r\n"),
            1 => fixed("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n"),
            1 => fixed("WWW-Authenticate: Bearer\r\n realm=\"żółć\"\r\n"),
            1 => fixed("WWW-Authenticate: Basic\r\n"),
            1 => fixed("Location: /elsewhere\r\n"),
            1 => fixed("X-Empty:\r\n"),
            1 => vec(any::<u8>(), 0..6),
        ];
        let end = prop_oneof![8 => fixed("\r\n"), 1 => fixed("\n"), 1 => fixed("")];
        (status, vec(line, 0..6), end).prop_map(|(status, lines, end)| [status, lines.concat(), end].concat())
    }

    proptest! {
        /// However the head is cut, it is read once it is there, and as the twin reads it.
        #[test]
        fn any_cut_gives_the_same_head(
            stream in stream(),
            body in vec(any::<u8>(), 0..10),
            sizes in vec(1..100_usize, 0..50),
        ) {
            let stream = [stream, body].concat();
            naive::assert_agrees(&stream, sizes);
            naive::assert_agrees(&stream, [1]);
        }

        #[test]
        fn any_bytes_give_an_answer(stream in vec(any::<u8>(), 0..100)) {
            naive::assert_agrees(&stream, [1]);
        }
    }

    fn head(text: &str) -> Head {
        let (head, consumed) = parse(text.as_bytes()).expect(text).expect("all of it");
        assert_eq!(consumed, text.len());
        head
    }

    fn error(text: &str) -> HeadError {
        parse(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn an_everyday_head_is_read() {
        let text = "HTTP/1.1 200 OK\r\nDate: Mon, 02 Feb 2026 10:00:00 GMT\r\nServer: uvicorn\r\n\
            Content-Length: 21\r\nContent-Type: application/json; charset=utf-8\r\nMcp-Session-Id: 9f\r\n\r\n";
        let expected = Head {
            status: 200,
            body: Body::Length(21),
            media: Media::Json,
            keep_alive: true,
            session: Some("9f".into()),
            retry_after: None,
            challenge: None,
            location: None,
        };
        assert_eq!(head(text), expected);
        let with_body = [text, "{\"jsonrpc\":\"2.0\"}"].concat();
        assert_eq!(parse(with_body.as_bytes()), Ok(Some((expected, text.len()))));
    }

    #[test]
    fn interim_heads_are_passed_over() {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLocation: /a\r\n\r\n";
        assert_eq!(parse(interim.as_bytes()), Ok(None));
        let head = head(&format!("{interim}HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!((head.status, head.body, head.location), (202, Body::Length(0), None));
        assert!(matches!(error("HTTP/1.1 101 Switching Protocols\r\n\r\n"), HeadError::Malformed(_)));
    }

    #[test]
    fn a_body_ends_one_way_only() {
        let body = |headers: &str| parse(format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes());
        let read = |headers: &str| body(headers).expect(headers).expect("all of it").0.body;
        assert_eq!(read("Content-Length: 5\r\nContent-Length: 5\r\n"), Body::Length(5));
        assert_eq!(read("Content-Length: 5, 5\r\n"), Body::Length(5));
        assert_eq!(read("Transfer-Encoding: CHUNKED\r\n"), Body::Chunked);
        assert_eq!(read(""), Body::UntilClose);
        assert_eq!(read("Content-Length: 9223372036854775807\r\n"), Body::Length(LENGTH_MAX));
        for conflict in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 6\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(body(conflict), Err(HeadError::ConflictingLength), "{conflict}");
        }
        for malformed in ["", "-1", "+1", "0x5", "5 5", "9223372036854775808", "99999999999999999999", "5,"] {
            let headers = format!("Content-Length: {malformed}\r\n");
            assert!(matches!(body(&headers), Err(HeadError::Malformed(_))), "{malformed}");
        }
        for coding in ["gzip, chunked", "identity", "chunked, chunked", ""] {
            let headers = format!("Transfer-Encoding: {coding}\r\n");
            assert_eq!(body(&headers), Err(HeadError::UnsupportedCoding(coding.into())));
        }
        let twice = body("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n");
        assert_eq!(twice, Err(HeadError::UnsupportedCoding("gzip, chunked".into())));
    }

    #[test]
    fn a_content_coding_matters_where_there_is_content() {
        let coded = |status_and_length: &str| {
            parse(format!("HTTP/1.1 {status_and_length}\r\nContent-Encoding: gzip\r\n\r\n").as_bytes())
        };
        assert_eq!(coded("200\r\nContent-Length: 7"), Err(HeadError::UnsupportedCoding("gzip".into())));
        assert!(coded("202\r\nContent-Length: 0").is_ok());
        assert!(coded("204").is_ok());
        assert!(parse(b"HTTP/1.1 200\r\nContent-Encoding: identity\r\n\r\n").is_ok());
    }

    #[test]
    fn answers_without_a_body_have_none_whatever_they_say() {
        for status in [204, 304] {
            assert_eq!(head(&format!("HTTP/1.1 {status}\r\nContent-Length: 7\r\n\r\n")).body, Body::None);
            assert!(head(&format!("HTTP/1.1 {status}\r\n\r\n")).keep_alive);
            // One that announces a body may send it all the same, to be taken for the next answer. (A 304 says how long the 200 was.)
            assert!(!head(&format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n")).keep_alive);
            let sized =
                |bytes| head(&format!("HTTP/1.1 {status}\r\nContent-Length: {bytes}\r\n\r\n")).keep_alive;
            assert_eq!((sized(0), sized(2)), (true, status == 304));
        }
    }

    #[test]
    fn a_connection_is_kept_by_version_and_by_word() {
        let kept = |version: &str, headers: &str| {
            head(&format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{headers}\r\n")).keep_alive
        };
        assert!(kept("1.1", ""));
        assert!(!kept("1.1", "Connection: foo, CLOSE\r\n"));
        assert!(!kept("1.1", "Connection: keep-alive\r\nConnection: close\r\n"));
        assert!(!kept("1.0", ""));
        assert!(kept("1.0", "Connection: Keep-Alive\r\n"));
        assert!(
            !head("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n").keep_alive,
            "ends with the connection"
        );
        let chunks_in_1_0 = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(!head(chunks_in_1_0).keep_alive);
    }

    #[test]
    fn headers_for_people_and_policies_are_read() {
        let head = head(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"a\",\r\n\tscope=\"b\"\r\n\
            www-authenticate: Basic\r\nRetry-After: 7\r\nLocation: https://a/b\r\nMcp-Session-Id: a\tb\r\n\r\n",
        );
        assert_eq!(head.challenge.as_deref(), Some("Bearer realm=\"a\",  \tscope=\"b\", Basic"));
        assert_eq!(head.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(head.location.as_deref(), Some("https://a/b"));
        assert_eq!(head.session, None);
    }

    #[test]
    fn the_bounds_themselves_are_allowed() {
        let headers = "X: y\r\n".repeat(HEADERS_MAX);
        head(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n"));
        let too_many = error(&format!("HTTP/1.1 200 OK\r\n{headers}X: y\r\n\r\n"));
        assert_eq!(too_many, HeadError::TooMany { headers_max: HEADERS_MAX });

        let around = "HTTP/1.1 200 OK\r\nX: \r\n\r\n".len();
        let of_bytes = |bytes: usize| format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(bytes - around));
        head(&of_bytes(HEAD_BYTES_MAX));
        let (bytes, bytes_max) = (HEAD_BYTES_MAX + 1, HEAD_BYTES_MAX);
        assert_eq!(error(&of_bytes(bytes)), HeadError::TooLong { bytes, bytes_max });
        assert!(matches!(error(&"\r\n".repeat(HEAD_BYTES_MAX)), HeadError::TooLong { .. }));
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_BYTES_MAX / 20);
        assert!(matches!(error(&interim), HeadError::TooLong { .. }));
    }

    #[test]
    fn errors_name_the_value_and_the_bound() {
        let too_long = HeadError::TooLong { bytes: 70_000, bytes_max: HEAD_BYTES_MAX };
        assert_eq!(
            too_long.to_string(),
            "the head of the http answer does not end in 70000 bytes, the bound is 65536"
        );
        let unsupported = HeadError::UnsupportedCoding("br".into());
        assert_eq!(
            unsupported.to_string(),
            "the http answer comes in a coding that was not asked for: \"br\""
        );
    }
}
