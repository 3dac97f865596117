//! Shards as tasks of the caller's tokio runtime, of either flavour: the same answers, the same ends, and nothing left behind when
//! the runtime goes first. The wakes of a shard on a thread of its own stand here as well, since runtimes are what they are for.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};
use volley::{Client, Config, ConfigBuilder, Driver, Endpoint, ErrorKind, Fate, Revision, ToolCall};
use volley_tests::{
    byte_server::ByteServer,
    processes::{Mark, signal},
    target::{self, Target},
    wait::{PATIENCE, until, until_blocking},
};

use crate::servers::{Account, Server, adds_up, echo, echoes, message};

/// The flavours: all tasks on one thread, or on two.
fn flavours() -> [Runtime; 2] {
    let one = Builder::new_current_thread().enable_all().build();
    let two = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    [one, two].map(|runtime| runtime.expect("the system has threads to give"))
}

async fn connect(endpoint: impl Into<Endpoint>, config: ConfigBuilder) -> Client {
    let config = config.driver(Driver::Tokio).build().expect("a valid configuration");
    Client::connect(endpoint.into(), config).await.expect("the server takes calls")
}

/// So many calls of so many tasks, each answer its own.
async fn tasks_call(client: &Client, tasks: u64, calls: u64) -> Account {
    let all: Vec<_> = (0..tasks)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for n in (task..calls).step_by(tasks as usize) {
                    let result = client.call_tool("echo", &json!({"message": message(n)})).await;
                    answers.push((n, result.unwrap_or_else(|error| panic!("call {n}: {error}")).text()));
                }
                answers
            })
        })
        .collect();
    let mut account = Account::new(calls);
    for task in all {
        task.await.expect("no call panics").into_iter().for_each(|(n, text)| account.enter(n, &text));
    }
    account
}

fn slow() -> ToolCall {
    ToolCall::new("sleep", &json!({"ms": 60_000})).expect("an object")
}

#[test]
fn a_thousand_tasks_get_their_own_answers_over_every_transport() {
    for runtime in flavours() {
        for server in Server::targets() {
            let client = runtime.block_on(async {
                let client = connect(server.endpoint.clone(), Config::builder()).await;
                let account = tasks_call(&client, 1_000, 5_000).await;
                client.close().await;
                account.close(&client.stats(), 0);
                client
            });
            assert_eq!(client.ready_connections(), 0);
        }
    }
}

#[test]
fn bulk_jobs_and_http_work_in_a_runtime_as_anywhere() {
    for runtime in flavours() {
        for server in [Server::target(&[]), Server::rmcp()] {
            runtime.block_on(async {
                let client =
                    connect(server.endpoint.clone(), Config::builder().shards(2).connections(3)).await;
                let mut account = Account::new(20_000);
                let mut bulk = client.bulk(echoes(20_000));
                while let Some((n, outcome)) = bulk.next().await {
                    account.enter_raw(n, outcome);
                }
                client.close().await;
                account.close(&client.stats(), 0);
            });
        }
        let target = Target::http(&[]);
        runtime.block_on(async {
            let client = connect(target.endpoint(), Config::builder().in_flight(16)).await;
            let account = tasks_call(&client, 16, 500).await;
            assert!(client.drain(PATIENCE).await, "nothing is under way");
            account.close(&client.stats(), 0);
        });
    }
}

#[test]
fn half_of_the_calls_are_dropped_and_the_others_answered() {
    for runtime in flavours() {
        let server = Server::target(&[]);
        runtime.block_on(async {
            let client = connect(server.endpoint.clone(), Config::builder().in_flight(32).queue(2_000)).await;
            for round in 0..5 {
                let mut calls: Vec<_> = (0..1_000).map(|n| Some(client.call_raw(echo(n)))).collect();
                for n in (0..1_000).step_by(2) {
                    // Some go before the shard has seen them, some while they wait, some on the wire.
                    if n % (round + 2) == 0 {
                        tokio::task::yield_now().await;
                    }
                    calls[n] = None;
                }
                for (n, call) in calls.into_iter().enumerate() {
                    if let Some(call) = call {
                        let answer = call.await.unwrap_or_else(|error| panic!("call {n}: {error}"));
                        assert_eq!(answer.tool_result().unwrap().text(), message(n as u64));
                    }
                }
            }
            until("no call is live", || client.stats().live == 0).await;
            let stats = client.stats();
            adds_up(&stats);
            assert_eq!((stats.submitted, stats.failed), (5_000, 0), "{stats:?}");
            assert!(stats.answered >= 2_500, "{stats:?}");
            client.close().await;
        });
    }
}

/// The shard is one runtime's; its callers are this thread, blocked threads, and tasks of another runtime.
#[test]
fn a_client_works_outside_of_the_runtime_that_drives_it() {
    for driving in flavours() {
        let server = Server::target(&[]);
        let (give, client) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel::<()>();
        let endpoint = server.endpoint.clone();
        let driver = thread::spawn(move || {
            driving.block_on(async {
                give.send(connect(endpoint, Config::builder()).await).unwrap();
                let _ = ended.await;
            });
        });
        let client = client.recv().unwrap();
        let other = Builder::new_current_thread().enable_all().build().unwrap();
        other.block_on(tasks_call(&client, 100, 2_000));
        thread::scope(|scope| {
            for n in 0..8 {
                let client = &client;
                scope.spawn(move || {
                    for n in n * 100..(n + 1) * 100 {
                        let result = pollster::block_on(client.call(echo(n))).expect("an answer");
                        assert_eq!(result.text(), message(n));
                    }
                });
            }
        });
        pollster::block_on(client.close());
        adds_up(&client.stats());
        assert_eq!(client.stats().answered, 2_800);
        end.send(()).unwrap();
        driver.join().unwrap();
    }
}

/// A worker of the very runtime that drives the shard blocks in a call. The shard's task, woken by it, stood in that worker's own slot, out
/// of which no other worker takes it: both waited for each other, time-outs and all.
#[test]
fn a_worker_of_the_runtime_that_drives_may_block() {
    let server = Server::target(&[]);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let endpoint = server.endpoint.clone();
    let (give, ended) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let config = Config::builder().driver(Driver::Tokio).build().expect("valid");
        let client = volley::blocking::Client::connect(endpoint, config).expect("the server takes calls");
        for n in 0..200 {
            assert_eq!(client.call(echo(n)).expect("an answer").text(), message(n));
        }
        let outcomes = client.batch().calls((0..10).map(echo)).send().wait();
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(client.bulk((0..300).map(echo)).filter(|(_, outcome)| outcome.is_ok()).count(), 300);
        client.close();
        give.send(client.stats()).expect("somebody waits");
    });
    let stats = ended.recv_timeout(PATIENCE).expect("it ends");
    assert_eq!(stats.answered, 510, "{stats:?}");
    adds_up(&stats);
    runtime.shutdown_background();
}

/// The runtime goes first: every call has an end that says how far it got, and no process is left.
#[test]
fn a_runtime_that_is_shut_down_ends_the_calls_of_its_shards() {
    for runtime in flavours() {
        let mark = Mark::new();
        let config = Config::builder().in_flight(8).queue(100).close_grace(Duration::from_millis(50));
        let client = runtime.block_on(connect(target::stdio(&mark, &[]), config));
        let calls: Vec<_> = (0..50).map(|_| client.call(slow())).collect();
        runtime.block_on(until("the window is full", || client.stats().live == 50));
        runtime.block_on(async { tokio::task::yield_now().await });
        drop(runtime);
        let (mut sent, mut not_sent) = (0, 0);
        for call in calls {
            let error = pollster::block_on(call).expect_err("nobody answers any more");
            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
            match error.fate() {
                Fate::NotSent => not_sent += 1,
                _ => sent += 1,
            }
        }
        assert_eq!((sent, not_sent), (8, 42));
        let late = pollster::block_on(client.call(echo(1))).expect_err("the shard has gone");
        assert_eq!((late.kind(), late.fate()), (ErrorKind::Closed, Fate::NotSent));
        let mut bulk = client.bulk(echoes(10));
        while let Some((n, outcome)) = pollster::block_on(bulk.next()) {
            assert_eq!(outcome.expect_err("as above").fate(), Fate::NotSent, "call {n}");
        }
        assert_eq!(client.ready_connections(), 0);
        adds_up(&client.stats());
        pollster::block_on(client.close());
        until_blocking("the child has gone", || mark.processes().is_empty());
    }
}

/// A runtime that was shut down before its client's connection stood is no reason to wait for ever.
#[test]
fn connecting_ends_with_the_runtime() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint: Endpoint = format!("tcp://{}", silent.local_addr().unwrap()).parse().unwrap();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let guard = runtime.enter();
    let config = Config::builder().driver(Driver::Tokio).build().unwrap();
    let mut connecting = Box::pin(Client::connect(endpoint, config));
    pollster::block_on(poll_fn(|cx| {
        assert!(connecting.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    }));
    drop(guard);
    runtime.shutdown_background();
    let error = pollster::block_on(connecting).err().expect("nobody drives it");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
}

#[test]
fn a_killed_server_loses_its_calls_and_the_next_one_answers() {
    for runtime in flavours() {
        let mark = Mark::new();
        runtime.block_on(async {
            let config = Config::builder()
                .in_flight(1_000)
                .backoff(Duration::from_millis(5), Duration::from_millis(50));
            let client = connect(target::stdio(&mark, &[]), config).await;
            for _ in 0..2 {
                let server = mark.await_processes(1).await[0];
                let calls: Vec<_> = (0..500).map(|_| tokio::spawn(client.call(slow()))).collect();
                until("the calls are in flight", || client.stats().live == 500).await;
                signal(server, Signal::KILL);
                for call in calls {
                    match call.await.expect("no panic") {
                        Err(error) => assert_eq!(
                            (error.kind(), error.fate()),
                            (ErrorKind::ConnectionLost, Fate::Unknown),
                            "{error}"
                        ),
                        Ok(result) => panic!("{result:?}"),
                    }
                }
                assert_eq!(client.call(echo(7)).await.expect("the next server").text(), message(7));
            }
            client.close().await;
            adds_up(&client.stats());
        });
        until_blocking("the child has gone", || mark.processes().is_empty());
    }
}

/// Nothing happens but time: the runtime's timer has to bring the shard to its deadlines.
#[test]
fn time_outs_fire_while_nothing_else_happens() {
    for runtime in flavours() {
        let server = Server::target(&[]);
        runtime.block_on(async {
            let client = connect(server.endpoint.clone(), Config::builder()).await;
            for timeout in [30, 100, 1] {
                let timeout = Duration::from_millis(timeout);
                let begun = Instant::now();
                let error = client.call(slow().timeout(timeout)).await.expect_err("it sleeps for a minute");
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown), "{error}");
                assert!(begun.elapsed() >= timeout && begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
            }
            client.close().await;
            adds_up(&client.stats());
        });
    }
}

/// No connection can be had: the attempts and the waits between them are the timer's as well.
#[test]
fn an_unreachable_server_is_told_after_the_attempts() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for runtime in flavours() {
        let endpoint: Endpoint = format!("tcp://{gone}").parse().unwrap();
        let config = Config::builder().backoff(Duration::from_millis(5), Duration::from_millis(20));
        let config = config.driver(Driver::Tokio).build().unwrap();
        let error = runtime.block_on(Client::connect(endpoint, config)).err().expect("nobody listens there");
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    }
}

#[test]
fn a_runtime_that_cannot_drive_a_shard_is_refused() {
    let server = Server::target(&[]);
    let config = || Config::builder().driver(Driver::Tokio).build().unwrap();
    let connect = || Client::connect(server.endpoint.clone(), config());
    let none = pollster::block_on(connect()).err().expect("there is no runtime here");
    let bare = Builder::new_current_thread().build().unwrap().block_on(connect()).err().expect("no reactor");
    let timeless = Builder::new_current_thread().enable_io().build().unwrap().block_on(connect());
    for (error, word) in
        [(none, "context"), (bare, "enable_io"), (timeless.err().expect("no timer"), "enable_time")]
    {
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Config, Fate::NotSent));
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn the_last_handle_dropped_ends_the_tasks_and_the_child() {
    for runtime in flavours() {
        let mark = Mark::new();
        runtime.block_on(async {
            let config = Config::builder().close_grace(Duration::from_millis(50));
            let client = connect(target::stdio(&mark, &[]), config).await;
            let clone = client.clone();
            drop(client);
            assert_eq!(clone.call(echo(3)).await.unwrap().text(), message(3));
            drop(clone);
            until("the child has gone", || mark.processes().is_empty()).await;
            let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
            until("no task is left", || alive() == 0).await;
        });
    }
}

/// A thousand tasks keep the shard busy; a task that only yields has its go all the while.
#[test]
fn a_busy_shard_starves_no_other_task() {
    for runtime in flavours() {
        let server = Server::target(&[]);
        runtime.block_on(async {
            let client = connect(server.endpoint.clone(), Config::builder().in_flight(1_000)).await;
            let (over, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
            let (stops, counts) = (Arc::clone(&over), Arc::clone(&turns));
            let other = tokio::spawn(async move {
                while !stops.load(Ordering::Relaxed) {
                    counts.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
            let account = tasks_call(&client, 1_000, 20_000).await;
            over.store(true, Ordering::Relaxed);
            other.await.unwrap();
            // The shard moves at most a window at a time, and after each the other task is polled.
            let turns = turns.load(Ordering::Relaxed);
            assert!(turns >= 20, "polled {turns} times in the course of 20 windows");
            client.close().await;
            account.close(&client.stats(), 0);
        });
    }
}

/// A shard on a thread wakes one task of a turn and lets it wake the others. Here half of the tasks that it may choose poll their
/// calls no more, for the time being, and the others have to be woken all the same.
#[test]
fn a_task_that_does_not_hand_wakes_on_holds_nobody_up() {
    let server = Server::target(&[]);
    let client = server.connect(Config::builder());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for round in 0..50 {
            let (tell, told) = tokio::sync::watch::channel(false);
            let lazy: Vec<_> = (0..32)
                .map(|n| {
                    let (client, mut told) = (client.clone(), told.clone());
                    tokio::spawn(async move {
                        let mut call = pin!(client.call(echo(n)));
                        // Leaves its waker, and then looks at something else.
                        let early = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
                        told.wait_for(|told| *told).await.unwrap();
                        let answer = match early {
                            Poll::Ready(answer) => answer,
                            Poll::Pending => call.await,
                        };
                        assert_eq!(answer.unwrap().text(), message(n));
                    })
                })
                .collect();
            let eager: Vec<_> = (32..64).map(|n| (n, tokio::spawn(client.call(echo(n))))).collect();
            for (n, call) in eager {
                let answer = tokio::time::timeout(PATIENCE, call).await;
                let answer = answer.unwrap_or_else(|_| panic!("round {round}: call {n} sleeps for ever"));
                assert_eq!(answer.unwrap().unwrap().text(), message(n));
            }
            tell.send(true).unwrap();
            for call in lazy {
                call.await.unwrap();
            }
        }
        client.close().await;
    });
    adds_up(&client.stats());
    assert_eq!(client.stats().answered, 50 * 64);
}

/// When the last deadline had passed, the timer was found ready again each time it was asked, and the task woke itself for ever.
#[test]
fn a_client_that_is_idle_costs_nothing() {
    let used = || {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the system counts");
        Duration::from_nanos(stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number"))
    };
    let server = Server::target(&[]);
    let [runtime, _] = flavours();
    runtime.block_on(async {
        let soon = Duration::from_millis(50);
        let config = Config::builder().timeout(soon).connect_timeout(2 * soon);
        let client = connect(server.endpoint.clone(), config).await;
        assert_eq!(client.call(echo(3)).await.expect("an answer").text(), message(3));
        tokio::time::sleep(6 * soon).await;
        let before = used();
        tokio::time::sleep(10 * soon).await;
        let idle = used() - before;
        assert!(idle < 2 * soon, "{idle:?} of processor time in {:?} without a call", 10 * soon);
        assert_eq!(client.call(echo(4)).await.expect("an answer").text(), message(4));
        client.close().await;
    });
}

/// A task reads twice in a turn, and the second read found the end: why the server had refused was forgotten over it.
#[test]
fn why_a_server_refuses_is_said_though_it_hangs_up_at_once() {
    for runtime in flavours() {
        runtime.block_on(async {
            let server = ByteServer::tcp("legacy", |_, peer| {
                let Some(initialize) = peer.next_message() else { return };
                let error = json!({"code": -32000, "message": "closed on Mondays"});
                peer.say_line(&json!({"jsonrpc": "2.0", "id": initialize["id"], "error": error}).to_string());
            });
            for _ in 0..20 {
                let config = Config::builder().revision(Revision::V2025_11_25).attempts_max(1);
                let config = config.driver(Driver::Tokio).build().expect("a valid configuration");
                let error = Client::connect(server.endpoint(), config).await.err().expect("refused");
                assert!(error.to_string().contains("closed on Mondays"), "{error}");
            }
        });
    }
}
