//! The answer that most calls get, read without an index or a tape: texts and images, and whether the tool failed.
//!
//! A short answer costs a general reader more for what it prepares than for what stands there, and a long text without escapes more than
//! looking for its end and copying it. This one knows the members of a response, of a result and of three kinds of block, in any order and
//! with blanks between them, and nothing else: any other member, an escape in a key or in what is no text (`decode/escapes.rs`), a member that comes
//! twice, another type, and it gives up; then the general readers (`decode/answer.rs`) decide. Structured content and metadata are made where they
//! stand (`decode/structured.rs`). The first walk over the answer sees whether it can be read and allocates nothing but these, the second makes the value.
//!
//! Unit: bytes. Cost: two walks that skip from quote to quote, a look at the strings for control characters, the check of UTF-8, and the
//! allocations of the value. Owner: nobody, this is a function. Always: what it reads, serde_json reads alike; what it does not read is
//! no error. Proof: `what_is_read_is_what_serde_json_reads`, below, and `decode/naive.rs` with `just fuzz decode`. Follows: RFC 8259;
//! ADR 0024.

use std::{ops::Range, sync::LazyLock};

use memchr::{memchr_iter, memchr2, memmem::Finder};
use serde_json::Value;

use super::{escapes, structured};
use crate::{
    base::limits::DECODE_SIMD_BYTES_MAX,
    model::tool::{Content, Members, ToolResult},
};

/// Reads a response with such a result; `None` if it is not one.
pub(super) fn read(bytes: &[u8]) -> Option<ToolResult> {
    let mut reader = Reader { bytes, at: 0, text: None, has_escapes: false };
    let (mut version, mut id, mut result) = (None, None, None);
    let mut parts = Parts::default();
    reader.object([b"\"jsonrpc\":", b"\"id\":", b"\"result\":"], |reader, key| match key {
        0 => once(&mut version, reader.word(b"\"2.0\"")?.then_some(())?),
        1 => once(&mut id, reader.id()?),
        _ => once(&mut result, reader.result(&mut parts)?),
    })?;
    result?;
    if !reader.is_over() {
        return None;
    }
    reader.value(parts)
}

/// A result where it stands.
#[derive(Default)]
struct Parts {
    content: Blocks,
    is_error: bool,
    is_complete: bool,
    structured: Option<Value>,
    meta: Option<Value>,
}

/// The blocks of the content.
#[derive(Default)]
struct Blocks {
    /// Where they begin, behind the bracket.
    begin: usize,
    count: usize,
    /// The first of them, so that nobody has to look for them again: they may be long, and nearly all have one.
    few: [Block; FEW],
}

const FEW: usize = 4;

enum Kind {
    Text,
    Image,
    Audio,
}

/// A block that has nothing besides. It is written where it belongs, and so is what is made of it: values of this size that come back in an
/// `Option` are copied each time, in pieces that have to wait for those before them, and that was a third of reading a short answer.
enum Block {
    Text { text: Range<usize>, has_escapes: bool },
    Image { data: Range<usize>, mime_type: Range<usize> },
    Audio { data: Range<usize>, mime_type: Range<usize> },
}

impl Default for Block {
    fn default() -> Self {
        Self::Text { text: 0..0, has_escapes: false }
    }
}

impl Block {
    /// Puts what it says behind the others; `text` is the whole answer.
    #[inline]
    fn make(&self, text: &str, content: &mut Vec<Content>) -> Option<()> {
        let own = |range: &Range<usize>| text[range.clone()].to_owned();
        let rest = Members::new();
        match self {
            Self::Text { text: range, has_escapes: true } => {
                let text = escapes::unescaped(&text[range.clone()])?;
                content.push(Content::Text { text, rest });
            }
            Self::Text { text, has_escapes: false } => content.push(Content::Text { text: own(text), rest }),
            Self::Image { data, mime_type } => {
                content.push(Content::Image { data: own(data), mime_type: own(mime_type), rest });
            }
            Self::Audio { data, mime_type } => {
                content.push(Content::Audio { data: own(data), mime_type: own(mime_type), rest });
            }
        }
        Some(())
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// Where a long string ends, from a place in it on, if no control character is before that.
fn far(rest: &[u8], mut from: usize) -> Option<usize> {
    loop {
        // What is looked at twice is in the innermost cache the second time.
        let piece = rest.get(from..)?;
        let piece = &piece[..piece.len().min(PIECE_BYTES)];
        if piece.is_empty() {
            return None;
        }
        let end = memchr2(b'"', b'\\', piece);
        if has_controls(&piece[..end.unwrap_or(piece.len())]) {
            return None;
        }
        if let Some(end) = end {
            return Some(from + end);
        }
        from += piece.len();
    }
}

/// Where the string ends that has its first escape at `escape`, if no control character is before that.
fn behind_escapes(bytes: &[u8], escape: usize) -> Option<usize> {
    let is_escaped = |quote: usize| {
        let backslashes = bytes[escape..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
        backslashes % 2 == 1
    };
    let mut from = escape;
    loop {
        let piece = bytes.get(from..)?;
        let piece = &piece[..piece.len().min(PIECE_BYTES)];
        if piece.is_empty() {
            return None;
        }
        // From quote to quote: there are fewer of them than of escapes.
        let end = memchr_iter(b'"', piece).find(|quote| !is_escaped(from + quote));
        let before = &piece[..end.unwrap_or(piece.len())];
        if has_controls(before) {
            return None;
        }
        from += before.len();
        if end.is_some() {
            return Some(from);
        }
    }
}

const PIECE_BYTES: usize = 8 * 1024;

/// All are looked at, since that is many at a time.
fn has_controls(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |has, byte| has | (*byte < b' '))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// All of it, once it was found to be text.
    text: Option<&'a str>,
    /// A text with escapes was met, and to go on was found worth while.
    has_escapes: bool,
}

/// Inside a text its quotes have backslashes before them.
static STRUCTURED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""structuredContent""#));

/// Is structured content behind here that another reads faster? Servers write a text there as well, once more. To have walked over such a text in vain takes
/// a third of what the general reader takes for both.
fn has_escaped_structured_content(rest: &[u8]) -> bool {
    STRUCTURED.find(rest).is_some_and(|at| is_for_simd(&rest[at..]))
}

/// Many escapes in structured content, or in what comes behind it and the content, are read by simd-json in two thirds of the time.
fn is_for_simd(rest: &[u8]) -> bool {
    rest.len() > FEW_ESCAPED_BYTES && memchr_iter(b'\\', rest).count() >= rest.len() / BYTES_PER_ESCAPE_MIN
}

/// So little is read faster than it is prepared for.
const FEW_ESCAPED_BYTES: usize = 256;

/// With one in so many bytes both are as fast.
const BYTES_PER_ESCAPE_MIN: usize = 64;

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

    /// Where what is between two quotes stands, without escapes.
    #[inline]
    fn quoted(&mut self) -> Option<Range<usize>> {
        self.expect(b'"')?;
        let begin = self.at;
        let end = self.end_or_escape()?;
        self.at = end + 1;
        (self.bytes[end] == b'"').then_some(begin..end)
    }

    /// As [`Self::quoted`], for a string with or without escapes. Has it any? What they say is looked at when the value is made.
    #[inline]
    fn text(&mut self) -> Option<(Range<usize>, bool)> {
        self.expect(b'"')?;
        let begin = self.at;
        let mut end = self.end_or_escape()?;
        let has_escapes = self.bytes[end] == b'\\';
        if has_escapes {
            if !self.has_escapes && self.is_short() && has_escaped_structured_content(&self.bytes[end..]) {
                return None;
            }
            self.has_escapes = true;
            end = behind_escapes(self.bytes, end)?;
        }
        self.at = end + 1;
        (self.bytes[end] == b'"').then_some((begin..end, has_escapes))
    }

    /// Where the string ends whose first byte is the next, or where its first escape or control character is.
    #[inline]
    fn end_or_escape(&self) -> Option<usize> {
        let rest = self.bytes.get(self.at..)?;
        // Names are shorter than what a vectored search needs to begin.
        let is_end = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
        let end = match rest.iter().take(NAME_BYTES_MAX).position(is_end) {
            Some(end) => end,
            None => far(rest, NAME_BYTES_MAX)?,
        };
        Some(self.at + end)
    }

    /// What stands between two quotes.
    #[inline]
    fn string(&mut self) -> Option<&'a [u8]> {
        let range = self.quoted()?;
        Some(&self.bytes[range])
    }

    /// Is it this string? With its quotes, as most write it, it is compared in one go.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the word is known where it is used")]
    fn word(&mut self, word: &'static [u8]) -> Option<bool> {
        if self.bytes.get(self.at..)?.starts_with(word) {
            self.at += word.len();
            return Some(true);
        }
        Some(self.string()? == &word[1..word.len() - 1])
    }

    /// A string, or a number as counters have them.
    #[inline]
    fn id(&mut self) -> Option<()> {
        if self.takes(b'"')? {
            self.at -= 1;
            return self.quoted().map(drop);
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
    fn result(&mut self, parts: &mut Parts) -> Option<()> {
        let (mut content, mut is_error, mut kind) = (None, None, None);
        let keys: [&[u8]; 5] =
            [b"\"content\":", b"\"isError\":", b"\"resultType\":", b"\"structuredContent\":", b"\"_meta\":"];
        self.object(keys, |reader, key| match key {
            0 => once(&mut content, reader.content(&mut parts.content)?),
            1 => once(&mut is_error, reader.truth()?),
            2 => once(&mut kind, reader.word(b"\"complete\"")?.then_some(())?),
            // (Behind one that comes before the content stand that content's escapes.)
            3 if content.is_some() && reader.is_short() && is_for_simd(&reader.bytes[reader.at..]) => None,
            3 => once(&mut parts.structured, reader.any()?),
            _ => once(&mut parts.meta, reader.any()?),
        })?;
        (parts.is_error, parts.is_complete) = (is_error.unwrap_or_default(), kind.is_some());
        Some(())
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
    fn content(&mut self, blocks: &mut Blocks) -> Option<()> {
        self.expect(b'[')?;
        blocks.begin = self.at;
        self.list(b']', |reader| {
            let mut one_more = Block::default();
            let place = blocks.few.get_mut(blocks.count).unwrap_or(&mut one_more);
            blocks.count += 1;
            reader.block(place)
        })
    }

    #[inline]
    fn block(&mut self, place: &mut Block) -> Option<()> {
        let (mut kind, mut text, mut data, mut mime_type) = (None, None, None, None);
        let keys: [&[u8]; 4] = [b"\"type\":", b"\"text\":", b"\"data\":", b"\"mimeType\":"];
        self.object(keys, |reader, key| match key {
            0 => once(&mut kind, reader.kind()?),
            1 => once(&mut text, reader.text()?),
            2 => once(&mut data, reader.quoted()?),
            _ => once(&mut mime_type, reader.quoted()?),
        })?;
        *place = match (kind?, text, data, mime_type) {
            (Kind::Text, Some((text, has_escapes)), None, None) => Block::Text { text, has_escapes },
            (Kind::Image, None, Some(data), Some(mime_type)) => Block::Image { data, mime_type },
            (Kind::Audio, None, Some(data), Some(mime_type)) => Block::Audio { data, mime_type },
            _ => return None,
        };
        Some(())
    }

    #[inline]
    fn kind(&mut self) -> Option<Kind> {
        let text: &[u8] = b"\"text\"";
        if self.bytes.get(self.at..)?.starts_with(text) {
            self.at += text.len();
            return Some(Kind::Text);
        }
        match self.string()? {
            b"text" => Some(Kind::Text),
            b"image" => Some(Kind::Image),
            b"audio" => Some(Kind::Audio),
            _ => None,
        }
    }

    /// A value of any kind, made at once: where it ends, only its reader says.
    fn any(&mut self) -> Option<Value> {
        let rest = self.whole_text()?.get(self.at..)?;
        let (value, length) = structured::first(rest)?;
        self.at += length;
        Some(value)
    }

    /// Would simd-json read it, if this one does not?
    fn is_short(&self) -> bool {
        self.bytes.len() <= DECODE_SIMD_BYTES_MAX
    }

    /// All of it, if it is text.
    fn whole_text(&mut self) -> Option<&'a str> {
        if self.text.is_none() {
            self.text = simdutf8::basic::from_utf8(self.bytes).ok();
        }
        self.text
    }

    /// The value of what the first walk has found.
    fn value(mut self, parts: Parts) -> Option<ToolResult> {
        let text = self.whole_text()?;
        let blocks = &parts.content;
        let mut content = Vec::with_capacity(blocks.count);
        if let Some(few) = blocks.few.get(..blocks.count) {
            for block in few {
                block.make(text, &mut content)?;
            }
        } else {
            self.at = blocks.begin;
            self.list(b']', |reader| {
                let mut block = Block::default();
                reader.block(&mut block)?;
                block.make(text, &mut content)
            })?;
        }
        Some(ToolResult {
            content,
            structured_content: parts.structured,
            is_error: parts.is_error,
            // A `null` is as good as none.
            meta: parts.meta.filter(|meta| !meta.is_null()),
            result_type: parts.is_complete.then_some("complete".into()),
        })
    }
}

/// No name in question is longer.
const NAME_BYTES_MAX: usize = 18;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::{answer, structured::DEPTH_MAX};

    /// As servers in use write them.
    const COMMON: [&str; 13] = [
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"hello"}],"resultType":"complete"}}"#,
        r#"{"result":{"content":[{"type":"text","text":"Echo: grüße, 世界"}]},"jsonrpc":"2.0","id":7}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"text":"a","type":"text"}],"isError":false}}"#,
        r#"{"jsonrpc": "2.0", "id": "a-7", "result": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}], "isError": true}}"#,
        "{\"id\" : 0 ,\r\n\t\"result\" : { \"content\" : [ ] , \"isError\" : true } }\n",
        r#"{"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"3"}],"structuredContent":{"result":[3,-0.5,"a",null,{"b":[]}]},"isError":false}}"#,
        r#"{"id":7,"result":{"_meta":{"a/b": [1, 2.5e3 ]} ,"content":[],"structuredContent":null}}"#,
        r#"{"result":{"content":[{"type":"image","data":"QQ==","mimeType":"image/png"},{"mimeType":"audio/wav","data":"","type":"audio"}]}}"#,
        r#"{"id":7,"result":{"content":[{"type":"text","text":"1"},{"type":"text","text":"2"},{"type":"text","text":"3"},{"type":"text","text":"4"},{"type":"text","text":"5"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"{\"a\": [\"C:\\\\\", \"\u00e9\ud83d\ude00\"]}\n"}],"isError":false}}"#,
        r#"{"id":7,"result":{"content":[{"text":"\\","type":"text"}],"structuredContent":{"result":"{\"a\\\":1}","b\n":["\\"]}}}"#,
        "{\n  \"result\": {\n    \"content\": [\n      {\n        \"type\": \"text\",\n        \"text\": \"a, behind a line feed\"\n      }\n    ]\n  }\n}",
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
        // An escaped quote, and an end, at every place around the end of a piece of the search.
        for before in PIECE_BYTES - 8..PIECE_BYTES + 8 {
            let text = format!("\\n{}", "x".repeat(before));
            for (end, more) in [("", 0), ("\\\\", 1), ("\\\"", 1), ("\\\\\\\"", 2)] {
                let answer = COMMON[0].replace("hello", &format!("{text}{end}"));
                assert_eq!(alike(answer.as_bytes()).map(|read| read.text().len()), Some(1 + before + more));
            }
            let answer = COMMON[0].replace("hello", &format!("{text}\\"));
            assert_eq!(alike(answer.as_bytes()), None, "it does not end");
            assert_eq!(alike(&answer.as_bytes()[..PIECE_BYTES]), None);
        }
        let twice = |text: &str| {
            format!(
                r#"{{"result":{{"content":[{{"type":"text","text":"{text}"}}],"structuredContent":["{text}"],"_meta":{{"a":"{text}"}}}}}}"#
            )
        };
        for text in [r#"\"structuredContent\""#, &r"\n".repeat(1_000_000), &"x".repeat(2_000_000), "世界"] {
            assert!(alike(twice(text).as_bytes()).is_some());
        }
        let line = |bytes| format!("{}\\n", "x".repeat(bytes));
        assert_eq!(
            alike(twice(&line(15).repeat(1_000)).as_bytes()),
            None,
            "simd-json reads such content faster"
        );
        assert!(alike(twice(&line(100).repeat(1_000)).as_bytes()).is_some());
        for first in [r#""_meta":{"a":1}"#, r#""structuredContent":{"a":1}"#] {
            let text = line(15).repeat(1_000);
            let answer = format!(r#"{{"result":{{{first},"content":[{{"type":"text","text":"{text}"}}]}}}}"#);
            assert!(alike(answer.as_bytes()).is_some(), "whose escapes they are matters");
        }
        let text = COMMON[0].replace("hello", &"grüße, 世界 ".repeat(100_000));
        assert_eq!(alike(text.as_bytes()).map(|read| read.text().len()), Some(1_600_000));
        let words = "words ".repeat(60);
        let piece = format!(r#"a \"line\"\n\ud83d\ude00 {words}"#);
        let escaped = COMMON[0].replace("hello", &piece.repeat(5_000));
        assert_eq!(alike(escaped.as_bytes()).map(|read| read.text().len()), Some((14 + words.len()) * 5_000));
        let dense = COMMON[0].replace("hello", &r#"a \"word\" "#.repeat(200_000));
        assert_eq!(alike(dense.as_bytes()).map(|read| read.text().len()), Some(9 * 200_000));
        // So far it has read everything else, and the last escape is none.
        for damaged in [r"\x", r"\ud83d", r"\u12"] {
            for pieces in [0, 1, 5_000] {
                assert_eq!(
                    alike(COMMON[0].replace("hello", &(piece.repeat(pieces) + damaged)).as_bytes()),
                    None
                );
            }
        }
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
            r#"{"result":{"content":[{"type":"image","data":"QQ=="}]}}"#,
            r#"{"result":{"content":[{"type":"audio","mimeType":"audio/wav"}]}}"#,
            r#"{"result":{"content":[{"type":"image","data":"QQ==","mimeType":"image/png","text":"a"}]}}"#,
            r#"{"result":{"content":[{"type":"text","text":"a","data":"QQ=="}]}}"#,
            r#"{"result":{"content":[{"type":"hologram","text":"a"}]}}"#,
            r#"{"result":{"content":[{"type":"audio","data":"QQ==","data":"QQ==","mimeType":"audio/wav"}]}}"#,
            r#"{"result":{"content":[{"type":"text","text":"a","text":"a"}]}}"#,
            r#"{"result":{"content":[{"type":"text","text":"a","note":1}]}}"#,
            r#"{"result":{"content":[{"type":"te\u0078t","text":"a"}]}}"#,
            r#"{"result":{"content":[{"type":"image","data":"QQ\/","mimeType":"image/png"}]}}"#,
            r#"{"result":{"content":[{"type":"text","text":"a\"}]}}"#,
            r#"{"result":{"content":[{"type":"text","text":"a\\\"}]}}"#,
            r#"{"result":{"structuredContent":["\ud800"]}}"#,
            r#"{"result":{"structuredContent":{"$serde_json::private::RawValue":"1"}}}"#,
            r#"{"result":{"structuredContent":{"\u0024serde_json::private::RawValue":"1"}}}"#,
            r#"{"result":{"content":[{"type":"text","text":7}]}}"#,
            "{\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"a\tb\"}]}}",
            "{\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"a\\n\tb\"}]}}",
            "{\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"a\\\n\"}]}}",
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
                "\"structuredContent\":", "\"_meta\":", "-1.5", "\"\\n\"", "\"\\\\\"", "\"\\\"", "\\", "{\"type\":\"text\",\"text\":\"b\"}", "{\"type\":\"text\",\"text\":\"b\\n\\\"\\u00e9\"}",
                "\"image\"", "\"data\"", "\"mimeType\"", "{\"type\":\"audio\",\"data\":\"b\",\"mimeType\":\"é\"}", "\"result\":{\"content\":[", "]}", "\"id\":1,", "{\"id\":1,\"result\":{",
            ][..]), 0..24),
        ) {
            alike(pieces.concat().as_bytes());
        }
    }
}
