//! Writing answers: what an answer says, and how its members are laid out on the line.
//!
//! An [`Outcome`] is the body of an answer, already JSON; [`render`] puts the envelope around it
//! in the [`Shape`] that was asked for. The shapes differ in bytes, never in meaning.
//! Cost: one buffer an answer; the spliced path of `scan` does not come through here.
//! Proof: `every_shape_is_the_same_json_on_one_line`, below.

use super::behaviour::Shape;
use super::revision::Revision;

/// The body of an answer: a result, or an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The code of an error; a result has none.
    code: Option<i32>,
    json: Vec<u8>,
}

/// A protocol error, as a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: i32,
    pub(super) message: &'static str,
}

impl Fault {
    pub(super) const NOT_JSON: Self = Self::new(-32700, "parse error");
    pub(super) const NOT_A_MESSAGE: Self = Self::new(-32600, "invalid request");
    pub(super) const BAD_ID: Self = Self::new(-32600, "the id is neither a string nor an integer");
    pub(super) const TOO_LONG: Self = Self::new(-32600, "the line is too long");
    pub(super) const NO_BATCH: Self = Self::new(-32600, "arrays of messages are not accepted");
    pub(super) const LONG_BATCH: Self = Self::new(-32600, "an array of too many messages");
    pub(super) const EMPTY_BATCH: Self = Self::new(-32600, "an empty array is no message");
    pub(super) const NOT_INITIALIZED: Self = Self::new(-32600, "initialize first");
    pub(super) const INITIALIZED: Self = Self::new(-32600, "initialize came already");
    pub(super) const WRONG_ERA: Self = Self::new(-32600, "this connection was opened with initialize");
    pub(super) const NO_METHOD: Self = Self::new(-32601, "method not found");
    pub(super) const BAD_PARAMS: Self = Self::new(-32602, "invalid params");
    pub(super) const BAD_CURSOR: Self = Self::new(-32602, "invalid cursor");
    pub(super) const NO_VERSION: Self = Self::new(-32602, "params._meta lacks a valid protocolVersion");
    pub(super) const NO_CAPABILITIES: Self =
        Self::new(-32602, "params._meta lacks a valid clientCapabilities");
    pub(super) const NO_TOOL: Self = Self::new(-32602, "unknown tool");
    pub(super) const NO_RESPONSES: Self = Self::new(-32600, "this revision has no responses to servers");
    pub(super) const NO_SUCH_PATH: Self = Self::new(-32600, "there is nothing at this path");
    pub(super) const NOT_ALLOWED: Self = Self::new(-32600, "this method is not allowed here");
    pub(super) const BAD_HOST: Self = Self::new(-32600, "the host is not this machine");
    pub(super) const BAD_ORIGIN: Self = Self::new(-32600, "the origin is not this machine");
    pub(super) const BAD_CONTENT_TYPE: Self = Self::new(-32600, "the content is not application/json");
    pub(super) const NOT_ACCEPTABLE: Self =
        Self::new(-32600, "accept both application/json and text/event-stream");
    pub(super) const BAD_VERSION: Self = Self::new(-32000, "unsupported protocol version in the header");
    pub(super) const NO_SESSION: Self = Self::new(-32000, "Mcp-Session-Id is missing");
    pub(super) const SESSION_GONE: Self = Self::new(-32001, "session not found");
    pub(super) const NO_SUCH_EVENT: Self = Self::new(-32000, "no stream has such an event");
    pub(super) const BUSY: Self = Self::new(-32000, "busy");

    const fn new(code: i32, message: &'static str) -> Self {
        Self { code, message }
    }
}

impl From<Fault> for Outcome {
    fn from(fault: Fault) -> Self {
        Self::error(fault.code, fault.message, None)
    }
}

impl Outcome {
    pub(super) fn result(json: impl Into<Vec<u8>>) -> Self {
        Self { code: None, json: json.into() }
    }

    /// An error; `data` is JSON.
    pub(super) fn error(code: i32, message: &str, data: Option<&str>) -> Self {
        let message = quote(message);
        let data = data.map(|data| format!(r#","data":{data}"#)).unwrap_or_default();
        let json = format!(r#"{{"code":{code},"message":{message}{data}}}"#);
        Self { code: Some(code), json: json.into_bytes() }
    }

    pub(super) fn error_code(&self) -> Option<i32> {
        self.code
    }
}

/// The result of a tool, being written.
pub(super) struct ToolResult {
    json: Vec<u8>,
    revision: Revision,
}

impl ToolResult {
    /// One text block; `escaped` is the inside of a JSON string.
    pub(super) fn text(escaped: &[u8], revision: Revision) -> Self {
        let mut json = Vec::with_capacity(TEXT_HEAD.len() + escaped.len() + 64);
        json.extend_from_slice(TEXT_HEAD);
        json.extend_from_slice(escaped);
        Self { json, revision }
    }

    /// Ends a plain result. `tail` is the `echo_tail` of the revision.
    pub(super) fn with_tail(mut self, tail: &[u8]) -> Outcome {
        self.json.extend_from_slice(tail);
        Outcome::result(self.json)
    }

    /// Ends the result; `extra` holds further members, each with a comma in front.
    pub(super) fn with_members(mut self, extra: &str) -> Outcome {
        self.json.extend_from_slice(b"\"}]");
        self.json.extend_from_slice(extra.as_bytes());
        self.json.extend_from_slice(closing(self.revision).as_bytes());
        Outcome::result(self.json)
    }

    pub(super) fn end(self) -> Outcome {
        self.with_members("")
    }
}

/// What precedes the text in a result with one text block.
pub(super) const TEXT_HEAD: &[u8] = br#"{"content":[{"type":"text","text":""#;

/// What follows the text of `echo`, up to the end of the result: the padding, if any, and the end.
pub(super) fn echo_tail(revision: Revision, padding: usize) -> Vec<u8> {
    let mut tail = b"\"}".to_vec();
    if padding > 0 {
        tail.extend_from_slice(br#",{"type":"text","text":""#);
        tail.resize(tail.len() + padding, b'x');
        tail.extend_from_slice(b"\"}");
    }
    tail.push(b']');
    tail.extend_from_slice(closing(revision).as_bytes());
    tail
}

/// The end of each result object of a revision.
pub(super) fn closing(revision: Revision) -> &'static str {
    if revision.has_result_type() { r#","resultType":"complete"}"# } else { "}" }
}

/// A string as JSON, with its quotes.
pub(super) fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

/// Appends one answer without its line end. `id` is JSON.
pub(super) fn render(out: &mut Vec<u8>, id: &[u8], outcome: &Outcome, shape: Shape) {
    let start = out.len();
    let key = if outcome.code.is_some() { "error" } else { "result" };
    let (id_key, key) = if shape.escaped_keys {
        ("\\u0069d", if outcome.code.is_some() { "\\u0065rror" } else { "\\u0072esult" })
    } else {
        ("id", key)
    };
    let parts: [&[u8]; 7] = if shape.id_last {
        [b"{\"", key.as_bytes(), b"\":", &outcome.json, b",\"jsonrpc\":\"2.0\",\"", id_key.as_bytes(), b"\":"]
    } else {
        [b"{\"jsonrpc\":\"2.0\",\"", id_key.as_bytes(), b"\":", id, b",\"", key.as_bytes(), b"\":"]
    };
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(if shape.id_last { id } else { &outcome.json });
    out.push(b'}');
    if shape.spaced {
        let plain = out.split_off(start);
        space_out(&plain, out);
    }
}

/// Appends one answer without its line end; an error may belong to no request.
pub(super) fn render_for(out: &mut Vec<u8>, id: Option<&str>, outcome: &Outcome, shape: Shape) {
    match id {
        Some(id) => render(out, id.as_bytes(), outcome, shape),
        None => {
            out.extend_from_slice(br#"{"jsonrpc":"2.0","error":"#);
            out.extend_from_slice(&outcome.json);
            out.push(b'}');
        }
    }
}

/// Copies JSON with blanks and tabs around each of its marks.
fn space_out(json: &[u8], out: &mut Vec<u8>) {
    let (mut in_string, mut escaped) = (false, false);
    for &byte in json {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if matches!(byte, b'{' | b'}' | b'[' | b']' | b':' | b',') {
            out.extend_from_slice(&[b' ', byte, b'\t', b' ']);
        } else {
            in_string = byte == b'"';
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_shape_is_the_same_json_on_one_line() {
        let text = quote("a \"quoted\" \\ back\u{1F600}{}[]:,");
        let outcome = ToolResult::text(&text.as_bytes()[1..text.len() - 1], Revision::R2024_11_05).end();
        for bits in 0..8 {
            let shape = Shape { id_last: bits & 1 > 0, spaced: bits & 2 > 0, escaped_keys: bits & 4 > 0 };
            let mut out = b"before".to_vec();
            render(&mut out, b"\"i:d\"", &outcome, shape);
            let line = &out[6..];
            assert!(!line.contains(&b'\n'));
            let value: Value = serde_json::from_slice(line).unwrap();
            assert_eq!(value["id"], json!("i:d"));
            assert_eq!(value["jsonrpc"], json!("2.0"));
            assert_eq!(value["result"]["content"][0]["text"], json!("a \"quoted\" \\ back\u{1F600}{}[]:,"));
        }
    }

    #[test]
    fn an_error_carries_code_message_and_data() {
        let mut out = Vec::new();
        let outcome = Outcome::error(-32022, "no \"x\"", Some("[1]"));
        render(&mut out, b"null", &outcome, Shape { id_last: true, ..Shape::default() });
        let value: Value = serde_json::from_slice(&out).unwrap();
        let expected = json!({"code": -32022, "message": "no \"x\"", "data": [1]});
        assert_eq!(value, json!({"jsonrpc": "2.0", "id": null, "error": expected}));
    }

    #[test]
    fn padding_is_a_block_of_that_size() {
        let revision = Revision::R2026_07_28;
        let outcome = ToolResult::text(b"hi", revision).with_tail(&echo_tail(revision, 1000));
        let value: Value = serde_json::from_slice(&outcome.json).unwrap();
        assert_eq!(value["content"][1]["text"].as_str().unwrap().len(), 1000);
        assert_eq!(value["resultType"], json!("complete"));
    }
}
