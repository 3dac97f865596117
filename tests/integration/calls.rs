//! 20,000 calls, each with its own argument, at 64 in flight: every answer its own, whichever way the calls are made.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use volley::{Config, ErrorKind, Fate, Inline, InlineOutcome, Revision, Tool};

use volley_tests::{target::Target, wait::PATIENCE};

use crate::servers::{Account, Server, echo, echoes, message, pinned};

const CALLS: u64 = 20_000;
const ERAS: [Option<Revision>; 2] = [None, Some(Revision::V2025_11_25)];

/// What 20,000 calls in bulk come to, in both eras.
fn every_answer_is_its_own_in_bulk(servers: &[Server]) {
    for server in servers {
        for revision in ERAS {
            let client = server.connect(pinned(revision));
            let tools = pollster::block_on(client.list_tools()).unwrap();
            assert!(tools.iter().any(|tool| tool.name == "echo"), "{}: {tools:?}", server.name);
            let mut account = Account::new(CALLS);
            pollster::block_on(async {
                let mut bulk = client.bulk(echoes(CALLS));
                while let Some((n, outcome)) = bulk.next().await {
                    account.enter_raw(n, outcome);
                }
                client.close().await;
            });
            // The list of tools was a call as well.
            account.close(&client.stats(), 1);
        }
    }
}

#[test]
fn bulk_answers_are_their_own_from_the_target_over_every_transport_in_both_eras() {
    every_answer_is_its_own_in_bulk(&Server::targets());
}

#[test]
fn bulk_answers_are_their_own_from_rmcp_over_every_transport_in_both_eras() {
    every_answer_is_its_own_in_bulk(&Server::rmcps());
}

#[test]
fn ordered_bulk_keeps_the_order_of_the_calls_when_answers_are_shuffled() {
    let server = Server::target(&["--reorder", "16"]);
    let client = server.connect(Config::builder());
    let mut account = Account::new(CALLS);
    for (expected, (n, outcome)) in client.bulk(echoes(CALLS)).ordered().blocking().enumerate() {
        assert_eq!(n, expected as u64, "in order");
        account.enter_raw(n, outcome);
    }
    pollster::block_on(client.close());
    account.close(&client.stats(), 0);
}

/// A consumer is not woken for each outcome, but for a good part of what is in flight. A part that never comes must not be
/// waited for, not even while another job keeps the shard reading.
#[test]
fn a_job_hears_of_its_only_outcome_while_another_keeps_the_shard_busy() {
    let server = Server::target(&[]);
    let client = server.connect(Config::builder().in_flight(256));
    let over = Arc::new(AtomicBool::new(false));
    let (busy, stops) = (client.clone(), Arc::clone(&over));
    let busy = thread::spawn(move || {
        let calls = std::iter::from_fn(|| (!stops.load(Ordering::Relaxed)).then(|| echo(7)));
        busy.bulk(calls).blocking().for_each(|(_, outcome)| drop(outcome.unwrap()));
    });
    let (tell, told) = mpsc::channel();
    let few = client.clone();
    let few = thread::spawn(move || {
        let slow = volley::ToolCall::new("sleep", &json!({"ms": 60_000})).unwrap();
        let mut job = few.bulk(std::iter::once(echo(1)).chain(std::iter::repeat_n(slow, 100)));
        tell.send(pollster::block_on(job.next())).unwrap();
    });
    let first = told.recv_timeout(PATIENCE).expect("the outcome is told");
    assert_eq!(
        first.map(|(n, outcome)| (n, outcome.unwrap().tool_result().unwrap().text())),
        Some((0, message(1)))
    );
    over.store(true, Ordering::Relaxed);
    busy.join().unwrap();
    few.join().unwrap();
    pollster::block_on(client.close());
    assert_eq!(client.stats().live, 0);
}

#[test]
fn bulk_pulls_no_more_calls_than_its_bound_allows() {
    let server = Server::target(&[]);
    let client = server.connect(Config::builder());
    let pulled = Arc::new(Mutex::new(0));
    let counting = Arc::clone(&pulled);
    let calls = echoes(1_000).inspect(move |_| *counting.lock().unwrap() += 1);
    for (taken, (_, outcome)) in client.bulk(calls).buffer(10).blocking().enumerate() {
        outcome.unwrap();
        let pulled = *pulled.lock().unwrap();
        assert!(pulled <= taken + 1 + 10, "{pulled} pulled, {taken} taken");
    }
    pollster::block_on(client.close());
}

#[test]
fn single_calls_from_64_tasks_get_their_own_answers() {
    for server in [Server::target(&[]), Server::rmcp()] {
        for revision in ERAS {
            let client = server.connect(pinned(revision));
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
            let account = runtime.block_on(async {
                let tasks: Vec<_> = (0..64)
                    .map(|task| {
                        let client = client.clone();
                        tokio::spawn(async move {
                            let mut answers = Vec::new();
                            for n in (task..CALLS).step_by(64) {
                                let result = client.call_tool("echo", &json!({"message": message(n)})).await;
                                answers.push((
                                    n,
                                    result.unwrap_or_else(|error| panic!("call {n}: {error}")).text(),
                                ));
                            }
                            answers
                        })
                    })
                    .collect();
                let mut account = Account::new(CALLS);
                for task in tasks {
                    task.await.unwrap().into_iter().for_each(|(n, text)| account.enter(n, &text));
                }
                client.close().await;
                account
            });
            account.close(&client.stats(), 0);
        }
    }
}

#[test]
fn calls_made_one_after_another_are_in_flight_together_without_any_executor() {
    let server = Server::target(&[]);
    let client = server.connect(Config::builder());
    let mut account = Account::new(CALLS);
    pollster::block_on(async {
        let mut flying = VecDeque::new();
        for n in 0..CALLS {
            if flying.len() == 64 {
                let (n, call) = flying.pop_front().unwrap();
                account.enter_raw(n, call.await);
            }
            flying.push_back((n, client.call_raw(echo(n))));
        }
        for (n, call) in flying {
            account.enter_raw(n, call.await);
        }
        client.close().await;
    });
    account.close(&client.stats(), 0);
}

#[test]
fn blocking_calls_from_64_threads_get_their_own_answers() {
    for server in [Server::target(&[]), Server::rmcp()] {
        let config = Config::default();
        let client = volley::blocking::Client::connect(server.endpoint.clone(), config).unwrap();
        let account = Mutex::new(Account::new(CALLS));
        std::thread::scope(|scope| {
            for thread in 0..64 {
                let (client, account) = (client.clone(), &account);
                scope.spawn(move || {
                    for n in (thread..CALLS).step_by(64) {
                        let text =
                            client.call(echo(n)).unwrap_or_else(|error| panic!("call {n}: {error}")).text();
                        account.lock().unwrap().enter(n, &text);
                    }
                });
            }
        });
        client.close();
        account.into_inner().unwrap().close(&client.stats(), 0);
    }
}

#[test]
fn inline_answers_are_their_own_over_every_transport_in_both_eras() {
    for server in Server::targets().into_iter().chain(Server::rmcps()) {
        for revision in ERAS {
            let config = pinned(revision).build().unwrap();
            let mut engine = Inline::connect(&server.endpoint, &config).unwrap();
            let (echo, mut account) = (Tool::new("echo"), Account::new(CALLS));
            let (mut sent, mut ended) = (0, 0);
            while ended < CALLS {
                while sent < CALLS && engine.room() > 0 {
                    let arguments = json!({"message": message(sent)}).to_string();
                    engine.submit(&echo, arguments.as_bytes(), sent).unwrap();
                    sent += 1;
                }
                assert!(engine.in_flight() <= 64);
                let turn = engine.turn(Duration::from_secs(5), |n, _, outcome| {
                    let InlineOutcome::Result(answer) = outcome else { panic!("call {n}: {outcome:?}") };
                    let answer: Value = serde_json::from_slice(answer).unwrap();
                    account.enter(n, answer["result"]["content"][0]["text"].as_str().unwrap());
                    ended += 1;
                });
                turn.unwrap();
            }
            account.close(&engine.stats(), 0);
            engine.close(|n, _, outcome| panic!("call {n} ended again: {outcome:?}"));
        }
    }
}

/// Before, what the poll had told was lost with the turn, and the next one failed for a reason that named nobody. On a server that has died
/// the calls end while their connection is taken apart.
#[test]
fn a_closure_that_panics_ends_the_engine_and_each_call_is_told_once_all_the_same() {
    for (mut target, dies) in [(Target::tcp(&[]), false), (Target::tcp(&[]), true), (Target::unix(&[]), true)]
    {
        let endpoint = target.endpoint();
        let mut engine = Inline::connect(&endpoint, &Config::default()).unwrap();
        let (echo, sleep) = (Tool::new("echo"), Tool::new("sleep"));
        for n in 0..20 {
            let call: (_, &[u8]) =
                if dies { (&sleep, br#"{"ms":60000}"#) } else { (&echo, br#"{"message":"x"}"#) };
            engine.submit(call.0, call.1, n).unwrap();
        }
        if dies {
            target.kill();
        }
        let mut told = Vec::new();
        let mut turn = |told: &mut Vec<u64>| {
            engine.turn(Duration::from_secs(5), |n, _, _| {
                told.push(n);
                assert!(told.len() < 3, "the third is too much");
            })
        };
        let broken = || while turn(&mut told).is_ok() {};
        catch_unwind(AssertUnwindSafe(broken)).expect_err("it panicked");
        let error = turn(&mut told).unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Internal, Fate::NotSent));
        assert!(error.to_string().contains("an earlier turn has panicked"), "{error}");
        assert_eq!(told.len(), 3);
        engine.close(|n, _, _| told.push(n));
        told.sort_unstable();
        assert_eq!(told, (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn a_full_window_is_a_state_and_gives_the_call_back() {
    let server = Server::target(&[]);
    let client = server.connect(Config::builder().in_flight(2).queue(0));
    let slow = || volley::ToolCall::new("sleep", &json!({"ms": 60_000})).unwrap();
    let held: Vec<_> = (0..2).map(|_| client.try_call(slow()).expect("there is room for two")).collect();
    let Err(volley::Full(back)) = client.try_call(echo(7)) else { panic!("there is room for two only") };
    assert_eq!(back, echo(7));
    drop(held);
    pollster::block_on(async {
        // Waits for its place, instead of being refused one.
        assert_eq!(client.call(back).await.unwrap().text(), message(7));
        client.close().await;
    });
    let stats = client.stats();
    assert_eq!((stats.answered, stats.cancelled), (1, 2), "{stats:?}");
}

#[test]
fn a_tools_failure_is_a_result_and_an_unknown_tool_an_error() {
    for server in Server::targets() {
        for revision in ERAS {
            let client = server.connect(pinned(revision));
            pollster::block_on(async {
                let failed = client.call_tool("fail", &json!({"message": "no luck"})).await.unwrap();
                assert!(failed.is_error && failed.text() == "no luck", "{failed:?}");
                let unknown = client.call_tool("no such tool", &json!({})).await.unwrap_err();
                assert_eq!(unknown.kind(), volley::ErrorKind::Rpc);
                assert_eq!(unknown.fate(), volley::Fate::Answered);
                assert_eq!(unknown.rpc_error().unwrap().code, -32602);
                let refused = client.call_tool("echo", &"no object").await.unwrap_err();
                assert_eq!(
                    (refused.kind(), refused.fate()),
                    (volley::ErrorKind::InvalidInput, volley::Fate::NotSent)
                );
                let sum = client.call_tool("sum", &json!({"a": 1, "b": 2})).await.unwrap();
                assert_eq!(sum.structured_content, Some(json!({"sum": 3})));
                client.close().await;
            });
            let stats = client.stats();
            assert_eq!((stats.submitted, stats.answered, stats.rpc_errors), (3, 3, 1), "{stats:?}");
        }
    }
}

#[test]
fn long_answers_are_whole_however_they_are_read() {
    let server = Server::target(&[]);
    let client = server.connect(Config::builder().decode_offload_bytes(32 * 1024));
    pollster::block_on(async {
        for bytes in [0, 1, 4_000, 5_000, 40_000, 70_000, 1 << 20, 10 << 20] {
            let blob = json!({"bytes": bytes});
            let typed = client.call_tool("blob", &blob).await.unwrap();
            assert_eq!(typed.text(), "x".repeat(bytes), "{bytes} bytes");
            let raw = client.call_raw(volley::ToolCall::new("blob", &blob).unwrap()).await.unwrap();
            assert_eq!(raw.tool_result().unwrap(), typed);
        }
        client.close().await;
    });
}

/// A Unix socket takes some 200 KiB, a pipe at most 1 MiB: calls of 256 KiB, 64 in flight, are refused by the kernel again and again.
/// A Unix socket is asked to tell of room only then; a request that nobody asked for would stay where it is.
#[test]
fn a_wire_that_was_full_goes_on_over_every_transport() {
    let text = "x".repeat(256 * 1024);
    for server in Server::targets() {
        let client = server.connect(Config::builder());
        let call = || volley::ToolCall::new("echo", &json!({ "message": text })).unwrap();
        let mut answered = 0;
        for (_, outcome) in client.bulk(std::iter::repeat_with(call).take(200)).blocking() {
            let answer = outcome.unwrap_or_else(|error| panic!("{}: {error}", server.name));
            assert!(answer.message().len() > text.len());
            answered += 1;
        }
        assert_eq!(answered, 200);
        pollster::block_on(client.close());
    }
}
