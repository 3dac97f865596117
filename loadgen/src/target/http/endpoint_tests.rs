//! What the endpoint of Streamable HTTP serves and refuses, in both eras.

use serde_json::json;

use super::super::web_peer::{self, Ask, META, MODERN, Reply, WebPeer};

const LATEST: &str = "2025-11-25";
const ECHO: &str = r#""message":"hi \"there\" \u00e9""#;
const ECHOED: &str = "hi \"there\" é";

#[test]
fn the_quick_way_and_the_careful_way_answer_alike() {
    for words in [&[][..], &["--reply-bytes", "20"], &["--reply", "sse"]] {
        let mut peer = WebPeer::new(words);
        let session = peer.session(LATEST);
        let warm_up = Ask::modern_call("0", "echo", ECHO);
        peer.ask(0, &warm_up);
        for quick in [Ask::call(&session, "7", "echo", ECHO), Ask::modern_call("\"a\"", "echo", ECHO)] {
            let answer = peer.ask(0, &quick);
            assert_eq!(web_peer::text(&answer.first()), ECHOED);
            let careful =
                quick.without("content-type").with("content-type", "application/json; charset=utf-8");
            let careful = peer.ask(0, &careful);
            assert_eq!((answer.status, answer.first()), (careful.status, careful.first()));
            let fields = |head: &str| -> Vec<String> {
                let lines = head.lines().filter(|line| !line.starts_with("content-length"));
                lines.map(str::to_owned).collect()
            };
            assert_eq!(fields(&answer.head), fields(&careful.head));
        }
        assert_eq!(peer.world.executed, 5);
    }
}

#[test]
fn a_session_is_issued_required_and_ended() {
    let mut peer = WebPeer::new(&[]);
    let session = peer.session(LATEST);
    assert!(session.len() == 32 && session.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let call = || Ask::call(&session, "1", "echo", ECHO);
    assert_eq!(peer.ask(3, &call()).text(), ECHOED, "on any connection");
    assert_eq!(peer.ask(0, &call().without("mcp-session-id")).status, 400);
    assert_eq!(peer.ask(0, &call().without("mcp-session-id").with("mcp-session-id", "x")).status, 404);
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let accepted = peer.ask(0, &Ask::post(initialized).with("mcp-session-id", &session));
    assert_eq!((accepted.status, accepted.body.as_str()), (202, ""));

    let delete = || Ask::new("DELETE", "/mcp").with("mcp-session-id", &session);
    assert_eq!(peer.ask(1, &delete()).status, 204);
    assert_eq!(peer.ask(1, &delete()).status, 404);
    assert_eq!(peer.ask(0, &call()).status, 404);
    assert_eq!(peer.ask(1, &Ask::new("DELETE", "/mcp")).status, 400);
}

#[test]
fn sessions_end_after_their_calls_and_have_a_bound() {
    let mut peer = WebPeer::new(&["--session-calls", "2", "--session-status", "400", "--session-limit", "1"]);
    let session = peer.session(LATEST);
    let call = || Ask::call(&session, "1", "echo", ECHO);
    let statuses: Vec<u16> = (0..4).map(|_| peer.ask(0, &call()).status).collect();
    assert_eq!(statuses, [200, 200, 400, 400]);
    peer.session(LATEST);
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    assert_eq!(peer.ask(0, &Ask::post(hello)).status, 503);
}

#[test]
fn without_sessions_the_header_names_the_revision() {
    let mut peer = WebPeer::new(&["--sessions", "off"]);
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    assert_eq!(peer.ask(0, &Ask::post(hello)).field("mcp-session-id"), None);
    let sum =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sum","arguments":{"a":1,"b":2}}}"#;
    let plain = peer.ask(0, &Ask::post(sum)).message();
    assert!(plain["result"].get("structuredContent").is_none(), "2025-03-26 is assumed");
    let named = peer.ask(0, &Ask::post(sum).with("mcp-protocol-version", LATEST)).message();
    assert_eq!(named["result"]["structuredContent"], json!({"sum": 3}));
    assert_eq!(peer.ask(0, &Ask::new("DELETE", "/mcp")).status, 405);
    assert_eq!(peer.ask(0, &Ask::new("GET", "/mcp").with("accept", "text/event-stream")).status, 405);
}

#[test]
fn a_version_header_has_to_be_that_of_the_session() {
    let mut peer = WebPeer::new(&[]);
    let session = peer.session("2025-06-18");
    for (version, status) in [("2025-06-18", 200), ("2025-11-25", 400), ("1999-01-01", 400)] {
        let call = Ask::call(&session, "1", "echo", ECHO).with("mcp-protocol-version", version);
        assert_eq!(peer.ask(0, &call).status, status, "{version}");
    }
}

#[test]
fn what_is_no_request_has_its_status() {
    let mut peer = WebPeer::new(&[]);
    let session = peer.session(LATEST);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let post = |body: &str| Ask::post(body).with("mcp-session-id", &session);
    let but = |field: &str, value: &str| post(ping).without(field).with(field, value);
    let cases = [
        (but("content-type", "text/plain"), 415),
        (post(ping).without("content-type"), 415),
        (but("accept", "application/json"), 406),
        (but("accept", "text/event-stream"), 406),
        (but("accept", "*/*"), 200),
        (but("accept", "text/event-stream;q=0.5, application/json"), 200),
        (but("host", "localhost"), 200),
        (but("host", "[::1]:80"), 200),
        (but("host", "evil.example"), 403),
        (but("host", "localhost.evil.example:80"), 403),
        (but("origin", "http://evil.example"), 403),
        (but("origin", "null"), 403),
        (but("origin", "http://127.0.0.1:99"), 200),
        (post("{nonsense"), 400),
        (post("7"), 400),
        (post(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#), 400),
        (post(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#), 400),
        (post(r#"{"jsonrpc":"2.0","id":1,"method":"nonsense"}"#), 200),
        (Ask::new("PUT", "/mcp"), 405),
        (Ask::new("POST", "/elsewhere"), 404),
        (Ask::stream(&session).without("accept"), 406),
        (Ask::stream("unknown"), 404),
    ];
    for (ask, status) in cases {
        let reply = peer.ask(0, &ask);
        assert_eq!(reply.status, status, "{}", String::from_utf8_lossy(&ask.bytes()));
        assert!(reply.status == 200 || reply.message()["error"]["message"].is_string());
        assert_eq!(reply.field("allow").is_some(), status == 405);
    }
}

#[test]
fn a_modern_request_carries_body_and_headers_that_agree() {
    let mut peer = WebPeer::new(&[]);
    let call = || Ask::modern_call("7", "echo", ECHO);
    let but = |field: &str, value: &str| call().without(field).with(field, value);
    let bare = |method: &str, params: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{params}}}}}"#);
        Ask::post(&body).with("mcp-protocol-version", MODERN).with("mcp-method", method)
    };
    let future = META.replace(MODERN, "2099-01-01");
    let half = META.split(r#","io.modelcontextprotocol/client"#).next().unwrap().to_owned() + "}";
    let cases = [
        (call(), 200, 0),
        (but("mcp-name", "=?base64?ZWNobw==?="), 200, 0),
        (call().with("mcp-session-id", "whatever"), 200, 0),
        (call().without("mcp-protocol-version"), 400, -32020),
        (but("mcp-protocol-version", LATEST), 400, -32020),
        (call().without("mcp-method"), 400, -32020),
        (but("mcp-method", "Tools/call"), 400, -32020),
        (call().with("mcp-method", "tools/call"), 400, -32020),
        (call().without("mcp-name"), 400, -32020),
        (but("mcp-name", "ECHO"), 400, -32020),
        (but("mcp-name", "=?base64?!?="), 400, -32020),
        (bare("tools/list", ""), 400, -32602),
        (bare("tools/list", r#""_meta":{}"#), 400, -32602),
        (bare("tools/list", &half), 400, -32602),
        (
            bare("tools/list", &future)
                .without("mcp-protocol-version")
                .with("mcp-protocol-version", "2099-01-01"),
            400,
            -32022,
        ),
        (Ask::modern("7", "ping", ""), 404, -32601),
        (Ask::modern("7", "initialize", ""), 404, -32601),
        (Ask::modern("7", "logging/setLevel", ""), 404, -32601),
        (Ask::modern_call("7", "nonsense", ""), 200, -32602),
    ];
    for (ask, status, code) in cases {
        let reply = peer.ask(0, &ask);
        let told = String::from_utf8_lossy(&ask.bytes()).into_owned();
        assert_eq!(reply.status, status, "{told}");
        assert_eq!(reply.message()["id"], 7, "{told}");
        assert!(code == 0 || reply.code() == code, "{told}: {reply:?}");
    }
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
    let response = r#"{"jsonrpc":"2.0","id":"srv-1","result":{}}"#;
    let array = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#;
    for (body, status) in [(notification, 202), (response, 400), (array, 400)] {
        assert_eq!(peer.ask(0, &Ask::post(body).with("mcp-protocol-version", MODERN)).status, status);
    }
}

#[test]
fn one_url_serves_the_eras_that_are_offered() {
    let discover = || Ask::modern("1", "server/discover", "");
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    let get = || Ask::new("GET", "/mcp").with("accept", "text/event-stream");

    let mut both = WebPeer::new(&[]);
    let found = both.ask(0, &discover()).message();
    assert_eq!(found["result"]["supportedVersions"], json!([MODERN]));
    assert_eq!(both.ask(0, &Ask::post(hello)).status, 200);
    assert_eq!(both.ask(0, &get()).status, 400, "a legacy GET needs its session");
    assert_eq!(both.ask(0, &get().with("mcp-protocol-version", MODERN)).status, 405);

    let mut modern = WebPeer::new(&["--revisions", "modern"]);
    assert_eq!(modern.ask(0, &discover()).status, 200);
    let refused = modern.ask(0, &Ask::post(hello));
    assert_eq!((refused.status, refused.code()), (400, -32022));
    assert_eq!(refused.message()["error"]["data"]["supported"], json!([MODERN]));
    assert_eq!(modern.ask(0, &get()).status, 405);
    assert_eq!(modern.ask(0, &Ask::new("DELETE", "/mcp")).status, 405);

    let mut legacy = WebPeer::new(&["--revisions", "legacy"]);
    let refused = legacy.ask(0, &discover());
    assert_eq!((refused.status, refused.code()), (400, -32000), "not a word of the modern era");
    assert_eq!(legacy.ask(0, &Ask::post(hello)).status, 200);
}

#[test]
fn arrays_are_for_one_revision_only_and_as_the_policy_says() {
    let array = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":2,"method":"ping"}]"#;
    let answer = |words: &[&str], revision: &str| -> Reply {
        let mut peer = WebPeer::new(words);
        let session = peer.session(revision);
        peer.ask(0, &Ask::post(array).with("mcp-session-id", &session))
    };
    let ids = |messages: &[serde_json::Value]| -> Vec<i64> {
        messages.iter().map(|message| message["id"].as_i64().unwrap()).collect()
    };
    let together = answer(&[], "2025-03-26").message();
    assert_eq!(ids(together.as_array().unwrap()), [1, 2]);
    let grouped = answer(&["--reply", "sse"], "2025-03-26").events();
    assert!(grouped.len() == 1 && grouped[0].as_array().unwrap().len() == 2);
    let groups = answer(&["--batch", "groups", "--reply", "sse"], "2025-03-26").events();
    assert!(groups.len() == 1 && groups[0].as_array().unwrap().len() == 2, "three at a time");
    let long = answer(&["--batch-max", "2"], "2025-03-26");
    assert_eq!((long.status, long.code()), (400, -32600));
    for words in [&["--batch", "separate-lines"][..], &["--batch", "separate-lines", "--reply", "sse"]] {
        assert_eq!(ids(&answer(words, "2025-03-26").events()), [1, 2]);
    }
    assert_eq!(answer(&["--batch", "drop"], "2025-03-26").status, 202);
    for (words, revision) in [(&["--batch", "refuse"][..], "2025-03-26"), (&[], "2025-06-18"), (&[], LATEST)]
    {
        let refused = answer(words, revision);
        assert_eq!((refused.status, refused.code()), (400, -32600), "{revision}");
    }
    let mut peer = WebPeer::new(&[]);
    let session = peer.session("2025-03-26");
    for body in [
        r#"[{"jsonrpc":"2.0","method":"notifications/x"}]"#,
        r#"[{"jsonrpc":"2.0","id":"srv-9","result":{}}]"#,
    ] {
        assert_eq!(peer.ask(0, &Ask::post(body).with("mcp-session-id", &session)).status, 202);
    }
    assert_eq!(peer.ask(0, &Ask::post("[]").with("mcp-session-id", &session)).status, 400);
}
