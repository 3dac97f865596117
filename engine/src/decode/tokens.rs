//! The tokens of a JSON text: strings, numbers, literals, and where each begins.
//!
//! A [`Tokens`] is a place in a text that is known to be UTF-8. Strings without escapes are borrowed from it; a string with
//! escapes is put together in memory of its own, each stretch between two escapes in one copy. What is wrong is said with the
//! byte at which it stands.
//!
//! Unit: bytes of the text, each looked at once. Owner: whoever reads, on one thread. Always: `at` is a boundary between two
//! characters and never behind the end. Proof: `any_text_is_read_as_serde_json_reads_it`, in `reader`. Follows: RFC 8259.

use std::{borrow::Cow, fmt};

use super::scan::{Unescaped, plain_end};

/// Why a text cannot be read, and where. One word in size.
#[derive(Debug)]
pub(crate) struct ReadError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    /// The byte at which it stands; `None` until the reader adds it to what a type has said.
    at: Option<usize>,
    what: Cow<'static, str>,
}

impl ReadError {
    #[cold]
    pub(super) fn new(at: usize, what: &'static str) -> Self {
        Self(Box::new(Inner { at: Some(at), what: Cow::Borrowed(what) }))
    }

    /// Says where, if it has not been said.
    #[cold]
    pub(super) fn at(mut self, at: usize) -> Self {
        self.0.at.get_or_insert(at);
        self
    }

    /// The byte at which the text is wrong, or at which it stopped being what the type wants.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn offset(&self) -> Option<usize> {
        self.0.at
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.at {
            Some(at) => write!(f, "{} at byte {at}", self.0.what),
            None => f.write_str(&self.0.what),
        }
    }
}

impl std::error::Error for ReadError {}

impl serde::de::Error for ReadError {
    #[cold]
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self(Box::new(Inner { at: None, what: Cow::Owned(what.to_string()) }))
    }
}

/// What the letter of an escape stands for; `u` for itself, zero for what is no escape. A table, since a jump by the letter would
/// be foreseen no better than the letter.
const ESCAPED: [u8; 256] = {
    let mut escaped = [0; 256];
    let plain = [
        (b'n', b'\n'),
        (b'"', b'"'),
        (b'\\', b'\\'),
        (b't', b'\t'),
        (b'r', b'\r'),
        (b'/', b'/'),
        (b'b', 8),
        (b'f', 12),
        (b'u', b'u'),
    ];
    let mut n = 0;
    while n < plain.len() {
        escaped[plain[n].0 as usize] = plain[n].1;
        n += 1;
    }
    escaped
};

/// A string with escapes grows by doubling up to here; then its end is looked for and room made for all of it. Doubling to the end
/// would ask the system for up to twice the memory, and have it page by page.
const GROWN_BYTES_MAX: usize = 4 * 1024;

/// Where the string ends that goes on at `at`, which is not inside an escape: at a quote that has no backslash of its own.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let quotes = memchr::memchr_iter(b'"', &bytes[at..]);
    let is_own =
        |n: &usize| bytes[at..at + n].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 0;
    quotes.into_iter().find(is_own).map_or(bytes.len(), |n| at + n)
}

/// A number, as narrow as it can be told without loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

/// A place in a text.
#[derive(Debug)]
pub(super) struct Tokens<'de> {
    text: &'de str,
    at: usize,
}

impl<'de> Tokens<'de> {
    pub(super) fn new(text: &'de str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn offset(&self) -> usize {
        self.at
    }

    #[cold]
    pub(super) fn error(&self, what: &'static str) -> ReadError {
        if self.at >= self.text.len() {
            return ReadError::new(self.at, "the text ends too early");
        }
        ReadError::new(self.at, what)
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The first byte of the next token; blanks before it are passed.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                other => return other,
            }
        }
    }

    /// Passes the byte that [`Self::peek`] has shown.
    #[inline]
    pub(super) fn pass(&mut self) {
        debug_assert!(self.byte().is_some_and(|byte| byte.is_ascii()));
        self.at += 1;
    }

    /// Passes the byte if it is the next token.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), ReadError> {
        if self.take(byte) { Ok(()) } else { Err(self.error(what)) }
    }

    /// Nothing but blanks may follow.
    pub(super) fn end(&mut self) -> Result<(), ReadError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("characters after the value")),
        }
    }

    /// `true`, `false` or `null`, of which the first letter has been seen.
    pub(super) fn literal(&mut self, literal: &'static str) -> Result<(), ReadError> {
        if self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            self.at += literal.len();
            return Ok(());
        }
        Err(ReadError::new(self.at, "no value begins like this"))
    }

    /// A string, of which the opening quote has been seen.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Cow<'de, str>, ReadError> {
        let start = self.at + 1;
        let end = plain_end(self.text.as_bytes(), start);
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Cow::Borrowed(&self.text[start..end]));
        }
        self.escaped_string(start, end).map(Cow::Owned)
    }

    /// Passes a string, checking its escapes.
    pub(super) fn pass_string(&mut self) -> Result<(), ReadError> {
        self.at += 1;
        loop {
            self.at = plain_end(self.text.as_bytes(), self.at);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.pass_escape()?,
                Some(_) => return Err(self.error("a control character in a string")),
                None => return Err(self.error("")),
            }
        }
    }

    fn pass_escape(&mut self) -> Result<(), ReadError> {
        self.at += 1;
        match self.byte().map_or(0, |byte| ESCAPED[usize::from(byte)]) {
            0 => return Err(self.error("an escape that JSON does not have")),
            b'u' => drop(self.unicode_escape()?),
            _ => self.at += 1,
        }
        Ok(())
    }

    /// The same for one whose first stretch of plain text ends otherwise than with a quote.
    fn escaped_string(&mut self, start: usize, end: usize) -> Result<String, ReadError> {
        let mut string = Unescaped::with_capacity(2 * (end - start) + 32);
        self.at = string.push_plain(self.text, start);
        let mut is_measured = false;
        loop {
            match self.byte() {
                Some(b'\\') => self.unescape(&mut string)?,
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string.into_string());
                }
                Some(_) => return Err(self.error("a control character in a string")),
                None => return Err(self.error("")),
            }
            if string.len() > GROWN_BYTES_MAX && !is_measured {
                string.reserve(string_end(self.text.as_bytes(), self.at) - self.at);
                is_measured = true;
            }
            self.at = string.push_plain(self.text, self.at);
        }
    }

    /// Appends the character that an escape stands for; the backslash has been seen.
    #[inline]
    fn unescape(&mut self, string: &mut Unescaped) -> Result<(), ReadError> {
        self.at += 1;
        match self.byte().map_or(0, |byte| ESCAPED[usize::from(byte)]) {
            0 => return Err(self.error("an escape that JSON does not have")),
            b'u' => string.push(self.unicode_escape()?),
            plain => {
                string.push_ascii(plain);
                self.at += 1;
            }
        }
        Ok(())
    }

    /// The character of an escape of which the `u` has been seen; a pair of surrogates is one character.
    fn unicode_escape(&mut self) -> Result<char, ReadError> {
        let begins_at = self.at - 1;
        let first = self.four_digits()?;
        if let Some(plain) = char::from_u32(first) {
            return Ok(plain);
        }
        let lone = || ReadError::new(begins_at, "a lone surrogate");
        if first >= 0xdc00 || !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            return Err(if self.at >= self.text.len() { self.error("") } else { lone() });
        }
        self.at += 1;
        let second = self.four_digits()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(lone());
        }
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or_else(lone)
    }

    /// Passes the `u` of an escape and its four digits.
    fn four_digits(&mut self) -> Result<u32, ReadError> {
        let mut number = 0;
        for _ in 0..4 {
            self.at += 1;
            let digit = self.byte().and_then(|byte| char::from(byte).to_digit(16));
            number = number << 4 | digit.ok_or_else(|| self.error("no hexadecimal digit in an escape"))?;
        }
        self.at += 1;
        Ok(number)
    }

    /// A number, of which the first byte has been seen. Whole numbers of 64 bits are told exactly, all others as the nearest double.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Number, ReadError> {
        let start = self.at;
        let is_negative = self.byte() == Some(b'-');
        self.at += usize::from(is_negative);
        let first_digit = self.at;
        let mut whole = Some(0_u64);
        while let Some(digit) = self.digit() {
            whole = whole.and_then(|whole| whole.checked_mul(10)?.checked_add(digit));
        }
        let digits = self.at - first_digit;
        if digits == 0 {
            return Err(self.error(if is_negative {
                "no digit behind a minus"
            } else {
                "no value begins like this"
            }));
        }
        if digits > 1 && self.text.as_bytes()[first_digit] == b'0' {
            return Err(ReadError::new(first_digit, "a number with a leading zero"));
        }
        if !matches!(self.byte(), Some(b'.' | b'e' | b'E')) {
            match whole {
                Some(whole) if !is_negative => return Ok(Number::Unsigned(whole)),
                // `-0` has a sign that no integer can hold.
                Some(whole) if whole > 0 && whole <= i64::MIN.unsigned_abs() => {
                    return Ok(Number::Signed(0_i64.wrapping_sub_unsigned(whole)));
                }
                _ => {}
            }
        }
        self.fraction_and_exponent()?;
        // The grammar has been looked at, and it is a part of what Rust reads; rounding is to the nearest.
        match self.text[start..self.at].parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Number::Float(float)),
            _ => Err(ReadError::new(start, "a number that no double can hold")),
        }
    }

    fn fraction_and_exponent(&mut self) -> Result<(), ReadError> {
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits("no digit behind a point")?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits("no digit in an exponent")?;
        }
        Ok(())
    }

    fn digits(&mut self, what: &'static str) -> Result<(), ReadError> {
        self.digit().ok_or_else(|| self.error(what))?;
        while self.digit().is_some() {}
        Ok(())
    }

    #[inline]
    fn digit(&mut self) -> Option<u64> {
        let digit = self.byte()?.wrapping_sub(b'0');
        (digit < 10).then(|| {
            self.at += 1;
            u64::from(digit)
        })
    }
}
