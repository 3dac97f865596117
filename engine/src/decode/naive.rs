//! The twin of the reader: serde_json, shown the same bytes.
//!
//! Not shipped: for tests and for the fuzz target. Owner: nobody, these are functions. Always: any bytes are a valid input; a panic is
//! a difference. Proof: it is one. Follows: RFC 8259.

use serde::de::DeserializeOwned;
use serde_json::{Number, Value};

use super::{
    answer::{self, Object},
    common,
};
use crate::{error::Error, model::tool::ToolResult};

/// Shows any bytes to both readers, as a response with any result and as one with a tool's.
///
/// The sign and the type of a zero may differ. Nothing else: what simd-json refuses, serde_json has read once more.
pub(crate) fn assert_agrees(data: &[u8]) {
    both::<Value>(data, is_same);
    if let Some(own) = common::read(data) {
        let twin = answer::borrowed::<Object<ToolResult>>(data);
        assert_eq!(twin.ok().map(|Object(twin)| twin), Some(own), "{:?}", String::from_utf8_lossy(data));
    }
    let values = |result: &ToolResult| serde_json::to_value(result).expect("a value");
    let is_same_result = |own: &Object<_>, twin: &Object<_>| is_same(&values(&own.0), &values(&twin.0));
    let Some(Object(own)) = both::<Object<ToolResult>>(data, is_same_result) else { return };
    // The root by hand as well: nothing of the response's type is in between.
    if let Ok(Value::Object(root)) = serde_json::from_slice(data) {
        let twin = serde_json::from_value::<ToolResult>(root["result"].clone());
        assert!(is_same(&values(&own), &values(&twin.expect("the value of what was read"))), "{own:?}");
    }
}

/// Reads with both; what they agree on, if it is a value.
fn both<T: DeserializeOwned + std::fmt::Debug>(data: &[u8], is_same: impl Fn(&T, &T) -> bool) -> Option<T> {
    let read: [Result<T, Error>; 2] = [answer::result(data), answer::borrowed(data)];
    match read {
        [Ok(own), Ok(twin)] if is_same(&own, &twin) => Some(own),
        [Err(own), Err(twin)] if own.to_string() == twin.to_string() => None,
        [own, twin] => panic!("{:?}: {own:?}, the twin {twin:?}", String::from_utf8_lossy(data)),
    }
}

fn is_same(own: &Value, twin: &Value) -> bool {
    match (own, twin) {
        (Value::Array(own), Value::Array(twin)) => {
            own.len() == twin.len() && own.iter().zip(twin).all(|(own, twin)| is_same(own, twin))
        }
        (Value::Object(own), Value::Object(twin)) => {
            let same = |((key, own), (name, twin)): ((&String, &Value), (&String, &Value))| {
                key == name && is_same(own, twin)
            };
            own.len() == twin.len() && own.iter().zip(twin).all(same)
        }
        (Value::Number(own), Value::Number(twin)) => own == twin || is_zero(own) && is_zero(twin),
        _ => own == twin,
    }
}

fn is_zero(number: &Number) -> bool {
    number.as_f64() == Some(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::limits::DECODE_SIMD_BYTES_MAX;

    /// A value as somebody might write it: any escapes, blanks and numbers; not always right.
    fn text() -> impl Strategy<Value = String> {
        let number = r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?";
        let string = r#""([ -!#-\[\]-~äß世😴]{0,40}|\\[nrtbf/\\"]|\\u[0-9a-fA-F]{4}|\\ud83d\\ude34){0,6}""#;
        let leaf = prop_oneof![
            number,
            string,
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("false".to_owned()),
        ];
        leaf.prop_recursive(6, 64, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5)
                    .prop_map(|values| format!("[{}]", values.join(" ,"))),
                prop::collection::vec((string, inner), 0..5).prop_map(|members| {
                    let members: Vec<_> =
                        members.iter().map(|(key, value)| format!("{key} :\t{value}")).collect();
                    format!("{{\n{}}}\r", members.join(","))
                }),
            ]
        })
    }

    fn in_an_answer(text: &str) -> [String; 5] {
        [
            text.to_owned(),
            format!(
                r#"{{"id":1,"result":{{"content":[{{"type":"text","text":"a"}}],"structuredContent":{text}}}}}"#
            ),
            format!(r#"{{"id":1,"result":{{"content":[{{"note":{text},"type":"text","text":{text}}}]}}}}"#),
            format!(
                r#"{{"id":1,"result":{{"content":[{{"type":"text","text":{text}}},{{"type":"text","text":"a"}}]}}}}"#
            ),
            format!(r#"{{"result":{{"content":[],"isError":{text}}},"id":1,"jsonrpc":{text}}}"#),
        ]
    }

    proptest! {
        /// What it reads, what it refuses, and that it says where.
        #[test]
        fn any_text_is_read_as_serde_json_reads_it(
            text in text(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            for text in in_an_answer(&text) {
                let mut bytes = text.into_bytes();
                for (at, byte) in &damage {
                    assert_agrees(&bytes);
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                assert_agrees(&bytes);
                assert_agrees(&bytes[..bytes.len() / 2]);
            }
        }
    }

    /// On both sides of the bound between the readers.
    #[test]
    fn an_answer_is_read_the_same_whoever_reads_it() {
        let of_length = |length: usize, end: &str| {
            let mut answer = r#"{"id":1,"result":{"content":[{"type":"text","text":""#.to_owned();
            let beginning = answer.len();
            answer.extend(std::iter::repeat_n('x', length - beginning - end.len()));
            answer + end
        };
        let end = r#"\n\u00e9"}],"structuredContent":{"n":[1.5,-7,123456789012345678901234567890]}}}"#;
        for length in [1_000, DECODE_SIMD_BYTES_MAX, DECODE_SIMD_BYTES_MAX + 1] {
            let read = answer::result::<ToolResult>(of_length(length, end).as_bytes()).unwrap();
            assert!(read.text().ends_with("x\n\u{e9}") && read.structured_content.is_some());
            for damaged in [&end[1..], &end[..end.len() - 1], &end.replace("1.5", "01.5")] {
                assert_agrees(of_length(length, damaged).as_bytes());
                let error = answer::result::<ToolResult>(of_length(length, damaged).as_bytes());
                assert_eq!(error.is_err(), damaged != &end[1..], "{damaged}");
            }
        }
    }
}
