//! WebSocket frames without their socket: the server's into lines, lines into the client's (RFC 6455, 5).
//!
//! [`Unframer`] works in place. A payload moves down over the headers before it; carriage returns and line feeds in it, which
//! JSON has only between its tokens, become blanks; one line feed follows the last fragment of a message. Whether the text is
//! UTF-8 is not judged here: it is read as JSON later, and judged then.
//!
//! Cost: one move and one scan for each payload byte in; one copy and one exclusive-or out. Owner: one connection.
//! Proof: `any_cut_gives_the_same_lines`, `a_server_reads_the_lines_that_were_framed`, below.

use std::io::Cursor;

use base64::{Engine, prelude::BASE64_STANDARD};
use tungstenite::{
    handshake::client::generate_key,
    protocol::frame::{
        FrameHeader,
        coding::{Control, Data, OpCode},
    },
};

use crate::base::limits::OUTBOX_BYTES_KEPT;

/// Frames of the server become lines.
#[derive(Debug, Default)]
pub(super) struct Unframer {
    /// A header that has begun.
    head: [u8; HEAD_BYTES_MAX],
    head_len: usize,
    /// The frame whose payload is coming.
    frame: Option<Frame>,
    /// The payload of a control frame, as far as it has come.
    control: Vec<u8>,
    /// A message has begun and its last fragment has not come.
    in_message: bool,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    /// Bytes of the payload that are still to come.
    left: u64,
}

/// What a control frame says.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    /// To be answered with the same payload.
    Ping(&'a [u8]),
    /// The end, to be echoed.
    Close {
        /// The code, or nothing.
        echo: &'a [u8],
        /// In words.
        reason: String,
    },
}

const HEAD_BYTES_MAX: usize = 14;

/// RFC 6455, 5.5.
const CONTROL_BYTES_MAX: u64 = 125;

impl Unframer {
    /// Turns the raw bytes of `space` from `from` on, which is at least 1, into lines from 0 on. Gives the length of the lines, and
    /// the rule that the server broke behind them; nothing is read after that, nor after a close.
    ///
    /// Always: what is written ends at or before what is read. A line feed is written for a payload byte's worth of header, or
    /// into the first byte, which is free.
    pub(super) fn unframe(
        &mut self,
        space: &mut [u8],
        from: usize,
        mut hear: impl FnMut(Heard<'_>),
    ) -> (usize, Option<String>) {
        let (mut at, mut out) = (from, 0);
        while at < space.len() {
            let mut frame = match self.frame {
                Some(frame) => frame,
                None => {
                    self.head[self.head_len] = space[at];
                    (self.head_len, at) = (self.head_len + 1, at + 1);
                    match self.begun() {
                        Ok(None) => continue,
                        Ok(Some(frame)) => frame,
                        Err(fault) => return (out, Some(fault)),
                    }
                }
            };
            let n = usize::try_from(frame.left).map_or(space.len() - at, |left| left.min(space.len() - at));
            match frame.opcode {
                OpCode::Data(_) => {
                    space.copy_within(at..at + n, out);
                    blank_out_line_ends(&mut space[out..out + n]);
                    out += n;
                }
                OpCode::Control(_) => self.control.extend_from_slice(&space[at..at + n]),
            }
            at += n;
            frame.left -= n as u64;
            self.frame = (frame.left > 0).then_some(frame);
            debug_assert!(out <= at);
            if frame.left > 0 {
                continue;
            }
            match frame.opcode {
                OpCode::Data(_) if frame.is_final => {
                    debug_assert!(out < at);
                    space[out] = b'\n';
                    out += 1;
                }
                OpCode::Data(_) | OpCode::Control(Control::Pong | Control::Reserved(_)) => {}
                OpCode::Control(Control::Ping) => hear(Heard::Ping(&self.control)),
                OpCode::Control(Control::Close) => {
                    let echo = self.control.get(..2).unwrap_or_default();
                    hear(Heard::Close { echo, reason: close_reason(&self.control) });
                    return (out, None);
                }
            }
            self.control.clear();
        }
        (out, None)
    }

    /// The frame whose header is complete by now.
    fn begun(&mut self) -> Result<Option<Frame>, String> {
        let head = &self.head[..self.head_len];
        let Some(second) = head.get(1) else { return Ok(None) };
        let length = match second & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if second & 0x80 != 0 {
            return Err("a server's frame must not be masked".to_owned());
        }
        if head.len() < 2 + length {
            return Ok(None);
        }
        let parsed = FrameHeader::parse(&mut Cursor::new(head)).map_err(|error| error.to_string())?;
        let Some((header, left)) = parsed else { return Ok(None) };
        self.head_len = 0;
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err("reserved bits are set, though no extension was agreed on".to_owned());
        }
        match header.opcode {
            OpCode::Control(kind) if !header.is_final || left > CONTROL_BYTES_MAX => {
                let whole = if header.is_final { "in one piece" } else { "in pieces" };
                return Err(format!(
                    "a {kind} frame of {left} bytes {whole}; at most {CONTROL_BYTES_MAX} bytes in one piece are allowed"
                ));
            }
            OpCode::Control(_) => {}
            OpCode::Data(kind) => {
                if matches!(kind, Data::Continue) != self.in_message {
                    return Err(format!(
                        "a {kind} frame where {}",
                        if self.in_message {
                            "a message is to be continued"
                        } else {
                            "a message is to begin"
                        }
                    ));
                }
                self.in_message = !header.is_final;
            }
        }
        Ok(Some(Frame { opcode: header.opcode, is_final: header.is_final, left }))
    }
}

fn blank_out_line_ends(text: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', &text[from..]) {
        text[from + at] = b' ';
        from += at + 1;
    }
}

fn close_reason(payload: &[u8]) -> String {
    match payload {
        [high, low, words @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let words = String::from_utf8_lossy(words);
            if words.is_empty() {
                format!("the server closed the WebSocket with code {code}")
            } else {
                format!("the server closed the WebSocket with code {code}: {words}")
            }
        }
        _ => "the server closed the WebSocket without a code".to_owned(),
    }
}

/// Lines become frames of the client, which are masked.
#[derive(Debug)]
pub(super) struct Framer {
    /// A line whose end has not come yet.
    line: Vec<u8>,
    /// For masks. They protect old proxies from requests in disguise and have to be hard to foresee; the seed is as random as
    /// the key of the handshake.
    masks: fastrand::Rng,
}

impl Framer {
    pub(super) fn new() -> Self {
        let random = BASE64_STANDARD.decode(generate_key()).unwrap_or_default();
        let seed = random.iter().fold(0u64, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte));
        Self { line: Vec::new(), masks: fastrand::Rng::with_seed(seed) }
    }

    /// Puts a text frame into `out` for each line that ends in `bytes`, and keeps the rest.
    pub(super) fn frame_lines(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if self.line.is_empty() {
                self.frame(OpCode::Data(Data::Text), &rest[..end], out);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&rest[..end]);
                self.frame(OpCode::Data(Data::Text), &line, out);
                line.clear();
                line.shrink_to(OUTBOX_BYTES_KEPT);
                self.line = line;
            }
            rest = &rest[end + 1..];
        }
        self.line.extend_from_slice(rest);
    }

    /// Puts one frame into `out`.
    pub(super) fn frame(&mut self, opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
        let mask = self.masks.u32(..).to_ne_bytes();
        let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
        // A vector takes everything; there is no other error.
        let _ = header.format(payload.len() as u64, out);
        let start = out.len();
        out.extend_from_slice(payload);
        let (words, last) = out[start..].as_chunks_mut::<4>();
        let mask_word = u32::from_ne_bytes(mask);
        for word in words {
            *word = (u32::from_ne_bytes(*word) ^ mask_word).to_ne_bytes();
        }
        for (byte, mask) in last.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
}

#[cfg(any(test, feature = "internals"))]
pub(crate) mod pieces {
    //! What comes out of a stream that comes in pieces.

    use super::{Heard, Unframer};

    /// Lines, what was heard beside them, and the rule that was broken.
    pub(crate) type Account = (Vec<u8>, Vec<String>, Option<String>);

    /// Reads until the end, a close, or a broken rule.
    pub(crate) fn account(stream: &[u8], sizes: impl Iterator<Item = usize>) -> Account {
        let (mut unframer, mut lines, mut heard) = (Unframer::default(), Vec::new(), Vec::new());
        let (mut rest, mut is_closed) = (stream, false);
        for size in sizes {
            let (piece, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            if piece.is_empty() {
                break;
            }
            let mut space = vec![b'?'];
            space.extend_from_slice(piece);
            let (out, fault) = unframer.unframe(&mut space, 1, |what| {
                is_closed |= matches!(what, Heard::Close { .. });
                heard.push(format!("{what:?}"));
            });
            lines.extend_from_slice(&space[..out]);
            if fault.is_some() || is_closed {
                return (lines, heard, fault);
            }
        }
        (lines, heard, None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tungstenite::protocol::{Role, WebSocket};

    use super::*;

    /// A frame of a server.
    fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = FrameHeader { opcode, is_final, ..FrameHeader::default() };
        header.format(payload.len() as u64, &mut bytes).unwrap();
        bytes.extend_from_slice(payload);
        bytes
    }

    const TEXT: OpCode = OpCode::Data(Data::Text);
    const MORE: OpCode = OpCode::Data(Data::Continue);
    const PING: OpCode = OpCode::Control(Control::Ping);
    const CLOSE: OpCode = OpCode::Control(Control::Close);

    /// What comes out when the bytes come in pieces of these lengths.
    fn unframed(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<String>, Option<String>) {
        let whole = [bytes.len().max(1)];
        let cuts = if cuts.is_empty() { &whole } else { cuts };
        pieces::account(bytes, cuts.iter().map(|cut| (*cut).max(1)).cycle())
    }

    #[derive(Clone, Debug)]
    enum Said {
        Message(Vec<Vec<u8>>),
        Ping(Vec<u8>),
    }

    fn said() -> impl Strategy<Value = Said> {
        let fragment = || proptest::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            3 => proptest::collection::vec(fragment(), 1..4).prop_map(Said::Message),
            1 => proptest::collection::vec(any::<u8>(), 0..126).prop_map(Said::Ping),
        ]
    }

    proptest! {
        /// However the server cuts its messages into frames and the network its frames into pieces, the lines are those of a
        /// plain list of messages, and pings are heard between.
        #[test]
        fn any_cut_gives_the_same_lines(
            said in proptest::collection::vec(said(), 0..8),
            cuts in proptest::collection::vec(1usize..400, 1..8),
        ) {
            let (mut bytes, mut lines, mut pings) = (Vec::new(), Vec::new(), 0);
            for said in &said {
                match said {
                    Said::Message(fragments) => {
                        for (n, fragment) in fragments.iter().enumerate() {
                            let opcode = if n == 0 { TEXT } else { MORE };
                            bytes.extend(frame(opcode, n + 1 == fragments.len(), fragment));
                            // A control frame may come between the fragments of a message.
                            bytes.extend(frame(PING, true, b"between"));
                            pings += 1;
                            lines.extend(fragment.iter().map(|b| if b"\r\n".contains(b) { b' ' } else { *b }));
                        }
                        lines.push(b'\n');
                    }
                    Said::Ping(payload) => {
                        bytes.extend(frame(PING, true, payload));
                        pings += 1;
                    }
                }
            }
            let (found, heard, fault) = unframed(&bytes, &cuts);
            prop_assert_eq!(fault, None);
            prop_assert_eq!(found, lines);
            prop_assert_eq!(heard.len(), pings);
        }

        /// Whatever bytes come from outside, in whatever pieces: no panic, and the same end.
        #[test]
        fn no_bytes_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            cuts in proptest::collection::vec(1usize..40, 1..8),
        ) {
            let (lines, _, fault) = unframed(&bytes, &cuts);
            if fault.is_some() {
                let (whole, _, again) = unframed(&bytes, &[]);
                prop_assert_eq!((whole, again), (lines, fault));
            }
        }

        /// A real server reads back the lines, wherever the writes were cut.
        #[test]
        fn a_server_reads_the_lines_that_were_framed(
            lines in proptest::collection::vec("[a-z\u{e4}]{1,200}", 0..8),
            cuts in proptest::collection::vec(1usize..300, 1..8),
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let (mut framer, mut out) = (Framer::new(), Vec::new());
            let (mut rest, mut cuts) = (text.as_bytes(), cuts.iter().cycle());
            while !rest.is_empty() {
                let n = cuts.next().map_or(rest.len(), |cut| (*cut).min(rest.len()));
                framer.frame_lines(&rest[..n], &mut out);
                rest = &rest[n..];
            }
            let mut server = WebSocket::from_raw_socket(Cursor::new(out), Role::Server, None);
            for line in lines {
                let text = server.read().unwrap().into_text().unwrap();
                prop_assert_eq!(text.as_str(), line);
            }
            prop_assert!(server.read().is_err());
        }
    }

    #[test]
    fn long_messages_need_no_memory_here() {
        let payload = vec![b'x'; 200_000];
        let (lines, _, fault) = unframed(&frame(TEXT, true, &payload), &[16 * 1024]);
        assert_eq!((lines.len(), fault), (200_001, None));
    }

    #[test]
    fn a_close_ends_it_with_its_code_and_words() {
        for (payload, words) in [
            (&b""[..], "without a code"),
            (b"\x03\xe9", "with code 1001\""),
            (b"\x03\xf0too much", "with code 1008: too much"),
            (b"\x03\xf0\xff", "with code 1008: \u{fffd}"),
        ] {
            let mut bytes = frame(TEXT, true, b"first");
            bytes.extend(frame(CLOSE, true, payload));
            bytes.extend(frame(TEXT, true, b"after the end"));
            let (lines, heard, fault) = unframed(&bytes, &[]);
            assert_eq!((&lines[..], fault), (&b"first\n"[..], None));
            assert!(heard.len() == 1 && heard[0].contains(words), "{heard:?}");
        }
    }

    #[test]
    fn a_broken_rule_is_named_and_what_came_before_counts() {
        let masked = {
            let (mut framer, mut out) = (Framer::new(), Vec::new());
            framer.frame(TEXT, b"x", &mut out);
            out
        };
        for (broken, words) in [
            (masked, "must not be masked"),
            (vec![0xC1, 0], "reserved bits"),
            (vec![0x83, 0], "opcode"),
            (frame(MORE, true, b"x"), "where a message is to begin"),
            ([frame(TEXT, false, b"x"), frame(TEXT, true, b"y")].concat(), "to be continued"),
            (frame(PING, false, b""), "in pieces"),
            (frame(PING, true, &[0; 126]), "126 bytes"),
        ] {
            let bytes = [frame(TEXT, true, b"before"), broken].concat();
            let (lines, _, fault) = unframed(&bytes, &[]);
            assert!(lines.starts_with(b"before\n"), "{lines:?}");
            let fault = fault.expect("a rule is broken");
            assert!(fault.contains(words), "{fault}");
        }
    }
}
