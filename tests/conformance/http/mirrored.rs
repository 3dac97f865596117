//! Clauses 37 to 42: what a modern request says of itself in its body and once more in its headers.

use serde_json::{Value, json};
use volley::Revision;
use volley_tests::{
    http_server::{HttpServer, Request, Then},
    scripted_server::{discovered, echoed},
};

use super::{play_http, with};
use crate::{
    play::{all_answered, auto},
    seen::decoded,
    ways::{Way, answer, play_on},
};

const MODERN: Revision = Revision::V2026_07_28;

#[test]
fn must_37_every_request_says_version_capabilities_and_client_on_every_way() {
    for way in Way::of(MODERN) {
        let config = auto().client_info("someone", "7").capabilities(json!({"experimental": {"x": {}}}));
        let (said, _) = play_on(
            way,
            MODERN,
            config,
            |_| None,
            |client, _| {
                all_answered(client, 5);
                client.list_tools().unwrap();
                client.request("any/thing", &Value::Null).unwrap_err();
                client.request("any/thing", &json!({"_meta": {"traceparent": "00-a-b-01"}})).unwrap_err();
            },
        );
        let requests: Vec<&Value> =
            said.messages.iter().filter(|message| message.get("id").is_some()).collect();
        assert!(requests.len() >= 9, "{way:?}");
        for request in requests {
            let meta = |name: &str| &request["params"]["_meta"][format!("io.modelcontextprotocol/{name}")];
            assert_eq!(meta("protocolVersion"), "2026-07-28", "{way:?}: {request}");
            assert_eq!(meta("clientInfo"), &json!({"name": "someone", "version": "7"}), "{way:?}");
            assert_eq!(meta("clientCapabilities"), &json!({"experimental": {"x": {}}}), "{way:?}");
        }
    }
}

/// A modern server with these tools, and an answer for anything.
fn with_tools(tools: Value) -> HttpServer {
    HttpServer::plain("", move |peer, request| {
        let message = &request.message;
        let result = match request.rpc() {
            "server/discover" => discovered(&["2026-07-28"]),
            "tools/list" => json!({"tools": tools, "ttlMs": 0, "cacheScope": "public"}),
            "tools/call" => echoed(message)["result"].clone(),
            _ => json!({"resultType": "complete", "messages": [], "contents": []}),
        };
        if message.get("id").is_some() {
            peer.json("200 OK", &answer(message, &result));
        } else {
            peer.accept();
        }
        Then::Keep
    })
}

/// Names that are plain, and such as would not survive the way as they are or could be taken for the coded form.
const NAMES: [&str; 16] = [
    "echo",
    "with blank",
    "a,b;c=\"d\"",
    " leading",
    "trailing ",
    "tab\tinside",
    "line\r\nX-Injected: yes",
    "\u{1F3D0}",
    "\u{0}",
    "\u{7f}",
    "=?base64?ZWNobw==?=",
    "=?base64?",
    "=?BASE64?ZWNobw==?=",
    "100% \\ ~",
    "file:///a/\u{FC}?q=1",
    "",
];

#[test]
fn must_38_the_version_header_is_the_bodys_on_each_post() {
    let (requests, _) = play_http(MODERN, with_tools(json!([])), auto(), |client, server| {
        all_answered(client, 10);
        client.notify("notifications/x", &json!({})).unwrap();
        volley_tests::patience::until_blocking("it has come", || server.count_rpc("notifications/x") == 1);
    });
    for request in requests {
        let said = &request.message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
        let header = request.header("mcp-protocol-version");
        assert_eq!(header, Some(said.as_str().unwrap_or("2026-07-28")), "{request:?}");
    }
}

#[test]
fn must_39_method_and_name_are_mirrored_on_each_request() {
    let (requests, _) = play_http(MODERN, with_tools(json!([])), auto(), |client, _| {
        client.call_tool("a tool", &json!({"message": "m"})).unwrap();
        client.get_prompt("a prompt", &json!({})).unwrap();
        client.read_resource("file:///a").unwrap();
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            client.request(method, &json!({"taskId": "t 1"})).unwrap();
        }
        // A name where none is to be mirrored, and a method that is no plain text.
        client.request("completion/complete", &json!({"name": "n", "uri": "u"})).unwrap();
        client.request("x/\u{1F3D0}", &json!({})).unwrap();
        client.list_tools().unwrap();
    });
    let header = |rpc: &str| with(&requests, rpc)[0].header("mcp-name").map(str::to_owned);
    assert_eq!(header("tools/call").as_deref(), Some("a tool"));
    assert_eq!(header("prompts/get").as_deref(), Some("a prompt"));
    assert_eq!(header("resources/read").as_deref(), Some("file:///a"));
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        assert_eq!(header(method).as_deref(), Some("t 1"), "{method}");
    }
    for method in ["completion/complete", "tools/list", "server/discover"] {
        assert_eq!(header(method), None, "{method}");
    }
}

#[test]
fn must_40_unsafe_values_are_coded_and_so_is_what_looks_coded() {
    let schema =
        json!({"type": "object", "properties": {"value": {"type": "string", "x-mcp-header": "Value"}}});
    let tools: Vec<Value> = NAMES.iter().map(|name| json!({"name": name, "inputSchema": schema})).collect();
    let (requests, _) = play_http(MODERN, with_tools(json!(tools)), auto(), |client, _| {
        for name in NAMES {
            client.call_tool(name, &json!({"message": "m", "value": name})).unwrap();
            client.read_resource(name).unwrap();
        }
    });
    let plain = ["echo", "with blank", "a,b;c=\"d\"", "100% \\ ~", ""];
    let (calls, reads) = (with(&requests, "tools/call"), with(&requests, "resources/read"));
    assert_eq!((calls.len(), reads.len()), (NAMES.len(), NAMES.len()));
    for ((call, read), name) in calls.iter().zip(reads).zip(NAMES) {
        for header in [call.header("mcp-name"), call.header("mcp-param-value"), read.header("mcp-name")] {
            let header = header.unwrap_or_else(|| panic!("{name:?} is mirrored: {call:?}"));
            assert_eq!(decoded(header), name);
            assert_eq!(header == name, plain.contains(&name), "{name:?} became {header:?}");
            assert_eq!(header.starts_with("=?base64?"), !plain.contains(&name), "{header:?}");
        }
        assert_eq!(call.header("x-injected"), None);
    }
}

/// The headers of a request whose names begin with `Mcp-Param-`, in order of their names.
fn params(request: &Request) -> Vec<(String, String)> {
    let mut params: Vec<(String, String)> = request
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("mcp-param-")?.to_owned(), decoded(value))))
        .collect();
    params.sort();
    params
}

#[test]
fn must_41_every_annotated_argument_that_is_there_is_mirrored_and_no_other() {
    let schema = json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "dry": {"type": "boolean", "x-mcp-header": "Dry-Run"},
        "plain": {"type": "string"},
        "where": {"type": "object", "properties": {
            "zone": {"type": "string", "x-mcp-header": "Zone"},
            "deep": {"type": "object", "properties": {"er": {"type": "integer", "x-mcp-header": "Deeper"}}},
        }},
    }});
    let tools =
        json!([{"name": "t", "inputSchema": schema}, {"name": "none", "inputSchema": {"type": "object"}}]);
    let max = (1_i64 << 53) - 1;
    let cases = [
        (json!({}), vec![]),
        (json!({"plain": "p", "other": {"region": "no"}}), vec![]),
        (json!({"region": null, "where": null, "count": null}), vec![]),
        (json!({"region": ""}), vec![("region", String::new())]),
        (
            json!({"region": "eu", "dry": false, "count": 0}),
            vec![("count", "0".to_owned()), ("dry-run", "false".to_owned()), ("region", "eu".to_owned())],
        ),
        (
            json!({"where": {"zone": "\u{FC}", "region": "no", "deep": {"er": -max}}, "dry": true}),
            vec![
                ("deeper", (-max).to_string()),
                ("dry-run", "true".to_owned()),
                ("zone", "\u{FC}".to_owned()),
            ],
        ),
        (json!({"count": max, "zone": "not here"}), vec![("count", max.to_string())]),
    ];
    let calls = cases.clone();
    let (requests, _) = play_http(MODERN, with_tools(tools), auto(), move |client, _| {
        for (arguments, _) in calls {
            let call = volley::ToolCall::new("t", &arguments).unwrap();
            pollster::block_on(client.as_async().call_raw(call)).unwrap();
            // Another tool has nothing of it.
            let call = volley::ToolCall::new("none", &arguments).unwrap();
            pollster::block_on(client.as_async().call_raw(call)).unwrap();
        }
    });
    for (n, (arguments, expected)) in cases.into_iter().enumerate() {
        let own = |name: &str| {
            let is_it = |call: &&&Request| {
                call.message["params"]["name"] == name && call.message["params"]["arguments"] == arguments
            };
            with(&requests, "tools/call").iter().find(is_it).map(|call| params(call)).expect("it was made")
        };
        let expected: Vec<(String, String)> =
            expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!((own("t"), own("none")), (expected, Vec::new()), "case {n}");
    }
}

#[test]
fn must_42_tools_with_invalid_annotations_are_left_out_and_the_others_kept() {
    let property = |property: Value| json!({"type": "object", "properties": {"p": property}});
    let invalid = [
        property(json!({"type": "string", "x-mcp-header": ""})),
        property(json!({"type": "string", "x-mcp-header": "two words"})),
        property(json!({"type": "string", "x-mcp-header": "line\r\nfeed"})),
        property(json!({"type": "string", "x-mcp-header": 7})),
        property(json!({"type": "number", "x-mcp-header": "P"})),
        property(json!({"type": "object", "x-mcp-header": "P"})),
        property(json!({"type": "array", "items": {"type": "string", "x-mcp-header": "P"}})),
        json!({"type": "object", "properties": {
            "a": {"type": "string", "x-mcp-header": "Same"}, "b": {"type": "string", "x-mcp-header": "SAME"}}}),
        json!({"type": "object", "anyOf": [{"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}]}),
    ];
    let mut tools = vec![json!({"name": "plain", "inputSchema": {"type": "object"}})];
    for (n, schema) in invalid.iter().enumerate() {
        tools.push(json!({"name": format!("bad {n}"), "inputSchema": schema}));
    }
    tools.push(
        json!({"name": "good", "inputSchema": property(json!({"type": "string", "x-mcp-header": "P"}))}),
    );
    let listed = json!(tools);
    let (requests, _) = play_http(MODERN, with_tools(listed.clone()), auto(), |client, _| {
        let names: Vec<String> = client.list_tools().unwrap().into_iter().map(|tool| tool.name).collect();
        assert_eq!(names, ["plain", "good"]);
        let excluded = client.as_async().excluded_tools();
        assert_eq!(excluded.len(), invalid.len(), "{excluded:?}");
        assert!(excluded.iter().all(|(name, why)| name.starts_with("bad ") && !why.is_empty()));
        client.call_tool("good", &json!({"message": "m", "p": "v"})).unwrap();
        client.call_tool("plain", &json!({"message": "m", "p": "v"})).unwrap();
    });
    let calls = with(&requests, "tools/call");
    assert_eq!(params(calls[0]), [("p".to_owned(), "v".to_owned())]);
    assert_eq!(params(calls[1]), []);
    // On streams nothing is mirrored, and nothing is left out.
    play_on(
        Way::Lines,
        MODERN,
        auto(),
        move |message| {
            (message["method"] == "tools/list").then(|| vec![answer(message, &json!({"tools": listed}))])
        },
        |client, _| assert_eq!(client.list_tools().unwrap().len(), 11),
    );
}
