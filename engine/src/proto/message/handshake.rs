//! What the opening messages say: `server/discover` and `initialize`, asked and answered.
//!
//! Slow path, once a connection: serde_json, owned values.

use serde_json::Value;

use crate::{
    base::json,
    proto::revision::{Era, Revision},
};

/// Codes by which a modern server is recognised even when it refuses (MCP 2026-07-28).
const HEADER_MISMATCH: i64 = -32020;
const MISSING_CAPABILITY: i64 = -32021;
const UNSUPPORTED_VERSION: i64 = -32022;

/// What the server told about itself when the connection was opened.
#[derive(Clone, Debug, Default)]
pub struct ServerInfo {
    /// The revision in use.
    pub(crate) revision: Option<Revision>,
    /// The result of `initialize` or `server/discover`, as it came.
    pub(crate) result: Value,
}

impl ServerInfo {
    /// The revision in use.
    pub fn revision(&self) -> Option<Revision> {
        self.revision
    }

    /// The server's name, for display.
    pub fn name(&self) -> Option<&str> {
        self.implementation()?.get("name")?.as_str()
    }

    /// The server's version, for display.
    pub fn version(&self) -> Option<&str> {
        self.implementation()?.get("version")?.as_str()
    }

    /// The capabilities that the server declared.
    pub fn capabilities(&self) -> &Value {
        &self.result["capabilities"]
    }

    /// How to use the server, in its own words.
    pub fn instructions(&self) -> Option<&str> {
        self.result["instructions"].as_str()
    }

    /// The whole result of `initialize` or `server/discover`; null when the era was remembered and nothing was asked.
    pub fn raw(&self) -> &Value {
        &self.result
    }

    fn implementation(&self) -> Option<&Value> {
        self.result
            .get("serverInfo")
            .or_else(|| self.result["_meta"].get("io.modelcontextprotocol/serverInfo"))
    }
}

/// What a probe's answer means (`docs/protocol.md`, "which era").
#[derive(Debug, PartialEq)]
pub(crate) enum Probe {
    /// A modern server, and the revision to use.
    Modern(Revision, Value),
    /// A modern server that wants the probe again, in this revision.
    Again(Revision),
    /// It speaks only handshake revisions, and has fixed this connection as modern: open another.
    LegacyElsewhere,
    /// Not modern: `initialize` on this connection.
    Legacy,
    /// Modern, but no revision in common.
    NothingInCommon(String),
}

/// Reads the answer to `server/discover`.
pub(crate) fn probe(frame: &[u8], again_allowed: bool) -> Probe {
    let Ok(mut message) = json::from_slice::<Value>(frame) else { return Probe::Legacy };
    let result = taken(&mut message, "result");
    if let Some(supported) = result.get("supportedVersions").and_then(Value::as_array) {
        let names = || supported.iter().filter_map(Value::as_str);
        return match (Revision::newest_of(Era::Modern, names()), Revision::newest_of(Era::Legacy, names())) {
            (Some(revision), _) => Probe::Modern(revision, result),
            (None, Some(_)) => Probe::LegacyElsewhere,
            (None, None) => Probe::NothingInCommon(names().collect::<Vec<_>>().join(", ")),
        };
    }
    let error = &message["error"];
    match error["code"].as_i64() {
        Some(HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION) => {
            let empty = Vec::new();
            let supported = error["data"]["supported"].as_array().unwrap_or(&empty);
            let names = || supported.iter().filter_map(Value::as_str);
            match (Revision::newest_of(Era::Modern, names()), Revision::newest_of(Era::Legacy, names())) {
                (Some(revision), _) if again_allowed => Probe::Again(revision),
                (None, Some(_)) => Probe::LegacyElsewhere,
                _ => Probe::NothingInCommon(error["message"].as_str().unwrap_or_default().to_owned()),
            }
        }
        // Any other error, whatever its code, and anything that is no answer to discover at all.
        _ => Probe::Legacy,
    }
}

/// What the answer to `initialize` means.
#[derive(Debug, PartialEq)]
pub(crate) enum Initialized {
    /// The revision that the server chose.
    Agreed(Revision, Value),
    /// The server is of the modern era.
    Modern,
    /// It will not work, and why.
    Refused(String),
}

/// Reads the answer to `initialize`.
pub(crate) fn initialized(frame: &[u8]) -> Initialized {
    let mut message = match json::from_slice::<Value>(frame) {
        Ok(message) => message,
        Err(error) => {
            return Initialized::Refused(format!("the answer to initialize is not valid JSON: {error}"));
        }
    };
    if let Some(error) = message.get("error").filter(|error| !error.is_null()) {
        if error["code"].as_i64() == Some(UNSUPPORTED_VERSION) {
            return Initialized::Modern;
        }
        return Initialized::Refused(format!("the server refused to initialize: {error}"));
    }
    let result = taken(&mut message, "result");
    let offered = result["protocolVersion"].as_str().unwrap_or_default();
    match Revision::newest_of(Era::Legacy, [offered]) {
        Some(revision) => Initialized::Agreed(revision, result),
        None => Initialized::Refused(format!(
            "the server offers revision {offered:?}, which this client cannot speak"
        )),
    }
}

/// A member, or `null`. What a server says instead of an answer need not be an object; to write into anything else by a name panics.
fn taken(message: &mut Value, name: &str) -> Value {
    message.get_mut(name).map(Value::take).unwrap_or_default()
}

/// The body of `initialize`.
pub(crate) fn initialize_body(revision: Revision, client_info: &str, capabilities: &str) -> String {
    format!(
        r#""method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{capabilities},"clientInfo":{client_info}"#
    )
}

/// The body of `server/discover`; the tail brings `_meta`.
pub(crate) const DISCOVER_BODY: &str = r#""method":"server/discover","params":{"#;

/// The body of `ping`, which every MCP server of the handshake era answers at once, and any other with an error.
pub(crate) const PING_BODY: &str = r#""method":"ping","params":{"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_not_keyed_on_one_code() {
        for code in [-32601, -32600, -32602, -32000, -1, 0] {
            let frame = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"?"}}}}"#);
            assert_eq!(probe(frame.as_bytes(), true), Probe::Legacy, "code {code}");
        }
        assert_eq!(probe(br#"{"id":1,"result":{}}"#, true), Probe::Legacy);
        assert_eq!(probe(b"[", true), Probe::Legacy);
    }

    /// Over HTTP the body of a response is whatever somebody on the way has written: `"Not Found"` under a 404, for one.
    #[test]
    fn an_answer_that_is_no_object_is_none() {
        for frame in [r#""Not Found""#, "[]", "[1]", "true", "404", "null", "{}", r#"{"result":[]}"#] {
            assert_eq!(probe(frame.as_bytes(), true), Probe::Legacy, "{frame}");
            assert!(matches!(initialized(frame.as_bytes()), Initialized::Refused(_)), "{frame}");
        }
    }

    #[test]
    fn a_modern_refusal_never_leads_to_initialize_here() {
        for code in [-32020, -32021, -32022] {
            let frame = |supported: &str| {
                format!(
                    r#"{{"id":1,"error":{{"code":{code},"message":"m","data":{{"supported":[{supported}]}}}}}}"#
                )
            };
            assert_eq!(probe(frame(r#""2026-07-28""#).as_bytes(), true), Probe::Again(Revision::V2026_07_28));
            assert!(matches!(probe(frame(r#""2026-07-28""#).as_bytes(), false), Probe::NothingInCommon(_)));
            assert_eq!(probe(frame(r#""2025-11-25""#).as_bytes(), true), Probe::LegacyElsewhere);
            assert!(matches!(probe(frame(r#""2099-01-01""#).as_bytes(), true), Probe::NothingInCommon(_)));
        }
    }

    #[test]
    fn discover_prefers_modern_and_counter_offers_are_adopted() {
        let all = br#"{"id":1,"result":{"supportedVersions":["2024-11-05","2025-11-25","2026-07-28"],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}}}}"#;
        let Probe::Modern(Revision::V2026_07_28, result) = probe(all, true) else { panic!("modern") };
        assert_eq!(ServerInfo { revision: None, result }.name(), Some("s"));
        let counter =
            br#"{"id":1,"result":{"protocolVersion":"2025-06-18","serverInfo":{"name":"t","version":"1"}}}"#;
        let Initialized::Agreed(Revision::V2025_06_18, result) = initialized(counter) else {
            panic!("agreed")
        };
        assert_eq!(ServerInfo { revision: None, result }.version(), Some("1"));
        assert!(matches!(
            initialized(br#"{"id":1,"result":{"protocolVersion":"2026-07-28"}}"#),
            Initialized::Refused(_)
        ));
        assert!(matches!(
            initialized(br#"{"id":1,"result":{"protocolVersion":"1999-01-01"}}"#),
            Initialized::Refused(_)
        ));
        assert_eq!(initialized(br#"{"id":1,"error":{"code":-32022,"message":""}}"#), Initialized::Modern);
    }
}
