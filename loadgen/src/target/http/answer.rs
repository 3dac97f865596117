//! Writing HTTP/1.1 answers: whole ones, and streams of events piece by piece.
//!
//! A whole answer leaves with its length in one piece. A stream goes out in chunks, or plain until
//! the connection closes where the client knows no chunks. Nothing here looks at what it writes;
//! data of events has no line ends, since messages have none.
//! Clauses: RFC 9112 sections 4, 6, 7; the event stream format of the HTML standard.

use std::io::Write as _;

/// What a connection and its client agreed on for one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    /// The connection closes after this answer.
    pub(super) closes: bool,
    /// The client knows no chunks.
    pub(super) is_old: bool,
}

/// Further fields of a head, each with its line end.
pub(super) type Fields<'a> = &'a [&'a [u8]];

/// Appends the start of the answer that nearly every call gets.
#[inline]
pub(super) fn put_json_head(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
}

/// Appends a whole answer. Without a kind of content it has none.
pub(super) fn put_whole(
    out: &mut Vec<u8>,
    status: u16,
    kind: Option<&str>,
    fields: Fields<'_>,
    body: &[u8],
    manner: Manner,
) {
    put_head(out, status, kind, fields, manner);
    if !matches!(status, 100..=199 | 204) {
        write!(out, "content-length: {}\r\n", body.len()).expect(IN_MEMORY);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// Appends the head of an answer that promises more than will come.
pub(super) fn put_torn(out: &mut Vec<u8>, body: &[u8]) {
    put_json_head(out, 2 * body.len() + 1);
    out.extend_from_slice(body);
}

/// Appends the head of a stream of events.
pub(super) fn put_stream_head(out: &mut Vec<u8>, fields: Fields<'_>, manner: Manner) {
    put_head(out, 200, Some("text/event-stream"), fields, manner);
    out.extend_from_slice(b"cache-control: no-cache\r\nx-accel-buffering: no\r\n");
    if !manner.is_old {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a stream of one event, from its head to its end; `write` writes the event's one line.
pub(super) fn put_only_event(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let manner = Manner::default();
    put_stream_head(out, &[], manner);
    put_piece(out, manner, |out| {
        out.extend_from_slice(b"event: message\ndata: ");
        write(out);
        out.push(b'\n');
    });
    put_stream_end(out, manner);
}

/// Appends what `write` writes as one chunk, or nothing if it writes nothing.
pub(super) fn put_piece(out: &mut Vec<u8>, manner: Manner, write: impl FnOnce(&mut Vec<u8>)) {
    if manner.is_old {
        return write(out);
    }
    let start = out.len();
    out.extend_from_slice(CHUNK_HEAD);
    write(out);
    let length = out.len() - start - CHUNK_HEAD.len();
    if length == 0 {
        return out.truncate(start);
    }
    // The room for the size was left before the size was known; leading zeros are allowed.
    write!(&mut out[start..start + SIZE_DIGITS], "{length:08x}").expect(IN_MEMORY);
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a stream.
pub(super) fn put_stream_end(out: &mut Vec<u8>, manner: Manner) {
    if !manner.is_old {
        out.extend_from_slice(b"0\r\n\r\n");
    }
}

/// Appends an event with one message.
pub(super) fn put_event(out: &mut Vec<u8>, id: Option<EventId>, data: &[u8]) {
    out.extend_from_slice(b"event: message\n");
    put_id(out, id);
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// Appends an event without data, which gives the client a place to come back to.
pub(super) fn put_priming(out: &mut Vec<u8>, id: EventId, retry_ms: Option<u64>) {
    put_id(out, Some(id));
    put_retry(out, retry_ms);
    out.extend_from_slice(b"data: \n\n");
}

/// Appends the wait before the client may come back, if there is one to tell.
pub(super) fn put_retry(out: &mut Vec<u8>, retry_ms: Option<u64>) {
    if let Some(ms) = retry_ms {
        writeln!(out, "retry: {ms}").expect(IN_MEMORY);
    }
}

/// Names one event of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventId {
    pub(super) stream: u64,
    pub(super) number: u64,
}

impl EventId {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (stream, number) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self { stream: stream.parse().ok()?, number: number.parse().ok()? })
    }
}

fn put_id(out: &mut Vec<u8>, id: Option<EventId>) {
    if let Some(EventId { stream, number }) = id {
        writeln!(out, "id: {stream}-{number}").expect(IN_MEMORY);
    }
}

fn put_head(out: &mut Vec<u8>, status: u16, kind: Option<&str>, fields: Fields<'_>, manner: Manner) {
    write!(out, "HTTP/1.1 {status} {}\r\n", reason(status)).expect(IN_MEMORY);
    if let Some(kind) = kind {
        write!(out, "content-type: {kind}\r\n").expect(IN_MEMORY);
    }
    if manner.closes {
        out.extend_from_slice(b"connection: close\r\n");
    } else if manner.is_old {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    for field in fields {
        out.extend_from_slice(field);
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

const SIZE_DIGITS: usize = 8;
const CHUNK_HEAD: &[u8; SIZE_DIGITS + 2] = b"00000000\r\n";
const IN_MEMORY: &str = "writing to memory does not fail";
