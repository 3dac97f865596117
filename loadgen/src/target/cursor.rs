//! A strict walk over the JSON of one line, without a tree and without memory.
//!
//! Each step either passes one well-formed piece and says where it lies, or gives `None`: the
//! bytes are odd. Odd is narrower than wrong: escapes in keys, surrogates, fractions and deep
//! nesting are left to a full parser, so that what is accepted here is beyond dispute.
//!
//! Cost: strings are walked eight bytes at a time; nothing is copied, nothing is unescaped.
//! Proof: `a_run_ends_where_a_plain_loop_says`, below; as a whole, the tests of `scan`.

/// A place in the bytes of a line. Each step is `None` where the bytes are odd; the place is then
/// of no further use. Invariant: `at <= bytes.len()`.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether every byte walked inside strings was ASCII.
    plain: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, plain: true }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The bytes walked since that place.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// Steps over these bytes, which are UTF-8.
    #[inline(always)]
    pub(super) fn literal(&mut self, bytes: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(bytes).then(|| self.at += bytes.len())
    }

    /// Whether the bytes walked so far are UTF-8.
    #[inline]
    pub(super) fn is_utf8(&self) -> bool {
        self.plain || std::str::from_utf8(&self.bytes[..self.at]).is_ok()
    }

    /// Steps over the newline that ends a line.
    #[inline(always)]
    pub(super) fn line_end(&mut self) -> Option<()> {
        self.literal(b"\n")
    }

    /// Whether the bytes end here.
    #[inline(always)]
    pub(super) fn end(&mut self) -> Option<()> {
        (self.at == self.bytes.len()).then_some(())
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Skips blanks. A newline is none: it ends the line.
    #[inline]
    pub(super) fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// Walks an object; `each` is called at each value and must step over it.
    #[inline]
    pub(super) fn members(&mut self, mut each: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        self.blanks();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.blanks();
            let key = self.plain_string()?;
            self.blanks();
            self.expect(b':')?;
            self.blanks();
            each(self, key)?;
            self.blanks();
            let next = self.peek()?;
            self.at += 1;
            match next {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Steps over a string without escapes and gives its inside.
    #[inline]
    pub(super) fn plain_string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        self.run();
        let inside = &self.bytes[start..self.at];
        self.expect(b'"')?;
        Some(inside)
    }

    /// Steps over any string and gives its inside, escapes untouched.
    #[inline]
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            self.run();
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(&self.bytes[start..self.at - 1]);
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    /// Steps over one escape. Surrogates are odd: whether they pair is for the full parse.
    fn escape(&mut self) -> Option<()> {
        match self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
            b'u' => {
                let hex = self.bytes.get(self.at + 2..self.at + 6)?;
                let surrogate = matches!(hex, [b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..]);
                if surrogate || !hex.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                self.at += 6;
            }
            _ => return None,
        }
        Some(())
    }

    /// Steps to the next quote, backslash or control character, eight bytes at a time.
    ///
    /// For each byte of a word the top bit of `stop` says "quote, backslash or control". A borrow
    /// may set the bit of a later byte wrongly, never that of an earlier one, and only the first
    /// is used.
    #[inline]
    fn run(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const TOPS: u64 = 0x8080_8080_8080_8080;
        let mut high = 0;
        while let Some(chunk) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(*chunk);
            let quote = word ^ (ONES * b'"' as u64);
            let slash = word ^ (ONES * b'\\' as u64);
            let stop = ((quote.wrapping_sub(ONES) & !quote)
                | (slash.wrapping_sub(ONES) & !slash)
                | (word.wrapping_sub(ONES * 0x20) & !word))
                & TOPS;
            if stop != 0 {
                let before = stop.trailing_zeros() / 8;
                high |= word & TOPS & ((1_u64 << (before * 8)) - 1);
                self.at += before as usize;
                self.plain &= high == 0;
                return;
            }
            high |= word & TOPS;
            self.at += 8;
        }
        while let Some(byte) = self.peek() {
            if matches!(byte, b'"' | b'\\' | ..0x20) {
                break;
            }
            high |= u64::from(byte & 0x80);
            self.at += 1;
        }
        self.plain &= high == 0;
    }

    /// Steps over an id: a string without escapes, or an integer.
    #[inline]
    pub(super) fn id(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        if self.peek()? == b'"' {
            self.plain_string()?;
        } else {
            self.integer()?;
            if matches!(self.peek()?, b'.' | b'e' | b'E') {
                return None;
            }
        }
        Some(&self.bytes[start..self.at])
    }

    #[inline]
    fn integer(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        let start = self.at;
        while self.peek()?.is_ascii_digit() {
            self.at += 1;
        }
        let digits = &self.bytes[start..self.at];
        let leading_zero = digits.len() > 1 && digits[0] == b'0';
        ((1..=DIGITS_MAX).contains(&digits.len()) && !leading_zero).then_some(())
    }

    /// Steps over any value of at most `depth` levels. Only integers are plain numbers here.
    pub(super) fn skip(&mut self, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' => self.members(|cursor, _| cursor.skip(depth)),
            b'[' => self.elements(depth),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => {
                self.integer()?;
                (!matches!(self.peek()?, b'.' | b'e' | b'E')).then_some(())
            }
        }
    }

    fn elements(&mut self, depth: u32) -> Option<()> {
        self.at += 1;
        self.blanks();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.blanks();
            self.skip(depth)?;
            self.blanks();
            let next = self.peek()?;
            self.at += 1;
            match next {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }
}

/// Longer integers are odd: parsers differ on them.
const DIGITS_MAX: usize = 19;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
    /// The word-wise search for the end of a string agrees with a byte-wise one.
    #[test]
    fn a_run_ends_where_a_plain_loop_says(bytes in proptest::collection::vec(
        prop_oneof![8 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => Just(0x1f), 4 => 0x20..0x7f_u8], 0..60)) {
        let mut cursor = Cursor { bytes: &bytes, at: 0, plain: true };
        cursor.run();
        let end = bytes.iter().position(|b| matches!(b, b'"' | b'\\' | ..0x20)).unwrap_or(bytes.len());
        prop_assert_eq!(cursor.at, end);
        prop_assert_eq!(cursor.plain, bytes[..end].is_ascii());
    }
    }
}
