//! From the bytes of a response to a value or an error.
//!
//! The most common kinds of answer have a reader of their own (`decode/common.rs`). Which one reads the others goes by size: simd-json
//! up to `DECODE_SIMD_BYTES_MAX` (`decode/simd.rs`), serde_json beyond, and for types that borrow from the answer, which simd-json would
//! have to spoil. What simd-json refuses is read once more by serde_json: it says at which line and column, and so the readers refuse the
//! same. (One thing they take differently: `-0` is an integer to simd-json and a double to serde_json.) `docs/adr/0021-readers-by-size-and-thread.md` has the measurements, 0024 those of the first.
//!
//! Owner: whoever reads, on the caller's thread or a worker's. Always: the bytes stay as they came, no byte from outside makes it
//! panic, and an answer that means two things is refused. Proof: `hostile_answers_are_errors_that_say_where` and
//! `any_text_is_read_as_serde_json_reads_it` in `decode/naive.rs`; `just fuzz decode`.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{common, simd};
pub(crate) use crate::model::answer::RawAnswer;
use crate::{
    base::{
        json,
        limits::{DECODE_SIMD_BYTES_MAX, REASON_BYTES_MAX},
    },
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
    method: Option<IgnoredAny>,
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default, rename = "id")]
    _id: IgnoredAny,
    #[serde(deserialize_with = "object")]
    error: RpcError,
    result: Option<IgnoredAny>,
    method: Option<IgnoredAny>,
}

/// A type with members that is read from an object, and not from an array of them as well.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
}

fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Members<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<T, M::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Members(PhantomData))
}

impl<T> Response<T> {
    fn result(self) -> Result<T, Error> {
        match self {
            Self { method: Some(_), .. } => Err(Error::decode(HAS_METHOD)),
            Self { result: Some(result), error: None, .. } => Ok(result),
            Self { result: Some(_), error: Some(_), .. } => Err(Error::decode(HAS_BOTH)),
            Self { result: None, .. } => Err(Error::decode("the answer has no result")),
        }
    }
}

const HAS_BOTH: &str = "the answer has both a result and an error";
const HAS_METHOD: &str = "the answer has a method as well, as if it were a request";

/// Reads the result of a response.
pub(crate) fn result<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if bytes.len() <= DECODE_SIMD_BYTES_MAX
        && !is_list(bytes)
        && !json::has_reserved_name(bytes)
        && let Ok(response) = simd::read::<Response<T>>(bytes)
    {
        return response.result();
    }
    borrowed(bytes)
}

/// Reads the result of a response into a type that may borrow from it.
pub(crate) fn borrowed<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    read::<Response<T>>(bytes, "an answer")?.result()
}

/// Reads the error of a response.
pub(crate) fn error(bytes: &[u8]) -> Error {
    match read::<Failure>(bytes, "an error answer") {
        Ok(Failure { method: Some(_), .. }) => Error::decode(HAS_METHOD),
        Ok(Failure { result: Some(_), .. }) => Error::decode(HAS_BOTH),
        Ok(failure) => Error::rpc(failure.error),
        Err(error) => error,
    }
}

fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8], what: &str) -> Result<T, Error> {
    let length = bytes.len();
    if is_list(bytes) {
        return Err(Error::decode(format!("{what} of {length} bytes is no JSON object")));
    }
    if json::has_reserved_name(bytes) {
        return Err(Error::decode(format!("{what} of {length} bytes cannot be read: {}", json::REFUSED)));
    }
    let read = match simdutf8::basic::from_utf8(bytes) {
        // What is known to be text is not looked at again, string by string.
        Ok(text) => serde_json::from_str(text),
        // Strings that are passed over need not be text; of others it says where they are none.
        Err(_) => serde_json::from_slice(bytes),
    };
    read.map_err(|error| {
        let why = error.to_string();
        if why.len() <= REASON_BYTES_MAX {
            return Error::decode(format!("{what} of {length} bytes cannot be read: {why}")).because(error);
        }
        // It quotes what the server wrote, which may be as long as an answer, and longer with its escapes.
        let (begin, line, column) =
            (&why[..why.floor_char_boundary(REASON_BYTES_MAX)], error.line(), error.column());
        Error::decode(format!(
            "{what} of {length} bytes cannot be read: {begin}... at line {line} column {column}"
        ))
    })
}

/// A type with members would be read from an array of them as well; a message is an object.
fn is_list(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"[")
}

/// Reads the result of a tool call.
pub(crate) fn tool_result(bytes: &[u8]) -> Result<ToolResult, Error> {
    if let Some(read) = common::read(bytes) {
        return Ok(read);
    }
    let Object(read) = result::<Object<ToolResult>>(bytes)?;
    match read.result_type.as_deref() {
        None | Some("complete") => Ok(read),
        Some(other) => Err(Error::decode(format!(
            "the server answered with result type {other:?}, which was not asked for"
        ))),
    }
}

impl RawAnswer {
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
        borrowed(&self.frame)
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
    use crate::{base::buffer::Frame, error::ErrorKind, proto::event::Fate};

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

    /// Texts that are JSON once more, inside one another, each with arrays as deep as is allowed around the next: read on the stack, some
    /// 60 KB of them ended the process. serde_json does so for a name of its own ([`json`]).
    #[test]
    fn texts_inside_texts_are_not_read_without_end() {
        const DEPTH: usize = 120;
        let mut value = "1".to_owned();
        for _ in 0..60 {
            // Escapes that are themselves escaped grow by five bytes for each round, and not twofold.
            let inner = value.replace('\\', r"\u005c").replace('"', r"\u0022");
            value = format!(
                r#"{}{{"$serde_json::private::RawValue":"{inner}"}}{}"#,
                "[".repeat(DEPTH),
                "]".repeat(DEPTH)
            );
        }
        for name in ["structuredContent", "_meta", "somethingElse"] {
            let answer = format!(r#"{{"id":1,"result":{{"content":[],"{name}":{value}}}}}"#);
            let refused = tool_result(answer.as_bytes()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Decode);
            assert!(refused.to_string().contains("$serde_json::private"), "{refused}");
            assert_eq!(result::<Value>(answer.as_bytes()).unwrap_err().kind(), ErrorKind::Decode);
            assert_eq!(borrowed::<Value>(answer.as_bytes()).unwrap_err().kind(), ErrorKind::Decode);
        }
        let failed = format!(r#"{{"id":1,"error":{{"code":1,"message":"","data":{value}}}}}"#);
        assert_eq!(error(failed.as_bytes()).kind(), ErrorKind::Decode);
    }

    #[test]
    fn hostile_answers_are_errors_that_say_where() {
        let mut cases: Vec<(Vec<u8>, &str)> = [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{", "EOF while parsing an object at line 1 column 1"),
            ("null", "at line 1 column 4"),
            ("[]", "no JSON object"),
            (r#" [1,{"content":[]},null]"#, "no JSON object"),
            ("\u{feff}{}", "expected value at line 1 column 1"),
            (
                r#"{"result":{"content":7}}"#,
                "invalid type: integer `7`, expected a sequence at line 1 column 22",
            ),
            (r#"{"result":{"content":[],"resultType":"hologram"}}"#, "hologram"),
            (r#"{"error":{"code":"x"}}"#, "no result"),
            (r#"{"id":1,"result":{"content":[]},"id":2}"#, "duplicate field `id` at line 1 column"),
            (r#"{"id":1,"result":{"content":[]},"\u0069d":2}"#, "duplicate field `id`"),
            (r#"{"id":1,"result":{"content":[]},"result":{"content":[]}}"#, "duplicate field `result`"),
            (r#"{"id":1,"result":{"content":[],"content":[]}}"#, "duplicate field `content`"),
            (r#"{"id":1,"result":{"content":[{"text":"a","type":"text","text":"b"}]}}"#, "\"text\" twice"),
            (
                r#"{"id":1,"result":{"content":[]},"error":{"code":1,"message":""}}"#,
                "both a result and an error",
            ),
            (r#"{"id":1,"result":{"content":[]},"method":"x"}"#, "has a method"),
            (r#"{"id":1,"result":[]}"#, "invalid type: sequence, expected an object"),
            (r#"{"id":1,"result":[[{"type":"text","text":"a"}],1,true]}"#, "expected an object"),
            (r#"{"result":{"content":[]}}}"#, "trailing characters at line 1 column 26"),
            (r#"{"result":{"content":[]}} x"#, "trailing characters at line 1 column 27"),
            (r#"{"result":{"content":[]}}{"result":{"content":[]}}"#, "trailing characters"),
            (r#"{"result":{"content":[],}}"#, "trailing comma at line 1 column 25"),
            (r#"{"result":{"content":[,]}}"#, "expected value at line 1 column 23"),
            (r#"{"result":{"content":[{}{}]}}"#, "expected `,` or `]`"),
            (r#"{"result":{"structuredContent":1e999}}"#, "number out of range at line 1 column"),
            (r#"{"result":{"structuredContent":01}}"#, "invalid number"),
            (r#"{"result":{"structuredContent":NaN}}"#, "expected value"),
            (r#"{"result":{"structuredContent":"\ud800"}}"#, "hex escape"),
            (r#"{"result":{"structuredContent":"\udc00\ud800"}}"#, "lone leading surrogate"),
            (r#"{"result":{"structuredContent":"\x41"}}"#, "invalid escape"),
            ("{\"result\":{\"structuredContent\":\"a\0b\"}}", "control character"),
            ("{\"result\":{\"content\":[]}}\0", "trailing characters at line 1 column 26"),
            (r#"{"ignored":{"a":[1,{"b":"\u00zz"}]}}"#, "invalid escape"),
            (r#"{"ignored":[[[],{}],{"a":}]}"#, "expected value"),
        ]
        .into_iter()
        .map(|(text, says)| (text.as_bytes().to_vec(), says))
        .collect();
        for depth in [124, 125, 126, 10_000, 1_000_000] {
            let says = if depth < 126 { "" } else { "recursion limit exceeded" };
            for member in ["structuredContent", "_meta"] {
                cases.push((bomb(depth, "[", "]", member), says));
                cases.push((bomb(depth, "{\"a\":", "}", member), says));
            }
            // What the type ignores is passed over, without a stack.
            cases.push((bomb(depth, "[", "]", "nobody knows it"), ""));
        }
        cases.push((vec![b'['; 10_000_000], "no JSON object"));
        cases.push((vec![b'{'; 10_000_000], "key must be a string at line 1 column 2"));
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
        for (bytes, says) in [
            ("[", "no JSON object"),
            (r#"{"error":{"code":1,"message":"a"},"error":{"code":2}}"#, "duplicate field `error`"),
            (r#"{"id":7,"error":{"code":1,"message":"a"},"id":8}"#, "duplicate field `id`"),
            (r#"{"id":7,"error":{"code":1,"message":"a"},"result":{"content":[]}}"#, "both a result and"),
            (r#"{"id":7,"error":{"code":1,"message":"a"},"method":"x"}"#, "has a method"),
            (r#"{"id":7,"error":[-32000,"m"]}"#, "expected an object"),
        ] {
            let read = error(bytes.as_bytes());
            assert_eq!((read.kind(), read.fate()), (ErrorKind::Decode, Fate::Answered), "{bytes}");
            assert!(read.to_string().contains(says), "{bytes}: {read}");
        }
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
            // Only in a text that the type ignores, here the version's, nobody looks.
            let is_ignored =
                WHOLE.match_indices("2.0").any(|(ignored, _)| (ignored..ignored + 3).contains(&at));
            let read =
                tool_result(&bytes).map_err(|error| (error.kind(), error.to_string().contains("line 1")));
            let as_it_should_be =
                if is_ignored { read.is_ok() } else { read == Err((ErrorKind::Decode, true)) };
            assert!(as_it_should_be, "at {at}: {read:?}");
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
