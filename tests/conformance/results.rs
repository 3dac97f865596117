//! Clauses 53, 57, 58 and 60: what a result is, and what stays as it came.

use std::net::TcpListener;

use serde_json::{Value, json};
use volley::{ErrorKind, Fate, Revision};
use volley_tests::scripted_server::Peer;

use crate::play::{ERAS, auto, call, play, text};

/// One call, one answer, and what the caller is told, by a single call and by a bulk job.
fn told(
    revision: Revision,
    answer: impl Fn(&mut Peer, &Value) + Send + Sync + 'static,
    check: impl Fn(Result<volley::ToolResult, volley::Error>),
) {
    play(
        auto(),
        move |peer| {
            peer.open(revision);
            while let Some(call) = peer.read_until("tools/call") {
                answer(peer, &call);
            }
        },
        |client, _| {
            check(client.call(call(1)));
            let (_, outcome) = client.bulk([call(1)]).next().unwrap();
            check(outcome.and_then(|answer| answer.tool_result()));
        },
    );
}

#[test]
fn must_53_a_result_without_a_type_or_of_type_complete_is_complete() {
    for result_type in [None, Some("complete")] {
        told(
            Revision::V2026_07_28,
            move |peer, call| {
                let mut result = json!({"content": [{"type": "text", "text": "done"}]});
                if let Some(result_type) = result_type {
                    result["resultType"] = json!(result_type);
                }
                peer.result(call, &result);
            },
            |outcome| assert_eq!(outcome.unwrap().text(), "done"),
        );
    }
}

#[test]
fn must_53_a_result_of_a_type_nobody_asked_for_is_a_failed_call() {
    for result_type in [json!("task"), json!("input_required"), json!("hologram"), json!(""), json!(7)] {
        let shown = result_type.clone();
        told(
            Revision::V2026_07_28,
            move |peer, call| {
                peer.result(
                    call,
                    &json!({"content": [], "resultType": result_type, "taskId": "t", "inputRequests": {}}),
                )
            },
            |outcome| {
                let error = outcome.expect_err(&format!("{shown}"));
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Decode, Fate::Answered), "{error}");
            },
        );
    }
}

#[test]
fn must_57_a_tools_failure_is_a_result_and_a_protocol_error_an_error() {
    for revision in ERAS {
        told(
            revision,
            |peer, call| {
                peer.result(call, &json!({"content": [{"type": "text", "text": "no"}], "isError": true, "structuredContent": {"error": {"code": 1}}}))
            },
            |outcome| {
                let result = outcome.unwrap();
                assert!(result.is_error && result.text() == "no");
            },
        );
        told(
            revision,
            |peer, call| peer.error(call, -32602, &json!({"result": {"content": [], "isError": true}})),
            |outcome| {
                let error = outcome.unwrap_err();
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Rpc, Fate::Answered));
                let said = error.rpc_error().unwrap();
                assert_eq!((said.code, said.message.as_str()), (-32602, "so says the script"));
                assert_eq!(said.data, Some(json!({"result": {"content": [], "isError": true}})));
            },
        );
    }
}

#[test]
fn must_57_a_response_has_exactly_one_of_result_and_error() {
    for revision in ERAS {
        for members in [
            r#""result":{"content":[]},"error":{"code":-1,"message":"both"}"#,
            r#""error":{"code":-1,"message":"both"},"result":{"content":[]}"#,
            r#""neither":true"#,
        ] {
            told(
                revision,
                move |peer, call| {
                    peer.say(format!("{{\"jsonrpc\":\"2.0\",\"id\":{},{members}}}\n", call["id"]))
                },
                |outcome| {
                    let error = outcome.expect_err(members);
                    assert_eq!(error.fate(), Fate::Answered, "{members}: {error}");
                },
            );
        }
    }
}

#[test]
fn must_58_cursors_go_back_untouched_the_empty_one_goes_on_and_none_ends() {
    let cursors = ["a", "", " ", "\u{1F3D0} \"quoted\\\" \n\u{0}", "eyJwYWdlIjoxfQ==", "null", "0"];
    for revision in ERAS {
        for end in ["absent", "null"] {
            let (record, _) = play(
                auto(),
                move |peer| {
                    peer.open(revision);
                    for n in 0..=cursors.len() {
                        let request = peer.read_until("tools/list").expect("a request for a page");
                        let mut page = json!({"tools": [{"name": format!("tool {n}"), "inputSchema": {}}]});
                        match cursors.get(n) {
                            Some(next) => page["nextCursor"] = json!(next),
                            None if end == "null" => page["nextCursor"] = Value::Null,
                            None => {}
                        }
                        peer.result(&request, &page);
                    }
                    peer.read_rest();
                },
                |client, _| {
                    let tools = client.list_tools().unwrap();
                    let names: Vec<_> = tools.iter().map(|tool| tool.name.clone()).collect();
                    assert_eq!(names, (0..=cursors.len()).map(|n| format!("tool {n}")).collect::<Vec<_>>());
                },
            );
            let requests = record.with("tools/list");
            assert_eq!(requests.len(), cursors.len() + 1);
            assert_eq!(requests[0]["params"].get("cursor"), None, "the first page has no cursor");
            for (request, cursor) in requests[1..].iter().zip(cursors) {
                assert_eq!(request["params"]["cursor"], cursor);
            }
        }
    }
}

#[test]
fn must_60_schemas_stay_as_they_came_and_no_reference_is_fetched() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let address = elsewhere.local_addr().unwrap();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "a": {"$ref": format!("http://{address}/schema.json#/$defs/a"), "x-mcp-header": "not a token!"},
            "\u{1F3D0}": {"type": ["string", "null"], "pattern": "^\\d+\\\"$", "default": null},
            "n": {"minimum": i64::MIN, "maximum": u64::MAX, "multipleOf": 0.1, "exclusiveMaximum": 1e300},
            "deep": {"anyOf": [{"items": {"items": {"items": [true, false, {}]}}}]},
        },
        "additionalProperties": false,
    });
    for revision in ERAS {
        let sent = schema.clone();
        play(
            auto(),
            move |peer| {
                peer.open(revision);
                let request = peer.read_until("tools/list").expect("a request");
                let tool = json!({"name": "t", "title": "T", "description": "d", "inputSchema": sent, "outputSchema": sent,
                    "annotations": {"readOnlyHint": true}, "icons": [{"src": format!("http://{address}/icon")}], "_meta": {"a/b": 1}});
                peer.result(&request, &json!({"tools": [tool]}));
                peer.echo_rest();
            },
            |client, _| {
                let tools = client.list_tools().unwrap();
                assert_eq!(tools[0].input_schema, schema);
                assert_eq!(tools[0].output_schema, Some(schema.clone()));
                assert_eq!(tools[0].annotations, Some(json!({"readOnlyHint": true})));
                assert_eq!(tools[0].rest["_meta"], json!({"a/b": 1}));
                assert!(tools[0].rest.contains_key("icons"));
                assert_eq!(client.call(call(1)).unwrap().text(), text(1));
            },
        );
    }
    let fetched = elsewhere.accept();
    assert!(fetched.is_err(), "somebody came: {fetched:?}");
}
