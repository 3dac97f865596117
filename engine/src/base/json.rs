//! Reading the JSON of others with serde_json, without the names that it keeps for itself.
//!
//! With the feature `raw_value` (which any crate of a program may switch on) serde_json takes an object whose first member is named
//! `$serde_json::private::RawValue` for text that is JSON once more, and reads that, with a depth bound of its own. From outside that is
//! a hole: texts inside texts are read on the stack without end, so that a few ten KiB from a server would end the process; and an honest
//! member of that name would be read as something else. So what has a member of such a name is refused before anybody reads it into values.
//!
//! Cost: two searches for a few bytes; only where one of them finds something the names are looked at one by one. Proof: the tests below.

use std::sync::LazyLock;

use memchr::{memchr, memchr2, memmem::Finder};
use serde::{Deserialize, de::Error as _};

/// The names that serde_json gives a meaning of its own begin so.
const RESERVED: &str = "$serde_json::private::";

/// What stands in such a name when nothing in it is escaped, or only its first byte.
static PLAIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("serde_json::private"));

/// Escapes of the characters up to U+00FF.
static ESCAPES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r"\u00"));

/// Reads a value; the text may not have a name that is reserved.
pub(crate) fn from_slice<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, serde_json::Error> {
    if has_reserved_name(text) {
        return Err(serde_json::Error::custom(REFUSED));
    }
    serde_json::from_slice(text)
}

/// Why a text is refused that [`has_reserved_name`].
pub(crate) const REFUSED: &str =
    "a member is named `$serde_json::private::..`, a name that this reader keeps for itself";

/// Has any object in this JSON a member whose name is reserved? Of what is no JSON: before the byte at which it is none.
pub(crate) fn has_reserved_name(text: &[u8]) -> bool {
    let is_ascii = |at| text.get(at + 4).is_some_and(|digit| matches!(digit, b'2'..=b'7'));
    (PLAIN.find(text).is_some() || ESCAPES.find_iter(text).any(is_ascii)) && has_name(text)
}

/// Looks at all names.
#[cold]
fn has_name(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(start) = memchr(b'"', &text[at..]).map(|quote| at + quote) {
        let Some(end) = end_of_string(text, start + 1) else { return false };
        let next = text[end + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
        if next == Some(&b':') && is_reserved(&text[start..=end]) {
            return true;
        }
        at = end + 1;
    }
    false
}

/// Where the quote stands that ends the string whose first byte stands at `from`.
fn end_of_string(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

fn is_reserved(quoted: &[u8]) -> bool {
    let plain = quoted[1..].starts_with(RESERVED.as_bytes());
    plain
        || memchr(b'\\', quoted).is_some()
            && serde_json::from_slice::<String>(quoted).is_ok_and(|name| name.starts_with(RESERVED))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn reserved_names_are_found_however_they_are_written() {
        let found = [
            r#"{"$serde_json::private::RawValue":"[1]"}"#,
            r#"[1,{"a":{"\u0024serde_json::private::RawValue" : "1"}}]"#,
            r#"{"a":"\"","\u0024\u0073erde_json\u003a:privat\u0065::RawValue":"1"}"#,
            r#"{"$serde_json::private::Number":"1"} and then no JSON"#,
        ];
        for text in found {
            assert!(has_reserved_name(text.as_bytes()), "{text}");
            assert!(from_slice::<Value>(text.as_bytes()).is_err());
        }
        let not_found = [
            r#"{"a":"$serde_json::private::RawValue"}"#,
            r#"{"a":"\"$serde_json::private::RawValue\":1"}"#,
            r#"{"serde_json::private":1,"\u003cb\u003e":"\u00e9"}"#,
            r#"{"$serde_json::private"#,
            r#"{"\"#,
            "",
        ];
        for text in not_found {
            assert!(!has_reserved_name(text.as_bytes()), "{text}");
        }
    }

    /// serde_json does what this file is there for; when it does not any more, the file can go.
    #[test]
    fn serde_json_reads_such_a_member_as_json_once_more() {
        let read: Value = serde_json::from_str(r#"{"$serde_json::private::RawValue":"[1]"}"#).unwrap();
        assert_eq!(read, serde_json::json!([1]));
    }
}
