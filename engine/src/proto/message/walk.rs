//! The walk: the members at the root of a frame, found without parsing what is inside them.
//!
//! One pass over the bytes that knows three things: where strings begin and end, how deep the brackets
//! stand, and which key is being passed at depth one. It keeps the bytes of the four members that make an
//! envelope and judges none of them. It is the path for frames whose shape the proofs in
//! [`envelope`](super::envelope) do not cover: spaces in unusual places, keys in an unusual order or
//! spelled with escapes, ids that are not plain numbers.
//!
//! Unit: bytes, each looked at once; some one to two a nanosecond. No memory, but for a key or an id
//! spelled with escapes. Owner: nobody, these are functions. Always: in valid JSON the members found are
//! those a parser would find, the last of a repeated key winning; in anything else no byte makes it panic
//! and it never reads twice. Proof: `scan_agrees_with_a_parser`, in `envelope`. Follows: RFC 8259.

use std::borrow::Cow;

use memchr::memchr2;

/// The members that make an envelope, as the bytes of their values. Of a repeated key, the last.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    pub(super) id: Option<&'a [u8]>,
    pub(super) method: Option<&'a [u8]>,
    pub(super) result: Option<&'a [u8]>,
    pub(super) error: Option<&'a [u8]>,
    /// The object was closed, and nothing but blanks came after it. Otherwise the members above are those
    /// that stood whole before the damage, with the comma after them.
    pub(super) is_whole: bool,
}

/// Walks over the root object of a frame.
pub(super) fn members(frame: &[u8]) -> Members<'_> {
    let mut members = Members::default();
    members.is_whole = walk(frame, &mut members).is_some();
    members
}

/// Fills in the members; `None` where the bytes stop being an object.
fn walk<'a>(frame: &'a [u8], members: &mut Members<'a>) -> Option<()> {
    let mut at = expect(frame, 0, b'{')?;
    if frame.get(skip_blanks(frame, at)) != Some(&b'}') {
        loop {
            let key = skip_blanks(frame, at);
            let key_end = skip_string(frame, key)?;
            let value = skip_blanks(frame, expect(frame, key_end, b':')?);
            let value_end = skip_value(frame, value)?;
            at = skip_blanks(frame, value_end);
            let is_last = match frame.get(at)? {
                b',' => false,
                b'}' => true,
                _ => return None,
            };
            let member = match &*unescaped(&frame[key..key_end], KEY_CHARS_MAX).unwrap_or_default() {
                b"id" => Some(&mut members.id),
                b"method" => Some(&mut members.method),
                b"result" => Some(&mut members.result),
                b"error" => Some(&mut members.error),
                _ => None,
            };
            if let Some(member) = member {
                *member = Some(&frame[value..value_end]);
            }
            if is_last {
                break;
            }
            at += 1;
        }
    }
    let end = expect(frame, at, b'}')?;
    (skip_blanks(frame, end) == frame.len()).then_some(())
}

/// The text of a string token, quotes and escapes removed; `None` if the token is no string, is damaged,
/// or surely has more than `chars_max` characters (the caller would not know what to do with them).
///
/// Without escapes the bytes are borrowed, and need not be UTF-8.
pub(super) fn unescaped(token: &[u8], chars_max: usize) -> Option<Cow<'_, [u8]>> {
    let text = token.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if text.len() > chars_max.saturating_mul(ESCAPE_BYTES_MAX) {
        return None;
    }
    if !text.contains(&b'\\') {
        return Some(Cow::Borrowed(text));
    }
    serde_json::from_slice(token).ok().map(|text: String| Cow::Owned(text.into_bytes()))
}

/// Past the blanks, and past the given byte, which must follow them.
fn expect(frame: &[u8], at: usize, byte: u8) -> Option<usize> {
    let at = skip_blanks(frame, at);
    (frame.get(at) == Some(&byte)).then_some(at + 1)
}

pub(super) fn skip_blanks(frame: &[u8], mut at: usize) -> usize {
    while frame.get(at).is_some_and(|&byte| is_blank(byte)) {
        at += 1;
    }
    at
}

/// Past a string, which must begin here.
fn skip_string(frame: &[u8], at: usize) -> Option<usize> {
    let mut at = expect(frame, at, b'"')?;
    loop {
        at += memchr2(b'"', b'\\', frame.get(at..)?)?;
        if frame[at] == b'"' {
            return Some(at + 1);
        }
        at += 2; // The escaped byte is never the end, whatever it is.
    }
}

/// Past a value of any kind. Brackets are counted, not paired: the decoder will look at them.
pub(super) fn skip_value(frame: &[u8], at: usize) -> Option<usize> {
    match frame.get(at)? {
        b'"' => return skip_string(frame, at),
        b'{' | b'[' => {}
        b'}' | b']' | b',' | b':' => return None,
        _ => return Some(skip_scalar(frame, at)),
    }
    let mut at = at;
    let mut depth = 0_usize;
    loop {
        match frame.get(at)? {
            b'"' => {
                at = skip_string(frame, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Past a number or a word.
fn skip_scalar(frame: &[u8], at: usize) -> usize {
    let ends = |&byte: &u8| is_blank(byte) || matches!(byte, b',' | b'}' | b']' | b':' | b'"');
    frame[at..].iter().position(ends).map_or(frame.len(), |bytes| at + bytes)
}

/// What JSON calls white space.
#[inline]
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The longest of the keys we look for; longer ones need not be unescaped.
const KEY_CHARS_MAX: usize = "method".len();

/// The longest spelling of one character of text: `\u0069`. (A pair of surrogates is twelve bytes, but then
/// the text is four bytes and none of those we look for.)
const ESCAPE_BYTES_MAX: usize = 6;
