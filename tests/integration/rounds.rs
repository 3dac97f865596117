//! Calls over several rounds (2026-07-28): what the server asks for is answered by the handlers, and the same is asked again.

use std::{
    sync::{Mutex, mpsc},
    time::Duration,
};

use serde_json::{Value, json};
use volley::{
    Config, ConfigBuilder, ErrorKind, Fate, Revision, ToolCall,
    mcp::{CreateMessageResult, ElicitResult, Root},
};
use volley_tests::record::Record;

use crate::protocol::{ERAS, own, play};

const MODERN: Revision = Revision::V2026_07_28;

fn handlers() -> ConfigBuilder {
    Config::builder()
        .roots(vec![Root::new("file:///a")])
        .on_sampling(|_| Ok(CreateMessageResult::text("m", "t")))
        .on_elicitation(|_| Ok(ElicitResult::accept(&json!({"name": "Ada"}))))
}

fn form() -> Value {
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer", "default": 36}}});
    json!({"method": "elicitation/create", "params": {"message": "m", "requestedSchema": schema}})
}

fn sampling() -> Value {
    json!({"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}})
}

fn required(requests: Value) -> Value {
    json!({"resultType": "input_required", "inputRequests": requests})
}

fn done() -> Value {
    json!({"resultType": "complete", "content": [{"type": "text", "text": "done"}]})
}

/// A call of `converse` against a server that always answers this; the error and what was written.
fn fails(config: ConfigBuilder, answer: Value) -> (volley::Error, Record) {
    let mut failed = None;
    let record = play(
        MODERN,
        config,
        move |peer, request| peer.result(request, &answer),
        |client| failed = client.converse(ToolCall::raw("t", "{}").unwrap()).err(),
    );
    (failed.expect("it fails"), record)
}

/// States as JSON texts: they go back as they came, whatever they look like.
const STATES: [&str; 5] = [r#""""#, r#"" ""#, r#""{\"a\": 1}""#, r#""\u0000\t\\\/ü""#, r#""eyJhIjoxfQ==""#];

#[test]
fn the_same_is_asked_again_with_the_answers_and_the_state() {
    for state in STATES {
        let record = play(
            MODERN,
            handlers(),
            move |peer, request| {
                let params = &request["params"];
                if params["name"] == "other" {
                    return peer.result(request, &done());
                }
                match (params.get("inputResponses"), params.get("requestState")) {
                    (None, None) => {
                        let requests = json!({"a": form(), "b": sampling(), "c": {"method": "roots/list"}});
                        let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":", request["id"]);
                        let result = format!(
                            "{{\"resultType\":\"input_required\",\"inputRequests\":{requests},\"requestState\":{state}}}}}\n"
                        );
                        peer.say(head + &result);
                    }
                    // Now only a state, so nothing but that comes back.
                    (Some(_), Some(_)) => {
                        peer.result(
                            request,
                            &json!({"resultType": "input_required", "requestState": "second"}),
                        );
                    }
                    (None, Some(_)) => {
                        peer.result(request, &required(json!({"z": {"method": "roots/list", "params": {}}})))
                    }
                    (Some(_), None) => peer.result(request, &done()),
                }
            },
            |client| {
                let arguments = json!({"n": 1.5, "text": "\"}{", "deep": [{}]});
                let call =
                    ToolCall::new("t", &arguments).unwrap().with_meta("traceparent", "00-a-b-01").unwrap();
                assert_eq!(client.converse(call.with_progress()).unwrap().text(), "done");
                assert_eq!(client.call_tool("other", &json!({})).unwrap().text(), "done");
            },
        );
        let calls = record.with("tools/call");
        let rounds: Vec<Value> = calls.iter().map(|call| own(call)).collect();
        let state: Value = serde_json::from_str(state).unwrap();
        let more = [
            json!({}),
            json!({"requestState": state, "inputResponses": {
                "a": {"action": "accept", "content": {"name": "Ada", "age": 36}},
                "b": {"role": "assistant", "content": {"type": "text", "text": "t"}, "model": "m"},
                "c": {"roots": [{"uri": "file:///a"}]},
            }}),
            json!({"requestState": "second"}),
            json!({"inputResponses": {"z": {"roots": [{"uri": "file:///a"}]}}}),
        ];
        for (round, more) in rounds.iter().zip(&more) {
            let mut expected = rounds[0].clone();
            expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(*round, expected);
        }
        // The record's own check has seen that no id came twice.
        assert_eq!(rounds.len(), 5);
        assert_eq!(rounds[4], json!({"name": "other", "arguments": {}}), "nothing leaks into another call");
        assert!(calls[..4].iter().all(|call| call["params"]["_meta"]["progressToken"] == call["id"]));
    }
}

#[test]
fn conversations_side_by_side_keep_their_answers_and_states_apart() {
    const AT_ONCE: usize = 8;
    let config =
        Config::builder().on_elicitation(|form| Ok(ElicitResult::accept(&json!({"told": form.message}))));
    let record = play(
        MODERN,
        config,
        |peer, request| {
            let name = &request["params"]["name"];
            let mut asked = form();
            asked["params"]["message"] = name.clone();
            let mut answer = required(json!({name.as_str().unwrap(): asked}));
            answer["requestState"] = name.clone();
            let again = request["params"].get("requestState").is_some();
            peer.result(request, &if again { done() } else { answer });
        },
        |client| {
            std::thread::scope(|scope| {
                for n in 0..AT_ONCE {
                    scope.spawn(move || {
                        for round in 0..3 {
                            let call = ToolCall::raw(&format!("{n}-{round}"), "{}").unwrap();
                            assert_eq!(client.converse(call).unwrap().text(), "done");
                        }
                    });
                }
            });
        },
    );
    let calls = record.with("tools/call");
    let again: Vec<Value> =
        calls.iter().map(|call| own(call)).filter(|params| params.get("requestState").is_some()).collect();
    assert_eq!((calls.len(), again.len()), (AT_ONCE * 6, AT_ONCE * 3));
    for params in again {
        let name = params["name"].as_str().unwrap();
        let expected = json!({"name": name, "arguments": {}, "requestState": name, "inputResponses": {
            name: {"action": "accept", "content": {"told": name, "age": 36}}}});
        assert_eq!(params, expected);
    }
}

#[test]
fn prompts_and_resources_take_rounds_too_and_nothing_else_does() {
    let record = play(
        MODERN,
        handlers(),
        |peer, request| {
            let asked = required(json!({"k": form()}));
            let answered = request["params"].get("inputResponses").is_some();
            peer.result(request, &if answered { json!({"messages": [], "contents": []}) } else { asked });
        },
        |client| {
            assert_eq!(client.get_prompt("p", &json!({"a": "b"})).unwrap().messages, []);
            assert_eq!(client.read_resource("u").unwrap().contents, []);
            assert_eq!(client.list_tools().unwrap_err().kind(), ErrorKind::Decode);
            assert_eq!(client.call_tool("t", &json!({})).unwrap_err().kind(), ErrorKind::Decode);
        },
    );
    assert_eq!(
        [2, 2, 1, 1],
        ["prompts/get", "resources/read", "tools/list", "tools/call"].map(|m| record.with(m).len())
    );
}

#[test]
fn a_server_that_never_asks_notices_no_difference() {
    for revision in ERAS {
        let record = play(
            revision,
            handlers(),
            |peer, call| peer.echo(call),
            |client| {
                let call = ToolCall::new("echo", &json!({"message": "m"})).unwrap();
                assert_eq!(client.converse(call).unwrap().text(), "m");
            },
        );
        assert_eq!(record.with("tools/call").len(), 1);
    }
}

#[test]
fn what_was_not_declared_is_not_answered_and_fails_the_call() {
    let url = json!({"method": "elicitation/create", "params": {"mode": "url", "message": "m", "url": "https://x"}});
    for (config, request) in [
        (Config::builder(), form()),
        (Config::builder().on_request(|_| panic!("not declared")), sampling()),
        (handlers(), url),
        (handlers(), json!({"method": "tools/call", "params": {}})),
        (Config::builder().roots(Vec::new()), sampling()),
    ] {
        let (error, record) = fails(config, required(json!({"k": request, "ok": {"method": "roots/list"}})));
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Protocol, Fate::Answered), "{error}");
        assert_eq!(record.with("tools/call").len(), 1, "there is no second round");
    }
}

#[test]
fn rounds_are_bounded_and_a_round_has_a_reason() {
    for rounds in [0, 1, 5] {
        let endless = required(json!({"k": {"method": "roots/list"}}));
        let (error, record) = fails(handlers().input_rounds_max(rounds), endless);
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert_eq!(record.with("tools/call").len(), rounds as usize + 1);
    }
    let (error, _) = fails(handlers(), json!({"resultType": "input_required"}));
    assert_eq!(error.kind(), ErrorKind::Protocol, "neither requests nor a state");
    for broken in
        [json!({"inputRequests": []}), json!({"requestState": 7}), json!({"inputRequests": {"k": 1}})]
    {
        let mut answer = broken;
        answer["resultType"] = json!("input_required");
        assert_eq!(fails(handlers(), answer).0.kind(), ErrorKind::Decode);
    }
    for unknown in ["hologram", "task", ""] {
        let (error, record) =
            fails(handlers(), json!({"resultType": unknown, "taskId": "t", "status": "working"}));
        assert_eq!(error.kind(), ErrorKind::Decode, "{unknown}");
        assert_eq!(record.with("tools/call").len(), 1);
    }
}

#[test]
fn a_state_that_cannot_be_kept_as_it_is_fails_the_call() {
    // Half of a pair of surrogates is valid JSON and no text; to send anything else back would be worse than to fail.
    let record = play(
        MODERN,
        handlers(),
        |peer, request| {
            let id = &request["id"];
            peer.say(format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"resultType\":\"input_required\",\"requestState\":\"\\ud800\"}}}}\n"
            ));
        },
        |client| {
            let error = client.converse(ToolCall::raw("t", "{}").unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
        },
    );
    assert_eq!(record.with("tools/call").len(), 1);
}

#[test]
fn a_handler_that_refuses_or_fails_ends_its_own_call_only() {
    let refusing = Config::builder().on_sampling(|request| {
        assert_eq!(request.max_tokens.as_u64(), Some(1), "a handler that panics has failed");
        Err(volley::RpcError { code: -1, message: "no".to_owned(), data: None })
    });
    let (error, _) = fails(refusing.clone(), required(json!({"k": sampling()})));
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Cancelled, Fate::Answered));
    assert!(error.to_string().contains("refused with -1: no"), "{error}");
    let mut other = sampling();
    other["params"]["maxTokens"] = json!(2);
    assert_eq!(fails(refusing, required(json!({"k": other}))).0.kind(), ErrorKind::Cancelled);
}

#[test]
fn one_deadline_covers_all_rounds_and_a_handler_that_blocks() {
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = Mutex::new(blocked);
    let config = Config::builder().on_elicitation(move |_| {
        // Ends when the test does.
        let _ = blocked.lock().unwrap().recv();
        Ok(ElicitResult::decline())
    });
    play(
        MODERN,
        config,
        |peer, request| {
            let answer =
                if request["params"]["name"] == "asks" { required(json!({"k": form()})) } else { done() };
            peer.result(request, &answer);
        },
        |client| {
            let call = ToolCall::raw("asks", "{}").unwrap();
            let error = client.converse(call.timeout_at_most(Duration::from_millis(200))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            // The client goes on while the handler still waits.
            assert_eq!(client.call_tool("plain", &json!({})).unwrap().text(), "done");
        },
    );
    drop(release);
}
