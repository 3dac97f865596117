//! The answer that most calls get, read without an index or a tape: a few plain texts, and whether the tool failed.
//!
//! A short answer costs a general reader more for what it prepares than for what stands there. This one knows the members of a
//! response, of a result and of a text block, in any order and with blanks between them, and nothing else: any other member, an
//! escape, a member that comes twice, another type, and it gives up; then the general readers (`decode/answer.rs`) decide.
//!
//! Unit: bytes. Cost: one pass, and an allocation each for the list and its texts. Owner: nobody, this is a function. Always: what it
//! reads, serde_json reads alike; what it does not read is no error. Proof: `what_is_read_is_what_serde_json_reads`, below, and
//! `decode/naive.rs` with `just fuzz decode`. Follows: RFC 8259; ADR 0024.

use memchr::memchr2;

use crate::{
    base::limits::DECODE_COMMON_BYTES_MAX,
    model::tool::{Content, Members, ToolResult},
};

/// Reads a response with such a result; `None` if it is not one.
#[inline]
pub(super) fn read(bytes: &[u8]) -> Option<ToolResult> {
    if bytes.len() > DECODE_COMMON_BYTES_MAX {
        return None;
    }
    let mut reader = Reader { bytes, at: 0 };
    let (mut version, mut id, mut result) = (None, None, None);
    reader.object(|reader, name| match name {
        b"jsonrpc" => once(&mut version, reader.text()?),
        b"id" => once(&mut id, reader.id()?),
        b"result" => once(&mut result, reader.result()?),
        _ => None,
    })?;
    reader.is_over().then_some(result?)
}

fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
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

    fn is_over(mut self) -> bool {
        self.next().is_none()
    }

    /// All members of an object, each by its name.
    #[inline]
    fn object(&mut self, mut member: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.takes(b'}')? {
            return Some(());
        }
        loop {
            let name = self.name()?;
            self.expect(b':')?;
            member(self, name)?;
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// A string that is short as a rule, byte by byte. Whoever compares it knows that no name in question has an escape.
    #[inline]
    fn name(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let rest = self.bytes.get(self.at..)?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        self.at += end + 1;
        Some(&rest[..end])
    }

    /// A string without an escape.
    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let rest = self.bytes.get(self.at..)?;
        let end = memchr2(b'"', b'\\', rest)?;
        let text = &rest[..end];
        if rest[end] == b'\\' || text.iter().any(|byte| *byte < b' ') {
            return None;
        }
        self.at += end + 1;
        std::str::from_utf8(text).ok()
    }

    /// A string, or a number as counters have them.
    #[inline]
    fn id(&mut self) -> Option<()> {
        if self.takes(b'"')? {
            self.at -= 1;
            return self.text().map(drop);
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
    fn word(&mut self, word: &[u8]) -> Option<bool> {
        let is_there = self.bytes.get(self.at..)?.starts_with(word);
        self.at += if is_there { word.len() } else { 0 };
        Some(is_there)
    }

    fn result(&mut self) -> Option<ToolResult> {
        let (mut content, mut is_error, mut result_type) = (None, None, None);
        self.object(|reader, name| match name {
            b"content" => once(&mut content, reader.content()?),
            b"isError" => once(&mut is_error, reader.truth()?),
            b"resultType" => once(&mut result_type, (reader.name()? == b"complete").then_some("complete")?),
            _ => None,
        })?;
        Some(ToolResult {
            content: content.unwrap_or_default(),
            is_error: is_error.unwrap_or_default(),
            result_type: result_type.map(Into::into),
            ..ToolResult::default()
        })
    }

    fn truth(&mut self) -> Option<bool> {
        // Its first letter, and blanks before it.
        self.next()?;
        self.at -= 1;
        if self.word(b"false")? {
            return Some(false);
        }
        self.word(b"true")?.then_some(true)
    }

    fn content(&mut self) -> Option<Vec<Content>> {
        self.expect(b'[')?;
        if self.takes(b']')? {
            return Some(Vec::new());
        }
        // Nearly always one.
        let mut content = Vec::with_capacity(1);
        loop {
            content.push(self.block()?);
            match self.next()? {
                b',' => {}
                b']' => return Some(content),
                _ => return None,
            }
        }
    }

    /// A block that is a text and has nothing besides.
    fn block(&mut self) -> Option<Content> {
        let (mut kind, mut text) = (None, None);
        self.object(|reader, name| match name {
            b"type" => once(&mut kind, (reader.name()? == b"text").then_some(())?),
            b"text" => once(&mut text, reader.text()?),
            _ => None,
        })?;
        kind?;
        Some(Content::Text { text: text?.to_owned(), rest: Members::new() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::answer;

    /// As servers in use write them.
    const COMMON: [&str; 6] = [
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"hello"}],"resultType":"complete"}}"#,
        r#"{"result":{"content":[{"type":"text","text":"Echo: grüße, 世界"}]},"jsonrpc":"2.0","id":7}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"text":"a","type":"text"}],"isError":false}}"#,
        r#"{"jsonrpc": "2.0", "id": "a-7", "result": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}], "isError": true}}"#,
        "{\"id\" : 0 ,\r\n\t\"result\" : { \"content\" : [ ] , \"isError\" : true } }\n",
        r#"{"result":{}}"#,
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
            r#"{"result":{"structuredContent":1}}"#,
            r#"{"result":{"_meta":{}}}"#,
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
                "{\"type\":\"text\",\"text\":\"b\"}", "\"result\":{\"content\":[", "]}", "\"id\":1,", "{\"id\":1,\"result\":{",
            ][..]), 0..24),
        ) {
            alike(pieces.concat().as_bytes());
        }
    }
}
