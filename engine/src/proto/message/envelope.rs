//! The envelope: whose answer a frame is, and of which kind, without decoding what is inside.
//!
//! Three ways, tried in this order. The *opening* proves the id when it stands before the body, as most
//! servers write it: `{"jsonrpc":"2.0","id":7,"result":`. Up to the key of the body all bytes are known, so
//! nothing can hide between them. The *tail* proves it when it stands after the body,
//! `{"result":…,"jsonrpc":"2.0","id":7}`: the last brace of valid JSON closes the root, a digit before it
//! ends a number, a colon before that follows a key, and the quote that opens `"id"` comes right after a
//! comma, hence is no escaped quote inside some text. Any other frame is *walked* over, strings and depth
//! minded, which gives the last of a repeated key, as JSON libraries do.
//!
//! The proofs look at the edges only. A frame that repeats `id`, or has more than one of `result`, `error`
//! and `method`, may be taken for what its edge says; whoever decodes the body sees all keys and has to
//! refuse it. The harm is bounded meanwhile: an id is only ever looked up among the calls of the
//! connection it came from. The value of `jsonrpc` is nobody's concern here.
//!
//! Unit: one frame. Cost: some 5 ns by the plain opening, 15 to 20 by one with spaces or by the tail, 0.7 a
//! byte by the walk; no memory. Owner: nobody, these are functions. Always: what comes out agrees with a
//! parser wherever the frame is valid JSON with one meaning; no bytes make it panic. Proof:
//! `scan_agrees_with_a_parser`, below. Follows: JSON-RPC 2.0, sections 4 and 5.

use std::borrow::Cow;

use super::walk::{self, Members, is_blank};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An answer with `result` (`null` is one) and no `error`, or an `error` that is `null`.
    Result,
    /// An answer with an `error` that is not `null` and no `result`.
    Error,
    /// Something the server asks of us: `method` and `id`, even if that is `null`.
    Request,
    /// Something the server tells us: `method` without `id`.
    Notification,
    /// An array of objects, or an empty one.
    Batch,
    /// None of these: damaged, or both `result` and `error`, or no body. If the frame was meant to answer
    /// a call, its id is given so that the call can be failed.
    Malformed,
}

/// The id of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    Missing,
    Null,
    /// A whole number from 0 to [`ID_MAX`].
    Number(u64),
    /// Anything else: text, a negative number, a fraction, a number too large. Never one of ours.
    Other,
}

/// How faithfully a number came back to us. [`Echo::Exact`] where there is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    Exact,
    /// As text, `"7"`, or as a fraction, `7.0`. JSON-RPC forbids both; some servers do it.
    Lenient,
}

/// What can be said about a frame without decoding its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) kind: Kind,
    pub(crate) id: Id,
    pub(crate) echo: Echo,
}

/// Finds kind and id of a frame.
#[inline]
pub(crate) fn scan(frame: &[u8]) -> Envelope {
    #[cfg(volley_planted_slowdown = "envelope")]
    crate::base::planted::spend::<5>();
    if frame.starts_with(OPENING) {
        let plain = plain_result(frame).map(|id| (Kind::Result, id)).or_else(|| plain_opening(frame));
        if let Some((kind, id)) = plain {
            return Envelope { kind, id: Id::Number(id), echo: Echo::Exact };
        }
    }
    scan_other_shapes(frame)
}

/// As [`scan`], for a result as nearly all servers write it, and for nothing else: the case that is worth a way of its own. Frames of less than
/// [`PLAIN_BYTES`] are not looked at, so that all that is read here lies where it lies in all others.
#[inline(always)]
#[allow(clippy::inline_always, reason = "in the loop over the frames of a read, whose registers it shares")]
pub(crate) fn plain_result(frame: &[u8]) -> Option<u64> {
    let head: &[u8; PLAIN_BYTES] = frame.first_chunk()?;
    if !head.starts_with(OPENING) {
        return None;
    }
    let (high, low) = (word_at_start(&head[OPENING.len()..]), word_at_start(&head[OPENING.len() + 8..]));
    let (id, digits) = number_in(high, low);
    // At most sixteen digits: what follows them is in sight.
    let is_id = (head[OPENING.len()] != b'0' || digits == 1) && digits > 0 && id <= ID_MAX;
    (is_id && head[OPENING.len() + digits..].starts_with(RESULT)).then_some(id)
}

/// Finds the id in a line of which only the edges are known, if it is an answer. An id in quotes will do.
pub(crate) fn id_at_edges(head: &[u8], tail: &[u8]) -> Option<u64> {
    response_by_edges(head, tail, decimal, decimal_before)
        .or_else(|| response_by_edges(head, tail, quoted, quoted_before))
        .map(|(_, id)| id)
}

/// The method of a request or notification; `None` where there is none, or it is not text.
pub(crate) fn method(frame: &[u8]) -> Option<Cow<'_, str>> {
    match walk::unescaped(walk::members(frame).method?, usize::MAX)? {
        Cow::Borrowed(text) => str::from_utf8(text).ok().map(Cow::Borrowed),
        Cow::Owned(text) => String::from_utf8(text).ok().map(Cow::Owned),
    }
}

#[inline(never)]
fn scan_other_shapes(frame: &[u8]) -> Envelope {
    #[cfg(volley_planted_slowdown = "envelope")]
    crate::base::planted::spend::<10>();
    if let Some((kind, id)) = response_by_edges(frame, frame, decimal, decimal_before) {
        return Envelope { kind, id: Id::Number(id), echo: Echo::Exact };
    }
    if let Some(elements) = token(frame, b"[") {
        let kind = if may_begin_batch(elements) { Kind::Batch } else { Kind::Malformed };
        return Envelope { kind, id: Id::Missing, echo: Echo::Exact };
    }
    judge(&walk::members(frame))
}

/// `[INFO] listening` begins with a bracket too, and is no batch.
#[cold]
fn may_begin_batch(elements: &[u8]) -> bool {
    let at = walk::skip_blanks(elements, 0);
    matches!(elements.get(at), Some(b'{' | b'[' | b']')) || elements[at..].starts_with(b"null")
}

/// Kind and id of a frame whose members are known.
fn judge(members: &Members<'_>) -> Envelope {
    let (mut id, mut echo) = members.id.map_or((Id::Missing, Echo::Exact), id_of);
    let has_error = members.error.is_some_and(|error| error != b"null");
    let kind = match (members.is_whole, members.method.is_some(), members.result.is_some(), has_error) {
        (true, true, ..) if members.id.is_some() => Kind::Request,
        (true, true, ..) => Kind::Notification,
        (true, false, true, false) => Kind::Result,
        (true, false, false, true) => Kind::Error,
        // A damaged request of the server: its id is the server's, and must not fail a call of ours.
        (false, true, ..) => {
            (id, echo) = (Id::Missing, Echo::Exact);
            Kind::Malformed
        }
        _ => Kind::Malformed,
    };
    Envelope { kind, id, echo }
}

/// What an id is, given the bytes of its value.
fn id_of(value: &[u8]) -> (Id, Echo) {
    if value == b"null" {
        return (Id::Null, Echo::Exact);
    }
    match decimal(value) {
        Some((id, [])) => return (Id::Number(id), Echo::Exact),
        Some((id, fraction)) if is_zero_fraction(fraction) => return (Id::Number(id), Echo::Lenient),
        _ => {}
    }
    let text = walk::unescaped(value, ID_DIGITS_MAX).unwrap_or_default();
    match decimal(&text) {
        Some((id, [])) => (Id::Number(id), Echo::Lenient),
        _ => (Id::Other, Echo::Exact),
    }
}

/// `.0`, with as many zeros as the server likes.
fn is_zero_fraction(text: &[u8]) -> bool {
    text.strip_prefix(b".").is_some_and(|zeros| !zeros.is_empty() && zeros.iter().all(|&digit| digit == b'0'))
}

/// The opening as nearly all servers write it, to the byte.
#[inline]
fn plain_opening(frame: &[u8]) -> Option<(Kind, u64)> {
    let rest = frame.strip_prefix(OPENING)?;
    let (id, digits) = leading_number(rest)?;
    let rest = &rest[digits..];
    if rest.starts_with(RESULT) {
        Some((Kind::Result, id))
    } else if rest.starts_with(br#","error":{"#) {
        Some((Kind::Error, id))
    } else {
        None
    }
}

/// Kind and id of an answer, proved by its opening alone, or by its opening and its tail.
///
/// The opening may have blanks between its tokens, and `id` and `jsonrpc` in either order. It must come
/// to `result`, or to an `error` that is an object: the id of a server's own request is no id of ours.
/// `id_at_start` and `id_at_end` read the id itself.
fn response_by_edges(
    head: &[u8],
    tail: &[u8],
    id_at_start: impl Fn(&[u8]) -> Option<(u64, &[u8])>,
    id_at_end: impl Fn(&[u8]) -> Option<(u64, &[u8])>,
) -> Option<(Kind, u64)> {
    let rest = token(head, b"{")?;
    let rest = version_then_comma(rest).unwrap_or(rest);
    let (id, rest) = id_then_comma(rest, id_at_start).map_or((None, rest), |(id, rest)| (Some(id), rest));
    let rest = version_then_comma(rest).unwrap_or(rest);
    let kind = if token(rest, br#""result""#).and_then(|rest| token(rest, b":")).is_some() {
        Kind::Result
    } else {
        token(token(token(rest, br#""error""#)?, b":")?, b"{")?;
        Kind::Error
    };
    Some((kind, id.or_else(|| id_in_tail(tail, id_at_end))?))
}

fn version_then_comma(rest: &[u8]) -> Option<&[u8]> {
    token(token(token(token(rest, br#""jsonrpc""#)?, b":")?, br#""2.0""#)?, b",")
}

fn id_then_comma(rest: &[u8], id_at_start: impl Fn(&[u8]) -> Option<(u64, &[u8])>) -> Option<(u64, &[u8])> {
    let rest = token(token(rest, br#""id""#)?, b":")?;
    let (id, rest) = id_at_start(skip_blanks(rest))?;
    Some((id, token(rest, b",")?))
}

/// The id that is the last member of the root, or the last but `jsonrpc`.
fn id_in_tail(tail: &[u8], id_at_end: impl Fn(&[u8]) -> Option<(u64, &[u8])>) -> Option<u64> {
    let rest = token_before(tail, b"}")?;
    let rest = comma_and_version_before(rest).unwrap_or(rest);
    let (id, rest) = id_at_end(trim_blanks_end(rest))?;
    token_before(token_before(token_before(rest, b":")?, br#""id""#)?, b",")?;
    Some(id)
}

fn comma_and_version_before(rest: &[u8]) -> Option<&[u8]> {
    let rest = token_before(token_before(rest, br#""2.0""#)?, b":")?;
    token_before(token_before(rest, br#""jsonrpc""#)?, b",")
}

/// What follows the token, which may have blanks before it.
#[inline]
fn token<'a, const N: usize>(rest: &'a [u8], token: &[u8; N]) -> Option<&'a [u8]> {
    skip_blanks(rest).strip_prefix(token)
}

/// What precedes the token, which may have blanks after it.
#[inline]
fn token_before<'a, const N: usize>(rest: &'a [u8], token: &[u8; N]) -> Option<&'a [u8]> {
    trim_blanks_end(rest).strip_suffix(token)
}

#[inline]
fn skip_blanks(mut rest: &[u8]) -> &[u8] {
    while let [byte, after @ ..] = rest
        && is_blank(*byte)
    {
        rest = after;
    }
    rest
}

#[inline]
fn trim_blanks_end(mut rest: &[u8]) -> &[u8] {
    while let [before @ .., byte] = rest
        && is_blank(*byte)
    {
        rest = before;
    }
    rest
}

/// The number at the start and what follows it; `None` if there is none, if it has a leading zero, or if it
/// is above [`ID_MAX`].
fn decimal(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, digits) = leading_number(bytes)?;
    Some((number, &bytes[digits..]))
}

/// The number at the start and how many digits it has; `None` as for [`decimal`].
///
/// Eight digits at a time: an id of ours has up to sixteen of them, and one multiplication after the other
/// would cost more than all the rest of the envelope.
#[inline]
fn leading_number(bytes: &[u8]) -> Option<(u64, usize)> {
    let high = word_at_start(bytes);
    let low = if not_digits(high) == 0 { word_at_start(&bytes[8..]) } else { 0 };
    let (number, digits) = number_in(high, low);
    if digits == 0 {
        return None;
    }
    let has_zero_before = bytes[0] == b'0' && digits > 1;
    let is_longer = digits == ID_DIGITS_MAX && bytes.get(ID_DIGITS_MAX).is_some_and(u8::is_ascii_digit);
    (!has_zero_before && !is_longer && number <= ID_MAX).then_some((number, digits))
}

/// The number at the start of these sixteen bytes and how many digits it has, which may be none.
#[inline(always)]
#[allow(clippy::inline_always, reason = "two numbers come out, in registers")]
fn number_in(high: u64, low: u64) -> (u64, usize) {
    let beyond = not_digits(high);
    if beyond == 0 {
        let digits = not_digits(low).trailing_zeros() / 8;
        let rest = low.checked_shl(64 - 8 * digits).map_or(0, joined);
        (joined(high) * POWERS_OF_TEN[digits as usize] + rest, 8 + digits as usize)
    } else {
        let digits = beyond.trailing_zeros() / 8;
        // None at all: a shift by the whole word.
        (high.checked_shl(64 - 8 * digits).map_or(0, joined), digits as usize)
    }
}

/// The number at the end and what precedes it; `None` as for [`decimal`], or without sixteen bytes to read.
#[inline]
fn decimal_before(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits_in = |word: u64| not_digits(word).leading_zeros() / 8;
    let number_in = |word: u64, digits: u32| {
        u64::MAX.checked_shl(64 - 8 * digits).map_or(0, |digits_only| joined(word & digits_only))
    };
    let (before, low) = bytes.split_last_chunk()?;
    let low = u64::from_le_bytes(*low);
    let mut digits = digits_in(low);
    let mut number = number_in(low, digits);
    if digits == 8 {
        let high = u64::from_le_bytes(*before.last_chunk()?);
        let high_digits = digits_in(high);
        number += number_in(high, high_digits) * 100_000_000;
        digits += high_digits;
    }
    let (rest, number_bytes) = bytes.split_at(bytes.len() - digits as usize);
    // A seventeenth digit is not looked for: what must precede the number is a colon.
    is_id(number_bytes, number).then_some((number, rest))
}

/// As [`decimal`], for an id that came as text. The digits stand right between the quotes, so nothing inside a text can
/// look like it: there a quote has a backslash before it.
fn quoted(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = decimal(bytes.strip_prefix(b"\"")?)?;
    Some((number, rest.strip_prefix(b"\"")?))
}

/// As [`decimal_before`], for an id that came as text.
fn quoted_before(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = decimal_before(bytes.strip_suffix(b"\"")?)?;
    Some((number, rest.strip_suffix(b"\"")?))
}

fn is_id(digits: &[u8], number: u64) -> bool {
    let is_canonical = digits.len() == 1 || digits.first().is_some_and(|&digit| digit != b'0');
    is_canonical && number <= ID_MAX
}

/// The number whose last digit is in the top byte, with zero bytes before its first: neighbours are joined
/// into pairs, pairs into fours, fours into eight.
#[inline]
fn joined(digits: u64) -> u64 {
    let ones = digits & 0x0F0F_0F0F_0F0F_0F0F;
    let twos = (ones & 0x00FF_00FF_00FF_00FF) * 10 + ((ones >> 8) & 0x00FF_00FF_00FF_00FF);
    let fours = (twos & 0x0000_FFFF_0000_FFFF) * 100 + ((twos >> 16) & 0x0000_FFFF_0000_FFFF);
    (fours & 0xFFFF_FFFF) * 10_000 + (fours >> 32)
}

/// The first eight bytes, the first of them lowest; zero bytes, which are no digits, where there are none.
#[inline]
fn word_at_start(bytes: &[u8]) -> u64 {
    if let Some(eight) = bytes.first_chunk() {
        return u64::from_le_bytes(*eight);
    }
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The top bit of each byte that is not a digit. Digits become 0 to 9; only above 9 does adding 0x76 reach
/// the top bit, and without top bits no sum carries into its neighbour.
#[inline]
fn not_digits(word: u64) -> u64 {
    let values = word ^ ZEROS;
    (((values & !TOP_BITS) + 0x7676_7676_7676_7676) | values) & TOP_BITS
}

const OPENING: &[u8; 22] = br#"{"jsonrpc":"2.0","id":"#;
const RESULT: &[u8; 10] = br#","result":"#;

/// Shorter frames have no way of their own: the opening, sixteen digits and the key of the result fit in, and two words are read behind the
/// opening.
const PLAIN_BYTES: usize = 48;
const _: () = assert!(OPENING.len() + 16 + RESULT.len() <= PLAIN_BYTES);

/// The largest id: 2^53 - 1, the last whole number that every JSON library can hold.
pub(crate) const ID_MAX: u64 = (1 << 53) - 1;

const ID_DIGITS_MAX: usize = 16;
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
const TOP_BITS: u64 = 0x8080_8080_8080_8080;
const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

const _: () =
    assert!(10_u64.pow(ID_DIGITS_MAX as u32 - 1) <= ID_MAX && ID_MAX < 10_u64.pow(ID_DIGITS_MAX as u32));

/// The twin: a JSON parser reads the whole frame, and all members of the root are put in a list.
#[cfg(any(test, feature = "internals"))]
pub(crate) mod naive {
    use std::fmt;

    use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
    use serde_json::value::RawValue;

    use super::{Echo, Envelope, ID_MAX, Id, Kind, id_at_edges, judge, method, scan, walk};

    /// As much of either edge as is kept of a line that is too long.
    const EDGE_BYTES: usize = 256;

    /// The members of the root, in order, repeated ones too.
    struct Root<'a>(Vec<(String, &'a RawValue)>);

    impl<'de> Deserialize<'de> for Root<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct InOrder;
            impl<'de> Visitor<'de> for InOrder {
                type Value = Root<'de>;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Root<'de>, M::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(Root(members))
                }
            }
            deserializer.deserialize_map(InOrder)
        }
    }

    impl Root<'_> {
        fn all(&self, key: &str) -> Vec<&str> {
            self.0.iter().filter(|(name, _)| name == key).map(|(_, value)| value.get()).collect()
        }

        fn envelope(&self) -> Envelope {
            let (id, echo) = self.all("id").last().map_or((Id::Missing, Echo::Exact), |id| id_of(id));
            let [has_id, has_method, has_result] =
                ["id", "method", "result"].map(|key| !self.all(key).is_empty());
            let has_error = self.all("error").last().is_some_and(|&error| error != "null");
            let kind = if has_method {
                if has_id { Kind::Request } else { Kind::Notification }
            } else if has_result != has_error {
                if has_result { Kind::Result } else { Kind::Error }
            } else {
                Kind::Malformed
            };
            Envelope { kind, id, echo }
        }

        /// Whether all readers must agree on it: no key twice, no two bodies.
        fn has_one_meaning(&self) -> bool {
            let [ids, errors] = ["id", "error"].map(|key| self.all(key).len());
            let objects = self.all("error").iter().filter(|&&error| error != "null").count();
            ids <= 1 && errors <= 1 && self.all("method").len() + self.all("result").len() + objects <= 1
        }
    }

    fn id_of(value: &str) -> (Id, Echo) {
        let number = |text: &str| {
            let is_canonical =
                text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
            text.parse::<u64>().ok().filter(|&id| is_canonical && id <= ID_MAX)
        };
        let text = serde_json::from_str::<String>(value).ok();
        let whole = value.split_once('.').filter(|(_, zeros)| zeros.chars().all(|zero| zero == '0'));
        if value == "null" {
            (Id::Null, Echo::Exact)
        } else if let Some(id) = number(value) {
            (Id::Number(id), Echo::Exact)
        } else if let Some(id) =
            whole.and_then(|(whole, _)| number(whole)).or(text.and_then(|text| number(&text)))
        {
            (Id::Number(id), Echo::Lenient)
        } else {
            (Id::Other, Echo::Exact)
        }
    }

    /// Panics where the envelope and the twin differ. Frames that are no JSON must only not panic.
    pub(crate) fn assert_agrees(frame: &[u8]) {
        let scanned = scan(frame);
        let walked = judge(&walk::members(frame));
        let called = method(frame);
        let at_edges = id_at_edges(
            &frame[..frame.len().min(EDGE_BYTES)],
            &frame[frame.len().saturating_sub(EDGE_BYTES)..],
        );
        if let Ok(elements) = serde_json::from_slice::<Vec<&RawValue>>(frame) {
            let may_be_message =
                |first: &&RawValue| first.get().starts_with(['{', '[']) || first.get() == "null";
            let is_batch = elements.first().is_none_or(may_be_message);
            let kind = if is_batch { Kind::Batch } else { Kind::Malformed };
            assert_eq!(scanned, Envelope { kind, id: Id::Missing, echo: Echo::Exact });
            return;
        }
        let Ok(root) = serde_json::from_slice::<Root<'_>>(frame) else { return };
        let expected = root.envelope();
        assert_eq!(walked, expected, "the walk");
        let text = root.all("method").last().and_then(|method| serde_json::from_str::<String>(method).ok());
        assert_eq!(called.as_deref(), text.as_deref(), "the method");
        if root.has_one_meaning() {
            assert_eq!(scanned, expected, "the scan");
            if let Some(id) = at_edges {
                assert_eq!(expected.id, Id::Number(id), "the edges");
                assert!(matches!(expected.kind, Kind::Result | Kind::Error), "the edges");
            }
        } else if scanned != expected {
            // Only a proof may differ, and only in choosing one of the meanings there are.
            assert!(matches!(scanned.kind, Kind::Result | Kind::Error) && scanned.echo == Echo::Exact);
            assert!(root.all("id").iter().any(|id| id_of(id) == (scanned.id, scanned.echo)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    fn blanks() -> impl Strategy<Value = &'static str> {
        prop_oneof![6 => Just(""), 2 => Just(" "), 1 => select(vec!["\t", "\r", "  ", "\n", " \r\n\t"])]
    }

    /// A key, each of its letters plain or escaped.
    fn spelled(key: &'static str) -> impl Strategy<Value = String> {
        let letters = vec(prop_oneof![9 => Just(false), 1 => Just(true)], key.len());
        (letters, prop_oneof![4 => Just(false), 1 => Just(true)]).prop_map(move |(escaped, any_escape)| {
            let letter = |(letter, is_escaped): (char, bool)| {
                if is_escaped && any_escape {
                    format!("\\u{:04x}", u32::from(letter))
                } else {
                    letter.to_string()
                }
            };
            format!("\"{}\"", key.chars().zip(escaped).map(letter).collect::<String>())
        })
    }

    fn text() -> impl Strategy<Value = String> {
        let escaped =
            [r#"\"id\":5}"#, r#"\",\"id\":6}"#, r#"\\"#, r#"\""#, r"\n", r"\u0069", r"\ud83d\ude00"];
        let plain =
            ["a", "id", "ż", "😀", "null", "result", "7", " ", "tools/call", "{", "}", "[", "]", ",", ":"];
        let parts = [&escaped[..], &plain].concat();
        vec(select(parts), 0..5).prop_map(|parts| format!("\"{}\"", parts.concat()))
    }

    fn number() -> impl Strategy<Value = String> {
        let edge =
            select(vec![0, 7, 9, 10, 99_999_999, 100_000_000, ID_MAX - 1, ID_MAX, ID_MAX + 1, u64::MAX]);
        let whole = prop_oneof![0..100_u64, any::<u64>(), 0..=ID_MAX, edge];
        let end =
            select(vec!["", "", "", "", ".0", ".000", ".5", ".05", "e2", "E+1", "0", "00000000", ".0e0"]);
        let sign = select(vec!["", "", "", "", "-"]);
        (sign, whole, end).prop_map(|(sign, whole, end)| format!("{sign}{whole}{end}"))
    }

    fn id() -> impl Strategy<Value = String> {
        prop_oneof![
            6 => (0..=ID_MAX).prop_map(|id| id.to_string()),
            3 => number(),
            2 => number().prop_map(|number| format!("\"{number}\"")),
            1 => select(vec!["null", "true", "[7]", r#"{"id":7}"#]).prop_map(String::from),
            1 => select(vec![r#""""#, r#""07""#, r#"" 7""#, r#""\u0037""#, r#""7\n""#]).prop_map(String::from),
            1 => text(),
        ]
    }

    fn value() -> impl Strategy<Value = String> {
        let leaf =
            prop_oneof![text(), number(), select(vec!["null", "true", "false"]).prop_map(String::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key = prop_oneof![text(), Just("\"id\"".to_owned()), Just("\"method\"".to_owned())];
            let member = (key, blanks(), inner.clone(), blanks());
            prop_oneof![
                vec((blanks(), inner), 0..4).prop_map(|elements| {
                    let elements: Vec<_> =
                        elements.iter().map(|(blanks, value)| format!("{blanks}{value}")).collect();
                    format!("[{}]", elements.join(","))
                }),
                vec(member, 0..4).prop_map(|members| {
                    let members: Vec<_> =
                        members.iter().map(|(key, a, value, b)| format!("{key}{a}:{value}{b}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    fn object() -> impl Strategy<Value = String> {
        value().prop_map(|value| format!("{{\"id\":5,\"x\":{value}}}"))
    }

    /// One member of the root, key and value.
    fn member(key: &'static str) -> impl Strategy<Value = (String, String)> {
        let value = match key {
            "jsonrpc" => prop_oneof![9 => Just("\"2.0\"".to_owned()), 1 => text()].boxed(),
            "id" => id().boxed(),
            "method" => prop_oneof![6 => text(), 1 => value()].boxed(),
            "error" => prop_oneof![6 => object(), 1 => Just("null".to_owned()), 1 => value()].boxed(),
            _ => value().boxed(),
        };
        (spelled(key), value)
    }

    fn frame() -> impl Strategy<Value = String> {
        let orders = vec![
            vec!["jsonrpc", "id", "result"],
            vec!["jsonrpc", "id", "error"],
            vec!["id", "jsonrpc", "result"],
            vec!["result", "jsonrpc", "id"],
            vec!["error", "jsonrpc", "id"],
            vec!["error", "id", "jsonrpc"],
            vec!["jsonrpc", "result", "id"],
            vec!["jsonrpc", "method", "params", "id"],
            vec!["jsonrpc", "id", "error", "result"],
            vec!["jsonrpc", "method", "params"],
            vec!["id", "jsonrpc", "_meta", "result"],
        ];
        let any_key = select(vec!["jsonrpc", "id", "method", "params", "result", "error", "_meta"]);
        let keys = prop_oneof![4 => select(orders), 1 => vec(any_key, 0..6)];
        let members = keys.prop_flat_map(|keys| keys.into_iter().map(member).collect::<Vec<_>>());
        let spaced = members.prop_flat_map(|members| {
            let count = members.len();
            (
                Just(members),
                prop_oneof![vec(Just([""; 4]), count), vec([blanks(), blanks(), blanks(), blanks()], count)],
            )
        });
        (blanks(), spaced, blanks()).prop_map(|(before, (members, blanks), after)| {
            let member = |((key, value), [a, b, c, d]): (&(String, String), [&str; 4])| {
                format!("{a}{key}{b}:{c}{value}{d}")
            };
            let members: Vec<_> = members.iter().zip(blanks).map(member).collect();
            format!("{before}{{{}}}{after}", members.join(","))
        })
    }

    fn batch() -> impl Strategy<Value = String> {
        vec(frame(), 0..3).prop_map(|frames| format!("[{}]", frames.join(",")))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Proofs, walk, method and edges, each against the twin.
        #[test]
        fn scan_agrees_with_a_parser(frame in frame()) {
            naive::assert_agrees(frame.as_bytes());
        }

        /// A batch, or another value that is no object.
        #[test]
        fn other_roots_agree_with_a_parser(frame in prop_oneof![value(), batch()]) {
            naive::assert_agrees(frame.as_bytes());
        }

        /// No damage makes it panic; where a parser can still read the frame, it agrees with the parser.
        #[test]
        fn damaged_frames_do_no_harm(
            frame in frame(),
            at in any::<Index>(),
            patch in vec(any::<u8>(), 0..3),
            cut in any::<bool>(),
        ) {
            let mut frame = frame.into_bytes();
            let at = at.index(frame.len());
            let end = if cut { frame.len() } else { (at + patch.len()).min(frame.len()) };
            frame.splice(at..end, patch);
            naive::assert_agrees(&frame);
        }

        #[test]
        fn digits_in_words_agree_with_parse(number in "[0-9]{0,20}", rest in vec(any::<u8>(), 0..9)) {
            let rest = [&b"\xB5"[..], &rest].concat(); // With its top bit away, it would be a 5.
            let is_canonical = number == "0" || !number.starts_with('0');
            let expected = number.parse::<u64>().ok().filter(|&number| is_canonical && number <= ID_MAX);
            let before = [&rest[..], b"{\"result\":{},\"id\":"].concat();
            let at_start = [number.as_bytes(), &rest].concat();
            let at_end = [&before, number.as_bytes()].concat();
            prop_assert_eq!(decimal(&at_start), expected.map(|number| (number, &rest[..])));
            if number.len() <= ID_DIGITS_MAX {
                prop_assert_eq!(decimal_before(&at_end), expected.map(|number| (number, &before[..])));
            }
        }
    }

    #[track_caller]
    fn says(frame: &str, kind: Kind, id: Id) {
        naive::assert_agrees(frame.as_bytes());
        let envelope = scan(frame.as_bytes());
        assert_eq!((envelope.kind, envelope.id), (kind, id), "{frame}");
    }

    #[test]
    fn the_shapes_servers_write() {
        says(r#"{"jsonrpc":"2.0","id":7,"result":{"id":8}}"#, Kind::Result, Id::Number(7));
        says(r#"{"jsonrpc": "2.0", "id": 7, "result": {"id": 8}}"#, Kind::Result, Id::Number(7));
        says(r#"{"result":{"id":8},"jsonrpc":"2.0","id":7}"#, Kind::Result, Id::Number(7));
        says(
            r#"{"error":{"code":-32601,"message":"id"},"id":7,"jsonrpc":"2.0"}"#,
            Kind::Error,
            Id::Number(7),
        );
        says(r#"{"id":7,"jsonrpc":"2.0","error":{}}"#, Kind::Error, Id::Number(7));
        says(r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"?"}}"#, Kind::Error, Id::Missing);
        says(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, Kind::Error, Id::Null);
        says(r#"{"method":"notifications/progress","jsonrpc":"2.0"}"#, Kind::Notification, Id::Missing);
        says(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#, Kind::Request, Id::Number(7));
        says(r#"[{"jsonrpc":"2.0","id":7,"result":{}}]"#, Kind::Batch, Id::Missing);
        says("[INFO] listening", Kind::Malformed, Id::Missing);
    }

    /// JSON-RPC 2.0, section 5: `result` and `error` exclude each other; `null` beside a result is forgiven.
    #[test]
    fn jsonrpc_5_error_excludes_result() {
        says(r#"{"jsonrpc":"2.0","id":7,"error":null,"result":1}"#, Kind::Result, Id::Number(7));
        says(r#"{"jsonrpc":"2.0","id":7,"result":null,"error":null}"#, Kind::Result, Id::Number(7));
        says(r#"{"x":0,"id":7,"result":null,"error":{}}"#, Kind::Malformed, Id::Number(7));
        says(r#"{"jsonrpc":"2.0","id":7,"error":null}"#, Kind::Malformed, Id::Number(7));
        says(r#"{"jsonrpc":"2.0","id":7}"#, Kind::Malformed, Id::Number(7));
    }

    #[test]
    fn numbers_that_are_no_ids_of_ours() {
        let too_large = ["9007199254740992", "99999999999999999999"];
        for id in ["-1", "1.5", "1e3", "7.", "\"x\"", "\"07\"", "[]", "true"].into_iter().chain(too_large) {
            says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#), Kind::Result, Id::Other);
            says(&format!(r#"{{"result":{{}},"id":{id}}}"#), Kind::Result, Id::Other);
        }
        says(r#"{"jsonrpc":"2.0","id":9007199254740991,"result":{}}"#, Kind::Result, Id::Number(ID_MAX));
    }

    #[test]
    fn lenient_echoes_are_told_from_exact_ones() {
        for id in ["\"7\"", "7.0", "7.00", r#""\u0037""#] {
            let frame = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
            let expected = Envelope { kind: Kind::Result, id: Id::Number(7), echo: Echo::Lenient };
            assert_eq!(scan(frame.as_bytes()), expected, "{id}");
        }
    }

    #[test]
    fn an_id_inside_text_is_no_id() {
        says(r#"{"result":{},"x":"\",\"id\":5}"}"#, Kind::Result, Id::Missing);
        says(r#"{"result":{},"\",\"id":5}"#, Kind::Result, Id::Missing);
        says(r#"{"result":{},"x":{"y":0,"id":5}}"#, Kind::Result, Id::Missing);
        says(r#"{"result":{},"\u0069d":5}"#, Kind::Result, Id::Number(5));
    }

    #[test]
    fn the_edges_of_a_long_line_give_the_id_of_an_answer_only() {
        let edges = |head: &str, tail: &str| id_at_edges(head.as_bytes(), tail.as_bytes());
        assert_eq!(edges(r#"{"jsonrpc":"2.0","id":7,"result":{"te"#, "xt\"}}"), Some(7));
        assert_eq!(edges(r#"{"id":7,"jsonrpc":"2.0","result":{"te"#, "xt\"}}"), Some(7));
        assert_eq!(edges(r#"{"result":{"te"#, "xt\"},\"jsonrpc\":\"2.0\",\"id\":7}\r"), Some(7));
        assert_eq!(
            edges(r#"{"jsonrpc":"2.0","error":{"te"#, "xt\"}, \"id\": 7, \"jsonrpc\": \"2.0\" }"),
            Some(7)
        );
        assert_eq!(edges(r#"{"jsonrpc":"2.0","id":"7","result":{"te"#, "xt\"}}"), Some(7));
        assert_eq!(
            edges(r#"{"result":{"te"#, "xt, and more of it\"},\"id\":\"7\",\"jsonrpc\":\"2.0\"}"),
            Some(7)
        );
        assert_eq!(edges(r#"{"result":{"te"#, r#"xt, and more of it\",\"id\":\"7"}"#), None);
        assert_eq!(edges(r#"{"jsonrpc":"2.0","id":7,"method":"sampling"#, "\"}}"), None);
        assert_eq!(edges(r#"{"jsonrpc":"2.0","method":"sampling"#, "},\"id\":7}"), None);
        assert_eq!(edges(r#"{"params":{"#, "},\"id\":7}"), None);
    }

    #[test]
    fn damage_fails_a_call_but_never_one_of_the_server() {
        says(r#"{"result":{},"id":7,"#, Kind::Malformed, Id::Number(7));
        says(r#"{"method":"ping","id":7,"#, Kind::Malformed, Id::Missing);
        says(r#"{"result":{},"id":7"#, Kind::Malformed, Id::Missing); // Perhaps it was 71.
        says(r#"{"result":{},"id":7,"x":0}{"#, Kind::Malformed, Id::Number(7));
    }

    #[test]
    fn methods_are_unescaped() {
        assert_eq!(method(br#"{"jsonrpc":"2.0","method":"ping"}"#).as_deref(), Some("ping"));
        assert_eq!(
            method(br#"{"method":"tools\/call","params":{"method":"x"}}"#).as_deref(),
            Some("tools/call")
        );
        let escaped = br#"{"\u006d\u0065\u0074\u0068\u006f\u0064":"\u0070ing"}"#;
        assert_eq!(method(escaped).as_deref(), Some("ping"));
        assert_eq!(method(br#"{"method":5}"#), None);
        assert_eq!(method(b"{\"method\":\"\xFF\"}"), None);
    }
}
