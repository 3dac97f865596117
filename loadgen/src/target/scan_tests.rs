//! The quick reading against a full parse: on valid frames, on odd ones, on mutated ones.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const VERSION: &str = "2026-07-28";

/// What a full parse says of a line: the id and the message, if it is a plain call of `echo`.
fn full_parse(line: &[u8], modern: bool) -> Option<(Value, String)> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let params = value["params"].as_object()?;
    let id = &value["id"];
    let fits = value["jsonrpc"] == "2.0"
        && value["method"] == "tools/call"
        && (id.is_string() || id.is_i64() || id.is_u64() || id.as_f64() == Some(0.0))
        && params.get("name")? == "echo";
    let meta = params.get("_meta");
    let meta_fits = if modern {
        let meta = meta?.as_object()?;
        meta.get("io.modelcontextprotocol/protocolVersion")? == VERSION
            && meta.get("io.modelcontextprotocol/clientCapabilities")?.is_object()
    } else {
        meta.is_none()
    };
    let message = params.get("arguments")?.get("message")?.as_str()?;
    (fits && meta_fits).then(|| (id.clone(), message.to_owned()))
}

fn rule(modern: bool, known: &[u8]) -> MetaRule<'_> {
    if modern { MetaRule::Required { version: VERSION.as_bytes(), known } } else { MetaRule::Absent }
}

/// Whatever the quick reading accepts, the full parse accepts and reads the same way.
fn check(line: &[u8], modern: bool, known: &[u8]) -> Result<bool, TestCaseError> {
    let Some(call) = scan(line, rule(modern, known)) else { return Ok(false) };
    let line = &line[..call.consumed];
    prop_assert_eq!(line.last(), Some(&b'\n'));
    let shown = String::from_utf8_lossy(line).into_owned();
    let Some((id, message)) = full_parse(line, modern) else {
        return Err(TestCaseError::fail(format!("only the scan accepts {shown}")));
    };
    let mut answer = Vec::new();
    splice(&mut answer, &call, b"\"}]}");
    let answer: Value = serde_json::from_slice(&answer).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(&answer["id"], &id, "{}", &shown);
    prop_assert_eq!(&answer["result"]["content"][0]["text"], &Value::from(message), "{}", &shown);
    Ok(true)
}

fn meta(client: &str) -> String {
    format!(
        r#"{{"io.modelcontextprotocol/protocolVersion":"{VERSION}","io.modelcontextprotocol/clientInfo":{{"name":{client}}},"io.modelcontextprotocol/clientCapabilities":{{}}}}"#
    )
}

/// A frame with its members in any order, and blanks where JSON has them.
fn frame() -> impl Strategy<Value = (String, bool)> {
    let id = prop_oneof![any::<i64>().prop_map(|n| n.to_string()), "\"[a-z0-9-]{0,12}\""];
    let message = prop_oneof!["[ -~]{0,40}", "\\PC{0,20}", any::<String>()];
    let blank = prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\t\r ")];
    let order = Just(vec![0, 1, 2, 3]).prop_shuffle();
    (id, message, blank, order, any::<bool>(), any::<[bool; 2]>()).prop_map(
        |(id, message, blank, order, modern, [swap, extra])| {
            let text = serde_json::to_string(&message).unwrap();
            let name = format!("\"name\"{blank}:{blank}\"echo\"");
            let extra = if extra { "\"other\":[1,{\"a\":null}],".to_owned() } else { String::new() };
            let arguments = format!("\"arguments\":{{{extra}\"message\":{text}{blank}}}");
            let mut params = if swap { [arguments, name] } else { [name, arguments] }.join(",");
            if modern {
                params.push_str(&format!(",{blank}\"_meta\":{}", meta("\"c\"")));
            }
            let members = [
                "\"jsonrpc\":\"2.0\"".to_owned(),
                format!("\"id\":{id}"),
                format!("\"method\"{blank}:\"tools/call\""),
                format!("\"params\":{{{params}}}"),
            ];
            let members: Vec<_> = order.into_iter().map(|member: usize| members[member].clone()).collect();
            (format!("{blank}{{{blank}{}}}{blank}\n", members.join(&format!("{blank},"))), modern)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A valid frame is read quickly if it begins as frames do and hides no surrogate.
    #[test]
    fn plain_frames_take_the_quick_way((line, modern) in frame()) {
        prop_assert!(full_parse(line.as_bytes(), modern).is_some());
        let quick = check(line.as_bytes(), modern, b"")?;
        let is_usual = line.as_bytes()[0] == b'{';
        prop_assert!(quick || !is_usual);
        prop_assert!(!check(line.as_bytes(), !modern, b"")?);
    }

    /// A frame with bytes replaced, removed, doubled or cut off is read as the full parse reads it.
    #[test]
    fn agrees_with_a_full_parse(
        (line, modern) in frame(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 0..4),
        marks in any::<bool>(),
    ) {
        let mut bytes = line.into_bytes();
        for (place, kind, byte) in edits {
            let place = place.index(bytes.len());
            let byte = if marks { b"\"\\{}[]:,0-9.eEu\n\r \x7f"[byte as usize % 19] } else { byte };
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                2 if bytes.len() > 1 => drop(bytes.remove(place)),
                _ => bytes.truncate(place.max(1)),
            }
        }
        check(&bytes, modern, b"")?;
        check(&bytes, modern, meta("\"c\"").as_bytes())?;
    }
}

#[test]
fn odd_lines_go_the_careful_way() {
    let odd = [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sum","arguments":{"message":"a"}}}"#,
        r#"{"jsonrpc":"2.0","id":1.0,"method":"tools/call","params":{"name":"echo","arguments":{"message":"a"}}}"#,
        r#"{"jsonrpc":"2.0","id":01,"method":"tools/call","params":{"name":"echo","arguments":{"message":"a"}}}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"echo","arguments":{"message":"a"}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"echo","arguments":{"message":"a"}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"\ud800"}}}"#,
        r#"{"jsonrpc":"2.0","\u0069d":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"a"}}}"#,
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo","arguments":{"message":"a"}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"a"}},}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"a"}}} x"#,
    ];
    for line in odd {
        assert_eq!(scan(format!("{line}\n").as_bytes(), MetaRule::Absent), None, "{line}");
    }
    let usual = odd[0].replace("sum", "echo");
    assert_eq!(scan(usual.as_bytes(), MetaRule::Absent), None, "the newline is not there yet");
    assert!(scan(format!("{usual}\n").as_bytes(), MetaRule::Absent).is_some());
}

#[test]
fn a_known_meta_is_compared_and_any_other_walked() {
    let line = |meta: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{meta},"name":"echo","arguments":{{"message":"a"}}}}}}{}"#,
            "\n"
        )
    };
    let known = meta("\"c\"");
    let rule = rule(true, known.as_bytes());
    assert_eq!(scan(line(&known).as_bytes(), rule).unwrap().meta_seen, None);
    let other = meta("\"d\"");
    assert_eq!(scan(line(&other).as_bytes(), rule).unwrap().meta_seen, Some(other.as_bytes()));
    let wrong = known.replace("2026-07-28", "2099-01-01");
    assert_eq!(scan(line(&wrong).as_bytes(), rule), None);
    let nested = format!(r#"{{"x":{known}}}"#);
    assert_eq!(scan(line(&nested).as_bytes(), rule), None);
}
