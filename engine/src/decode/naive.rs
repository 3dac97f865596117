//! The twin of the reader: serde_json, shown the same bytes.
//!
//! Not shipped: for tests and for the fuzz target. Owner: nobody, these are functions. Always: any bytes are a valid input; a panic is
//! a difference. Proof: it is one. Follows: RFC 8259.

use serde_json::Value;

use super::{answer, reader::read};
use crate::model::tool::ToolResult;

/// Shows any bytes to both readers, as a value and as an answer.
///
/// Their doubles may differ by a few units in the last place: serde_json does not round to the nearest unless asked to. What a
/// type ignores is looked at more closely here than there (nesting, lone surrogates), so an answer is compared as an
/// answer only if all of it can be read as a value.
pub(crate) fn assert_agrees(data: &[u8]) {
    let twin = serde_json::from_slice::<Value>(data);
    let own = str::from_utf8(data).ok().map(read::<Value>);
    match (&own, &twin) {
        (Some(Ok(own)), Ok(twin)) => assert!(is_same(own, twin), "{own} and {twin}"),
        (None | Some(Err(_)), Err(_)) => {}
        // Which of them a number at the edge of what a double can hold falls over is a matter of rounding.
        (Some(Ok(value)), Err(_)) | (Some(Err(_)), Ok(value)) if is_at_the_edge(value) => return,
        _ => panic!("{:?}: {own:?}, the twin {twin:?}", String::from_utf8_lossy(data)),
    }
    if let (Some(Err(error)), Err(_)) = (&own, &twin) {
        assert!(error.offset().is_some_and(|at| at <= data.len()), "{error:?}");
    }
    let Ok(twin) = twin else { return assert!(answer::tool_result(data).is_err()) };
    let own = answer::result::<ToolResult>(data);
    // The root is read as a response by hand; a member that comes twice is refused by one of the two types alone.
    if let Some(result) = twin.as_object().and_then(|root| root.get("result")) {
        if let Ok(own) = own {
            let twin: ToolResult =
                serde_json::from_value(result.clone()).expect("the value of what was read");
            let values = |result: &ToolResult| serde_json::to_value(result).expect("a value");
            assert!(is_same(&values(&own), &values(&twin)), "{own:?} and {twin:?}");
        }
    } else {
        assert!(own.is_err());
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
        (Value::Number(own), Value::Number(twin)) if own.is_f64() && twin.is_f64() => {
            let bits = |number: &serde_json::Number| number.as_f64().unwrap_or_default().to_bits();
            bits(own).abs_diff(bits(twin)) <= 16
        }
        _ => own == twin,
    }
}

fn is_at_the_edge(value: &Value) -> bool {
    match value {
        Value::Array(elements) => elements.iter().any(is_at_the_edge),
        Value::Object(members) => members.values().any(is_at_the_edge),
        _ => value.as_f64().is_some_and(|number| number.abs() > 1.797_693e308),
    }
}
