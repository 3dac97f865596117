//! The body of a request in the making: its method, its params, and the members of `_meta` that are its own.
//!
//! A body is written as `proto::message::encode` wants it: open at its end, so that the tail can add what the era demands. The
//! members of `_meta` stand last and are kept apart from the params before them, so that a request can be made again with more
//! params and nothing else changed, byte for byte. Cost: one copy of what is added; no memory for a body without `_meta`.
//!
//! Invariant: `bytes[meta_at..]` is empty, or `"_meta":{` (after a comma, if params come before it) and at least one member, each
//! followed by a comma. Proof: the tests below, those of `encode`, and
//! `a_message_says_what_its_body_was_told` in `api/client.rs`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{base::json, error::Error};

/// A request without its head and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    /// Where the body's own `_meta` begins; the length of `bytes` if it has none.
    meta_at: usize,
}

/// The members of `_meta` that the engine writes.
pub(crate) const ENGINES: [&str; 4] = [
    "progressToken",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
];

impl Body {
    /// A body of bytes that are open behind the last of the params, or behind `"params":{`.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let meta_at = bytes.len();
        Self { bytes, meta_at }
    }

    /// Its bytes, for another body.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The body of any request. A member `_meta` of the params becomes the body's own.
    pub(crate) fn new(method: &str, params: &impl Serialize) -> Result<Self, Error> {
        let mut params = object(method, params)?;
        let meta = params.as_object_mut().and_then(|params| params.remove("_meta"));
        let mut bytes = format!(r#""method":{},"params":"#, Value::from(method)).into_bytes();
        let text = if params.is_null() { "{}".to_owned() } else { params.to_string() };
        bytes.extend_from_slice(&text.as_bytes()[..text.len() - 1]);
        let mut body = Self::of(bytes);
        match meta {
            None => {}
            Some(Value::Object(members)) => body.add_meta(members)?,
            Some(other) => {
                return Err(Error::input(format!("_meta of {method} is {other}, it must be a JSON object")));
            }
        }
        Ok(body)
    }

    /// Adds members to the body's own `_meta`; one that stands there already is replaced.
    pub(crate) fn add_meta(&mut self, members: Map<String, Value>) -> Result<(), Error> {
        if let Some(name) = ENGINES.iter().find(|name| members.contains_key(**name)) {
            return Err(Error::input(format!("_meta has a member {name:?}, which the engine writes itself")));
        }
        let mut all = self.meta().map_err(|error| {
            Error::input(format!("the members of _meta that stand there cannot be read: {error}"))
                .because(error)
        })?;
        all.extend(members);
        self.bytes.truncate(self.meta_at);
        self.write_meta(&all);
        Ok(())
    }

    /// The same body with more params.
    pub(crate) fn with(&self, params: &Map<String, Value>) -> Self {
        let mut bytes = self.bytes[..self.meta_at].to_vec();
        for (name, value) in params {
            if bytes.last() != Some(&b'{') {
                bytes.push(b',');
            }
            bytes.extend_from_slice(format!("{}:{value}", Value::from(name.as_str())).as_bytes());
        }
        let mut body = Self::of(bytes);
        body.open_meta(self.meta_text());
        body
    }

    /// The method.
    pub(crate) fn method(&self) -> String {
        // It stands first, as a text that was written by this crate.
        let text = self.bytes.strip_prefix(br#""method":"#).unwrap_or_default();
        let mut texts = serde_json::Deserializer::from_slice(text).into_iter::<String>();
        texts.next().and_then(Result::ok).unwrap_or_default()
    }

    /// The params with the body's own `_meta`.
    pub(crate) fn params(&self) -> Result<Map<String, Value>, serde_json::Error> {
        #[derive(Deserialize)]
        struct Request {
            params: Map<String, Value>,
        }
        let (open, end) = match self.bytes.strip_suffix(b",") {
            Some(in_meta) => (in_meta, &b"}}}"[..]),
            None => (&self.bytes[..], &b"}}"[..]),
        };
        json::from_slice(&[b"{", open, end].concat()).map(|Request { params }| params)
    }

    /// As it is sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The body's own members of `_meta`, as they stand there: each with a comma behind it.
    fn meta_text(&self) -> &[u8] {
        let text = &self.bytes[self.meta_at..];
        let text = text.strip_prefix(b",").unwrap_or(text);
        text.strip_prefix(br#""_meta":{"#).unwrap_or_default()
    }

    /// The same, read. What `write_meta` has written may still be nested too deep to be read again.
    fn meta(&self) -> Result<Map<String, Value>, serde_json::Error> {
        let members = self.meta_text();
        json::from_slice(&[b"{", members.strip_suffix(b",").unwrap_or(members), b"}"].concat())
    }

    fn write_meta(&mut self, members: &Map<String, Value>) {
        let mut text = String::new();
        for (name, value) in members {
            text += &format!("{}:{value},", Value::from(name.as_str()));
        }
        self.open_meta(text.as_bytes());
    }

    fn open_meta(&mut self, members: &[u8]) {
        if members.is_empty() {
            return;
        }
        let opening: &[u8] =
            if self.bytes.last() == Some(&b'{') { br#""_meta":{"# } else { br#","_meta":{"# };
        self.bytes.extend_from_slice(opening);
        self.bytes.extend_from_slice(members);
    }
}

/// Params as a JSON object, or null for none.
pub(crate) fn object(method: &str, params: &impl Serialize) -> Result<Value, Error> {
    let params = serde_json::to_value(params)
        .map_err(|error| Error::input(format!("params of {method}: {error}")).because(error))?;
    if params.is_object() || params.is_null() {
        Ok(params)
    } else {
        Err(Error::input(format!("params of {method} are no JSON object")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorKind;

    fn members(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    fn text(body: &Body) -> String {
        String::from_utf8(body.bytes().to_vec()).unwrap()
    }

    #[test]
    fn meta_stands_last_and_open() {
        let plain = Body::new("m", &json!(null)).unwrap();
        assert_eq!(text(&plain), r#""method":"m","params":{"#);
        assert_eq!(plain, Body::new("m", &json!({})).unwrap());
        let mut body = Body::new("m", &json!({"z": 1, "_meta": {"b/c": [","]}})).unwrap();
        assert_eq!(text(&body), r#""method":"m","params":{"z":1,"_meta":{"b/c":[","],"#);
        body.add_meta(members(json!({"a": "{", "b/c": 2}))).unwrap();
        assert_eq!(text(&body), r#""method":"m","params":{"z":1,"_meta":{"a":"{","b/c":2,"#);
        let only = Body::new("m", &json!({"_meta": {"a": 1}})).unwrap();
        assert_eq!(text(&only), r#""method":"m","params":{"_meta":{"a":1,"#);
        assert_eq!(Body::new("m", &json!({"_meta": {}})).unwrap(), plain, "no members, no meta");
    }

    #[test]
    fn more_params_come_before_meta_and_change_nothing_else() {
        let more = members(json!({"requestState": " \u{0}\"é\\ "}));
        for (params, expected) in [
            (json!({}), r#""params":{"requestState":" \u0000\"é\\ ""#),
            (json!({"a": 1}), r#""params":{"a":1,"requestState":" \u0000\"é\\ ""#),
            (
                json!({"a": 1, "_meta": {"k": "v"}}),
                r#""params":{"a":1,"requestState":" \u0000\"é\\ ","_meta":{"k":"v","#,
            ),
        ] {
            let body = Body::new("m", &params).unwrap().with(&more);
            assert_eq!(text(&body), format!(r#""method":"m",{expected}"#));
        }
    }

    /// A member that was nested too deep to be read again took all others with it, and nobody was told.
    #[test]
    fn meta_that_cannot_be_read_again_is_never_lost() {
        let deep = (0..140).fold(json!(1), |inside, _| json!([inside]));
        let mut body = Body::new("m", &json!({})).unwrap();
        body.add_meta(members(json!({"trace": "x", "deep": deep}))).unwrap();
        let before = text(&body).to_owned();
        assert_eq!(body.add_meta(members(json!({"b": 1}))).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(text(&body), before);
        let longer = body.with(&members(json!({"requestState": "s"})));
        assert!(text(&longer).contains(r#""trace":"x""#));
    }

    #[test]
    fn the_engines_own_members_are_refused() {
        for name in ENGINES {
            let error = Body::new("m", &json!({"_meta": {name: 1}})).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(name), "{error}");
        }
        for bad in [json!({"_meta": null}), json!({"_meta": 7}), json!([]), json!("x")] {
            assert_eq!(Body::new("m", &bad).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
}
