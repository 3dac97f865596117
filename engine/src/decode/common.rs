//! The answer that most calls get, read without an index or a tape: a few plain texts, and whether the tool failed.
//!
//! A short answer costs a general reader more for what it prepares than for what stands there. This one knows the members of a
//! response, of a result and of a text block, in any order and with blanks between them, and nothing else: any other member, an
//! escape anywhere, a member that comes twice, another type, and it gives up; then the general readers (`decode/answer.rs`) decide.
//! Structured content and metadata it hands to serde_json as they stand. Nothing is allocated before it is known that it will be used.
//!
//! Unit: bytes. Cost: one pass, and the allocations of the value. Owner: nobody, this is a function. Always: what it
//! reads, serde_json reads alike; what it does not read is no error. Proof: `what_is_read_is_what_serde_json_reads`, below, and
//! `decode/naive.rs` with `just fuzz decode`. Follows: RFC 8259; ADR 0024.

use memchr::memchr;
use serde_json::Value;

use crate::{
    base::limits::DECODE_COMMON_BYTES_MAX,
    model::tool::{Content, Members, ToolResult},
};

/// Reads a response with such a result; `None` if it is not one.
pub(super) fn read(bytes: &[u8]) -> Option<ToolResult> {
    if bytes.len() > DECODE_COMMON_BYTES_MAX || memchr(b'\\', bytes).is_some() {
        return None;
    }
    let mut reader = Reader { bytes, at: 0 };
    let (mut version, mut id, mut result) = (None, None, None);
    reader.object([b"\"jsonrpc\":", b"\"id\":", b"\"result\":"], |reader, key| match key {
        0 => once(&mut version, (reader.string()? == b"2.0").then_some(())?),
        1 => once(&mut id, reader.id()?),
        _ => once(&mut result, reader.result()?),
    })?;
    if !reader.is_over() {
        return None;
    }
    result?.into_value()
}

/// A result where it stands.
#[derive(Default)]
struct Parts<'a> {
    texts: Texts<'a>,
    is_error: bool,
    is_complete: bool,
    structured: Option<&'a [u8]>,
    meta: Option<&'a [u8]>,
}

/// The texts of the content, as far as the place goes.
#[derive(Default)]
struct Texts<'a> {
    place: [&'a [u8]; TEXTS_MAX],
    len: usize,
}

/// Nearly all have one; a list of many is better off with an index.
const TEXTS_MAX: usize = 4;

/// Values inside one another in what is handed on; below what serde_json allows, since it does not see what is around it.
const DEPTH_MAX: usize = 64;

impl Parts<'_> {
    fn into_value(self) -> Option<ToolResult> {
        let value = |bytes: Option<&[u8]>| bytes.map(serde_json::from_slice::<Value>).transpose().ok();
        let mut content = Vec::with_capacity(self.texts.len);
        for bytes in &self.texts.place[..self.texts.len] {
            content.push(Content::Text { text: text(bytes)?.to_owned(), rest: Members::new() });
        }
        Some(ToolResult {
            content,
            structured_content: value(self.structured)?,
            is_error: self.is_error,
            // A `null` is as good as none.
            meta: value(self.meta)?.filter(|meta| !meta.is_null()),
            result_type: self.is_complete.then_some("complete".into()),
        })
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// The text of a string without escapes.
fn text(bytes: &[u8]) -> Option<&str> {
    if bytes.iter().any(|byte| *byte < b' ') {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next byte that is no blank, taken.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// Takes the next byte if it is this one, and blanks in any case.
    #[inline]
    fn takes(&mut self, byte: u8) -> Option<bool> {
        let is_there = self.next()? == byte;
        self.at -= usize::from(!is_there);
        Some(is_there)
    }

    fn is_over(&mut self) -> bool {
        self.next().is_none()
    }

    /// Members or elements up to the closing bracket, of which the opening one has been taken.
    #[inline]
    fn list(&mut self, closing: u8, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if self.takes(closing)? {
            return Some(());
        }
        loop {
            each(self)?;
            match self.next()? {
                b',' => {}
                byte if byte == closing => return Some(()),
                _ => return None,
            }
        }
    }

    /// All members of an object, each by which of these keys it has; nobody else may be there.
    #[inline]
    fn object<const N: usize>(
        &mut self,
        keys: [&'static [u8]; N],
        mut member: impl FnMut(&mut Self, usize) -> Option<()>,
    ) -> Option<()> {
        self.expect(b'{')?;
        self.list(b'}', |reader| {
            let key = reader.key(keys)?;
            member(reader, key)
        })
    }

    /// A key with its quotes and its colon: most are written like that, and compared in one go; others have blanks in between.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "the keys are known where it is used: a compare of some words each, and no loop"
    )]
    fn key<const N: usize>(&mut self, keys: [&'static [u8]; N]) -> Option<usize> {
        let rest = self.bytes.get(self.at..)?;
        for (n, key) in keys.iter().enumerate() {
            if rest.starts_with(key) {
                self.at += key.len();
                return Some(n);
            }
        }
        let name = self.string()?;
        self.expect(b':')?;
        keys.iter().position(|key| &key[1..key.len() - 2] == name)
    }

    /// What stands between two quotes. There is no escape in the whole answer.
    #[inline]
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let rest = self.bytes.get(self.at..)?;
        // Names are shorter than what a vectored search needs to begin.
        let near = rest.iter().take(NAME_BYTES_MAX).position(|byte| *byte == b'"');
        let end = match near {
            Some(end) => end,
            None => NAME_BYTES_MAX + memchr(b'"', rest.get(NAME_BYTES_MAX..)?)?,
        };
        self.at += end + 1;
        Some(&rest[..end])
    }

    /// A string, or a number as counters have them.
    #[inline]
    fn id(&mut self) -> Option<()> {
        if self.takes(b'"')? {
            self.at -= 1;
            return text(self.string()?).map(drop);
        }
        let digits = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_number = match digits {
            0 => false,
            1 => true,
            // Within what any reader holds exactly.
            _ => digits < 19 && self.bytes[self.at] != b'0',
        };
        self.at += digits;
        is_number.then_some(())
    }

    #[inline]
    fn result(&mut self) -> Option<Parts<'a>> {
        let mut parts = Parts::default();
        let (mut content, mut is_error, mut kind) = (None, None, None);
        let keys: [&[u8]; 5] =
            [b"\"content\":", b"\"isError\":", b"\"resultType\":", b"\"structuredContent\":", b"\"_meta\":"];
        self.object(keys, |reader, key| match key {
            0 => once(&mut content, reader.content(&mut parts.texts)?),
            1 => once(&mut is_error, reader.truth()?),
            2 => once(&mut kind, (reader.string()? == b"complete").then_some(())?),
            3 => once(&mut parts.structured, reader.value()?),
            _ => once(&mut parts.meta, reader.value()?),
        })?;
        (parts.is_error, parts.is_complete) = (is_error.unwrap_or_default(), kind.is_some());
        Some(parts)
    }

    fn truth(&mut self) -> Option<bool> {
        let (word, truth) = match self.next()? {
            b'f' => (&b"alse"[..], false),
            b't' => (&b"rue"[..], true),
            _ => return None,
        };
        let is_there = self.bytes.get(self.at..)?.starts_with(word);
        self.at += word.len();
        is_there.then_some(truth)
    }

    #[inline]
    fn content(&mut self, texts: &mut Texts<'a>) -> Option<()> {
        self.expect(b'[')?;
        self.list(b']', |reader| {
            *texts.place.get_mut(texts.len)? = reader.block()?;
            texts.len += 1;
            Some(())
        })
    }

    /// A block that is a text and has nothing besides.
    #[inline]
    fn block(&mut self) -> Option<&'a [u8]> {
        let (mut kind, mut text) = (None, None);
        self.object([b"\"type\":", b"\"text\":"], |reader, key| match key {
            0 => once(&mut kind, (reader.string()? == b"text").then_some(())?),
            _ => once(&mut text, reader.string()?),
        })?;
        kind.and(text)
    }

    /// The bytes of any value. Whoever reads them says whether they are one.
    fn value(&mut self) -> Option<&'a [u8]> {
        let first = self.next()?;
        let begin = self.at - 1;
        if !matches!(first, b'{' | b'[' | b'"') {
            let rest = &self.bytes[self.at..];
            self.at +=
                rest.iter().position(|byte| matches!(byte, b',' | b'}' | b' ' | b'\t' | b'\n' | b'\r'))?;
            return Some(&self.bytes[begin..self.at]);
        }
        let mut depth = 0;
        self.at = begin;
        loop {
            match *self.bytes.get(self.at)? {
                b'"' => {
                    self.string()?;
                    self.at -= 1;
                }
                b'{' | b'[' if depth < DEPTH_MAX => depth += 1,
                b'{' | b'[' => return None,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(&self.bytes[begin..self.at]);
            }
        }
    }
}

/// No name in question is longer.
const NAME_BYTES_MAX: usize = 18;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::answer;

    /// As servers in use write them.
    const COMMON: [&str; 8] = [
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"hello"}],"resultType":"complete"}}"#,
        r#"{"result":{"content":[{"type":"text","text":"Echo: grüße, 世界"}]},"jsonrpc":"2.0","id":7}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"text":"a","type":"text"}],"isError":false}}"#,
        r#"{"jsonrpc": "2.0", "id": "a-7", "result": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}], "isError": true}}"#,
        "{\"id\" : 0 ,\r\n\t\"result\" : { \"content\" : [ ] , \"isError\" : true } }\n",
        r#"{"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"3"}],"structuredContent":{"result":[3,-0.5,"a",null,{"b":[]}]},"isError":false}}"#,
        r#"{"id":7,"result":{"_meta":{"a/b": [1, 2.5e3 ]} ,"content":[],"structuredContent":null}}"#,
    ];

    fn alike(bytes: &[u8]) -> Option<ToolResult> {
        let read = read(bytes);
        if let Some(read) = &read {
            let shown = String::from_utf8_lossy(bytes);
            let twin = answer::borrowed::<ToolResult>(bytes);
            assert_eq!(twin.as_ref().ok(), Some(read), "{shown}: {twin:?}");
        }
        read
    }

    #[test]
    fn what_servers_answer_is_read() {
        for text in COMMON {
            assert!(alike(text.as_bytes()).is_some(), "{text}");
        }
        let read = alike(COMMON[3].as_bytes()).unwrap();
        assert_eq!((read.text().as_str(), read.is_error), ("a\n", true));
        let deep = |depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"result":{{"structuredContent":{open}{close}}}}}"#)
        };
        assert!(alike(deep(DEPTH_MAX).as_bytes()).is_some());
        assert_eq!(alike(deep(DEPTH_MAX + 1).as_bytes()), None);
        let long = COMMON[0].replace("hello", &"x".repeat(DECODE_COMMON_BYTES_MAX));
        assert_eq!(alike(long.as_bytes()), None, "that long, others are as fast");
    }

    #[test]
    fn anything_else_is_left_to_others() {
        for other in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#"{"result":{}} x"#,
            r#"{"result":{}}{"result":{}}"#,
            r#"{"result":{},"result":{}}"#,
            r#"{"result":{},"id":1,"id":1}"#,
            r#"{"result":{},"jsonrpc":"2.0","jsonrpc":"2.0"}"#,
            r#"{"result":{},"error":null}"#,
            r#"{"result":{},}"#,
            r#"{"result":{}"id":1}"#,
            r#"{"res\u0075lt":{}}"#,
            r#"{"result":{},"id":01}"#,
            r#"{"result":{},"id":-1}"#,
            r#"{"result":{},"id":1.0}"#,
            r#"{"result":{},"id":}"#,
            r#"{"result":{},"id":null}"#,
            r#"{"result":{},"id":"a\"b"}"#,
            r#"{"result":[]}"#,
            r#"{"result":{"content":[],"content":[]}}"#,
            r#"{"result":{"content":null}}"#,
            r#"{"result":{"content":[,]}}"#,
            r#"{"result":{"content":[{"type":"text","text":"a"},]}}"#,
            r#"{"result":{"content":[{"type":"text","text":"a"} {"type":"text","text":"a"}]}}"#,
            r#"{"result":{"content":[{"type":"text"}]}}"#,
            r#"{"result":{"content":[{"text":"a"}]}}"#,
            r#"{"result":{"content":[{}]}}"#,
            r#"{"result":{"content":[{"type":"image","text":"a"}]}}"#,
            r#"{"result":{"content":[{"type":"text","text":"a","text":"a"}]}}"#,
            r#"{"result":{"content":[{"type":"text","text":"a","note":1}]}}"#,
            r#"{"result":{"content":[{"type":"text","text":"a\n"}]}}"#,
            r#"{"result":{"content":[{"type":"text","text":7}]}}"#,
            "{\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"a\tb\"}]}}",
            r#"{"result":{"isError":null}}"#,
            r#"{"result":{"isError":truex}}"#,
            r#"{"result":{"isError":false,"isError":false}}"#,
            r#"{"result":{"resultType":"task"}}"#,
            r#"{"result":{"structuredContent":1,"structuredContent":1}}"#,
            r#"{"result":{"structuredContent":01}}"#,
            r#"{"result":{"structuredContent":[1,]}}"#,
            r#"{"result":{"structuredContent":[}]}}"#,
            r#"{"result":{"structuredContent":]}}"#,
            r#"{"result":{"structuredContent":}}"#,
            r#"{"result":{"structuredContent":nul}}"#,
            r#"{"result":{"structuredContent":NaN}}"#,
            r#"{"result":{"structuredContent":1e999}}"#,
            r#"{"result":{"_meta":{"a":1 "b":2}}}"#,
            r#"{"result":{"content":[{"type":"text","text":"1"},{"type":"text","text":"2"},{"type":"text","text":"3"},{"type":"text","text":"4"},{"type":"text","text":"5"}]}}"#,
        ] {
            assert_eq!(alike(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn cut_or_damaged_it_is_another_answer_or_none() {
        for text in COMMON {
            // White space at the end is no loss.
            for end in 0..text.trim_end().len() {
                assert_eq!(alike(&text.as_bytes()[..end]), None, "{text}, cut at {end}");
            }
            for at in 0..text.len() {
                for byte in [0xff, 0, b'"', b'\\', b'{', b'}', b'[', b']', b',', b':', b' ', b'0', b'a'] {
                    let mut bytes = text.as_bytes().to_vec();
                    bytes[at] = byte;
                    alike(&bytes);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_json_reads(
            pieces in prop::collection::vec(prop::sample::select(&[
                "{", "}", "[", "]", ":", ",", " ", "\n", "\"jsonrpc\"", "\"2.0\"", "\"id\"", "7", "0", "\"result\"", "\"content\"",
                "\"type\"", "\"text\"", "\"isError\"", "true", "false", "\"resultType\"", "\"complete\"", "\"a\"", "null",
                "\"structuredContent\":", "\"_meta\":", "-1.5", "{\"type\":\"text\",\"text\":\"b\"}", "\"result\":{\"content\":[", "]}", "\"id\":1,", "{\"id\":1,\"result\":{",
            ][..]), 0..24),
        ) {
            alike(pieces.concat().as_bytes());
        }
    }
}
