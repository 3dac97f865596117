//! Is this the answer to this call?
//!
//! Two questions to each answer: does the tool say `isError`, and does a text of the result say
//! what the plan expects? Three ways lead to the verdict, each slower and each surer of a *no*:
//!
//! 1. The line is the same as an earlier right one but for its id and the expected text
//!    ([`Shape`]): some compares.
//! 2. A string after a key `"text"` is or contains the expected text: some searches.
//! 3. The line is parsed, and that decides.
//!
//! The first two only ever accept; nobody minds what a wrong answer costs.
//!
//! Where `{i}` stands at an end of the expected text, the number must end there too: `call 1` is
//! not found in `call 12`. Owner: one worker. Proof: `the_fast_way_agrees_with_the_slow_one`.

use std::borrow::Cow;

use memchr::memmem::{self, Finder};
use serde::Deserialize;

use crate::plan::Expect;
use crate::template::Template;

/// What an answer turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What was asked for.
    Right,
    /// The tool failed and said so. Its text is not judged.
    ToolError,
    /// Not what was expected.
    Wrong,
}

/// Judges answers.
pub(super) struct Judge {
    expected: Option<Expected>,
    error_key: Finder<'static>,
    text_key: Finder<'static>,
}

/// The expected text, with the buffers that it is rendered into.
struct Expected {
    plain: Template,
    escaped: Template,
    whole: bool,
    digit_before: bool,
    digit_after: bool,
    rendered: Vec<u8>,
    shape: Option<Shape>,
    /// How often another shape may still be learned: learning allocates, so it has an end.
    lessons: u8,
}

/// A right answer without its id: what stands before it, and all that follows, text included.
struct Shape {
    /// From the begin of the line up to the id.
    before: Box<[u8]>,
    /// From the key `"result"` to the end of the line, with the expected text in its place.
    after: Template,
}

impl Judge {
    /// A judge for a whole run; without an expectation every text is right.
    pub(super) fn new(expect: Option<&Expect>) -> Self {
        Self {
            expected: expect.map(Expected::new),
            error_key: Finder::new(ERROR_KEY),
            text_key: Finder::new(TEXT_KEY),
        }
    }

    /// Judges the response line to call `number`.
    pub(super) fn judge(&mut self, number: u64, line: &[u8]) -> Verdict {
        let shape = self.expected.as_ref().and_then(|expected| expected.shape.as_ref());
        if shape.is_some_and(|shape| shape.fits(number, line)) {
            return Verdict::Right;
        }
        let mut parsed = None;
        if self.may_be_error(line) {
            let response = parsed.insert(Response::parse(line));
            // A line that says so and cannot be read is believed.
            if response.as_ref().is_none_or(|response| response.result.is_error) {
                return Verdict::ToolError;
            }
        }
        let Some(expected) = &mut self.expected else { return Verdict::Right };
        expected.rendered.clear();
        expected.escaped.render(number, &mut expected.rendered);
        if expected.seen_in(line, &self.text_key) {
            return Verdict::Right;
        }
        expected.rendered.clear();
        expected.plain.render(number, &mut expected.rendered);
        let response = parsed.unwrap_or_else(|| Response::parse(line));
        match response.is_some_and(|response| response.texts().any(|text| expected.fits(text.as_bytes()))) {
            true => Verdict::Right,
            false => Verdict::Wrong,
        }
    }

    /// Whether `"isError": true` stands anywhere, be it within somebody's data.
    fn may_be_error(&self, line: &[u8]) -> bool {
        // The usual end of a result says no at once; within a string its quotes would be escaped.
        !line.ends_with(NO_ERROR)
            && self.error_key.find_iter(line).any(|at| {
                let after = skip_blanks(line, at + ERROR_KEY.len());
                line.get(after) == Some(&b':') && line[skip_blanks(line, after + 1)..].starts_with(b"true")
            })
    }

    /// What was expected of call `number`, for the report.
    pub(super) fn wanted(&self, number: u64) -> String {
        let mut text = Vec::new();
        if let Some(expected) = &self.expected {
            expected.plain.render(number, &mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Expected {
    fn new(expect: &Expect) -> Self {
        let plain = Template::text(&expect.text);
        Self {
            digit_before: !expect.whole && plain.begins_with_number(),
            digit_after: !expect.whole && plain.ends_with_number(),
            escaped: Template::escaped(&expect.text),
            plain,
            whole: expect.whole,
            rendered: Vec::new(),
            shape: None,
            lessons: LESSONS_MAX,
        }
    }

    /// The fast way: a string after the key `"text"`, compared without unescaping it. The key
    /// cannot stand inside a string, where its quotes would be escaped.
    fn seen_in(&mut self, line: &[u8], text_key: &Finder<'_>) -> bool {
        let mut from = 0;
        while let Some(at) = text_key.find(&line[from..]) {
            let start = skip_blanks(line, from + at + TEXT_KEY.len());
            from = start;
            if line.get(start) != Some(&b'"') {
                continue;
            }
            let string = &line[start + 1..];
            if string.starts_with(&self.rendered) {
                let next = string.get(self.rendered.len());
                if next == Some(&b'"') {
                    self.learn(line, start + 1);
                    return true;
                }
                if !(self.whole || self.digit_after && next.is_some_and(u8::is_ascii_digit)) {
                    return true;
                }
            }
            let end = string_end(string);
            from += 1 + end;
            // A match right behind a backslash may be the middle of an escape: the slow way knows.
            let clean = |at: usize| memchr::memchr(b'\\', &string[at.saturating_sub(5)..at]).is_none();
            if !self.whole && self.places(&string[..end]).any(clean) {
                return true;
            }
        }
        false
    }

    /// Remembers a right line whose text, all of it as rendered, begins at `text`.
    fn learn(&mut self, line: &[u8], text: usize) {
        if self.lessons == 0 {
            return;
        }
        let Some(result) = memmem::find(&line[..text], RESULT_KEY) else { return };
        let Some(id) = memmem::find(&line[..result], ID_KEY) else { return };
        self.lessons -= 1;
        let after = self.escaped.between(&line[result..text], &line[text + self.rendered.len()..]);
        self.shape = Some(Shape { before: line[..id + ID_KEY.len()].into(), after });
    }

    /// The slow way's question to an unescaped text.
    fn fits(&self, text: &[u8]) -> bool {
        if self.whole { text == self.rendered } else { self.places(text).next().is_some() }
    }

    /// Where the rendered text stands in `text` without a digit at an end that is a number's.
    fn places<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        memmem::find_iter(text, &self.rendered).filter(move |at| {
            let before = at.checked_sub(1).and_then(|before| text.get(before));
            let after = text.get(at + self.rendered.len());
            !(self.digit_before && is_digit(before) || self.digit_after && is_digit(after))
        })
    }
}

impl Shape {
    /// Whether this line differs from the learned one in nothing but its id, which the engine
    /// has checked, and the number in its text.
    fn fits(&self, number: u64, line: &[u8]) -> bool {
        let rest = self.after.cut_end(number, line).and_then(|rest| rest.strip_prefix(&*self.before));
        rest.is_some_and(|id| id.len() <= ID_BYTES_MAX && memchr::memchr(b':', id).is_none())
    }
}

/// As much of a response as is judged.
#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    result: ToolResult<'a>,
}

#[derive(Deserialize)]
struct ToolResult<'a> {
    #[serde(default, borrow)]
    content: Vec<Block<'a>>,
    #[serde(default, rename = "isError")]
    is_error: bool,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    resource: Option<Resource<'a>>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
}

impl<'a> Response<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// All texts of the result: text blocks, and resources that are text.
    fn texts(&self) -> impl Iterator<Item = &str> {
        self.result.content.iter().flat_map(|block| {
            let embedded = block.resource.as_ref().and_then(|resource| resource.text.as_deref());
            block.text.as_deref().into_iter().chain(embedded)
        })
    }
}

fn skip_blanks(line: &[u8], mut at: usize) -> usize {
    while matches!(line.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at.min(line.len())
}

/// The length of a JSON string whose opening quote is already past.
fn string_end(string: &[u8]) -> usize {
    let mut from = 0;
    while let Some(at) = string.get(from..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        if string[from + at] == b'"' {
            return from + at;
        }
        from += at + 2;
    }
    string.len()
}

const ID_KEY: &[u8] = b"\"id\":";
const RESULT_KEY: &[u8] = b"\"result\":";
const NO_ERROR: &[u8] = b"],\"isError\":false}}";
/// The longest id with the comma behind it: 2^53, perhaps as a string, perhaps with blanks.
const ID_BYTES_MAX: usize = 24;
/// One for each connection's way of writing, with some to spare.
const LESSONS_MAX: u8 = 8;
const ERROR_KEY: &[u8] = b"\"isError\"";
const TEXT_KEY: &[u8] = b"\"text\":";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> String {
        let text = serde_json::to_string(text).unwrap();
        format!(
            r#"{{"jsonrpc":"2.0","id":7,"result":{{"content":[{{"type":"text","text":{text}}}],"isError":false}}}}"#
        )
    }

    fn judge(expect: &str, whole: bool, number: u64, line: &str) -> Verdict {
        Judge::new(Some(&Expect { text: expect.into(), whole })).judge(number, line.as_bytes())
    }

    #[test]
    fn call_12_is_no_answer_to_call_1() {
        for whole in [true, false] {
            assert_eq!(judge("call {i}", whole, 1, &line("call 1")), Verdict::Right);
            assert_eq!(judge("call {i}", whole, 1, &line("call 12")), Verdict::Wrong);
            assert_eq!(judge("call {i}", whole, 12, &line("call 1")), Verdict::Wrong);
        }
        assert_eq!(judge("{i} is it", false, 1, &line("21 is it")), Verdict::Wrong);
        assert_eq!(judge("call {i}", false, 1, &line("call 12, call 1.")), Verdict::Right);
    }

    #[test]
    fn whole_means_whole_and_contained_means_contained() {
        assert_eq!(judge("call {i}", true, 1, &line("call 1 ")), Verdict::Wrong);
        assert_eq!(judge("call {i}", false, 1, &line("you said: call 1!")), Verdict::Right);
        assert_eq!(judge("a", false, 1, &line("b")), Verdict::Wrong);
    }

    #[test]
    fn only_texts_of_the_result_count() {
        assert_eq!(judge("7", false, 1, &line("x")), Verdict::Wrong, "the id is no text");
        assert_eq!(judge("text", false, 1, &line("x")), Verdict::Wrong, "a key is no text");
        assert_eq!(judge("n", false, 1, &line("\n")), Verdict::Wrong, "an escape is no letter");
        assert_eq!(judge("anything", false, 1, "no JSON"), Verdict::Wrong);
        let resource =
            r#"{"id":1,"result":{"content":[{"type":"resource","resource":{"uri":"a:b","text":"x 1"}}]}}"#;
        assert_eq!(judge("x {i}", true, 1, resource), Verdict::Right);
    }

    #[test]
    fn a_learned_shape_lets_no_other_line_through() {
        let mut judge = Judge::new(Some(&Expect { text: "call {i}".into(), whole: true }));
        let with = |id: &str, text: &str, error: bool| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"{text}"}}],"isError":{error}}}}}"#
            )
        };
        assert_eq!(judge.judge(1, with("7", "call 1", false).as_bytes()), Verdict::Right);
        assert!(judge.expected.as_ref().unwrap().shape.is_some());
        let mut verdict = |number, line: String| judge.judge(number, line.as_bytes());
        assert_eq!(verdict(12, with("9007199254740991", "call 12", false)), Verdict::Right);
        assert_eq!(verdict(1, with("7", "call 12", false)), Verdict::Wrong);
        assert_eq!(verdict(12, with("7", "call 1", false)), Verdict::Wrong);
        assert_eq!(verdict(1, with("7", "recall 1", false)), Verdict::Wrong);
        assert_eq!(verdict(1, with("7", "call 1", true)), Verdict::ToolError);
        let shape = judge.expected.unwrap().shape.unwrap();
        assert!(shape.fits(1, with("7", "call 1", false).as_bytes()));
        let more_than_an_id = with(r#"7,"x":0"#, "call 1", false);
        assert!(!shape.fits(1, more_than_an_id.as_bytes()), "the slower ways decide");
    }

    #[test]
    fn a_text_with_the_keys_of_a_shape_in_it_teaches_nothing_false() {
        let tricky = r#"{"result":{"content":[{"text":"x"}]},"id":5}"#;
        let mut judge = Judge::new(Some(&Expect { text: "x".into(), whole: true }));
        assert_eq!(judge.judge(1, tricky.as_bytes()), Verdict::Right);
        assert!(judge.expected.unwrap().shape.is_none(), "the id is not in front of the result");
    }

    #[test]
    fn other_spellings_of_the_same_text_are_right() {
        let spaced =
            "{\"id\" : 1, \"result\": {\"content\": [{\"text\" : \"a\\u0062c 1\", \"type\": \"text\"}]}}";
        assert_eq!(judge("abc {i}", true, 1, spaced), Verdict::Right);
        assert_eq!(judge("bc {i}", false, 1, spaced), Verdict::Right);
        assert_eq!(judge("a/b", true, 1, r#"{"result":{"content":[{"text":"a\/b"}]}}"#), Verdict::Right);
    }

    #[test]
    fn a_second_block_may_carry_it() {
        let two =
            r#"{"result":{"content":[{"type":"text","text":"no \" 9"},{"type":"text","text":"call 4"}]}}"#;
        assert_eq!(judge("call {i}", true, 4, two), Verdict::Right);
        assert_eq!(judge("call {i}", false, 4, two), Verdict::Right);
    }

    #[test]
    fn a_tool_error_is_believed_only_where_it_stands() {
        let failed = r#"{"id":1,"result":{"content":[{"type":"text","text":"no"}],"isError" : true}}"#;
        assert_eq!(judge("yes", false, 1, failed), Verdict::ToolError);
        assert_eq!(Judge::new(None).judge(1, failed.as_bytes()), Verdict::ToolError);
        let quoted = r#"{"id":1,"result":{"content":[{"text":"yes"}],"structuredContent":{"isError":true}}}"#;
        assert_eq!(judge("yes", false, 1, quoted), Verdict::Right);
        assert_eq!(Judge::new(None).judge(1, b"{}"), Verdict::Right);
    }

    proptest! {
        /// The whole judge says what a plain parse and a plain search say.
        #[test]
        fn the_fast_way_agrees_with_the_slow_one(
            text in "(call )?[0-9]{0,3}[\"\\\\/nté\n]{0,4}([0-9]{1,2})?",
            expect in "(call )?(\\{i\\})?[\"\\\\n]{0,2}(\\{i\\})?",
            number in 0_u64..120,
            whole in any::<bool>(),
        ) {
            let wanted = expect.replace("{i}", &number.to_string());
            let open = |byte: Option<&u8>| !byte.is_some_and(u8::is_ascii_digit);
            let right = if whole { text == wanted } else {
                (0..=text.len()).any(|at| text.as_bytes()[at..].starts_with(wanted.as_bytes())
                    && (!expect.starts_with("{i}") || open(at.checked_sub(1).and_then(|b| text.as_bytes().get(b))))
                    && (!expect.ends_with("{i}") || open(text.as_bytes().get(at + wanted.len()))))
            };
            let verdict = judge(&expect, whole, number, &line(&text));
            prop_assert_eq!(verdict == Verdict::Right, right, "{} in {:?}", wanted, text);
        }

        #[test]
        fn no_line_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), head in 0_usize..5) {
            let heads: [&[u8]; 5] = [b"", b"{\"text\":\"", b"\"text\": ", b"\"isError\"", b"\"isError\": true \"text\":\"a\\"];
            let line = [heads[head], &bytes].concat();
            let _ = Judge::new(Some(&Expect { text: "a{i}".into(), whole: false })).judge(1, &line);
        }
    }
}
