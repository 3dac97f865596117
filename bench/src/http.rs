//! HTTP/1.1 as the fast target speaks it: requests found in bytes, replies put around a body.
//!
//! What it knows is what a client of Streamable HTTP sends: POST with a Content-Length, on a connection
//! that stays open, pipelined or not, whatever the path. No session is ever issued, and GET and DELETE
//! are answered 405. A chunked body is refused with 411, and `Expect` is not answered: the client sends
//! its body after the usual second. Replies carry the three lines a client needs and no `Date`.
//!
//! A head costs about 20 ns when it is the last one over again but for its length (`HeadShape`), and
//! nothing is allocated for it or for its reply. One [`Replier`] serves all connections of a thread; it
//! keeps no state of any of them. A head has at most 64 KiB, a body 64 MiB; what is longer is refused
//! and its connection ended. Proof: `any_cut_gives_the_same_replies`, below.

use std::ops::Range;

use memchr::memmem;

use crate::splice::{Answered, Splicer};

/// Answers requests: the wire around a [`Splicer`].
#[derive(Debug)]
pub struct Replier {
    splicer: Splicer,
    head: HeadShape,
    /// The body of the reply that is being written; its memory is used again.
    body: Vec<u8>,
}

/// What was made of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// How many of them were whole requests, which have their replies now.
    pub used: usize,
    /// How many bytes the unfinished request behind those will have, as far as that is known.
    pub wanted: usize,
    /// Whether the connection goes on after these replies.
    pub open: bool,
}

/// A head around the digits of its Content-Length; only heads that ask for nothing special.
#[derive(Debug, Default)]
struct HeadShape {
    before: Vec<u8>,
    /// Up to and with the blank line; empty until there has been a head.
    after: Vec<u8>,
}

/// A head that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Head {
    bytes: usize,
    body_bytes: usize,
    is_post: bool,
    stays_open: bool,
    /// Where the digits stand, if this head can be a shape.
    digits: Option<Range<usize>>,
}

/// Why a request cannot be answered; its reply, after which the connection ends.
type Refusal = &'static [u8];

impl Default for Replier {
    fn default() -> Self {
        Self::new()
    }
}

impl Replier {
    /// One that has seen no request yet.
    pub fn new() -> Self {
        Self { splicer: Splicer::for_bodies(), head: HeadShape::default(), body: Vec::new() }
    }

    /// Answers every whole request at the head of `bytes`, in order.
    pub fn answer(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Turn {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            let head = match self.head.find(rest).map_or_else(|| Head::read(rest), |head| Ok(Some(head))) {
                Ok(Some(head)) => head,
                Ok(None) => return Turn { used, wanted: 0, open: true },
                Err(refusal) => {
                    out.extend_from_slice(refusal);
                    return Turn { used: bytes.len(), wanted: 0, open: false };
                }
            };
            let wanted = head.bytes + head.body_bytes;
            let Some(body) = rest.get(head.bytes..wanted) else { return Turn { used, wanted, open: true } };
            if head.is_post {
                self.reply(body, out);
            } else {
                out.extend_from_slice(NOT_ALLOWED);
            }
            used += wanted;
            if !head.stays_open {
                return Turn { used, wanted: 0, open: false };
            }
            if let Some(digits) = &head.digits {
                self.head.learn(&rest[..head.bytes], digits);
            }
        }
        Turn { used, wanted: 0, open: true }
    }

    fn reply(&mut self, body: &[u8], out: &mut Vec<u8>) {
        self.body.clear();
        let line = match self.splicer.answer_body(body, &mut self.body) {
            Answered::Replied => OK,
            Answered::Refused => BAD,
            Answered::Taken => return out.extend_from_slice(ACCEPTED),
        };
        out.extend_from_slice(line);
        decimal(self.body.len(), out);
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(&self.body);
    }
}

impl HeadShape {
    /// The head at the start of `bytes`, if it has this shape.
    fn find(&self, bytes: &[u8]) -> Option<Head> {
        let rest = bytes.strip_prefix(self.before.as_slice())?;
        let length = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let body_bytes = length_of(&rest[..length])?;
        if self.after.is_empty() || !rest[length..].starts_with(&self.after) {
            return None;
        }
        let bytes = self.before.len() + length + self.after.len();
        Some(Head { bytes, body_bytes, is_post: true, stays_open: true, digits: None })
    }

    fn learn(&mut self, head: &[u8], digits: &Range<usize>) {
        for (part, bytes) in
            [(&mut self.before, &head[..digits.start]), (&mut self.after, &head[digits.end..])]
        {
            part.clear();
            part.extend_from_slice(bytes);
        }
    }
}

impl Head {
    /// The head at the start of `bytes`; `None` when it is not all there.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Refusal> {
        let within = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let Some(end) = memmem::find(within, b"\r\n\r\n") else {
            return if bytes.len() < HEAD_BYTES_MAX { Ok(None) } else { Err(HEAD_TOO_LONG) };
        };
        let line_end = memmem::find(bytes, b"\r\n").unwrap_or(end);
        let mut words = bytes[..line_end].split(|byte| *byte == b' ');
        let (method, version) = (words.next().unwrap_or_default(), words.next_back().unwrap_or_default());
        let mut stays_open = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err(MALFORMED),
        };
        let mut digits: Option<Range<usize>> = None;
        let mut at = line_end + 2;
        while at < end {
            let line_end = at + memmem::find(&bytes[at..], b"\r\n").ok_or(MALFORMED)?;
            let line = &bytes[at..line_end];
            let colon = line.iter().position(|byte| *byte == b':').ok_or(MALFORMED)?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-length") {
                let start =
                    at + colon + 1 + line[colon + 1..].len() - line[colon + 1..].trim_ascii_start().len();
                if digits.replace(start..start + value.len()).is_some() {
                    return Err(MALFORMED);
                }
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                return Err(NO_LENGTH);
            } else if name.eq_ignore_ascii_case(b"connection") {
                let mut tokens = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                stays_open &= !tokens.any(|token| token.eq_ignore_ascii_case(b"close"));
            }
            at = line_end + 2;
        }
        let is_post = method == b"POST";
        let body_bytes = match &digits {
            Some(digits) if !bytes[digits.clone()].iter().all(u8::is_ascii_digit) => return Err(MALFORMED),
            Some(digits) => length_of(&bytes[digits.clone()]).ok_or(BODY_TOO_LONG)?,
            None if is_post => return Err(NO_LENGTH),
            None => 0,
        };
        let digits = digits.filter(|_| is_post && stays_open);
        Ok(Some(Self { bytes: end + 4, body_bytes, is_post, stays_open, digits }))
    }
}

/// A Content-Length that is digits alone and no more than a body may have.
fn length_of(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let number = digits.iter().try_fold(0_usize, |number, digit| {
        digit.is_ascii_digit().then(|| 10 * number + usize::from(digit - b'0'))
    });
    number.filter(|bytes| *bytes <= BODY_BYTES_MAX)
}

fn decimal(mut number: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // A remainder of ten fits a byte.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

/// A request's head may have this many bytes.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A request's body may have this many, as a line over the other transports.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
const BAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: ";
const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
const NOT_ALLOWED: &[u8] = b"HTTP/1.1 405 Method Not Allowed\r\nAllow: POST\r\nContent-Length: 0\r\n\r\n";
const MALFORMED: Refusal = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const NO_LENGTH: Refusal = b"HTTP/1.1 411 Length Required\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const BODY_TOO_LONG: Refusal =
    b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const HEAD_TOO_LONG: Refusal =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn post(lines: &str, body: &str) -> String {
        format!("POST /mcp HTTP/1.1\r\nHost: x\r\ncontent-LENGTH:  {} \r\n{lines}\r\n{body}", body.len())
    }

    fn call(id: u64) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"m{id}"}}}}}}"#
        )
    }

    fn answer(bytes: &str) -> (Turn, String) {
        let mut out = Vec::new();
        let turn = Replier::new().answer(bytes.as_bytes(), &mut out);
        (turn, String::from_utf8(out).unwrap())
    }

    /// Heads of two shapes in turns, a notification, a GET: cut in two anywhere, and pipelined whole.
    #[test]
    fn any_cut_gives_the_same_replies() {
        let mut requests = String::new();
        for id in [1, 22, 333] {
            requests += &post("Accept: a\r\n", &call(id));
            requests += &post("Accept: a\r\n", &call(id + 1));
            requests += &post("", r#"{"method":"notifications/initialized"}"#);
            requests += "GET /mcp HTTP/1.1\r\nHost: x\r\n\r\n";
        }
        let (turn, whole) = answer(&requests);
        assert_eq!(turn, Turn { used: requests.len(), wanted: 0, open: true });
        assert_eq!(whole.matches("HTTP/1.1 200 OK").count(), 6);
        assert_eq!(whole.matches("HTTP/1.1 202 Accepted").count(), 3);
        assert_eq!(whole.matches("HTTP/1.1 405").count(), 3);
        for cut in 0..requests.len() {
            let (mut replier, mut out) = (Replier::new(), Vec::new());
            let first = replier.answer(&requests.as_bytes()[..cut], &mut out);
            assert!(first.open && (first.wanted == 0 || first.wanted > cut - first.used), "{first:?}");
            let second = replier.answer(&requests.as_bytes()[first.used..], &mut out);
            assert_eq!(first.used + second.used, requests.len());
            assert_eq!(out, whole.as_bytes());
        }
    }

    #[test]
    fn a_reply_says_its_length() {
        let (_, reply) = answer(&post("", &call(7)));
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("\r\nContent-Length: {}", body.len())), "{head}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["id"], 7);
    }

    #[test]
    fn who_asks_to_close_is_the_last() {
        let old = post("", &call(1)).replace("HTTP/1.1", "HTTP/1.0");
        for request in [post("Connection: x, Close\r\n", &call(1)), old] {
            let (turn, reply) = answer(&(request.clone() + &request));
            assert_eq!(turn, Turn { used: request.len(), wanted: 0, open: false });
            assert_eq!(reply.matches("200 OK").count(), 1);
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let long = format!("POST / HTTP/1.1\r\nA: {}", "a".repeat(HEAD_BYTES_MAX));
        let cases = [
            ("POST / HTTP/1.1\r\n\r\n", "411"),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "411"),
            ("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", "400"),
            ("POST / HTTP/1.1\r\nContent-Length: 67108865\r\n\r\n", "413"),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", "413"),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "400"),
            ("POST / HTTP/1.1\r\nno colon\r\n\r\n", "400"),
            ("{}\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
            (&long, "431"),
        ];
        for (bytes, status) in cases {
            let (turn, reply) = answer(bytes);
            assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:.60}: {reply}");
            assert!(!turn.open);
        }
        let (turn, reply) = answer(&post("", "[]"));
        assert!(turn.open && reply.starts_with("HTTP/1.1 400 ") && reply.contains("-32600"), "{reply}");
    }
}
