//! A text with escapes, read: word by word, each copied before it is known how much of it counts.
//!
//! A general reader looks for the next escape, and then copies what is before it: two steps that each have to begin and to end, for the dozen bytes that
//! stand between two escapes of a program's text or of JSON inside a text. Here eight bytes are written at once, and the place of the first backslash
//! among them says how far to go on. What is written gathers in a piece that stays in the innermost cache, is checked there, and goes to the text's
//! memory, which is asked for once, since a text is never longer than what it is written as, and partly given back if it is much shorter.
//!
//! Unit: the bytes between two quotes. Cost: some instructions for each word and each escape, a check and a copy. Owner: nobody, this is a
//! function. Always: what it reads, serde_json reads alike, and what it refuses, serde_json refuses. Proof: `agrees_with_serde_json`, below.
//! Follows: RFC 8259, section 7; ADR 0024.

/// Removes the escapes; `None` if one is none, or names half of a character. `text` must have no quote that is not escaped, and no control
/// character.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut piece = [0; PIECE_BYTES + WORD_BYTES];
    let mut at = 0;
    while at < text.len() {
        // The last escape may reach beyond the end of its piece; behind it a character begins as well.
        let end = text.floor_char_boundary(at + PIECE_BYTES);
        let read = one_piece(text.as_bytes(), at, end, &mut piece)?;
        // What is between escapes is text, and so is what escapes stand for; the compiler does not know.
        out.push_str(simdutf8::basic::from_utf8(&piece[..read.written]).ok()?);
        at = read.at;
    }
    // Six bytes may be one. Whoever keeps the text keeps no more than twice of what it is.
    if out.len() < text.len() / 2 {
        out.shrink_to_fit();
    }
    Some(out)
}

/// Not longer, for a short text pays for its being cleared.
const PIECE_BYTES: usize = 1024;

/// What is written at once.
const WORD_BYTES: usize = size_of::<u64>();

/// So many words are looked at before chunks are: then the next escape is likely to be far.
const NEAR_WORDS: usize = 4;

/// What the compiler makes two vectors of.
const CHUNK_BYTES: usize = 32;

/// A word may be written where less than one counts.
type Piece = [u8; PIECE_BYTES + WORD_BYTES];

struct Read {
    /// Where to go on.
    at: usize,
    /// How many bytes stand in the piece.
    written: usize,
}

/// Writes what stands from `at` on into a piece, up to `end` or to the end of the escape that begins before it. As many bytes are left in the piece at any time
/// as are left to be read, and a word.
#[inline]
fn one_piece(bytes: &[u8], mut at: usize, end: usize, piece: &mut Piece) -> Option<Read> {
    let mut written = 0;
    'runs: while at < end {
        for _ in 0..NEAR_WORDS {
            let Some(word) = bytes[at..end].first_chunk() else {
                // Less than a word is left of the piece, or nothing.
                match bytes[..end].get(at) {
                    None => {}
                    Some(b'\\') => (at, written) = escape(bytes, at, written, piece)?,
                    Some(byte) => {
                        piece[written] = *byte;
                        (at, written) = (at + 1, written + 1);
                    }
                }
                continue 'runs;
            };
            piece[written..written + WORD_BYTES].copy_from_slice(word);
            let before = before_backslash(*word);
            if before < WORD_BYTES {
                (at, written) = escape(bytes, at + before, written + before, piece)?;
                continue 'runs;
            }
            (at, written) = (at + WORD_BYTES, written + WORD_BYTES);
        }
        while let Some(chunk) = bytes[at..end].first_chunk::<CHUNK_BYTES>() {
            if chunk.iter().fold(false, |has, byte| has | (*byte == b'\\')) {
                break;
            }
            piece[written..written + CHUNK_BYTES].copy_from_slice(chunk);
            (at, written) = (at + CHUNK_BYTES, written + CHUNK_BYTES);
        }
    }
    Some(Read { at, written })
}

/// Writes what the escape at `at` stands for; where to go on reading and writing.
#[inline]
fn escape(bytes: &[u8], at: usize, written: usize, piece: &mut Piece) -> Option<(usize, usize)> {
    let letter = *bytes.get(at + 1)?;
    let plain = PLAIN[usize::from(letter)];
    if plain != 0 {
        piece[written] = plain;
        return Some((at + 2, written + 1));
    }
    let (character, length) = in_hex(&bytes[at + 1..])?;
    Some((at + 1 + length, written + character.encode_utf8(&mut piece[written..]).len()))
}

/// How many bytes stand before the first backslash; all, if there is none.
#[inline]
fn before_backslash(word: [u8; WORD_BYTES]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    let others = u64::from_le_bytes(word) ^ (ONES * b'\\' as u64);
    // The highest bit of each byte that is zero; above the first of them, of some others too.
    let zeros = others.wrapping_sub(ONES) & !others & (ONES << 7);
    zeros.trailing_zeros() as usize / 8
}

/// What a byte behind a backslash stands for; zero is none, since no escape of one letter stands for that.
const PLAIN: [u8; 256] = {
    let mut plain = [0; 256];
    let pairs = *b"\"\"\\\\//b\x08f\x0cn\nr\rt\t";
    let mut at = 0;
    while at < pairs.len() {
        plain[pairs[at] as usize] = pairs[at + 1];
        at += 2;
    }
    plain
};

/// What `u0041` at the front stands for, or the two halves of a character, and how many bytes that is.
#[cold]
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
#[inline]
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits: &[u8; 4] = bytes.strip_prefix(b"u")?.first_chunk()?;
    let digits = digits.map(|digit| DIGITS[usize::from(digit)]);
    let are_digits = digits.iter().fold(0, |all, digit| all | digit) < 16;
    are_digits.then(|| digits.iter().fold(0, |unit, digit| unit << 4 | u16::from(*digit)))
}

/// What a digit stands for, in both cases; of what is none, more than fifteen.
const DIGITS: [u8; 256] = {
    let mut digits = [u8::MAX; 256];
    let mut digit = 0;
    while digit < 16 {
        let byte = b"0123456789abcdef"[digit];
        digits[byte as usize] = digit as u8;
        digits[byte.to_ascii_uppercase() as usize] = digit as u8;
        digit += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) {
        let read = unescaped(text);
        assert_eq!(read, serde_json::from_str(&format!("\"{text}\"")).ok(), "{text}");
        assert!(read.is_none_or(|read| read.capacity() <= 2 * read.len() + 1), "it keeps too much: {text}");
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

    /// At every place around the end of a piece, and of a word.
    #[test]
    fn an_escape_or_a_character_may_stand_where_a_piece_ends() {
        for inside in ["\\n", "\\\\", "\\u00e9", "\\ud83d\\ude00", "é", "世", "😀", "\\", "\\ud83d"] {
            for before in (0..20).chain(PIECE_BYTES - 20..PIECE_BYTES + 4) {
                for behind in 0..20 {
                    check(&("x".repeat(before) + inside + &"é".repeat(behind) + &"\\t".repeat(behind)));
                }
            }
            check(&inside.repeat(3 * PIECE_BYTES / inside.len()));
        }
        check(&"\\u0061".repeat(PIECE_BYTES));
    }

    const PIECES: [&str; 16] = [
        "a",
        "é",
        "世界",
        "😀",
        "\\n",
        "\\\"",
        "\\\\",
        "\\u0041",
        "\\u00e9",
        "\\ud83d\\ude00",
        "some words without",
        // Damaged or damaging, from here on.
        "\\ud83d",
        "\\ude00",
        "\\u",
        "0",
        "u",
    ];

    proptest! {
        #[test]
        fn agrees_with_serde_json(
            some in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..12),
            many in prop::collection::vec(prop::sample::select(&PIECES[..11]), 0..400),
        ) {
            check(&some.concat());
            check(&many.concat());
            check(&(many.concat() + &some.concat()));
        }
    }
}
