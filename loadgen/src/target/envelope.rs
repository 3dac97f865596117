//! The careful reading of one line: any JSON in, one message or one fault out.
//!
//! The quick reading in `scan` takes plain calls of `echo` only; everything else comes here, and
//! so does every line that `scan` found odd. Parts of a message stay raw slices of the line
//! until somebody asks. Where a key stands twice the last one counts.
//!
//! Clauses: JSON-RPC 2.0 sections 4 and 5; MCP narrows ids to strings and integers.
//! Proof: `each_broken_message_has_its_own_fault`, below.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::reply::Fault;

/// The members of one JSON object, their values unread.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    pub(super) fn parse(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).map(|raw| raw.get())
    }

    /// The value of a member that is a string.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        serde_json::from_str(self.get(key)?).ok()
    }

    /// All of it as a tree.
    pub(super) fn to_value(&self) -> Value {
        let parse = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).unwrap_or_default();
        self.0.iter().map(|(key, raw)| (key.clone(), parse(raw))).collect()
    }

    /// The value of a member that is an object.
    pub(super) fn object(&self, key: &str) -> Option<Self> {
        Self::parse(self.get(key)?)
    }
}

/// One message from the client.
#[derive(Debug)]
pub(super) enum Message<'a> {
    Request(Request<'a>),
    Notification { method: String, params: Members<'a> },
    Response { id: String },
}

/// A message that wants an answer.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// As it came: a JSON string or a JSON integer.
    pub(super) id: &'a str,
    pub(super) method: String,
    pub(super) params: Members<'a>,
}

/// A line that is no message, and the id its error goes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) fault: Fault,
}

impl<'a> Message<'a> {
    pub(super) fn parse(json: &'a str) -> Result<Self, Unreadable<'a>> {
        let Some(members) = Members::parse(json) else {
            let is_json = serde_json::from_str::<&RawValue>(json).is_ok();
            let fault = if is_json { Fault::NOT_A_MESSAGE } else { Fault::NOT_JSON };
            return Err(Unreadable { id: None, fault });
        };
        let raw_id = members.get("id");
        let id = raw_id.filter(|id| is_request_id(id));
        let broken = |fault| Err(Unreadable { id, fault });
        if members.text("jsonrpc").as_deref() != Some("2.0") {
            return broken(Fault::NOT_A_MESSAGE);
        }
        if members.get("method").is_none() {
            let answers = members.get("result").is_some() != members.get("error").is_some();
            return match (answers, raw_id) {
                (true, Some(id)) => Ok(Message::Response { id: id.to_owned() }),
                _ => broken(Fault::NOT_A_MESSAGE),
            };
        }
        let Some(method) = members.text("method") else {
            return broken(Fault::NOT_A_MESSAGE);
        };
        let params = match members.get("params") {
            None => Some(Members::default()),
            Some(raw) => Members::parse(raw),
        };
        match (raw_id, id, params) {
            (Some(_), None, _) => broken(Fault::BAD_ID),
            (None, _, params) => Ok(Message::Notification { method, params: params.unwrap_or_default() }),
            (_, Some(_), None) => broken(Fault::BAD_PARAMS),
            (_, Some(id), Some(params)) => Ok(Message::Request(Request { id, method, params })),
        }
    }
}

/// The elements of an array of messages; `None` when it is no array.
pub(super) fn parse_array(json: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json).ok()
}

/// Whether a JSON value may name a request: a string or an integer.
fn is_request_id(json: &str) -> bool {
    match json.as_bytes() {
        [b'"', ..] => serde_json::from_str::<String>(json).is_ok(),
        [b'-' | b'0'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &str) -> (Option<&str>, Fault) {
        let unreadable = Message::parse(json).unwrap_err();
        (unreadable.id, unreadable.fault)
    }

    #[test]
    fn each_broken_message_has_its_own_fault() {
        assert_eq!(fault("{"), (None, Fault::NOT_JSON));
        assert_eq!(fault("7"), (None, Fault::NOT_A_MESSAGE));
        assert_eq!(fault(r#"{"id":7,"method":"ping"}"#), (Some("7"), Fault::NOT_A_MESSAGE));
        assert_eq!(fault(r#"{"jsonrpc":"2.0","id":7,"method":8}"#), (Some("7"), Fault::NOT_A_MESSAGE));
        assert_eq!(fault(r#"{"jsonrpc":"2.0","id":7}"#), (Some("7"), Fault::NOT_A_MESSAGE));
        assert_eq!(fault(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#), (None, Fault::BAD_ID));
        assert_eq!(fault(r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#), (None, Fault::BAD_ID));
        let params = r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":[]}"#;
        assert_eq!(fault(params), (Some("\"a\""), Fault::BAD_PARAMS));
    }

    #[test]
    fn messages_are_told_apart() {
        let request = r#" { "params" : {"a":1} , "method":"p\u0069ng", "id" : "x" , "jsonrpc":"2.0" } "#;
        let Ok(Message::Request(request)) = Message::parse(request) else { panic!("a request") };
        assert_eq!((request.id, request.method.as_str()), ("\"x\"", "ping"));
        assert_eq!(request.params.get("a"), Some("1"));
        let notification = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert!(matches!(Message::parse(notification), Ok(Message::Notification { .. })));
        let response = r#"{"jsonrpc":"2.0","id":"srv-1","result":{}}"#;
        assert!(matches!(Message::parse(response), Ok(Message::Response { id }) if id == "\"srv-1\""));
    }
}
