//! Clauses 53 to 60 on every way: what a result is, calls over several rounds, lists, and schemas.

use std::net::TcpListener;

use parking_lot::Mutex;
use serde_json::{Value, json};
use volley::{
    ErrorKind, Fate, Revision, ToolCall,
    mcp::{ElicitResult, Root},
};

use crate::{
    play::{auto, call, text},
    ways::{Way, answer, error, in_both_eras, play_on},
};

const MODERN: Revision = Revision::V2026_07_28;

#[test]
fn must_53_result_types_mean_the_same_on_every_way() {
    let types = [
        (Value::Null, true),
        (json!("complete"), true),
        (json!("task"), false),
        (json!("input_required"), false),
        (json!("hologram"), false),
        (json!(7), false),
    ];
    for way in Way::of(MODERN) {
        let said = types.clone();
        let says = move |message: &Value| {
            let n: usize = message["params"]["arguments"]["n"].as_u64()?.try_into().ok()?;
            let mut result =
                json!({"content": [{"type": "text", "text": "done"}], "taskId": "t", "inputRequests": {}});
            if !said[n].0.is_null() {
                result["resultType"] = said[n].0.clone();
            }
            Some(vec![answer(message, &result)])
        };
        play_on(way, MODERN, auto(), says, |client, _| {
            for (n, (shown, is_complete)) in types.iter().enumerate() {
                let outcome = client.call_tool("t", &json!({"n": n}));
                if *is_complete {
                    assert_eq!(outcome.unwrap().text(), "done", "{way:?}");
                } else {
                    let error = outcome.expect_err(&shown.to_string());
                    assert_eq!((error.kind(), error.fate()), (ErrorKind::Decode, Fate::Answered), "{way:?}");
                }
            }
        });
    }
}

/// States as JSON texts: they go back as they came.
const STATES: [&str; 4] = [r#""""#, r#"" {\"a\": 1} ""#, r#""\u0000\t\\\/ü""#, r#""eyJhIjoxfQ==""#];

fn form() -> Value {
    json!({"method": "elicitation/create", "params": {"message": "m", "requestedSchema": {"type": "object", "properties": {}}}})
}

/// A server that asks for input first, with such a state or none, and then is content.
fn asks(state: Option<&'static str>) -> impl Fn(&Value) -> Option<Vec<String>> + Send + Sync + 'static {
    move |message| {
        let params = &message["params"];
        if message["method"] != "tools/call"
            || params["name"] != "asks"
            || params.get("inputResponses").is_some()
        {
            return None;
        }
        let state = state.map(|state| format!(r#","requestState":{state}"#)).unwrap_or_default();
        let requests = json!({"k-1": form(), "k 2": {"method": "roots/list", "params": {}}});
        Some(vec![format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"input_required","inputRequests":{requests}{state}}}}}"#,
            message["id"]
        )])
    }
}

#[test]
fn must_54_a_call_that_wants_input_is_made_again_with_the_answers_and_the_state() {
    for way in Way::of(MODERN) {
        for state in STATES.into_iter().map(Some).chain([None]) {
            let config = auto()
                .roots(vec![Root::new("file:///a")])
                .on_elicitation(|_| Ok(ElicitResult::accept(&json!({"name": "Ada"}))));
            let (said, _) = play_on(way, MODERN, config, asks(state), |client, _| {
                let call = ToolCall::new("asks", &json!({"message": "m"})).unwrap();
                assert_eq!(client.converse(call).unwrap().text(), "m");
            });
            let calls = said.with("tools/call");
            assert_eq!(calls.len(), 2, "{way:?}");
            assert_ne!(calls[0]["id"], calls[1]["id"]);
            let mut expected = calls[0]["params"].clone();
            expected["inputResponses"] = json!({
                "k-1": {"action": "accept", "content": {"name": "Ada"}},
                "k 2": {"roots": [{"uri": "file:///a"}]},
            });
            if let Some(state) = state {
                expected["requestState"] = serde_json::from_str(state).unwrap();
            }
            assert_eq!(calls[1]["params"], expected, "{way:?}: {state:?}");
        }
    }
}

#[test]
fn must_55_answers_and_states_are_on_their_own_retry_and_nowhere_else() {
    for way in Way::of(MODERN) {
        let config = auto().roots(vec![]).on_elicitation(|_| Ok(ElicitResult::decline()));
        let (said, _) = play_on(way, MODERN, config, asks(Some(r#""own""#)), |client, _| {
            std::thread::scope(|scope| {
                for n in 0..4 {
                    scope.spawn(move || {
                        let one = ToolCall::new("asks", &json!({"message": text(n)})).unwrap();
                        assert_eq!(client.converse(one).unwrap().text(), text(n));
                        assert_eq!(client.call(call(n)).unwrap().text(), text(n));
                    });
                }
            });
            client.list_tools().unwrap();
        });
        for message in &said.messages {
            let params = &message["params"];
            let is_retry = params.get("inputResponses").is_some();
            assert_eq!(is_retry, params.get("requestState").is_some(), "{way:?}: {message}");
            assert!(!is_retry || params["name"] == "asks", "{way:?}: {message}");
        }
        assert_eq!((said.with("tools/call").len(), said.responses().len()), (12, 0), "{way:?}");
    }
}

#[test]
fn must_56_input_that_was_not_declared_fails_the_call_unanswered() {
    for way in Way::of(MODERN) {
        // One of the two kinds is declared; the other is asked for as well.
        let config = auto().roots(vec![]);
        let (said, _) = play_on(way, MODERN, config, asks(Some(r#""s""#)), |client, _| {
            let error = client.converse(ToolCall::raw("asks", "{}").unwrap()).unwrap_err();
            assert_eq!(
                (error.kind(), error.fate()),
                (ErrorKind::Protocol, Fate::Answered),
                "{way:?}: {error}"
            );
            assert_eq!(client.call(call(1)).unwrap().text(), text(1));
        });
        assert_eq!(said.with("tools/call").len(), 2, "{way:?}");
    }
}

#[test]
fn must_57_tool_failures_and_protocol_errors_stay_apart_on_every_way() {
    in_both_eras(|way, revision| {
        let says = |message: &Value| match message["params"]["name"].as_str()? {
            "fails" => {
                let content = json!([{"type": "text", "text": "no"}]);
                Some(vec![answer(
                    message,
                    &json!({"content": content, "isError": true, "structuredContent": {"error": {"code": 1}}}),
                )])
            }
            "missing" => Some(vec![error(message, -32602)]),
            _ => None,
        };
        let (_, stats) = play_on(way, revision, auto(), says, |client, _| {
            let failed = client.call_tool("fails", &json!({})).unwrap();
            assert!(failed.is_error && failed.text() == "no", "{way:?}");
            let missing = client.call_tool("missing", &json!({})).unwrap_err();
            assert_eq!((missing.kind(), missing.fate()), (ErrorKind::Rpc, Fate::Answered), "{way:?}");
        });
        assert_eq!((stats.answered, stats.rpc_errors, stats.failed), (2, 1, 0), "{way:?}: {stats:?}");
    });
}

#[test]
fn must_58_cursors_go_back_untouched_on_every_way() {
    let cursors = ["a", "", " ", "\u{1F3D0} \"quoted\\\" \n\u{0}", "eyJwYWdlIjoxfQ=="];
    in_both_eras(|way, revision| {
        let says = move |message: &Value| {
            // The one after the cursor that it has; the opening over modern HTTP lists as well.
            let next = match message["params"].get("cursor") {
                _ if message["method"] != "prompts/list" => return None,
                None => Some(cursors[0]),
                Some(own) => {
                    let at = cursors.iter().position(|cursor| own == cursor).expect("one of ours");
                    cursors.get(at + 1).copied()
                }
            };
            let mut page = json!({"prompts": [{"name": format!("before {next:?}")}]});
            if let Some(next) = next {
                page["nextCursor"] = json!(next);
            }
            Some(vec![answer(message, &page)])
        };
        let (said, _) = play_on(way, revision, auto(), says, |client, _| {
            assert_eq!(client.list_prompts().unwrap().items.len(), cursors.len() + 1, "{way:?}");
        });
        let sent: Vec<Option<&str>> =
            said.with("prompts/list").iter().map(|request| request["params"]["cursor"].as_str()).collect();
        let expected: Vec<Option<&str>> = [None].into_iter().chain(cursors.map(Some)).collect();
        assert_eq!(sent, expected, "{way:?}");
    });
}

/// The engine hands the hints on and keeps nothing, so nothing can be served to another authorization or for other parameters.
#[test]
fn must_59_no_page_is_served_from_a_cache() {
    for way in Way::of(MODERN) {
        let count = Mutex::new(0);
        let says = move |message: &Value| {
            if !["prompts/list", "resources/read"].contains(&message["method"].as_str()?) {
                return None;
            }
            let mut count = count.lock();
            *count += 1;
            let fresh = json!({"prompts": [{"name": format!("{count}")}], "contents": [{"uri": "u", "text": format!("{count}")}],
                "ttlMs": 3_600_000, "cacheScope": "public"});
            Some(vec![answer(message, &fresh)])
        };
        let (said, _) = play_on(way, MODERN, auto(), says, |client, _| {
            for n in 1..=3 {
                assert_eq!(client.list_prompts().unwrap().items[0].name, n.to_string(), "{way:?}");
            }
            assert_ne!(client.read_resource("u").unwrap(), client.read_resource("u").unwrap(), "{way:?}");
        });
        assert_eq!((said.with("prompts/list").len(), said.with("resources/read").len()), (3, 2));
    }
}

#[test]
fn must_60_schemas_come_unchanged_and_nothing_is_fetched_on_any_way() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let address = elsewhere.local_addr().unwrap();
    let schema = json!({
        "$schema": format!("http://{address}/dialect"),
        "type": "object",
        "properties": {
            "a": {"$ref": format!("http://{address}/schema.json#/$defs/a")},
            "n": {"minimum": i64::MIN, "maximum": u64::MAX, "multipleOf": 0.1},
            "deep": {"anyOf": [{"items": {"items": [true, false, {}]}}]},
        },
    });
    in_both_eras(|way, revision| {
        let sent = schema.clone();
        let says = move |message: &Value| {
            let tool = json!({"name": "echo", "inputSchema": sent, "outputSchema": sent});
            (message["method"] == "tools/list").then(|| vec![answer(message, &json!({"tools": [tool]}))])
        };
        play_on(way, revision, auto(), says, |client, _| {
            let tools = client.list_tools().unwrap();
            assert_eq!((&tools[0].input_schema, &tools[0].output_schema), (&schema, &Some(schema.clone())));
            assert_eq!(client.call(call(1)).unwrap().text(), text(1));
        });
    });
    let fetched = elsewhere.accept();
    assert!(fetched.is_err(), "somebody came: {fetched:?}");
}
