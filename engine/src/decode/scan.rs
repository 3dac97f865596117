//! Where a stretch of plain text inside a JSON string ends, which is at a quote, a backslash or a control character; and the
//! copying of such stretches.
//!
//! This is where reading a long answer spends its time, so it looks at sixteen bytes at once. On x86-64 it does so with SSE2,
//! which every such processor has, so there is nothing to detect at run time; elsewhere with two words. Bytes above 0x7f are
//! plain: whether they are UTF-8 has been looked at before.
//!
//! Unit: bytes, each looked at once. Cost: some 0.5 instructions a byte in long stretches. Owner: whoever reads.
//! Always: what is found is what a loop over single bytes finds. Proof: `agrees_with_a_loop_over_bytes` and
//! `pieces_of_a_text_are_a_text`, below. Follows: RFC 8259,
//! section 7.
#![allow(unsafe_code, reason = "SSE2 where there is SSE2; a string of pieces of a string (docs/unsafe.md)")]

/// Where the first byte at or behind `at` stands that is not plain; the end if there is none.
#[inline]
pub(super) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        if let Some(n) = first_special(block) {
            return at + n;
        }
        at += BLOCK_BYTES;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().position(|&byte| is_special(byte)).map_or(bytes.len(), |n| at + n)
}

/// A string that is put together of plain stretches and of what escapes stand for.
///
/// The first two blocks of a stretch are copied whole, and what is too much is cut off again: where the next escape stands cannot
/// be foreseen, and a copy of just so many bytes would be a second branch that is taken wrongly. With an escape every 15 bytes
/// that is 1.6 GB/s instead of 1.3. What is longer is measured first and copied at once: with an escape every 110 bytes 4.7 GB/s
/// instead of 3.1.
///
/// Invariant: `bytes` are UTF-8 whenever no method runs.
#[derive(Debug)]
pub(super) struct Unescaped {
    bytes: Vec<u8>,
}

impl Unescaped {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Makes room for so many bytes more, and for the block behind the last of them.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve_exact(bytes + BLOCK_BYTES);
    }

    /// Appends the plain text at `at`, which is between two characters, and says where it ends.
    #[inline]
    pub(super) fn push_plain(&mut self, text: &str, mut at: usize) -> usize {
        assert!(text.is_char_boundary(at), "a stretch begins between two characters");
        let bytes = text.as_bytes();
        for _ in 0..SHORT_BLOCKS {
            let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK_BYTES>) else { break };
            let n = first_special(block);
            self.bytes.extend_from_slice(block);
            at += n.unwrap_or(BLOCK_BYTES);
            if let Some(n) = n {
                self.bytes.truncate(self.bytes.len() - (BLOCK_BYTES - n));
                return at;
            }
        }
        let end = plain_end(bytes, at);
        self.bytes.extend_from_slice(&bytes[at..end]);
        end
    }

    #[inline]
    pub(super) fn push_ascii(&mut self, byte: u8) {
        assert!(byte.is_ascii());
        self.bytes.push(byte);
    }

    pub(super) fn push(&mut self, character: char) {
        self.bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// The string. Room that is left over is given back, unless it is little: a text may be kept for long.
    pub(super) fn into_string(mut self) -> String {
        if self.bytes.capacity() - self.bytes.len() > self.bytes.len() / 4 + 64 {
            self.bytes.shrink_to_fit();
        }
        debug_assert!(str::from_utf8(&self.bytes).is_ok());
        // SAFETY: the invariant. `push_plain` appends what stands between two characters of a text: it begins at a boundary and
        // ends at the end or before a byte of ASCII. The other two append one character.
        unsafe { String::from_utf8_unchecked(self.bytes) }
    }
}

/// Does it end the stretch?
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

const BLOCK_BYTES: usize = 16;

/// Blocks of a stretch that are copied before it is known where it ends.
const SHORT_BLOCKS: usize = 2;

#[cfg(target_arch = "x86_64")]
#[inline]
fn first_special(block: &[u8; BLOCK_BYTES]) -> Option<usize> {
    // SAFETY: SSE2 is a part of x86-64: every processor that runs this code has it.
    let special = unsafe { special_in(block) };
    (special != 0).then(|| special.trailing_zeros() as usize)
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn first_special(block: &[u8; BLOCK_BYTES]) -> Option<usize> {
    in_two_words(block)
}

/// A bit for each byte that is not plain, the first lowest.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn special_in(block: &[u8; BLOCK_BYTES]) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };

    let (low, high) = halves(block);
    let bytes = _mm_set_epi64x(high as i64, low as i64);
    let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
    let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
    // The lesser of a byte and 0x1f is the byte itself where that is a control character.
    let controls = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, backslashes), controls)) as u32
}

/// The same where there is no such instruction.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn in_two_words(block: &[u8; BLOCK_BYTES]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // The top bit of each byte that is less than a bound; exact up to the first of them, and no more is used: where a byte borrows
    // from the next, it is one itself.
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & (ONES << 7);
    let special = |word: u64| {
        let quotes = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslashes = below(word ^ (ONES * u64::from(b'\\')), 1);
        quotes | backslashes | below(word, 0x20)
    };
    let (low, high) = halves(block);
    let first = |word: u64| (word != 0).then(|| word.trailing_zeros() as usize / 8);
    first(special(low)).or_else(|| first(special(high)).map(|n| 8 + n))
}

fn halves(block: &[u8; BLOCK_BYTES]) -> (u64, u64) {
    let whole = u128::from_le_bytes(*block);
    (whole as u64, (whole >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_loop_over_bytes(
            bytes in proptest::collection::vec(
                prop_oneof![8 => any::<u8>(), 8 => 0x20_u8..0x7f, 1 => Just(b'"'), 1 => Just(b'\\'), 1 => 0_u8..0x20],
                0..100,
            ),
            at in 0_usize..110,
        ) {
            let naive = (at..bytes.len()).find(|&n| is_special(bytes[n])).unwrap_or(bytes.len());
            prop_assert_eq!(plain_end(&bytes, at), naive);
            if let Some(block) = bytes.first_chunk() {
                prop_assert_eq!(in_two_words(block), first_special(block));
            }
        }

        #[test]
        fn pieces_of_a_text_are_a_text(pieces in proptest::collection::vec(("[ -~äß世😴\"\\\\\n]{0,60}", any::<char>()), 0..8)) {
            let (mut copied, mut expected) = (Unescaped::with_capacity(0), String::new());
            for (text, character) in &pieces {
                let mut at = 0;
                while at < text.len() {
                    let end = copied.push_plain(text, at);
                    prop_assert_eq!(end, plain_end(text.as_bytes(), at));
                    expected.push_str(&text[at..end]);
                    at = end + usize::from(end < text.len());
                }
                copied.push(*character);
                copied.push_ascii(b'\t');
                expected.push(*character);
                expected.push('\t');
                prop_assert_eq!(copied.len(), expected.len());
            }
            prop_assert_eq!(copied.into_string(), expected);
        }
    }
}
