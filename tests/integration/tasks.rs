//! Tasks in both dialects: the core of 2025-11-25 and the extension of 2026-07-28.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use volley::{
    Config, ConfigBuilder, ErrorKind, Revision, ToolCall,
    mcp::{ElicitResult, Outcome, Task, TaskStatus},
};

use crate::protocol::{ERAS, own, play};

const PATIENT: Duration = Duration::from_secs(20);

fn call() -> ToolCall {
    ToolCall::raw("t", r#"{"a":1}"#).unwrap()
}

fn core_task(status: &str) -> Value {
    json!({"taskId": "t1", "status": status, "createdAt": "c", "lastUpdatedAt": "l", "ttl": null, "pollInterval": 1})
}

fn task(status: &str, more: &Value) -> Value {
    let mut task = json!({"resultType": "complete", "taskId": "t1", "status": status, "createdAt": "c",
        "lastUpdatedAt": "l", "ttlMs": 60000, "pollIntervalMs": 1});
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    task
}

fn done() -> Value {
    json!({"content": [{"type": "text", "text": "done"}]})
}

#[test]
fn a_core_task_is_made_looked_at_and_its_result_fetched() {
    let looks = AtomicUsize::new(0);
    let record = play(
        Revision::V2025_11_25,
        Config::builder(),
        move |peer, request| match request["method"].as_str().unwrap() {
            "tools/call" => peer.result(request, &json!({"task": core_task("working")})),
            "tasks/get" => {
                let status = if looks.fetch_add(1, Ordering::SeqCst) < 2 { "working" } else { "completed" };
                peer.result(request, &core_task(status));
            }
            "tasks/result" => peer.result(request, &done()),
            "tasks/list" => peer.result(request, &json!({"tasks": [core_task("failed")]})),
            _ => peer.result(request, &core_task("cancelled")),
        },
        |client| {
            let task = client.start_task(call(), Some(Duration::from_secs(60))).unwrap();
            assert_eq!((task.task_id.as_str(), &task.status, task.ttl()), ("t1", &TaskStatus::Working, None));
            assert_eq!(client.follow_task(task, PATIENT).unwrap().text(), "done");
            client.start_task(call().with_meta("a/b", 1).unwrap(), None).unwrap();
            assert_eq!(client.list_tasks().unwrap()[0].status, TaskStatus::Failed);
            assert_eq!(client.task_result("t1", PATIENT).unwrap().text(), "done");
            client.cancel_task("t1").unwrap();
        },
    );
    let made: Vec<_> = record.with("tools/call").into_iter().map(own).collect();
    let expected = [
        json!({"name": "t", "arguments": {"a": 1}, "task": {"ttl": 60000}}),
        json!({"name": "t", "arguments": {"a": 1}, "task": {}, "_meta": {"a/b": 1}}),
    ];
    assert_eq!(made, expected);
    assert_eq!(record.with("tasks/get").len(), 3);
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        assert!(
            record.with(method).into_iter().all(|request| own(request) == json!({"taskId": "t1"})),
            "{method}"
        );
    }
}

#[test]
fn a_core_task_that_failed_or_wants_input_is_asked_for_its_result() {
    for (status, answered) in [("failed", false), ("input_required", true), ("cancelled", false)] {
        let record = play(
            Revision::V2025_11_25,
            Config::builder(),
            move |peer, request| match request["method"].as_str().unwrap() {
                "tasks/result" if answered => peer.result(request, &done()),
                "tasks/result" => peer.error(request, -32603, &Value::Null),
                _ => peer.result(request, &core_task(status)),
            },
            |client| {
                let task = client.task("t1").unwrap();
                match (status, client.follow_task(task, PATIENT)) {
                    ("input_required", outcome) => assert_eq!(outcome.unwrap().text(), "done"),
                    ("failed", outcome) => {
                        assert_eq!(outcome.unwrap_err().rpc_error().map(|error| error.code), Some(-32603));
                    }
                    (_, outcome) => assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled),
                }
            },
        );
        assert_eq!(record.with("tasks/result").len(), usize::from(status != "cancelled"));
    }
}

#[test]
fn nothing_is_made_a_task_that_the_server_does_not_take_as_one() {
    let record = play(
        Revision::V2026_07_28,
        Config::builder(),
        |peer, call| peer.echo(call),
        |client| {
            assert_eq!(client.start_task(call(), None).unwrap_err().kind(), ErrorKind::InvalidInput);
        },
    );
    assert!(record.with("tools/call").is_empty());
    let server =
        volley_tests::scripted_server::ScriptedServer::start(|peer| peer.serve(Revision::V2025_11_25));
    let client = volley::blocking::Client::connect(server.endpoint(), Config::default()).unwrap();
    assert_eq!(client.start_task(call(), None).unwrap_err().kind(), ErrorKind::InvalidInput);
    // A plain call still goes, and is the only one.
    assert_eq!(client.call_tool("echo", &json!({"message": "m"})).unwrap().text(), "m");
    client.close();
    assert_eq!(server.finish().with("tools/call").len(), 1);
}

/// A server of the extension: it makes a task, works, asks for input once, shows the question for one more look, and ends so.
fn extended(
    config: ConfigBuilder,
    end: Value,
    act: impl FnOnce(&volley::blocking::Client),
) -> volley_tests::record::Record {
    let looks = AtomicUsize::new(0);
    play(
        Revision::V2026_07_28,
        config,
        move |peer, request| match request["method"].as_str().unwrap() {
            "tools/call" => {
                let mut made = task("working", &json!({}));
                made["resultType"] = json!("task");
                peer.result(request, &made);
            }
            "tasks/get" => {
                let schema = json!({"type": "object", "properties": {"age": {"default": 36}}});
                let form = json!({"method": "elicitation/create", "params": {"message": "m", "requestedSchema": schema}});
                let shown = match looks.fetch_add(1, Ordering::SeqCst) {
                    0 => task("working", &json!({})),
                    1 | 2 => task("input_required", &json!({"inputRequests": {"k": form}})),
                    _ => end.clone(),
                };
                peer.result(request, &shown);
            }
            _ => peer.result(request, &json!({"resultType": "complete"})),
        },
        act,
    )
}

fn answering() -> ConfigBuilder {
    Config::builder().tasks().on_elicitation(|_| Ok(ElicitResult::accept(&json!({}))))
}

#[test]
fn a_task_that_the_server_makes_is_followed_to_its_result() {
    let record = extended(answering(), task("completed", &json!({"result": done()})), |client| {
        assert_eq!(client.converse(call()).unwrap().text(), "done");
    });
    let updates: Vec<_> = record.with("tasks/update").into_iter().map(own).collect();
    let answers = json!({"k": {"action": "accept", "content": {"age": 36}}});
    assert_eq!(updates, [json!({"taskId": "t1", "inputResponses": answers})], "each key is answered once");
    assert_eq!(record.with("tasks/get").len(), 4);
    for line in record.lines().iter().filter(|line| line.is_request()) {
        let declared = &line.meta("clientCapabilities")["extensions"];
        assert_eq!(declared["io.modelcontextprotocol/tasks"], json!({}), "on each request");
    }
}

#[test]
fn a_task_that_ends_badly_is_an_error() {
    for (end, kind) in [
        (task("failed", &json!({"error": {"code": -32000, "message": "no"}})), ErrorKind::Rpc),
        (task("failed", &json!({})), ErrorKind::Protocol),
        (task("cancelled", &json!({})), ErrorKind::Cancelled),
        (task("completed", &json!({})), ErrorKind::Decode),
        (task("completed", &json!({"result": {"content": [], "resultType": "hologram"}})), ErrorKind::Decode),
    ] {
        extended(answering(), end.clone(), |client| {
            assert_eq!(client.converse(call()).unwrap_err().kind(), kind, "{end}");
        });
    }
    // A question of a kind that is not declared is not answered.
    let record = extended(Config::builder().tasks(), Value::Null, |client| {
        assert_eq!(client.converse(call()).unwrap_err().kind(), ErrorKind::Protocol);
    });
    assert!(record.with("tasks/update").is_empty());
}

#[test]
fn following_a_task_ends_with_its_time_and_the_task_goes_on() {
    for revision in ERAS {
        let endless = if revision == Revision::V2025_11_25 {
            core_task("working")
        } else {
            task("working", &json!({}))
        };
        let record = play(
            revision,
            Config::builder(),
            move |peer, request| peer.result(request, &endless),
            |client| {
                let task: Task = client.task("t1").unwrap();
                let error = client.follow_task(task, Duration::from_millis(100)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            },
        );
        assert!(record.with("tasks/cancel").is_empty());
        // The server's wish for a look each millisecond is not followed to the letter.
        assert!(record.with("tasks/get").len() <= 7);
    }
}

#[test]
fn a_task_is_given_out_only_if_tasks_are_declared() {
    extended(Config::builder().tasks(), Value::Null, |client| {
        let outcome = client.call_or_task(call()).unwrap();
        assert!(matches!(outcome, Outcome::Task(task) if task.task_id == "t1"));
        assert_eq!(client.call(call()).unwrap_err().kind(), ErrorKind::Decode);
        client.cancel_task("t1").unwrap();
    });
    extended(Config::builder(), Value::Null, |client| {
        assert_eq!(client.call_or_task(call()).unwrap_err().kind(), ErrorKind::Decode);
        assert_eq!(client.converse(call()).unwrap_err().kind(), ErrorKind::Decode);
    });
}
