//! What the server starts, and what the client tells it: requests, notifications both ways, arrays.

use std::sync::{Arc, Mutex, mpsc};

use serde_json::{Value, json};
use volley::{Client, Config, ErrorKind, Inbound, Revision, RpcError};
use volley_tests::{processes::Mark, scripted_server::ScriptedServer};

use crate::servers::{Account, Server, adds_up, echoes, message, pinned};

/// What the client answers when the target asks it for `method`.
fn answer_to(client: &Client, method: &str) -> Value {
    let asked = client.call_tool("request_client", &json!({"method": method}));
    let answer: Value = serde_json::from_str(&pollster::block_on(asked).unwrap().text()).unwrap();
    assert!(answer["id"].as_str().unwrap().starts_with("srv-"), "the server's own id: {answer}");
    answer
}

#[test]
fn ping_is_answered_and_other_requests_are_refused_in_every_legacy_revision() {
    for server in Server::targets() {
        for revision in Revision::all().filter(|revision| *revision != Revision::V2026_07_28) {
            let client = server.connect(pinned(Some(revision)));
            assert_eq!(answer_to(&client, "ping")["result"], json!({}));
            for method in ["roots/list", "sampling/createMessage", "elicitation/create", "no such thing"] {
                let answer = answer_to(&client, method);
                assert_eq!(answer["error"]["code"], -32601, "{method}");
                assert!(answer.get("result").is_none());
            }
            pollster::block_on(client.close());
            assert_eq!(client.stats().server_requests, 5);
            adds_up(&client.stats());
        }
    }
}

#[test]
fn the_handler_answers_requests_but_not_ping() {
    let server = Server::target(&["--revisions", "legacy"]);
    let client = server.connect(Config::builder().on_request(|request| match request.method() {
        "roots/list" => Ok(json!({"roots": [{"uri": "file:///tmp"}]})),
        "sampling/createMessage" => {
            Err(RpcError { code: -1, message: "the user said no".to_owned(), data: Some(json!([1])) })
        }
        other => panic!("{other} is not for the handler to answer"),
    }));
    assert_eq!(answer_to(&client, "roots/list")["result"]["roots"][0]["uri"], "file:///tmp");
    let refused = &answer_to(&client, "sampling/createMessage")["error"];
    assert_eq!(refused, &json!({"code": -1, "message": "the user said no", "data": [1]}));
    assert_eq!(answer_to(&client, "ping")["result"], json!({}), "ping never comes to the handler");
    // A handler that panics has failed one request and nothing else.
    assert_eq!(answer_to(&client, "elicitation/create")["error"]["code"], -32603);
    assert_eq!(answer_to(&client, "roots/list")["result"]["roots"][0]["uri"], "file:///tmp");
    pollster::block_on(client.close());
    adds_up(&client.stats());
}

#[test]
fn notifications_come_to_every_stream_and_to_the_handler() {
    let server = Server::target(&["--notify", "1"]);
    for revision in [None, Some(Revision::V2025_11_25)] {
        let (tell, told) = mpsc::channel();
        let tell = Mutex::new(tell);
        let client = server.connect(pinned(revision).on_notification(move |notification| {
            tell.lock().unwrap().send(notification.method().to_owned()).unwrap();
        }));
        let (mut one, mut two) = (client.notifications(), client.notifications());
        for (n, outcome) in client.bulk(echoes(500)).blocking() {
            assert_eq!(outcome.unwrap().tool_result().unwrap().text(), message(n));
        }
        pollster::block_on(client.close());
        assert_eq!(client.stats().notifications, 500);
        assert_eq!(client.stats().notifications_dropped, 0);
        for stream in [&mut one, &mut two] {
            pollster::block_on(async {
                let mut seen = 0;
                while let Some(item) = stream.next().await {
                    let Inbound::Notification(notification) = item else { panic!("{item:?}") };
                    match notification.method() {
                        "notifications/tools/list_changed" => {}
                        "notifications/message" => {
                            let params: Value = notification.params().unwrap();
                            assert_eq!(params["level"], "info");
                        }
                        other => panic!("{other}"),
                    }
                    seen += 1;
                }
                assert_eq!(seen, 500);
            });
        }
        drop(client);
        assert_eq!(told.into_iter().count(), 500);
    }
}

#[test]
fn a_stream_that_falls_behind_is_told_how_much_it_missed() {
    let server = Server::target(&["--notify", "1"]);
    let client = server.connect(Config::builder());
    let mut stream = client.notifications();
    client.bulk(echoes(5_000)).blocking().for_each(|(_, outcome)| drop(outcome.unwrap()));
    pollster::block_on(client.close());
    let (mut seen, mut missed) = (0, 0);
    while let Some(item) = pollster::block_on(stream.next()) {
        match item {
            Inbound::Missed(count) => missed += count,
            _ => seen += 1,
        }
    }
    assert_eq!(seen + missed, 5_000);
    assert!(missed > 0);
    assert_eq!(client.stats().notifications_dropped, missed);
}

#[test]
fn notifications_of_the_caller_reach_the_server_in_order() {
    for revision in [Revision::V2025_11_25, Revision::V2026_07_28] {
        let server = ScriptedServer::start(move |peer| peer.serve(revision));
        pollster::block_on(async {
            let client = Client::connect(server.endpoint(), Config::default()).await.unwrap();
            for n in 0..10 {
                client.notify("notifications/x", &json!({"n": n})).await.unwrap();
            }
            client.notify("notifications/y", &json!(null)).await.unwrap();
            let refused = client.notify("notifications/x", &json!(7)).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput);
            server.wait_for(|line| line.method() == "notifications/y");
            client.close().await;
            let refused = client.notify("notifications/x", &json!({})).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Closed);
        });
        let record = server.finish();
        let numbers: Vec<_> =
            record.with("notifications/x").iter().map(|line| line["params"]["n"].clone()).collect();
        assert_eq!(numbers, (0..10).map(Value::from).collect::<Vec<_>>());
        assert_eq!(record.with("notifications/y"), [&json!({"jsonrpc": "2.0", "method": "notifications/y"})]);
    }
}

#[test]
fn answers_in_arrays_are_taken_apart_under_2025_03_26() {
    const CALLS: u64 = 2_048;
    let server = ScriptedServer::start(|peer| {
        peer.open(Revision::V2025_03_26);
        for _ in 0..CALLS / 32 {
            let calls = peer.read_calls(32);
            let answers: Vec<Value> = calls
                .iter()
                .rev()
                .map(|call| {
                    let text = &call["params"]["arguments"]["message"];
                    json!({"result": {"content": [{"type": "text", "text": text}]}, "id": call["id"], "jsonrpc": "2.0"})
                })
                .collect();
            peer.send(&Value::from(answers));
        }
        peer.read_rest();
    });
    let client = pollster::block_on(Client::connect(server.endpoint(), Config::default())).unwrap();
    let mut account = Account::new(CALLS);
    client.bulk(echoes(CALLS)).blocking().for_each(|(n, outcome)| account.enter_raw(n, outcome));
    pollster::block_on(client.close());
    account.close(&client.stats(), 0);
    server.finish();
}

#[test]
fn a_childs_stderr_comes_to_its_handler_and_harms_nobody() {
    let endpoint = volley_tests::target::stdio(&Mark::new(), &["--stderr-flood", "1m"]);
    let heard = Arc::new(Mutex::new(0));
    let hears = Arc::clone(&heard);
    let config =
        Config::builder().on_stderr(move |bytes| *hears.lock().unwrap() += bytes.len()).build().unwrap();
    let client = pollster::block_on(Client::connect(endpoint, config)).unwrap();
    let mut account = Account::new(1_000);
    client.bulk(echoes(1_000)).blocking().for_each(|(n, outcome)| account.enter_raw(n, outcome));
    pollster::block_on(client.close());
    account.close(&client.stats(), 0);
    let heard = *heard.lock().unwrap();
    assert!(heard >= 1 << 20, "{heard} bytes");
}

/// A waker is the caller's code, and the shard runs it: the panic of one that waited for notifications took the shard with it.
#[test]
fn a_reader_of_notifications_whose_waker_panics_harms_nobody_else() {
    struct Bad;
    impl std::task::Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("a bad waker");
        }
    }
    let server = Server::target(&["--notify", "1"]);
    let client = server.connect(pinned(None));
    // It stays: what a listener whose waker has panicked does when it goes, is between it and its crate.
    let notifications = Box::leak(Box::new(client.notifications()));
    let waker = std::task::Waker::from(Arc::new(Bad));
    let mut next = std::pin::pin!(notifications.next());
    assert!(next.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    let mut account = Account::new(100);
    client.bulk(echoes(100)).blocking().for_each(|(n, outcome)| account.enter_raw(n, outcome));
    pollster::block_on(client.close());
    assert!(client.stats().notifications > 0);
    account.close(&client.stats(), 0);
}
