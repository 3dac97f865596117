//! A long text with escapes, read: what stands between two of them is found by a vectored search and copied in one go.
//!
//! A general reader looks for the next escape by words of eight bytes, and copies into a buffer of its own first. Here the text's memory is asked for
//! once: a text is never longer than what it is written as. Where escapes are close to each other, the next one is looked for byte by byte first: to begin
//! a vectored search takes longer.
//!
//! Unit: the bytes between two quotes. Cost: one search and one copy for each escape. Owner: nobody, this is a
//! function. Always: what it reads, serde_json reads alike, and what it refuses, serde_json refuses. Proof: `agrees_with_serde_json`, below.
//! Follows: RFC 8259, section 7.

use memchr::memchr;

/// Removes the escapes; `None` if one is none, or names half of a character. `text` must have no quote that is not escaped, and no control
/// character.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(run) = run(&bytes[at..]) {
        out.push_str(&text[at..at + run]);
        let escape = at + run + 1;
        let (character, length) = match bytes.get(escape)? {
            byte @ (b'"' | b'\\' | b'/') => (char::from(*byte), 1),
            b'b' => ('\u{8}', 1),
            b'f' => ('\u{c}', 1),
            b'n' => ('\n', 1),
            b'r' => ('\r', 1),
            b't' => ('\t', 1),
            b'u' => in_hex(&bytes[escape..])?,
            _ => return None,
        };
        out.push(character);
        at = escape + length;
    }
    out.push_str(&text[at..]);
    Some(out)
}

/// How many bytes are before the next escape, if there is one.
#[inline]
fn run(bytes: &[u8]) -> Option<usize> {
    let near = bytes.iter().take(NEAR_BYTES).position(|byte| *byte == b'\\');
    near.or_else(|| Some(NEAR_BYTES + memchr(b'\\', bytes.get(NEAR_BYTES..)?)?))
}

const NEAR_BYTES: usize = 16;

/// What `u0041` at the front stands for, or the two halves of a character, and how many bytes that is.
fn in_hex(bytes: &[u8]) -> Option<(char, usize)> {
    let unit = unit(bytes)?;
    if let Some(character) = char::from_u32(unit.into()) {
        return Some((character, 5));
    }
    let second = self::unit(bytes[5..].strip_prefix(b"\\")?)?;
    let mut both = char::decode_utf16([unit, second]);
    match (both.next()?, both.next()) {
        (Ok(character), None) => Some((character, 11)),
        _ => None,
    }
}

/// Sixteen bits, in four digits behind a `u`.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits: &[u8; 4] = bytes.strip_prefix(b"u")?.first_chunk()?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) {
        let read = unescaped(text);
        assert_eq!(read, serde_json::from_str(&format!("\"{text}\"")).ok(), "{text}");
        assert!(read.is_none_or(|read| read.len() <= text.len()), "it grew: {text}");
    }

    #[test]
    fn every_escape_is_read_and_no_other() {
        for byte in b' '..=b'~' {
            check(&format!("a\\{}b", char::from(byte)));
        }
        for unit in 0..=u16::MAX {
            check(&format!("\\u{unit:04x}"));
            check(&format!("\\ud83d\\u{unit:04X}."));
        }
        for damaged in [
            "\\",
            "\\u",
            "\\u00",
            "\\u004",
            "\\u00g1",
            "\\u+041",
            "\\ud83d",
            "\\ud83d\\",
            "\\ud83d\\u",
            "\\ud83dx",
            "\\ude00",
        ] {
            check(damaged);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(pieces in prop::collection::vec(prop::sample::select(&[
            "a", "é", "世界", "😀", "\\n", "\\\"", "\\\\", "\\u0041", "\\u00e9", "\\ud83d", "\\ude00", "\\ud83d\\ude00", "\\u", "0", "u",
        ][..]), 0..12)) {
            let text = pieces.concat();
            // A backslash that escapes the quote behind it leaves the string open.
            check(&text);
        }
    }
}
