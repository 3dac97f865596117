//! The protocol's requests in typed form, and what servers ask of the client, in both eras: against servers that play a script
//! and keep every line.

use std::sync::mpsc;

use serde_json::{Value, json};
use volley::{
    Config, ConfigBuilder, Era, ErrorKind, Fate, Revision, ToolCall,
    blocking::Client,
    mcp::{
        CacheScope, CompletionRequest, CreateMessageResult, ElicitResult, LogLevel, LogMessage, Page,
        Reference, Resource, Root,
    },
};
use volley_tests::{
    record::Record,
    scripted_server::{Peer, ScriptedServer, discovered, initialized},
};

/// The two eras, by the newest revision of each.
pub(crate) const ERAS: [Revision; 2] = [Revision::V2025_11_25, Revision::V2026_07_28];

/// Plays a server of one revision that answers each request as `answer` says, lets the act happen, and gives all lines.
pub(crate) fn play(
    revision: Revision,
    config: ConfigBuilder,
    answer: impl Fn(&mut Peer, &Value) + Send + Sync + 'static,
    act: impl FnOnce(&Client),
) -> Record {
    let server = ScriptedServer::start(move |peer| {
        open(peer, revision);
        while let Some(message) = peer.read() {
            if message.get("method").is_some() && message.get("id").is_some() {
                answer(peer, &message);
            }
        }
    });
    let client = Client::connect(server.endpoint(), config.build().unwrap()).unwrap();
    act(&client);
    client.close();
    server.finish()
}

/// Opens as a server whose tools can be called as tasks.
fn open(peer: &mut Peer, revision: Revision) {
    let capabilities = json!({"tools": {}, "tasks": {"requests": {"tools": {"call": {}}}}});
    let mut first = peer.read().expect("an opening request");
    if revision.era() == Era::Modern {
        let mut result = discovered(&[revision.as_str()]);
        result["capabilities"] = capabilities;
        return peer.result(&first, &result);
    }
    if first["method"] == "server/discover" {
        peer.error(&first, -32601, &Value::Null);
        first = peer.read().expect("a second opening request");
    }
    let mut result = initialized(revision.as_str());
    result["capabilities"] = capabilities;
    peer.result(&first, &result);
    let next = peer.read().expect("a notification");
    assert_eq!(next["method"], "notifications/initialized");
}

/// The params without what the engine writes.
pub(crate) fn own(message: &Value) -> Value {
    let mut params = message["params"].clone();
    if let Some(meta) = params.get_mut("_meta").and_then(Value::as_object_mut) {
        meta.retain(|name, _| {
            name == LogLevel::META || !name.starts_with("io.modelcontextprotocol/") && name != "progressToken"
        });
        if meta.is_empty() {
            params.as_object_mut().unwrap().remove("_meta");
        }
    }
    params
}

/// What the client declared, in whichever way its era has.
fn declared(record: &Record) -> Vec<Value> {
    let lines = record.lines().iter().filter(|line| line.is_request());
    let said = lines.filter_map(|line| match line.method() {
        "initialize" => Some(line.message["params"]["capabilities"].clone()),
        _ => Some(line.meta("clientCapabilities").clone()).filter(Value::is_object),
    });
    said.collect()
}

#[test]
fn lists_of_all_kinds_go_over_their_pages() {
    for revision in ERAS {
        let record = play(
            revision,
            Config::builder(),
            |peer, request| {
                let (member, item) = match request["method"].as_str().unwrap() {
                    "resources/list" => ("resources", json!({"uri": "file:///x", "name": "x", "new": 1})),
                    "resources/templates/list" => {
                        ("resourceTemplates", json!({"uriTemplate": "file:///{x}", "name": "x"}))
                    }
                    _ => ("prompts", json!({"name": "x", "arguments": [{"name": "a", "required": true}]})),
                };
                let page = match request["params"].get("cursor").map(|cursor| cursor.as_str().unwrap()) {
                    None => json!({member: [item], "nextCursor": "", "ttlMs": 9000, "cacheScope": "public"}),
                    Some("") => {
                        json!({member: [], "nextCursor": "\u{0} \"", "ttlMs": 50, "cacheScope": "private"})
                    }
                    Some(_) => {
                        json!({member: [item, item], "nextCursor": null, "ttlMs": 70, "cacheScope": "public"})
                    }
                };
                peer.result(request, &page);
            },
            |client| {
                let resources = client.list_resources().unwrap();
                assert_eq!(resources.len(), 3);
                assert!(
                    resources.iter().all(|resource| resource.uri == "file:///x" && resource.rest["new"] == 1)
                );
                assert_eq!(
                    (resources.cache.ttl.as_millis(), &resources.cache.scope),
                    (50, &CacheScope::Private)
                );
                assert_eq!(client.list_resource_templates().unwrap()[2].uri_template, "file:///{x}");
                let prompts = client.list_prompts().unwrap();
                assert_eq!(prompts.into_iter().filter(|prompt| prompt.arguments.is_some()).count(), 3);
                let page: Page<Resource> = client.list_page(Some("")).unwrap();
                assert_eq!((page.items.len(), page.next_cursor.as_deref()), (0, Some("\u{0} \"")));
            },
        );
        for method in ["resources/list", "resources/templates/list", "prompts/list"] {
            let asked: Vec<_> = record.with(method).into_iter().take(3).map(own).collect();
            assert_eq!(asked, [json!({}), json!({"cursor": ""}), json!({"cursor": "\u{0} \""})], "{method}");
        }
    }
}

#[test]
fn lists_that_run_in_a_circle_or_have_another_type_are_errors() {
    for revision in ERAS {
        let record = play(
            revision,
            Config::builder(),
            |peer, request| match request["method"].as_str().unwrap() {
                "resources/list" => peer.result(request, &json!({"resources": [], "nextCursor": "again"})),
                "prompts/list" => peer.result(request, &json!({"prompts": [], "resultType": "hologram"})),
                _ => peer.error(request, -32602, &Value::Null),
            },
            |client| {
                let error = client.list_resources().unwrap_err();
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Protocol, Fate::Answered), "{error}");
                assert_eq!(client.list_prompts().unwrap_err().kind(), ErrorKind::Decode);
                let error = client.list_resource_templates().unwrap_err();
                assert_eq!(error.rpc_error().unwrap().code, -32602);
            },
        );
        assert_eq!(record.with("resources/list").len(), 2, "it stops where the circle closes");
    }
}

#[test]
fn requests_say_what_they_are_told_and_results_come_typed() {
    for revision in ERAS {
        let record = play(
            revision,
            Config::builder(),
            |peer, request| {
                let result = match request["method"].as_str().unwrap() {
                    "resources/read" => {
                        json!({"contents": [{"uri": "u", "text": "t"}, {"uri": "u", "blob": "AAE="}],
                        "ttlMs": 5, "cacheScope": "public"})
                    }
                    "prompts/get" => {
                        json!({"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}]})
                    }
                    "completion/complete" => json!({"completion": {"values": ["rust"], "hasMore": false}}),
                    _ => json!({}),
                };
                peer.result(request, &result);
            },
            |client| {
                let read = client.read_resource("u").unwrap();
                assert_eq!(read.contents[1].bytes().unwrap(), [0, 1]);
                assert_eq!(read.cache_hints().ttl.as_millis(), 5);
                let prompt = client.get_prompt("p", &json!({"a": "b"})).unwrap();
                assert_eq!(prompt.messages[0].content.as_text(), Some("hi"));
                client.get_prompt("p", &Value::Null).unwrap();
                assert_eq!(client.get_prompt("p", &7).unwrap_err().kind(), ErrorKind::InvalidInput);
                let request = CompletionRequest::new(Reference::prompt("p"), "a", "ru").knowing("b", "c");
                assert_eq!(client.complete(&request).unwrap().completion.values, ["rust"]);
                client.subscribe("u").unwrap();
                client.unsubscribe("u").unwrap();
                client.set_log_level(LogLevel::Warning).unwrap();
            },
        );
        let said = |method: &str| record.with(method).into_iter().map(own).collect::<Vec<_>>();
        assert_eq!(said("resources/read"), [json!({"uri": "u"})]);
        assert_eq!(
            said("prompts/get"),
            [json!({"name": "p", "arguments": {"a": "b"}}), json!({"name": "p"})]
        );
        let completion = json!({"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "ru"},
            "context": {"arguments": {"b": "c"}}});
        assert_eq!(said("completion/complete"), [completion]);
        assert_eq!(said("resources/subscribe"), [json!({"uri": "u"})]);
        assert_eq!(said("resources/unsubscribe"), [json!({"uri": "u"})]);
        assert_eq!(said("logging/setLevel"), [json!({"level": "warning"})]);
    }
}

#[test]
fn a_calls_own_meta_goes_with_it_wherever_it_goes() {
    let call = |n: u64| {
        let call = ToolCall::new("echo", &json!({"message": n.to_string()})).unwrap();
        let call =
            call.with_meta("traceparent", "00-a-b-01").unwrap().with_meta(LogLevel::META, "debug").unwrap();
        call.with_meta("traceparent", format!("00-a-{n}-01")).unwrap()
    };
    for revision in ERAS {
        let record = play(
            revision,
            Config::builder(),
            |peer, request| {
                let message = json!({"level": "debug", "data": {"n": 1}, "logger": "l"});
                peer.send(&json!({"jsonrpc": "2.0", "method": LogMessage::METHOD, "params": message}));
                peer.echo(request);
            },
            |client| {
                let mut notifications = client.as_async().notifications();
                assert_eq!(client.call(call(0)).unwrap().text(), "0");
                assert_eq!(client.call(call(1).with_progress()).unwrap().text(), "1");
                assert_eq!(client.bulk((2..50).map(call)).filter(|(_, outcome)| outcome.is_ok()).count(), 48);
                let volley::Inbound::Notification(first) = pollster::block_on(notifications.next()).unwrap()
                else {
                    panic!("a notification")
                };
                let message: LogMessage = first.params().unwrap();
                assert_eq!((message.level, message.data), (LogLevel::Debug, json!({"n": 1})));
            },
        );
        for call in record.with("tools/call") {
            let n = call["params"]["arguments"]["message"].as_str().unwrap();
            let meta = json!({"traceparent": format!("00-a-{n}-01"), LogLevel::META: "debug"});
            assert_eq!(own(call)["_meta"], meta);
            assert_eq!(call["params"]["_meta"].get("progressToken").is_some(), n == "1");
        }
    }
}

#[test]
fn nothing_is_declared_unless_a_handler_declares_it() {
    for revision in ERAS {
        for (config, expected) in [
            (Config::builder(), json!({})),
            (Config::builder().on_request(|_| Ok(json!({}))), json!({})),
            (Config::builder().roots(Vec::new()), json!({"roots": {}})),
            (
                Config::builder().on_url_elicitation(|_| Ok(ElicitResult::agree())),
                json!({"elicitation": {"url": {}}}),
            ),
            (
                Config::builder()
                    .on_elicitation(|_| Ok(ElicitResult::decline()))
                    .on_sampling(|_| Ok(CreateMessageResult::text("m", "t")))
                    .capabilities(json!({"sampling": {"tools": {}}, "experimental": {"a/b": {"c": 1}}})),
                json!({"elicitation": {}, "sampling": {"tools": {}}, "experimental": {"a/b": {"c": 1}}}),
            ),
        ] {
            let record = play(
                revision,
                config,
                |peer, call| peer.echo(call),
                |client| {
                    client.call_tool("echo", &json!({"message": "m"})).unwrap();
                },
            );
            let declared = declared(&record);
            assert!(!declared.is_empty() && declared.iter().all(|said| *said == expected), "{declared:?}");
        }
    }
}

/// Has a legacy server ask all this before it answers the first call, and gives the client's answers.
fn asked(config: ConfigBuilder, questions: Vec<(&'static str, Value)>) -> Vec<Value> {
    let (tell, told) = mpsc::channel();
    play(
        Revision::V2025_11_25,
        config,
        move |peer, call| {
            for (n, (method, params)) in questions.iter().enumerate() {
                peer.send(
                    &json!({"jsonrpc": "2.0", "id": format!("q{n}"), "method": method, "params": params}),
                );
                let answer = peer.read().expect("an answer");
                assert_eq!(answer["id"], format!("q{n}"));
                tell.send(answer).expect("somebody listens");
            }
            peer.echo(call);
        },
        |client| {
            client.call_tool("echo", &json!({"message": "m"})).unwrap();
        },
    );
    told.into_iter().collect()
}

#[test]
fn a_legacy_server_is_answered_by_the_typed_handlers() {
    let config = Config::builder()
        .roots(vec![Root::new("file:///a").named("a")])
        .on_sampling(|request| {
            let said = request.messages[0].content.as_slice()[0].as_text().unwrap_or_default().to_owned();
            match said.as_str() {
                "no" => {
                    Err(volley::RpcError { code: -1, message: "the user said no".to_owned(), data: None })
                }
                _ => Ok(CreateMessageResult::text("m", format!("{said}, {}", request.max_tokens))),
            }
        })
        .on_elicitation(|form| {
            assert_eq!(form.requested_schema["type"], "object");
            Ok(match form.message.as_str() {
                "accept" => ElicitResult::accept(&json!({"name": "Ada"})),
                "decline" => ElicitResult::decline(),
                other => panic!("{other}"),
            })
        });
    let sampling = |text: &str| {
        let content = json!({"type": "text", "text": text});
        (
            "sampling/createMessage",
            json!({"messages": [{"role": "user", "content": content}], "maxTokens": 7}),
        )
    };
    let form = |message: &str, mode: Option<&str>| {
        let schema = json!({"type": "object", "properties": {
            "name": {"type": "string", "default": "nobody"}, "age": {"type": "integer", "default": 36}}});
        let mut params = json!({"message": message, "requestedSchema": schema});
        if let Some(mode) = mode {
            params["mode"] = json!(mode);
        }
        ("elicitation/create", params)
    };
    let url = (
        "elicitation/create",
        json!({"mode": "url", "message": "m", "url": "https://x", "elicitationId": "e"}),
    );
    let answers = asked(
        config,
        vec![
            ("roots/list", json!({})),
            sampling("hello"),
            sampling("no"),
            form("accept", None),
            form("accept", Some("form")),
            form("decline", None),
            form("what a panic", None),
            form("m", Some("smell")),
            url.clone(),
            ("sampling/createMessage", json!({"messages": "none"})),
            ("tasks/get", json!({"taskId": "t"})),
        ],
    );
    assert_eq!(answers[0]["result"], json!({"roots": [{"uri": "file:///a", "name": "a"}]}));
    assert_eq!(answers[1]["result"]["content"]["text"], "hello, 7");
    assert_eq!(answers[2]["error"], json!({"code": -1, "message": "the user said no"}));
    let accepted = json!({"action": "accept", "content": {"name": "Ada", "age": 36}});
    assert_eq!((&answers[3]["result"], &answers[4]["result"]), (&accepted, &accepted));
    assert_eq!(answers[5]["result"], json!({"action": "decline"}));
    let codes: Vec<_> = answers[6..].iter().map(|answer| answer["error"]["code"].as_i64().unwrap()).collect();
    assert_eq!(codes, [-32603, -32602, -32602, -32602, -32601]);
    // Declared, the address comes to its handler; what it holds besides stays out of the answer.
    let config = Config::builder().on_url_elicitation(|url| {
        assert_eq!((url.url.as_str(), url.elicitation_id.as_deref()), ("https://x", Some("e")));
        Ok(ElicitResult::accept(&json!({"a": 1})))
    });
    let answers = asked(config, vec![url, form("accept", None)]);
    assert_eq!(answers[0]["result"], json!({"action": "accept"}));
    assert_eq!(answers[1]["error"]["code"], -32602, "forms are not declared");
}
