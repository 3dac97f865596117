//! Arrays and what is too much: for a server that says so or has no time for them, and for us, whose bound its answers exceed. And a refusal
//! that comes after answers.

use std::{
    sync::{Arc, OnceLock, mpsc},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use volley::{Client, Error, ErrorKind, Fate, Revision, ToolResult, Window};
use volley_tests::{
    http_server::{HttpServer, Peer, Request, Then},
    patience::until_blocking,
    scripted_server,
    wait::story_alone,
};

use super::{
    arrays::{Executions, adds_up, batch, client_with, in_an_array, is_probe, pongs, server},
    connect,
};

/// What an adaptive window does about an overloaded server it did for single calls alone: a 503 with `Retry-After` to an array was sent the
/// next array in the same turn, and so was a server whose answers took longer than the calls had.
#[test]
fn arrays_push_the_window_back_as_single_calls_do() {
    const WINDOW: Window = Window::Adaptive { min: 40, max: 64 };
    story_alone(async {
        let executions = Executions::default();
        let first = Arc::new(Mutex::new(None));
        let again = Arc::clone(&first);
        let busy = server(&executions, move |peer, elements, executions| {
            let mut first = first.lock();
            if first.is_none() {
                *first = Some(Instant::now());
                peer.respond("503 Service Unavailable", "Retry-After: 1\r\n", "");
            } else {
                let answers: Value = elements.iter().map(|call| executions.run(call)).collect();
                peer.json("200 OK", &answers.to_string());
            }
            Then::Keep
        });
        let client = client_with(&busy, |config| config.window(WINDOW)).await;
        let refused = in_an_array(&client).await;
        assert!(refused.iter().all(|(_, outcome)| outcome.is_err()), "{refused:?}");
        let outcomes = batch(&client, 2_000_000, 40).await;
        let waited = again.lock().expect("it was refused").elapsed();
        executions.are_right(&outcomes);
        assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:?}");
        assert!(waited >= Duration::from_millis(990), "asked to wait for a second, it waited {waited:?}");
        client.close().await;
        let stats = client.stats();
        assert_eq!((stats.refusals, stats.window_cuts_refused), (1, 1), "{stats:?}");

        let silent = server(&executions, |_, _, _| {
            std::thread::sleep(Duration::from_secs(4));
            Then::Close
        });
        let client =
            client_with(&silent, |config| config.window(WINDOW).timeout(Duration::from_secs(2))).await;
        let outcomes = in_an_array(&client).await;
        assert!(
            outcomes.iter().all(|(_, outcome)| outcome.as_ref().unwrap_err().kind() == ErrorKind::Timeout)
        );
        client.close().await;
        let stats = client.stats();
        assert!(stats.window_cuts_timed_out > 0, "{stats:?}");
        adds_up(&stats);
    });
}

/// The answers together were longer than the bound, so that each call of this array and of every later one was executed and lost. Those of
/// half as many calls are not.
#[test]
fn an_answer_to_an_array_that_is_too_long_makes_arrays_shorter() {
    story_alone(async {
        for events in [false, true] {
            let executions = Executions::default();
            let server = server(&executions, move |peer, elements, executions| {
                let answers = elements.iter().map(|call| {
                    let mut answer = executions.run(call);
                    answer["result"]["_meta"] = json!({"padding": "x".repeat(2_000)});
                    answer
                });
                let body = answers.collect::<Value>().to_string();
                if events {
                    peer.begin_events();
                    peer.chunk(&format!("data: {body}\n\n"));
                    peer.end_chunks();
                } else {
                    peer.json("200 OK", &body);
                }
                Then::Keep
            });
            let client =
                client_with(&server, |config| config.in_flight(128).frame_bytes_max(64 * 1024)).await;
            let outcomes = in_an_array(&client).await;
            executions.are_right(&outcomes);
            for (_, outcome) in &outcomes {
                let error = outcome.as_ref().unwrap_err();
                assert_eq!(
                    (error.kind(), error.fate()),
                    (ErrorKind::FrameTooLarge, Fate::Unknown),
                    "{error}"
                );
            }
            let outcomes = batch(&client, 2_000_000, 40).await;
            executions.are_right(&outcomes);
            assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:?}");
            client.close().await;
            let stats = client.stats();
            assert_eq!((stats.arrays_refused, stats.failed), (0, 40), "{stats:?}");
            assert!(stats.arrays_sent >= 3, "{stats:?}");
            adds_up(&stats);
        }
    });
}

/// One event of many is longer than the bound: a notification costs nobody his answer, an answer with its id in the middle costs one call
/// its own. They took the others with them.
#[test]
fn an_event_that_is_too_long_costs_no_other_call_of_an_array() {
    story_alone(async {
        for of_a_call in [false, true] {
            let executions = Executions::default();
            let server = server(&executions, move |peer, elements, executions| {
                let padding = "x".repeat(4_000);
                peer.begin_events();
                let mut answers: Vec<String> =
                    elements.iter().map(|call| executions.run(call).to_string()).collect();
                if of_a_call {
                    let id = &elements[0]["id"];
                    answers[0] = format!(
                        r#"{{"jsonrpc":"2.0","result":{{"content":[],"_meta":{{"a":"{padding}"}}}},"id":{id},"more":"{padding}"}}"#
                    );
                } else {
                    answers.insert(0, format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{padding}"}}}}"#));
                }
                for answer in answers {
                    peer.chunk(&format!("data: {answer}\n\n"));
                }
                peer.end_chunks();
                Then::Keep
            });
            let client = client_with(&server, |config| config.in_flight(128).frame_bytes_max(2_048)).await;
            let outcomes = in_an_array(&client).await;
            executions.are_right(&outcomes);
            let failed: Vec<_> = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).collect();
            assert_eq!(failed.len(), usize::from(of_a_call), "{failed:?}");
            for error in failed {
                assert_eq!(
                    (error.kind(), error.fate()),
                    (ErrorKind::FrameTooLarge, Fate::Unknown),
                    "{error}"
                );
            }
            client.close().await;
            assert_eq!(client.stats().oversized, 1, "{:?}", client.stats());
            adds_up(&client.stats());
        }
    });
}

/// The first ten have their answers, and of the others nobody knows.
fn ten_are_answered(outcomes: &[(String, Result<ToolResult, Error>)]) {
    for (n, (_, outcome)) in outcomes.iter().enumerate() {
        match outcome {
            Ok(_) => assert!(n < 10, "{n}"),
            Err(error) => assert!(n >= 10 && error.fate() == Fate::Unknown, "{n}: {error}"),
        }
    }
}

/// Over HTTP+SSE answers come on a stream of their own, and a few had come when the request as a whole was refused: the server was at
/// work. The others were sent again, those included that it was executing.
#[test]
fn a_refusal_after_answers_sends_nothing_again() {
    story_alone(async {
        let executions = Executions::default();
        let (executes, stream) = (executions.clone(), Mutex::new(None::<mpsc::Sender<Value>>));
        let asked = Arc::new(OnceLock::<Client>::new());
        let asks = Arc::clone(&asked);
        let server = HttpServer::plain("", move |peer: &mut Peer, request: &Request| {
            if request.method == "GET" {
                let (send, receive) = mpsc::channel();
                *stream.lock() = Some(send);
                peer.begin_events();
                peer.chunk("event: endpoint\ndata: /post\n\n");
                while let Ok(message) = receive.recv_timeout(Duration::from_secs(5)) {
                    peer.chunk(&format!("data: {message}\n\n"));
                }
                return Then::Close;
            }
            let say = |message: Value| {
                if let Some(stream) = &*stream.lock() {
                    stream.send(message).expect("the stream stands");
                }
            };
            match &request.message {
                Value::Array(elements) if is_probe(elements) => say(pongs(elements)),
                Value::Array(elements) => {
                    let client = asks.get().expect("it is connected");
                    let before = client.stats().answered;
                    let answers: Vec<Value> = elements.iter().map(|call| executes.run(call)).collect();
                    answers.into_iter().take(10).for_each(say);
                    until_blocking("ten are answered", || client.stats().answered >= before + 10);
                    peer.respond("400 Bad Request", "", "");
                    return Then::Keep;
                }
                message if request.rpc() == "initialize" => {
                    let result = scripted_server::initialized("2025-03-26");
                    say(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
                }
                message if request.is_call() => say(executes.run(message)),
                _ => {}
            }
            peer.accept();
            Then::Keep
        });
        let endpoint = format!("sse+http://127.0.0.1:{}/events", server.port()).parse().expect("an endpoint");
        let client = connect(endpoint, |config| {
            config.revision(Revision::V2025_03_26).in_flight(128).timeout(Duration::from_secs(20))
        })
        .await;
        assert!(asked.set(client.clone()).is_ok(), "once");
        let outcomes = in_an_array(&client).await;
        executions.are_right(&outcomes);
        ten_are_answered(&outcomes);
        client.close().await;
        adds_up(&client.stats());
    });
}

/// The same in one response: a 400 whose events answer some calls of the array. It was read as one JSON text, found to name none of them, and all were
/// executed again.
#[test]
fn a_refusal_in_events_that_name_calls_sends_nothing_again() {
    story_alone(async {
        let executions = Executions::default();
        let server = server(&executions, |peer, elements, executions| {
            let answers: Vec<Value> = elements.iter().map(|call| executions.run(call)).collect();
            let events: String =
                answers.into_iter().take(10).map(|answer| format!("data: {answer}\n\n")).collect();
            peer.respond("400 Bad Request", "Content-Type: text/event-stream\r\n", &events);
            Then::Keep
        });
        let client = client_with(&server, |config| config.in_flight(128)).await;
        let outcomes = in_an_array(&client).await;
        executions.are_right(&outcomes);
        ten_are_answered(&outcomes);
        client.close().await;
        adds_up(&client.stats());
    });
}

/// Events of a refusal that name calls of nobody's here: the socket is out of step and says nothing of these. They were all sent again.
#[test]
fn a_refusal_in_events_that_name_others_sends_nothing_again() {
    story_alone(async {
        let executions = Executions::default();
        let server = server(&executions, |peer, elements, executions| {
            elements.iter().for_each(|call| drop(executions.run(call)));
            let event = "data: {\"jsonrpc\":\"2.0\",\"id\":999999999,\"result\":{\"content\":[]}}\n\n";
            peer.respond("400 Bad Request", "Content-Type: text/event-stream\r\n", event);
            Then::Keep
        });
        let client = client_with(&server, |config| config.in_flight(128)).await;
        let outcomes = in_an_array(&client).await;
        executions.are_right(&outcomes);
        for (n, outcome) in &outcomes {
            let error = outcome.as_ref().unwrap_err();
            assert_eq!(
                (error.kind(), error.fate()),
                (ErrorKind::ConnectionLost, Fate::Unknown),
                "{n}: {error}"
            );
        }
        client.close().await;
        adds_up(&client.stats());
    });
}
