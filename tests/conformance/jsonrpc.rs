//! Clauses 1 to 7: messages, ids, and what is answered.

use std::sync::Mutex;

use serde_json::{Value, json};
use volley::{ErrorKind, Fate, Revision, ToolCall};

use crate::play::{ERAS, all_answered, auto, call, outcomes, play, text};

#[test]
fn must_01_every_message_is_json_rpc_2_and_requests_have_integer_ids() {
    for revision in Revision::all() {
        let (record, _) = play(
            auto().revision(revision),
            move |peer| {
                peer.open(revision);
                while let Some(message) = peer.read() {
                    if message.get("id").is_some() {
                        peer.result(&message, &json!({"content": [], "tools": []}));
                    }
                }
            },
            |client, server| {
                client.call(call(1)).unwrap();
                client.list_tools().unwrap();
                client.request("completion/complete", &json!({"ref": {}})).unwrap();
                client.request("any/thing", &json!(null)).unwrap();
                client.notify("notifications/roots/list_changed", &json!(null)).unwrap();
                server.wait_for(|line| line.method() == "notifications/roots/list_changed");
            },
        );
        // The rest is what the record checks by itself.
        let requests = record.lines().iter().filter(|line| line.is_request()).count();
        assert_eq!(requests, 5, "the opening and four more: {record:#?}");
        assert!(record.responses().is_empty());
    }
}

#[test]
fn must_02_no_id_is_used_twice_even_after_losses_and_reconnects() {
    let (record, stats) = play(
        auto().connections(3).shards(2).in_flight(8),
        |peer| {
            peer.open(Revision::V2025_11_25);
            if peer.number() > 6 {
                return peer.echo_rest();
            }
            for _ in 0..20 {
                let Some(call) = peer.read_until("tools/call") else { return };
                peer.echo(&call);
            }
            peer.hang_up();
        },
        |client, _| {
            let outcomes = outcomes(client, 500);
            assert_eq!(outcomes.len(), 500);
        },
    );
    assert!(record.connections() > 3 && stats.answered > 0, "{stats:?}");
}

#[test]
fn must_03_no_two_requests_share_an_id_across_shards_in_the_modern_era() {
    let (record, _) = play(
        auto().connections(6).shards(3).in_flight(16),
        |peer| {
            // Whichever connection finds out the era, the others begin with calls.
            while let Some(message) = peer.read() {
                match message["method"].as_str() {
                    Some("server/discover") => {
                        peer.result(&message, &volley_tests::scripted_server::discovered(&["2026-07-28"]));
                    }
                    _ => peer.echo(&message),
                }
            }
        },
        |client, _| {
            volley_tests::wait::until_blocking("all are ready", || {
                client.as_async().ready_connections() == 6
            });
            all_answered(client, 3_000);
        },
    );
    assert_eq!(record.connections(), 6, "all were used");
    assert_eq!(record.with("tools/call").len(), 3_000);
}

/// The answer to `call`, written in one of many ways that all mean the same.
pub(crate) fn in_some_shape(call: &Value, n: usize) -> String {
    let (id, said) = (&call["id"], &call["params"]["arguments"]["message"]);
    let other = id.as_u64().unwrap() + 1;
    let result = format!(
        r#"{{"content":[{{"type":"text","text":{said}}}],"structuredContent":{{"id":{other},"error":{{"code":1}}}}}}"#
    );
    match n % 8 {
        0 => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        1 => format!(r#"{{"result":{result},"jsonrpc":"2.0","id":{id}}}"#),
        2 => format!(r#"{{"jsonrpc":"2.0","result":{result},"id":{id}}}"#),
        3 => format!(r#"{{"id":{id},"result":{result},"jsonrpc":"2.0"}}"#),
        4 => format!("{{ \"jsonrpc\" : \"2.0\" ,\t\"id\" : {id} , \"result\" : {result} }}"),
        5 => format!(r#"{{"\u006asonrpc":"2.0","\u0069d":{id},"r\u0065sult":{result}}}"#),
        6 => format!(
            r#"{{"_meta":{{"id":{other},"note":"\"id\":{other}}}"}},"result":{result},"id":{id},"jsonrpc":"2.0"}}"#
        ),
        _ => format!(
            r#"{{"x":["id",{other},{{"id":{other}}}],"jsonrpc":"2.0","id":{id},"y":"}}","result":{result}}}"#
        ),
    }
}

#[test]
fn must_04_answers_match_by_id_in_any_order_and_wherever_the_id_stands() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    for revision in ERAS {
        let rng = Mutex::new(fastrand::Rng::with_seed(seed));
        let (_, stats) = play(
            auto().in_flight(64),
            move |peer| {
                peer.open(revision);
                for _ in 0..40 {
                    let mut calls = peer.read_calls(32);
                    rng.lock().unwrap().shuffle(&mut calls);
                    for (n, call) in calls.iter().enumerate() {
                        peer.say(in_some_shape(call, n) + "\n");
                    }
                }
                peer.read_rest();
            },
            |client, _| all_answered(client, 32 * 40),
        );
        assert_eq!((stats.lenient_ids, stats.unknown, stats.malformed), (0, 0, 0), "{stats:?}");
    }
}

/// The clause asks for the same JSON type. Some servers echo a number as a string or with a fraction; an answer that can only
/// be one call's is given to it and counted. Anything else belongs to nobody.
#[test]
fn must_04_an_id_of_another_type_is_taken_only_if_its_value_is_the_same() {
    for revision in ERAS {
        let (_, stats) = play(
            auto(),
            move |peer| {
                peer.open(revision);
                let asked = peer.read_call();
                let id = asked["id"].as_u64().unwrap();
                for odd in [
                    format!("{id}.5"),
                    format!("-{id}"),
                    format!("[{id}]"),
                    format!(r#"{{"id":{id}}}"#),
                    format!(r#""{id}x""#),
                    format!(r#""0x{id:x}""#),
                    "true".to_owned(),
                    r#""""#.to_owned(),
                    "9007199254740993".to_owned(),
                    "18446744073709551616".to_owned(),
                    "1e400".to_owned(),
                ] {
                    peer.say(format!("{{\"jsonrpc\":\"2.0\",\"id\":{odd},\"result\":{{\"content\":[]}}}}\n"));
                }
                peer.say(in_some_shape(&asked, 0) + "\n");
                let asked = peer.read_call();
                let as_text = json!({"id": asked["id"].to_string()});
                let result = volley_tests::scripted_server::echoed(&asked)["result"].clone();
                peer.result(&as_text, &result);
                peer.read_rest();
            },
            |client, _| {
                assert_eq!(client.call(call(1)).unwrap().text(), text(1));
                assert_eq!(client.call(call(2)).unwrap().text(), text(2));
            },
        );
        assert_eq!(stats.lenient_ids, 1, "{stats:?}");
        assert_eq!(stats.answered, 2, "{stats:?}");
    }
}

#[test]
fn must_05_errors_with_a_null_or_missing_id_complete_no_call() {
    for revision in ERAS {
        let (_, stats) = play(
            auto(),
            move |peer| {
                peer.open(revision);
                for call in peer.read_calls(2) {
                    peer.say("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"not read\"}}\n");
                    peer.say("{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32600,\"message\":\"not read\"}}\n");
                    peer.say("{\"error\":{\"code\":-32600,\"message\":\"not read\"},\"jsonrpc\":\"2.0\",\"id\":null}\n");
                    peer.echo(&call);
                }
                peer.read_rest();
            },
            |client, _| all_answered(client, 2),
        );
        assert_eq!((stats.id_less, stats.rpc_errors), (6, 0), "{stats:?}");
    }
}

#[test]
fn must_06_notifications_are_never_answered_and_unknown_ones_ignored() {
    for revision in ERAS {
        let (record, stats) = play(
            auto(),
            move |peer| {
                peer.open(revision);
                let asked = peer.read_call();
                for (n, method) in
                    ["notifications/tools/list_changed", "notifications/nobody/knows", "ping", ""]
                        .iter()
                        .enumerate()
                {
                    for params in
                        [json!({}), json!({"requestId": n, "progressToken": asked["id"], "progress": n})]
                    {
                        peer.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
                    }
                }
                // Odd ones: nothing but a name, params that are no object, a progress that names nothing.
                peer.say("{\"method\":\"notifications/cancelled\",\"jsonrpc\":\"2.0\"}\n");
                peer.say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":[1]}\n");
                peer.say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":{}}}\n");
                peer.echo(&asked);
                peer.echo_rest();
            },
            |client, _| {
                assert_eq!(client.call(call(1)).unwrap().text(), text(1));
                all_answered(client, 10);
            },
        );
        assert!(record.responses().is_empty(), "{record:#?}");
        assert_eq!(stats.notifications, 11, "{stats:?}");
    }
}

#[test]
fn must_07_a_modern_client_writes_no_response_ever() {
    let (record, stats) = play(
        auto().on_request(|request| panic!("{} came to the handler", request.method())),
        |peer| {
            let opening = peer.read().expect("a request");
            // Before the era is known, and after.
            for id in [json!(1), json!("a"), opening["id"].clone()] {
                peer.send(&json!({"jsonrpc": "2.0", "id": id, "method": "ping"}));
            }
            peer.result(&opening, &volley_tests::scripted_server::discovered(&["2026-07-28"]));
            while let Some(asked) = peer.read_until("tools/call") {
                for method in ["ping", "roots/list", "sampling/createMessage", "elicitation/create"] {
                    peer.send(&json!({"jsonrpc": "2.0", "id": asked["id"], "method": method, "params": {}}));
                }
                peer.echo(&asked);
            }
        },
        |client, _| all_answered(client, 10),
    );
    assert!(record.responses().is_empty(), "{record:#?}");
    assert_eq!(stats.server_requests, 43, "{stats:?}");
}

/// Members of `_meta` come from the engine and from the caller; two of them in one request would mean two things at once.
#[test]
fn must_01_a_request_has_one_meta_and_in_the_modern_era_always() {
    for revision in ERAS {
        let (record, _) = play(
            auto(),
            move |peer| {
                peer.open(revision);
                while let Some(message) = peer.read() {
                    peer.result(&message, &json!({}));
                }
            },
            |client, _| {
                for reserved in ["progressToken", "io.modelcontextprotocol/clientInfo"] {
                    let refused =
                        client.request("some/method", &json!({"_meta": {reserved: 1}})).unwrap_err();
                    assert_eq!((refused.kind(), refused.fate()), (ErrorKind::InvalidInput, Fate::NotSent));
                }
                for params in [json!(null), json!({}), json!({"x": 1}), json!({"x": {}}), json!({"x": "{,"})]
                {
                    client.request("some/method", &params).unwrap();
                }
                for params in [json!({}), json!({"x": {}})] {
                    let mut params = params;
                    params["_meta"] = json!({"traceparent": "00-1-2-01", "a.b/c": {",": ","}});
                    client.request("some/method", &params).unwrap();
                }
            },
        );
        let lines: Vec<_> = record.lines().iter().filter(|line| line.method() == "some/method").collect();
        assert_eq!(lines.len(), 7);
        for (n, line) in lines.into_iter().enumerate() {
            let shown = String::from_utf8_lossy(&line.bytes);
            let once = usize::from(revision == Revision::V2026_07_28 || n >= 5);
            assert_eq!(shown.matches(r#""_meta""#).count(), once, "{shown}");
            if n >= 5 {
                let meta = &line.message["params"]["_meta"];
                assert_eq!((&meta["traceparent"], &meta["a.b/c"]), (&json!("00-1-2-01"), &json!({",": ","})));
            }
        }
    }
}

#[test]
fn must_01_a_call_carries_any_tool_name_and_any_object() {
    let odd = ["", "a b", "quote\"d", "back\\slash", "line\nfeed", "ünï\u{1F3D0}", "\u{0}"];
    for revision in ERAS {
        let (record, _) = play(
            auto(),
            move |peer| {
                peer.open(revision);
                while let Some(message) = peer.read() {
                    peer.result(&message, &json!({"content": []}));
                }
            },
            |client, _| {
                for name in odd {
                    client.call_tool(name, &json!({name: [name, null, 1.5, {"": name}]})).unwrap();
                    client.call(ToolCall::raw(name, "{\r\n\t\"a\": [1,\n2]\n}").unwrap()).unwrap();
                }
                client.call_tool("none", &json!({})).unwrap();
            },
        );
        let calls = record.with("tools/call");
        assert_eq!(calls.len(), 2 * odd.len() + 1);
        for (n, name) in odd.iter().enumerate() {
            let (made, raw) = (&calls[2 * n]["params"], &calls[2 * n + 1]["params"]);
            assert_eq!((&made["name"], &raw["name"]), (&json!(name), &json!(name)));
            assert_eq!(made["arguments"], json!({*name: [name, null, 1.5, {"": name}]}));
            assert_eq!(raw["arguments"], json!({"a": [1, 2]}));
        }
        assert_eq!(calls.last().unwrap()["params"]["arguments"], json!({}));
    }
}
