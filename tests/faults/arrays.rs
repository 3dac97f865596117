//! Arrays of calls that come to grief: refused, dropped, answered in part, cut, lost with their server. Each call ends once, with
//! a fate that is true, and none is executed twice.
//!
//! The servers count how often they execute each message; what was refused was not executed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use volley::{Arrays, BatchAnswers, Client, ErrorKind, Fate, Revision, Stats, ToolCall, ToolResult};
use volley_tests::{
    http_server::{HttpServer, Peer, Request, Then},
    patience::until,
    scripted_server::{self, ScriptedServer, echoed},
    wait::story_alone,
};

use super::connect;

/// How often each message was executed.
#[derive(Clone, Default)]
pub(super) struct Executions(Arc<Mutex<BTreeMap<String, u32>>>);

impl Executions {
    /// Executes a call and gives its answer.
    pub(super) fn run(&self, call: &Value) -> Value {
        let message = call["params"]["arguments"]["message"].as_str().expect("an echo").to_owned();
        *self.0.lock().entry(message).or_default() += 1;
        echoed(call)
    }

    fn of(&self, message: &str) -> u32 {
        self.0.lock().get(message).copied().unwrap_or_default()
    }

    /// No message was executed twice; each of those that were answered was executed.
    pub(super) fn are_right(&self, outcomes: &[(String, Result<ToolResult, volley::Error>)]) {
        for (message, outcome) in outcomes {
            let times = self.of(message);
            match outcome {
                Ok(result) => assert_eq!((times, &result.text()), (1, message)),
                Err(error) if error.fate() == Fate::NotSent => assert_eq!(times, 0, "{message}: {error}"),
                Err(_) => assert!(times <= 1, "{message} was executed {times} times"),
            }
        }
        assert!(self.0.lock().values().all(|times| *times == 1), "{:?}", self.0.lock());
    }
}

/// The answers to a probe.
pub(super) fn pongs(elements: &[Value]) -> Value {
    elements.iter().map(|ping| json!({"jsonrpc": "2.0", "id": ping["id"], "result": {}})).collect()
}

pub(super) fn is_probe(elements: &[Value]) -> bool {
    elements.iter().all(|element| element["method"] == "ping")
}

/// A server of 2025-03-26 over HTTP that executes single calls and answers probes; `array` gets the arrays of calls.
pub(super) fn server(
    executions: &Executions,
    array: impl Fn(&mut Peer, &[Value], &Executions) -> Then + Send + Sync + 'static,
) -> HttpServer {
    let executions = executions.clone();
    HttpServer::plain("", move |peer: &mut Peer, request: &Request| {
        match &request.message {
            Value::Array(elements) if is_probe(elements) => {
                peer.json("200 OK", &pongs(elements).to_string());
            }
            Value::Array(elements) => return array(peer, elements, &executions),
            message if request.is_call() => {
                peer.json("200 OK", &executions.run(message).to_string());
            }
            message if request.rpc() == "initialize" => {
                let result = scripted_server::initialized("2025-03-26");
                peer.json(
                    "200 OK",
                    &json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string(),
                );
            }
            _ if request.method == "POST" && request.message.get("id").is_none() => {
                peer.accept();
            }
            _ => {
                peer.respond("405 Method Not Allowed", "", "");
            }
        }
        Then::Keep
    })
}

async fn client(server: &HttpServer) -> Client {
    client_with(server, |config| config.in_flight(128)).await
}

pub(super) async fn client_with(
    server: &HttpServer,
    more: impl FnOnce(volley::ConfigBuilder) -> volley::ConfigBuilder,
) -> Client {
    connect(server.endpoint(), |config| {
        more(config.revision(Revision::V2025_03_26).timeout(Duration::from_secs(20)))
    })
    .await
}

pub(super) fn message(n: u64) -> String {
    format!("message {n}")
}

fn calls(first: u64, count: u64) -> impl Iterator<Item = ToolCall> {
    (first..first + count).map(|n| ToolCall::new("echo", &json!({"message": message(n)})).expect("an object"))
}

/// Sends a batch and gives what became of each call, with its message.
pub(super) async fn batch(
    client: &Client,
    first: u64,
    count: u64,
) -> Vec<(String, Result<ToolResult, volley::Error>)> {
    let outcomes = client.batch().calls(calls(first, count)).send().await;
    assert_eq!(outcomes.len() as u64, count);
    (first..).map(message).zip(outcomes).collect()
}

/// Sends batches of two from 1,000,000 on until the server is known to answer arrays.
async fn until_known(client: &Client) {
    let mut first = 1_000_000;
    while client.stats().array_probes == 0 {
        first += 2;
        batch(client, first, 2).await;
    }
    // The probe was asked before these calls, on a lane of its own.
    let others = client.clone();
    until("the probe has been answered", || others.stats().array_probes == 1).await;
}

pub(super) fn adds_up(stats: &Stats) {
    assert_eq!(stats.submitted, stats.answered + stats.failed + stats.cancelled, "{stats:?}");
    assert_eq!(stats.live, 0, "{stats:?}");
}

/// Sends batches of forty until one has gone as an array; gives its outcomes.
pub(super) async fn in_an_array(client: &Client) -> Vec<(String, Result<ToolResult, volley::Error>)> {
    until_known(client).await;
    for n in 0..10_000 {
        let before = client.stats().arrays_sent;
        let outcomes = batch(client, n * 40, 40).await;
        if client.stats().arrays_sent > before {
            return outcomes;
        }
        assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "alone each is answered");
    }
    panic!("no array was ever sent: {:?}", client.stats());
}

#[test]
fn an_array_that_was_refused_goes_again_as_single_calls() {
    story_alone(async {
        for (status, headers, body) in [
            (
                "400 Bad Request",
                "Content-Type: application/json\r\n",
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}"#,
            ),
            (
                "400 Bad Request",
                "Content-Type: application/json\r\n",
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"no"}}"#,
            ),
            (
                "400 Bad Request",
                "Content-Type: application/json\r\n",
                r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32602,"message":"no"}}"#,
            ),
            ("400 Bad Request", "", ""),
            ("404 Not Found", "", ""),
            ("405 Method Not Allowed", "", ""),
            (
                "413 Content Too Large",
                "Content-Type: application/json\r\n",
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"too large"}}"#,
            ),
            ("415 Unsupported Media Type", "Content-Type: text/plain\r\n", "expect application/json"),
            ("422 Unprocessable Content", "Content-Type: text/plain\r\n", "Failed to deserialize"),
            (
                "200 OK",
                "Content-Type: application/json\r\n",
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}"#,
            ),
            (
                "200 OK",
                "Content-Type: application/json\r\n",
                r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"no"}}"#,
            ),
        ] {
            let executions = Executions::default();
            let server = server(&executions, move |peer, _, _| {
                peer.respond(status, headers, body);
                Then::Keep
            });
            let client = client(&server).await;
            let outcomes = in_an_array(&client).await;
            for (message, outcome) in &outcomes {
                assert_eq!(
                    &outcome.as_ref().unwrap_or_else(|error| panic!("{status}: {error}")).text(),
                    message
                );
            }
            executions.are_right(&outcomes);
            // Half as many are tried each time, until the server is known to take none.
            for n in 0..20 {
                executions.are_right(&batch(&client, 2_000_000 + n * 40, 40).await);
            }
            let stats = client.stats();
            assert!(
                stats.arrays_refused >= 5 && stats.arrays_refused == stats.arrays_sent,
                "{status}: {stats:?}"
            );
            assert_eq!(
                (stats.failed, stats.array_fallbacks),
                (0, stats.calls_in_arrays),
                "{status}: {stats:?}"
            );
            let sent = stats.arrays_sent;
            executions.are_right(&batch(&client, 3_000_000, 40).await);
            assert_eq!(client.stats().arrays_sent, sent, "no further one: {status}");
            client.close().await;
            adds_up(&client.stats());
        }
    });
}

/// What the TypeScript SDK does: up to a hundred, and no more. An array of more is refused once, and smaller ones go on.
#[test]
fn an_array_that_was_too_long_does_not_end_arrays() {
    story_alone(async {
        let executions = Executions::default();
        let server = server(&executions, |peer, elements, executions| {
            if elements.len() > 30 {
                peer.json("400 Bad Request", r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Batch must not exceed 30 messages"}}"#);
            } else {
                let answers: Value = elements.iter().map(|call| executions.run(call)).collect();
                peer.json("200 OK", &answers.to_string());
            }
            Then::Keep
        });
        let client = client(&server).await;
        executions.are_right(&in_an_array(&client).await);
        for n in 0..5 {
            executions.are_right(&batch(&client, 2_000_000 + n * 100, 100).await);
        }
        client.close().await;
        let stats = client.stats();
        assert_eq!((stats.arrays_refused, stats.array_fallbacks, stats.failed), (1, 40, 0), "{stats:?}");
        assert!(stats.arrays_sent > 5 * 5, "in twenties: {stats:?}");
        adds_up(&stats);
    });
}

#[test]
fn an_array_that_is_answered_in_part_fails_the_rest_with_its_fate() {
    story_alone(async {
        for events in [false, true] {
            let executions = Executions::default();
            let server = server(&executions, move |peer, elements, executions| {
                // Every third is executed and never answered.
                let mut answers: Vec<Value> = elements.iter().map(|call| executions.run(call)).collect();
                answers.reverse();
                let mut n = 0;
                answers.retain(|_| {
                    n += 1;
                    n % 3 != 0
                });
                if events {
                    peer.begin_events();
                    for answer in &answers {
                        peer.chunk(&format!("data: {answer}\n\n"));
                    }
                    peer.end_chunks();
                } else {
                    peer.json("200 OK", &json!(answers).to_string());
                }
                Then::Keep
            });
            let client = client(&server).await;
            let outcomes = in_an_array(&client).await;
            executions.are_right(&outcomes);
            let failed: Vec<_> = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).collect();
            assert_eq!(failed.len(), 13, "{failed:?}");
            for error in failed {
                assert_eq!(
                    (error.kind(), error.fate()),
                    (ErrorKind::ConnectionLost, Fate::Unknown),
                    "{error}"
                );
            }
            client.close().await;
            adds_up(&client.stats());
        }
    });
}

/// Some servers take an array and say nothing: 202, or a stream without an event.
#[test]
fn an_array_that_is_dropped_without_a_word_is_not_sent_again() {
    story_alone(async {
        for events in [false, true] {
            let executions = Executions::default();
            let server = server(&executions, move |peer, _, _| {
                if events {
                    peer.begin_events();
                    peer.end_chunks();
                } else {
                    peer.accept();
                }
                Then::Keep
            });
            let client = client(&server).await;
            let outcomes = in_an_array(&client).await;
            executions.are_right(&outcomes);
            for (_, outcome) in &outcomes {
                let error = outcome.as_ref().unwrap_err();
                assert_eq!(
                    (error.kind(), error.fate()),
                    (ErrorKind::ConnectionLost, Fate::Unknown),
                    "{error}"
                );
            }
            client.close().await;
            adds_up(&client.stats());
        }
    });
}

#[test]
fn a_connection_lost_in_the_middle_of_an_array_fails_what_was_not_answered() {
    story_alone(async {
        for answered in [0, 1, 7, 40] {
            let executions = Executions::default();
            let server = server(&executions, move |peer, elements, executions| {
                let answers: Vec<Value> = elements.iter().map(|call| executions.run(call)).collect();
                peer.begin_events();
                for answer in &answers[..answered] {
                    peer.chunk(&format!("data: {answer}\n\n"));
                }
                peer.hang_up();
                Then::Close
            });
            let client = client(&server).await;
            let outcomes = in_an_array(&client).await;
            executions.are_right(&outcomes);
            let right = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count();
            assert_eq!(right, answered);
            for error in outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err()) {
                assert_eq!(
                    (error.kind(), error.fate()),
                    (ErrorKind::ConnectionLost, Fate::Unknown),
                    "{error}"
                );
            }
            // The next ones go on other sockets.
            executions.are_right(&batch(&client, 2_000_000, 1).await);
            client.close().await;
            adds_up(&client.stats());
        }
    });
}

/// Statuses that leave open what became of the calls, or close it: each call ends as a single one would.
#[test]
fn other_statuses_end_each_call_as_they_would_a_single_one() {
    story_alone(async {
        for (status, kind, fate) in [
            ("429 Too Many Requests", ErrorKind::Http, Fate::Answered),
            ("500 Internal Server Error", ErrorKind::Http, Fate::Unknown),
            ("502 Bad Gateway", ErrorKind::Http, Fate::Unknown),
            ("503 Service Unavailable", ErrorKind::Http, Fate::Answered),
            ("403 Forbidden", ErrorKind::Unauthorized, Fate::Answered),
        ] {
            let executions = Executions::default();
            let server = server(&executions, move |peer, _, _| {
                peer.respond(status, "", "");
                Then::Keep
            });
            let client = client(&server).await;
            let outcomes = in_an_array(&client).await;
            executions.are_right(&outcomes);
            for (_, outcome) in &outcomes {
                let error = outcome.as_ref().unwrap_err();
                assert_eq!((error.kind(), error.fate()), (kind, fate), "{status}: {error}");
            }
            client.close().await;
            let stats = client.stats();
            assert_eq!((stats.arrays_refused, stats.array_fallbacks), (0, 0), "{status}: {stats:?}");
            let is_busy = status.starts_with("429") || status.starts_with("503");
            assert_eq!(stats.refusals, u64::from(is_busy), "{status}: {stats:?}");
            adds_up(&stats);
        }
    });
}

/// A 400 that answers calls of the array by name is about them: it proves nothing of the others, and none is sent again. So is one that
/// does not say that it is JSON, which nobody had looked at.
#[test]
fn a_refusal_that_names_a_call_is_that_calls_answer() {
    const MEDIA: [&str; 3] =
        ["Content-Type: application/json\r\n", "Content-Type: text/plain; charset=utf-8\r\n", ""];
    story_alone(async {
        for (whole, media) in [false, true].into_iter().flat_map(|whole| MEDIA.map(|media| (whole, media))) {
            let executions = Executions::default();
            let server = server(&executions, move |peer, elements, executions| {
                let error = json!({"jsonrpc": "2.0", "id": elements[3]["id"], "error": {"code": -32602, "message": "x"}});
                let first = executions.run(&elements[0]);
                let body = if whole { json!([first, error]) } else { error };
                peer.respond("400 Bad Request", media, &body.to_string());
                Then::Keep
            });
            let client = client(&server).await;
            let outcomes = in_an_array(&client).await;
            executions.are_right(&outcomes);
            for (n, (_, outcome)) in outcomes.iter().enumerate() {
                match outcome {
                    Ok(_) => assert!(whole && n == 0, "{n}"),
                    Err(error) if n == 3 => assert_eq!(error.kind(), ErrorKind::Rpc, "{error}"),
                    Err(error) => assert_eq!((error.kind(), error.fate()), (ErrorKind::Http, Fate::Unknown)),
                }
            }
            client.close().await;
            adds_up(&client.stats());
        }
    });
}

/// The array waits for its server; one call's time is up and another is not. Only the one ends, and its late answer is known.
#[test]
fn the_time_of_one_call_is_up_and_the_others_go_on() {
    story_alone(async {
        let executions = Executions::default();
        let release = Arc::new(Mutex::new(false));
        let may_answer = Arc::clone(&release);
        let server = server(&executions, move |peer, elements, executions| {
            peer.begin_events();
            while !*may_answer.lock() {
                std::thread::yield_now();
            }
            for call in elements {
                let answer = executions.run(call);
                peer.chunk(&format!("data: {answer}\n\n"));
            }
            peer.end_chunks();
            Then::Keep
        });
        let client = client(&server).await;
        until_known(&client).await;
        // One call is given less time than the batch; what is patient in another way is another array, so all are.
        let answers: BatchAnswers = loop {
            let mut some = client.batch().timeout(Duration::from_millis(300));
            calls(0, 10).for_each(|call| some.push(call.with_progress()));
            let answers = some.send();
            let others = client.clone();
            until("they are out", || others.stats().submitted >= 10).await;
            if client.stats().arrays_sent > 0 {
                break answers;
            }
            *release.lock() = true;
            answers.await;
            *release.lock() = false;
        };
        let outcomes = answers.await;
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap_err().kind() == ErrorKind::Timeout));
        *release.lock() = true;
        let others = client.clone();
        until("the late answers are known for what they are", || others.stats().late == 10).await;
        client.close().await;
        let stats = client.stats();
        assert_eq!(
            (stats.timed_out, stats.late, stats.unknown, stats.cancellations_sent),
            (10, 10, 0, 10),
            "{stats:?}"
        );
        adds_up(&stats);
    });
}

/// Calls of a job that leaves, single calls of which one is dropped: the others of the same array are answered.
#[test]
fn one_call_of_an_array_is_cancelled_and_the_others_are_answered() {
    story_alone(async {
        let executions = Executions::default();
        let release = Arc::new(Mutex::new(true));
        let may_answer = Arc::clone(&release);
        let server = server(&executions, move |peer, elements, executions| {
            while !*may_answer.lock() {
                std::thread::yield_now();
            }
            let answers: Value = elements.iter().map(|call| executions.run(call)).collect();
            peer.json("200 OK", &answers.to_string());
            Then::Keep
        });
        let client = connect(server.endpoint(), |config| {
            config.revision(Revision::V2025_03_26).arrays(Arrays::Auto).in_flight(64)
        })
        .await;
        until_known(&client).await;
        for round in 0u64.. {
            assert!(round < 10_000, "no array of single calls: {:?}", client.stats());
            *release.lock() = false;
            let before = client.stats();
            // The first occupies the shard for a moment; what is queued meanwhile leaves together.
            let mut made: Vec<_> = calls(round * 20, 20).map(|call| client.call(call)).collect();
            let others = client.clone();
            until("all are out", || {
                let stats = others.stats();
                stats.submitted == before.submitted + 20
            })
            .await;
            let grouped = client.stats().calls_in_arrays - before.calls_in_arrays;
            drop(made.remove(19));
            // It was cancelled unless it had gone by itself and was answered: a call that is made later is answered later than that is known.
            let after = calls(1_000_000_000 + round, 1).next().expect("one");
            client.call(after).await.expect("an answer");
            let is_cancelled = client.stats().cancelled > before.cancelled;
            *release.lock() = true;
            for (n, call) in made.into_iter().enumerate() {
                assert_eq!(call.await.expect("an answer").text(), message(round * 20 + n as u64));
            }
            if grouped >= 2 && is_cancelled {
                break;
            }
        }
        client.close().await;
        adds_up(&client.stats());
        assert!(executions.0.lock().values().all(|times| *times == 1));
    });
}

/// On a stream: the server is killed with an array on its way. What had left is unknown, what had not is sent elsewhere.
#[test]
fn a_server_that_dies_of_an_array_on_a_stream_loses_no_call() {
    story_alone(async {
        let executions = Executions::default();
        let runs = executions.clone();
        let died = Arc::new(Mutex::new(false));
        let server = ScriptedServer::start(move |peer| {
            peer.open(Revision::V2025_03_26);
            while let Some(message) = peer.read() {
                match &message {
                    Value::Array(elements) if is_probe(elements) => {
                        peer.say(format!("{}\n", pongs(elements)))
                    }
                    Value::Array(_) if !std::mem::replace(&mut *died.lock(), true) => {
                        peer.hang_up();
                        return;
                    }
                    Value::Array(elements) => {
                        let mut answers: Vec<Value> = elements.iter().map(|call| runs.run(call)).collect();
                        answers.reverse();
                        peer.say(format!("{}\n", json!(answers)));
                    }
                    call if call["method"] == "tools/call" => peer.say(format!("{}\n", runs.run(call))),
                    _ => {}
                }
            }
        });
        let client = connect(server.endpoint().parse().unwrap(), |config| {
            config
                .revision(Revision::V2025_03_26)
                .in_flight(64)
                .backoff(Duration::from_millis(1), Duration::from_millis(20))
        })
        .await;
        let outcomes = in_an_array(&client).await;
        executions.are_right(&outcomes);
        for (_, outcome) in &outcomes {
            let error = outcome.as_ref().unwrap_err();
            assert_eq!((error.kind(), error.fate()), (ErrorKind::ConnectionLost, Fate::Unknown), "{error}");
        }
        // Another server, perhaps: it is asked again before it gets an array.
        for n in 0..200 {
            executions.are_right(&batch(&client, 2_000_000 + n * 40, 40).await);
        }
        let stats = client.stats();
        assert!(stats.array_probes == 2 && stats.arrays_sent > 1, "{stats:?}");
        client.close().await;
        adds_up(&client.stats());
        server.finish();
    });
}

/// A peer that speaks JSON-RPC and nothing of MCP: no opening, bare requests, arrays as soon as it has answered one.
#[test]
fn a_plain_peer_is_sent_nothing_of_mcp() {
    story_alone(async {
        let said = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&said);
        let server = ScriptedServer::start(move |peer| {
            while let Some(message) = peer.read() {
                hears.lock().push(message.clone());
                let answer = |request: &Value| match request["method"].as_str() {
                    Some("tools/call") => echoed(request),
                    _ => {
                        json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "no such method"}})
                    }
                };
                match &message {
                    Value::Array(elements) => {
                        let answers: Vec<Value> = elements.iter().map(answer).collect();
                        peer.say(format!("{}\n", json!(answers)));
                    }
                    one => peer.say(format!("{}\n", answer(one))),
                }
            }
        });
        let client = connect(server.endpoint().parse().unwrap(), volley::ConfigBuilder::plain_json_rpc).await;
        for (message, outcome) in in_an_array(&client).await {
            assert_eq!(outcome.unwrap().text(), message);
        }
        client.close().await;
        let methods: HashSet<String> = said
            .lock()
            .iter()
            .flat_map(|message| match message {
                Value::Array(elements) => elements.clone(),
                one => vec![one.clone()],
            })
            .map(|message| message["method"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(methods, HashSet::from(["ping".to_owned(), "tools/call".to_owned()]));
        assert!(said.lock().iter().all(|message| message["params"].get("_meta").is_none()));
        adds_up(&client.stats());
    });
}

/// `json.dumps` in Python writes `NaN`, which is no JSON. It cost all calls of the array their answers once, and so did an element
/// that is no message.
#[test]
fn an_element_that_cannot_be_read_costs_its_own_call_and_no_other() {
    story_alone(async {
        let server = ScriptedServer::start(move |peer| {
            while let Some(said) = peer.read() {
                match &said {
                    Value::Array(elements) => {
                        let answers: Vec<String> = elements
                            .iter()
                            .map(|request| match request["id"].as_u64() {
                                Some(id) if request["params"]["arguments"]["message"] == message(2_000_007) => {
                                    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"structuredContent":NaN}}}}"#)
                                }
                                _ if request["method"] == "ping" => json!({"jsonrpc": "2.0", "id": request["id"], "result": {}}).to_string(),
                                _ => echoed(request).to_string(),
                            })
                            .collect();
                        peer.say(format!("[null,{}]\n", answers.join(" , ")));
                    }
                    one if one["method"] == "tools/call" => peer.say(format!("{}\n", echoed(one))),
                    one => peer.result(one, &json!({})),
                }
            }
        });
        let client = connect(server.endpoint().parse().unwrap(), volley::ConfigBuilder::plain_json_rpc).await;
        in_an_array(&client).await;
        for (text, outcome) in batch(&client, 2_000_000, 40).await {
            match outcome {
                Ok(result) => assert_eq!(result.text(), text),
                Err(error) => {
                    assert_eq!((text, error.kind()), (message(2_000_007), ErrorKind::Decode), "{error}")
                }
            }
        }
        let stats = client.stats();
        assert!(stats.malformed > 0 && stats.timed_out == 0, "{stats:?}");
        client.close().await;
        adds_up(&client.stats());
    });
}

/// An event of a stream says that something could not be read, without saying what; the answers to the others follow it. It is no
/// refusal of them all: they would be sent again, and executed twice.
#[test]
fn a_nameless_error_among_answers_is_no_refusal_of_the_array() {
    story_alone(async {
        let executions = Executions::default();
        let server = server(&executions, |peer, elements, executions| {
            peer.begin_events();
            peer.chunk(
                "data: {\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"what?\"}}\n\n",
            );
            for call in &elements[1..] {
                peer.chunk(&format!("data: {}\n\n", executions.run(call)));
            }
            peer.end_chunks();
            Then::Keep
        });
        let client = client(&server).await;
        let outcomes = in_an_array(&client).await;
        executions.are_right(&outcomes);
        assert!(
            outcomes[0].1.as_ref().is_err_and(|error| error.fate() == Fate::Unknown),
            "{:?}",
            outcomes[0]
        );
        assert!(outcomes[1..].iter().all(|(_, outcome)| outcome.is_ok()));
        client.close().await;
    });
}

/// What is said in response to a request means the same in an array of one: an error that names nobody refuses the array, and its calls
/// go again; in answer to a single call it is that call's error.
#[test]
fn a_nameless_error_in_an_array_is_what_it_is_by_itself() {
    const REFUSAL: &str =
        r#"[{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request"}}]"#;
    story_alone(async {
        let executions = Executions::default();
        let array = server(&executions, |peer, _, _| {
            peer.json("200 OK", REFUSAL);
            Then::Keep
        });
        let asks = client(&array).await;
        let outcomes = in_an_array(&asks).await;
        executions.are_right(&outcomes);
        assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:?}");
        assert!(asks.stats().array_fallbacks >= outcomes.len() as u64, "{:?}", asks.stats());
        asks.close().await;

        let single = HttpServer::plain("", |peer: &mut Peer, request: &Request| {
            if request.rpc() == "initialize" {
                let result = scripted_server::initialized("2025-03-26");
                let body = json!({"jsonrpc": "2.0", "id": request.message["id"], "result": result});
                peer.json("200 OK", &body.to_string());
            } else if request.is_call() {
                peer.json("200 OK", REFUSAL);
            } else {
                peer.accept();
            }
            Then::Keep
        });
        let client = client(&single).await;
        let error = client.call(calls(0, 1).next().expect("one")).await.expect_err("it was refused");
        assert_eq!((error.kind(), error.fate()), (volley::ErrorKind::Rpc, Fate::Answered), "{error}");
        client.close().await;
    });
}

/// A refusal that names other calls says nothing of these, so they are not sent again.
#[test]
fn a_refusal_of_other_calls_is_no_word_on_an_array() {
    story_alone(async {
        for status in ["400 Bad Request", "404 Not Found", "422 Unprocessable Content"] {
            let executions = Executions::default();
            let server = server(&executions, move |peer, elements, executions| {
                elements.iter().for_each(|call| drop(executions.run(call)));
                peer.json(
                    status,
                    r#"{"jsonrpc":"2.0","id":900719925474099,"error":{"code":-32600,"message":"no"}}"#,
                );
                Then::Keep
            });
            let client = client(&server).await;
            let outcomes = in_an_array(&client).await;
            executions.are_right(&outcomes);
            assert!(
                outcomes
                    .iter()
                    .all(|(_, outcome)| outcome.as_ref().is_err_and(|error| error.fate() == Fate::Unknown))
            );
            client.close().await;
        }
    });
}
