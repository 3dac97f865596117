//! Reading the JSON of others with serde_json, without the names that it keeps for itself.
//!
//! With the feature `raw_value` (which any crate of a program may switch on) serde_json takes an object whose first member is named
//! `$serde_json::private::RawValue` for text that is JSON once more, and reads that, with a depth bound of its own. From outside that is
//! a hole: texts inside texts are read on the stack without end, so that a few ten KiB from a server would end the process; and an honest
//! member of that name would be read as something else. So what has a member of such a name is refused before anybody reads it into values.
//!
//! Such a name begins with a dollar, which is rare behind a quote, or with one that is escaped, which is rarer still.
//!
//! Cost: two searches of the text. Proof: the tests below.

use std::sync::LazyLock;

use memchr::{memchr, memchr_iter, memchr2, memmem::Finder};
use serde::{Deserialize, de::Error as _};

/// The names that serde_json gives a meaning of its own begin so.
pub(crate) const RESERVED: &str = "$serde_json::private::";

/// Its first byte, escaped, at the beginning of a string.
static ESCAPED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""\u0024"#));

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
    // The quote before it: a dollar behind one stands at the beginning of a string, unless the quote is escaped; behind the end of a string
    // there is none in JSON.
    let dollars = memchr_iter(b'$', text).filter_map(|at| at.checked_sub(1)).filter(|at| text[*at] == b'"');
    dollars.chain(ESCAPED.find_iter(text)).any(|quote| is_name(text, quote))
}

/// Does a reserved name stand at this quote?
#[cold]
fn is_name(text: &[u8], quote: usize) -> bool {
    let backslashes = text[..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
    if backslashes % 2 == 1 {
        return false;
    }
    let Some(end) = end_of_string(text, quote + 1) else { return false };
    let next = text[end + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
    next == Some(&b':') && is_reserved(&text[quote..=end])
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
