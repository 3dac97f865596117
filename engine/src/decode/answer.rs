//! From the bytes of a response to a value or an error.
//!
//! The bytes are gone over three times: to see that they are UTF-8 (with vector instructions), to find their tokens, and, for a
//! text that the type keeps, to copy it to its place. Nothing else is copied, no memory is needed but the value's, and the bytes
//! stay as they came, so an answer can be read twice. `docs/adr/0021-our-own-reader.md` has the measurements.
//!
//! Owner: whoever reads, on the caller's thread or a worker's. Always: no byte from outside makes it panic, and an answer that
//! means two things is refused. Proof: `hostile_answers_are_errors_that_say_where`, below, and the tests of `reader`.

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::reader;
use crate::{
    base::buffer::Frame,
    error::{Error, RpcError},
    model::tool::ToolResult,
};

/// A response. The derived reader refuses a member that comes twice; a response that repeats its id or its result, or has a
/// result and an error, means two things at once, and which of them the envelope scan went by is not to be relied on.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Response<T> {
    #[serde(default, rename = "id")]
    _id: IgnoredAny,
    /// A result that is `null` is one, if the type takes it.
    #[serde(default = "Option::default", deserialize_with = "present")]
    result: Option<T>,
    error: Option<IgnoredAny>,
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Failure {
    error: RpcError,
}

/// Reads the result of a response.
pub(crate) fn result<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    let response: Response<T> = read(bytes, "an answer")?;
    match response {
        Response { result: Some(result), error: None, .. } => Ok(result),
        Response { result: Some(_), error: Some(_), .. } => {
            Err(Error::decode("the answer has both a result and an error"))
        }
        Response { result: None, .. } => Err(Error::decode("the answer has no result")),
    }
}

/// Reads the error of a response.
pub(crate) fn error(bytes: &[u8]) -> Error {
    match read::<Failure>(bytes, "an error answer") {
        Ok(failure) => Error::rpc(failure.error),
        Err(error) => error,
    }
}

fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8], what: &str) -> Result<T, Error> {
    let length = bytes.len();
    let Ok(text) = simdutf8::basic::from_utf8(bytes) else {
        // Where it is wrong is found the slow way, once it is known to be.
        let at = str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
        return Err(Error::decode(format!("{what} of {length} bytes is not UTF-8 from byte {at} on")));
    };
    // A type with members would be read from an array of them as well; a message is an object.
    if text.trim_ascii_start().starts_with('[') {
        return Err(Error::decode(format!("{what} of {length} bytes is no JSON object")));
    }
    reader::read(text).map_err(|error| {
        Error::decode(format!("{what} of {length} bytes cannot be read: {error}")).because(error)
    })
}

/// Reads the result of a tool call.
pub(crate) fn tool_result(bytes: &[u8]) -> Result<ToolResult, Error> {
    let read: ToolResult = result(bytes)?;
    match read.result_type.as_deref() {
        None | Some("complete") => Ok(read),
        Some(other) => Err(Error::decode(format!(
            "the server answered with result type {other:?}, which was not asked for"
        ))),
    }
}

/// An answer that nobody has read yet: one JSON-RPC response, as it came.
///
/// Cheap to keep and to pass on; decoding happens where and when it is asked for.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    pub(crate) frame: Frame,
}

impl RawAnswer {
    /// The whole response message, without its line feed.
    pub fn message(&self) -> &[u8] {
        &self.frame
    }

    /// The bytes, with the chunk that they were received in.
    pub fn into_frame(self) -> Frame {
        self.frame
    }

    /// The `result`, decoded into any type, which may borrow from the answer.
    ///
    /// A type that borrows its texts copies none of them but those with escapes:
    ///
    /// ```no_run
    /// use std::borrow::Cow;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Texts<'a> {
    ///     #[serde(borrow)]
    ///     content: Vec<Text<'a>>,
    /// }
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Text<'a> {
    ///     #[serde(borrow)]
    ///     text: Cow<'a, str>,
    /// }
    ///
    /// # fn example(answer: volley::RawAnswer) -> Result<(), volley::Error> {
    /// let texts: Texts<'_> = answer.result()?;
    /// println!("{} bytes", texts.content.iter().map(|block| block.text.len()).sum::<usize>());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if it is not of that type.
    pub fn result<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        result(&self.frame)
    }

    /// The result of a tool call.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if it is not one.
    pub fn tool_result(&self) -> Result<ToolResult, Error> {
        tool_result(&self.frame)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{error::ErrorKind, proto::event::Fate};

    const WHOLE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a\n\u00e9ä"},{"type":"image","data":"QQ==","mimeType":"image/png"}],"structuredContent":{"n":[1,-2.5e3,null,true]},"isError":false,"resultType":"complete"}}"#;

    #[test]
    fn results_and_errors_are_told_apart() {
        let whole = tool_result(WHOLE.as_bytes()).unwrap();
        assert_eq!(whole.text(), "a\néä");
        assert_eq!(whole.structured_content, Some(json!({"n": [1, -2500.0, null, true]})));
        let failed = error(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no","data":[1]}}"#);
        assert_eq!(failed.kind(), ErrorKind::Rpc);
        assert_eq!(failed.rpc_error().unwrap().code, -32602);
        let null = br#"{"result":null,"error":null}"#;
        assert_eq!(result::<Value>(null).unwrap(), Value::Null);
        assert_eq!(tool_result(null).unwrap_err().kind(), ErrorKind::Decode);
    }

    /// Nested so deep: arrays, or objects, or a bracket of each in turn.
    fn bomb(depth: usize, opening: &str, closing: &str, member: &str) -> Vec<u8> {
        let bomb = opening.repeat(depth) + "1" + &closing.repeat(depth);
        format!(r#"{{"id":1,"result":{{"content":[],"{member}":{bomb}}}}}"#).into_bytes()
    }

    #[test]
    fn hostile_answers_are_errors_that_say_where() {
        let mut cases: Vec<(Vec<u8>, &str)> = [
            ("", "ends too early at byte 0"),
            ("{", "ends too early at byte 1"),
            ("null", "at byte 4"),
            ("[]", "no JSON object"),
            (r#" [1,{"content":[]},null]"#, "no JSON object"),
            ("\u{feff}{}", "no value begins like this at byte 0"),
            (r#"{"result":{"content":7}}"#, "invalid type: integer `7`, expected a sequence at byte 22"),
            (r#"{"result":{"content":[],"resultType":"hologram"}}"#, "hologram"),
            (r#"{"error":{"code":"x"}}"#, "no result"),
            (r#"{"id":1,"result":{"content":[]},"id":2}"#, "duplicate field `id` at byte"),
            (r#"{"id":1,"result":{"content":[]},"\u0069d":2}"#, "duplicate field `id`"),
            (r#"{"id":1,"result":{"content":[]},"result":{"content":[]}}"#, "duplicate field `result`"),
            (r#"{"id":1,"result":{"content":[],"content":[]}}"#, "duplicate field `content`"),
            (r#"{"id":1,"result":{"content":[{"text":"a","type":"text","text":"b"}]}}"#, "\"text\" twice"),
            (
                r#"{"id":1,"result":{"content":[]},"error":{"code":1,"message":""}}"#,
                "both a result and an error",
            ),
            (r#"{"result":{"content":[]}}}"#, "characters after the value at byte 25"),
            (r#"{"result":{"content":[]}} x"#, "characters after the value at byte 26"),
            (r#"{"result":{"content":[]}}{"result":{"content":[]}}"#, "after the value"),
            (r#"{"result":{"content":[],}}"#, "comma before a closing bracket at byte 24"),
            (r#"{"result":{"content":[,]}}"#, "no value begins like this"),
            (r#"{"result":{"content":[{}{}]}}"#, "no comma or closing bracket"),
            (r#"{"result":{"content" []}}"#, "no colon"),
            (r#"{"result":{content:[]}}"#, "a key is no string"),
            (r#"{"result":{"structuredContent":1e999}}"#, "no double can hold at byte 31"),
            (r#"{"result":{"structuredContent":01}}"#, "leading zero at byte 31"),
            (r#"{"result":{"structuredContent":-}}"#, "no digit behind a minus"),
            (r#"{"result":{"structuredContent":1.}}"#, "no digit behind a point"),
            (r#"{"result":{"structuredContent":1e+}}"#, "no digit in an exponent"),
            (r#"{"result":{"structuredContent":NaN}}"#, "no value begins like this"),
            (r#"{"result":{"structuredContent":nul}}"#, "no value begins like this"),
            (r#"{"result":{"structuredContent":"\ud800"}}"#, "a lone surrogate at byte 32"),
            (r#"{"result":{"structuredContent":"\udc00\ud800"}}"#, "a lone surrogate"),
            (r#"{"result":{"structuredContent":"\ud800\u0041"}}"#, "a lone surrogate"),
            (r#"{"result":{"structuredContent":"\u12g4"}}"#, "no hexadecimal digit"),
            (r#"{"result":{"structuredContent":"\u+123"}}"#, "no hexadecimal digit"),
            (r#"{"result":{"structuredContent":"\x41"}}"#, "an escape that JSON does not have"),
            ("{\"result\":{\"structuredContent\":\"a\0b\"}}", "a control character in a string at byte 33"),
            ("{\"result\":{\"structuredContent\":\"a\\n\u{1}\"}}", "a control character"),
            ("{\"result\":{\"content\":[]}}\0", "characters after the value at byte 25"),
            ("{\u{a0}\"result\":{\"content\":[]}}", "a key is no string"),
            (r#"{"ignored":{"a":[1,{"b":"\u00zz"}]}}"#, "no hexadecimal digit"),
            (r#"{"ignored":[[[],{}],{"a":}]}"#, "no value begins like this at byte 25"),
            (r#"{"ignored":{"a":1,}}"#, "a key is no string"),
            (r#"{"ignored":[1}}"#, "no comma or closing bracket"),
        ]
        .into_iter()
        .map(|(text, says)| (text.as_bytes().to_vec(), says))
        .collect();
        for depth in [124, 125, 126, 10_000, 1_000_000] {
            let says = if depth < 126 { "" } else { "more than 127 values inside one another" };
            for member in ["structuredContent", "_meta", "nobody knows it"] {
                cases.push((bomb(depth, "[", "]", member), says));
                cases.push((bomb(depth, "{\"a\":", "}", member), says));
            }
        }
        cases.push((vec![b'['; 10_000_000], "no JSON object"));
        cases.push((vec![b'{'; 10_000_000], "a key is no string at byte 1"));
        for (bytes, says) in cases {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
            let read = tool_result(&bytes);
            if says.is_empty() {
                assert!(read.is_ok(), "{shown}: {read:?}");
                continue;
            }
            let error = read.expect_err(&shown);
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Decode, Fate::Answered));
            assert!(error.to_string().contains(says), "{shown}: {error}");
        }
        assert_eq!(error(b"[").kind(), ErrorKind::Decode);
        assert_eq!(
            error(br#"{"error":{"code":1,"message":"a"},"error":{"code":2}}"#).kind(),
            ErrorKind::Decode
        );
    }

    #[test]
    fn an_answer_cut_or_damaged_anywhere_is_an_error_or_another_answer() {
        for end in 0..WHOLE.len() {
            let failed = tool_result(&WHOLE.as_bytes()[..end]).expect_err("it is cut");
            assert_eq!(failed.kind(), ErrorKind::Decode, "cut at {end}");
        }
        for at in 0..WHOLE.len() {
            let mut bytes = WHOLE.as_bytes().to_vec();
            bytes[at] = 0xff;
            let failed = tool_result(&bytes).expect_err("0xff is nowhere in UTF-8");
            // The damage is where it was done, or at the character that it broke.
            let said = failed.to_string();
            let ok = [at, at.saturating_sub(1)].iter().any(|at| said.contains(&format!("from byte {at} on")));
            assert!(failed.kind() == ErrorKind::Decode && ok, "at {at}: {said}");
        }
    }

    /// Calls are read on the threads of their callers, whose stacks may be small.
    #[test]
    fn the_deepest_answer_is_read_on_a_small_stack() {
        // Without optimisation a level takes several times as much.
        let bytes = if cfg!(debug_assertions) { 1024 } else { 128 } * 1024;
        let thread = std::thread::Builder::new().stack_size(bytes);
        let read = thread.spawn(|| {
            let deepest = bomb(125, "{\"a\":", "}", "structuredContent");
            tool_result(&deepest).is_ok()
                && tool_result(&bomb(1_000_000, "[", "]", "structuredContent")).is_err()
        });
        assert!(read.unwrap().join().unwrap());
    }

    #[test]
    fn a_type_may_borrow_from_the_answer() {
        let answer =
            RawAnswer { frame: Frame::from_vec(br#"{"result":{"plain":"abc","escaped":"a\tb"}}"#.to_vec()) };
        #[derive(Deserialize)]
        struct Texts<'a> {
            plain: &'a str,
            #[serde(borrow)]
            escaped: std::borrow::Cow<'a, str>,
        }
        let texts: Texts<'_> = answer.result().unwrap();
        assert_eq!((texts.plain, &*texts.escaped), ("abc", "a\tb"));
        assert!(answer.message().as_ptr_range().contains(&texts.plain.as_ptr()));
    }
}
