//! What holds for every request over HTTP, whatever the script: clauses 1, 2, 7, 18, 23, 28, 30, 37 to 39 and 43.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use volley::{Era, Revision};
use volley_tests::{http_server::Request, record::check_array};

/// Checks all requests that a server of this revision has had, in the order in which they were read.
///
/// # Panics
/// If a rule is broken.
pub(crate) fn check(requests: &[Request], port: u16, revision: Revision) {
    let mut ids = HashSet::new();
    let mut array_ids: HashMap<Option<&str>, HashSet<u64>> = HashMap::new();
    let mut repeated = Vec::new();
    // Sessions of which the client said that they have begun.
    let mut initialized = HashSet::new();
    for request in requests {
        let session = request.header("mcp-session-id");
        assert_eq!(request.header("host"), Some(format!("127.0.0.1:{port}").as_str()), "{request:?}");
        assert_eq!(request.header("origin"), None, "no browser: {request:?}");
        for (name, value) in &request.headers {
            assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{name}: {value:?}");
        }
        match request.method.as_str() {
            "POST" => {}
            "GET" => {
                assert_eq!(request.header("accept"), Some("text/event-stream"), "{request:?}");
                assert_eq!(revision.era(), Era::Legacy, "a modern client GETs nothing: {request:?}");
                continue;
            }
            "DELETE" => {
                assert!(session.is_some(), "a session is ended by its name: {request:?}");
                assert_eq!(revision.era(), Era::Legacy, "a modern client has no session: {request:?}");
                continue;
            }
            other => panic!("{other} is nothing to ask an MCP server"),
        }
        assert_eq!(request.header("content-type"), Some("application/json"), "{request:?}");
        let accept: Vec<&str> =
            request.header("accept").unwrap_or_default().split(',').map(str::trim).collect();
        assert!(accept.contains(&"application/json") && accept.contains(&"text/event-stream"), "{request:?}");
        let message = &request.message;
        if let Value::Array(elements) = message {
            let shown = format!("{request:?}");
            assert_eq!(revision, Revision::V2025_03_26, "no other revision has arrays: {shown}");
            assert!(initialized.contains(&session), "no array before the handshake is done: {shown}");
            assert_eq!(request.header("mcp-protocol-version"), None, "{shown}");
            check_array(elements, &shown, array_ids.entry(session).or_default());
            let of_singles = |element: &&Value| ids.contains(&(session, element["id"].as_u64().unwrap()));
            repeated.extend(elements.iter().filter(of_singles).map(|element| element["id"].clone()));
            continue;
        }
        assert!(message.is_object(), "one POST, one message: {request:?}");
        assert_eq!(message["jsonrpc"], "2.0", "{request:?}");
        assert!(message.get("params").is_none_or(Value::is_object), "{request:?}");
        let is_request = message.get("method").is_some() && message.get("id").is_some();
        if is_request {
            let id = message["id"].as_u64().unwrap_or_else(|| panic!("an integer id: {request:?}"));
            assert!(id < 1 << 53, "exact in a double: {request:?}");
            assert!(ids.insert((session, id)), "an id used twice: {request:?}");
        }
        let meta = |name: &str| &message["params"]["_meta"][format!("io.modelcontextprotocol/{name}")];
        let version = request.header("mcp-protocol-version");
        let enveloped = !meta("protocolVersion").is_null();
        if enveloped {
            modern(request, is_request);
        } else if revision.era() == Era::Legacy {
            match request.rpc() {
                "initialize" => {
                    assert_eq!((session, version), (None, None), "nothing is agreed yet: {request:?}");
                }
                "notifications/initialized" => drop(initialized.insert(session)),
                rpc => assert!(
                    initialized.contains(&session) || rpc.is_empty(),
                    "nothing before the handshake is done: {request:?}"
                ),
            }
            if request.rpc() != "initialize" && !rpc_before_agreement(request) {
                let wanted = matches!(revision, Revision::V2025_06_18 | Revision::V2025_11_25);
                assert_eq!(version, wanted.then_some(revision.as_str()), "{request:?}");
            }
            assert_eq!(
                (request.header("mcp-method"), request.header("mcp-name")),
                (None, None),
                "{request:?}"
            );
        } else {
            assert!(!is_request, "each request says its version: {request:?}");
            assert!(!message["method"].is_null(), "a modern client never responds: {request:?}");
            assert_eq!(version, Some(revision.as_str()), "{request:?}");
            assert_eq!((session, request.header("last-event-id")), (None, None), "{request:?}");
        }
    }
    assert!(repeated.is_empty(), "sent alone first, and then in an array: {repeated:?}");
}

/// A reply to a server that asked before it had answered `initialize`.
fn rpc_before_agreement(request: &Request) -> bool {
    request.rpc().is_empty() && request.header("mcp-protocol-version").is_none()
}

/// A request, or a notification, with its version in the body.
fn modern(request: &Request, is_request: bool) {
    let message = &request.message;
    let meta = |name: &str| &message["params"]["_meta"][format!("io.modelcontextprotocol/{name}")];
    assert_eq!(request.header("mcp-protocol-version"), meta("protocolVersion").as_str(), "{request:?}");
    assert_eq!(
        (request.header("mcp-session-id"), request.header("last-event-id")),
        (None, None),
        "{request:?}"
    );
    if !is_request {
        return;
    }
    assert!(meta("clientCapabilities").is_object(), "{request:?}");
    assert!(meta("clientInfo")["name"].is_string(), "{request:?}");
    let mirrored = |name: &str| request.header(name).map(decoded);
    assert_eq!(mirrored("mcp-method").as_deref(), Some(request.rpc()), "{request:?}");
    let name = match request.rpc() {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => "",
    };
    assert_eq!(mirrored("mcp-name").as_deref(), message["params"][name].as_str(), "{request:?}");
}

/// What a mirrored value means: itself, or what the base64 between the marks says.
///
/// # Panics
/// If it is neither.
pub(crate) fn decoded(value: &str) -> String {
    let Some(coded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return value.to_owned();
    };
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("no base64: {value}"),
    };
    assert_eq!(coded.len() % 4, 0, "padded: {value}");
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for byte in coded.trim_end_matches('=').bytes() {
        (bits, count) = (bits << 6 | u32::from(digit(byte)), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}
