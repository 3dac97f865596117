//! Time-outs, progress that pushes them away, the bound that it cannot push, and calls that are given up.

use std::time::{Duration, Instant};

use serde_json::json;
use volley::{Client, Config, ErrorKind, Fate, Inline, Revision, Tool, ToolCall};
use volley_tests::{target::Target, wait::until_blocking};

use crate::servers::{Server, adds_up, pinned};

const ERAS: [Option<Revision>; 2] = [None, Some(Revision::V2025_11_25)];

/// A call that takes 1.2 s and reports every 100 ms.
fn long_call() -> ToolCall {
    ToolCall::new("progress", &json!({"steps": 12, "ms": 100})).unwrap().timeout(Duration::from_millis(700))
}

#[test]
fn progress_starts_the_time_out_again_and_only_if_it_was_asked_for() {
    let server = Server::target(&[]);
    for revision in ERAS {
        let client = server.connect(pinned(revision));
        pollster::block_on(async {
            let (patient, impatient) = (client.call(long_call().with_progress()), client.call(long_call()));
            let error = impatient.await.unwrap_err();
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown));
            assert_eq!(patient.await.unwrap().text(), "12 steps");
            client.close().await;
        });
        let stats = client.stats();
        adds_up(&stats);
        assert_eq!((stats.answered, stats.timed_out, stats.cancellations_sent), (1, 1, 1), "{stats:?}");
        assert_eq!(stats.notifications, 12, "one for each step of the call that asked");
    }
}

#[test]
fn no_progress_pushes_the_absolute_bound() {
    let server = Server::target(&[]);
    for revision in ERAS {
        let client = server.connect(pinned(revision));
        let started = Instant::now();
        let call = long_call().with_progress().timeout_at_most(Duration::from_millis(800));
        let error = pollster::block_on(client.call(call)).unwrap_err();
        let took = started.elapsed();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown));
        assert!((Duration::from_millis(790)..Duration::from_millis(1_500)).contains(&took), "{took:?}");
        pollster::block_on(client.close());
        adds_up(&client.stats());
    }
}

#[test]
fn a_bulk_job_has_a_time_out_of_its_own() {
    let server = Server::target(&[]);
    let client = server.connect(Config::builder());
    let call = |ms: u64| ToolCall::new("sleep", &json!({"ms": ms})).unwrap();
    let mut outcomes: Vec<_> =
        client.bulk([call(0), call(60_000)]).timeout(Duration::from_millis(300)).blocking().collect();
    outcomes.sort_by_key(|(n, _)| *n);
    assert!(outcomes[0].1.is_ok(), "{outcomes:?}");
    assert_eq!(outcomes[1].1.as_ref().unwrap_err().kind(), ErrorKind::Timeout);
    pollster::block_on(client.close());
    adds_up(&client.stats());
}

#[test]
fn a_dropped_call_is_cancelled_at_the_server() {
    let server = Server::target(&[]);
    for revision in ERAS {
        let client = server.connect(pinned(revision));
        pollster::block_on(async {
            let sleep = |ms: u64| client.call_tool("sleep", &json!({"ms": ms}));
            let (dropped, kept) = (sleep(300), sleep(600));
            // Answered after both were sent, since a server reads in order.
            client.call_tool("count", &json!({})).await.unwrap();
            drop(dropped);
            // By then the dropped one would have been answered, had the server not heard.
            assert_eq!(kept.await.unwrap().text(), "600");
            client.close().await;
        });
        let stats = client.stats();
        adds_up(&stats);
        assert_eq!((stats.answered, stats.cancelled, stats.cancellations_sent), (2, 1, 1), "{stats:?}");
        assert_eq!((stats.late, stats.unknown), (0, 0), "{stats:?}");
    }
}

#[test]
fn a_call_dropped_before_it_was_sent_is_never_executed() {
    let server = Server::target(&[]);
    for revision in ERAS {
        let client = server.connect(pinned(revision).in_flight(1));
        let executed = pollster::block_on(async {
            let count = || client.call_tool("count", &json!({}));
            let before: u64 = count().await.unwrap().text().parse().unwrap();
            let sleep = client.call_tool("sleep", &json!({"ms": 300}));
            drop(count());
            sleep.await.unwrap();
            let after: u64 = count().await.unwrap().text().parse().unwrap();
            client.close().await;
            after - before
        });
        assert_eq!(executed, 1, "the last one only");
        let stats = client.stats();
        adds_up(&stats);
        assert_eq!((stats.cancelled, stats.cancellations_sent), (1, 0), "{stats:?}");
    }
}

#[test]
fn dropping_a_bulk_job_cancels_what_is_left_of_it() {
    let server = Server::target(&[]);
    let client = server.connect(Config::builder().in_flight(200));
    pollster::block_on(async {
        let calls = (0..100).map(|_| ToolCall::new("sleep", &json!({"ms": 60_000})).unwrap());
        let mut bulk = client.bulk(calls);
        // Polled once, so that calls are on their way.
        let pending = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::pin!(bulk.next()).poll(cx).is_pending())
        });
        assert!(pending.await);
        client.call_tool("count", &json!({})).await.unwrap();
        drop(bulk);
        client.call_tool("count", &json!({})).await.unwrap();
        client.close().await;
    });
    let stats = client.stats();
    adds_up(&stats);
    assert_eq!((stats.answered, stats.failed), (2, 0), "{stats:?}");
    assert!(stats.cancelled > 0, "{stats:?}");
}

#[test]
fn draining_lets_calls_end_and_closing_does_not() {
    let server = Server::target(&[]);
    let client = server.connect(Config::builder());
    pollster::block_on(async {
        let call = client.call_tool("sleep", &json!({"ms": 200}));
        assert!(client.drain(Duration::from_secs(10)).await, "it ended by itself");
        assert_eq!(call.await.unwrap().text(), "200");
        let late = client.call_tool("count", &json!({})).await.unwrap_err();
        assert_eq!((late.kind(), late.fate()), (ErrorKind::Closed, Fate::NotSent));
    });
    let client = server.connect(Config::builder());
    pollster::block_on(async {
        let call = client.call_tool("sleep", &json!({"ms": 60_000}));
        client.call_tool("count", &json!({})).await.unwrap();
        assert!(!client.drain(Duration::from_millis(100)).await, "it was ended");
        let error = call.await.unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::Unknown));
    });
    adds_up(&client.stats());
}

/// Once it failed what the job had handed in before, as soon as the job handed in more.
#[test]
fn draining_lets_those_calls_of_a_bulk_job_end_that_it_has_handed_in() {
    let server = Server::target(&[]);
    let client = server.connect(Config::builder().in_flight(4));
    pollster::block_on(async {
        let sleep = |_| ToolCall::new("sleep", &json!({"ms": 5})).unwrap();
        let mut bulk = client.bulk((0..10_000).map(sleep)).ordered();
        // By now as many are handed in as the bound allows.
        bulk.next().await.unwrap().1.unwrap();
        let drain =
            async { assert!(client.drain(Duration::from_secs(60)).await, "they ended by themselves") };
        let read = async {
            let (mut answered, mut refused) = (1_u64, 0_u64);
            while let Some((n, outcome)) = bulk.next().await {
                match outcome {
                    Ok(_) => {
                        assert_eq!((n, refused), (answered, 0), "none that came later is answered");
                        answered += 1;
                    }
                    Err(error) => {
                        assert_eq!(
                            (error.kind(), error.fate()),
                            (ErrorKind::Closed, Fate::NotSent),
                            "{n}: {error}"
                        );
                        refused += 1;
                    }
                }
            }
            assert_eq!(answered + refused, 10_000);
            // Two claims of 128 at least.
            assert!(answered >= 256, "{answered} were answered");
        };
        tokio::join!(drain, read);
    });
    adds_up(&client.stats());
}

/// A shard that polls before it sleeps once did not look at its inbox while it did: what was submitted meanwhile waited for the next
/// answer, or for the end of the polling.
#[test]
fn a_call_made_while_the_shard_polls_is_sent_at_once() {
    let server = Server::target(&[]);
    let client = server.connect(Config::builder().spin(Duration::from_secs(20)));
    pollster::block_on(async {
        let slow = client.call_tool("sleep", &json!({"ms": 2_000}));
        let started = Instant::now();
        for _ in 0..20 {
            client.call_tool("count", &json!({})).await.unwrap();
        }
        let took = started.elapsed();
        assert_eq!(slow.await.unwrap().text(), "2000");
        assert!(took < Duration::from_secs(1), "20 calls beside one of 2 s took {took:?}");
        client.close().await;
    });
    adds_up(&client.stats());
}

/// It slept through its own end: a client at whom nothing was under way stood for all of the time that draining was given, and was
/// then said to have had to be ended.
#[test]
fn draining_ends_at_once_where_nothing_is_under_way() {
    for target in [Target::tcp(&[]), Target::http(&[])] {
        // Of two shards one has never had a call, and the other has none any more.
        let config = Config::builder().shards(2).connections(2).build().unwrap();
        let client = pollster::block_on(Client::connect(target.endpoint(), config)).unwrap();
        pollster::block_on(async {
            client.call_tool("count", &json!({})).await.unwrap();
            let begun = Instant::now();
            assert!(client.drain(Duration::from_secs(20)).await, "nothing had to be ended");
            assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
        });
        adds_up(&client.stats());
    }
}

/// Each slice of a long request once waited for one whole poll of `spin`, and so did the outcomes of calls that a turn had ended.
#[test]
fn a_shard_that_polls_writes_what_it_has_first() {
    let server = Server::target(&[]);
    let config = Config::builder().spin(Duration::from_secs(10)).revision(Revision::V2026_07_28);
    let mut engine = Inline::connect(&server.endpoint, &config.build().unwrap()).unwrap();
    while engine.ready_connections() == 0 {
        engine.turn(Duration::from_millis(100), |_, _, _| ()).unwrap();
    }
    let begun = Instant::now();
    let arguments = json!({"message": "long".repeat(1 << 18)}).to_string();
    engine.submit(&Tool::new("echo"), arguments.as_bytes(), 7).unwrap();
    let mut ended = 0;
    while ended == 0 {
        engine.turn(Duration::from_secs(10), |_, _, _| ended += 1).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "a MiB took {:?}", begun.elapsed());
    engine.close(|_, _, _| ());
}

/// A call that is dropped is cancelled in a turn after which the shard sleeps, and the counters said that it was still under way until
/// something else happened.
#[test]
fn counters_show_what_the_last_turn_before_sleeping_ended() {
    let target = Target::tcp(&["--never-answer"]);
    let config = pinned(Some(Revision::V2026_07_28)).orphan_debt(Duration::from_secs(600));
    let client = pollster::block_on(Client::connect(target.endpoint(), config.build().unwrap())).unwrap();
    let call = client.call_tool("count", &json!({}));
    until_blocking("it is on its way", || client.stats().live == 1);
    drop(call);
    until_blocking("it is not any more", || client.stats().live == 0);
    assert_eq!(client.stats().cancelled, 1);
    pollster::block_on(client.close());
}

/// A shard polls before it sleeps as long as that brings answers; where they took longer than that, it went on polling for nothing.
#[test]
fn polling_that_brings_nothing_rests() {
    let target = Target::tcp(&["--delay", "20ms"]);
    let config = Config::builder().spin(Duration::from_micros(200)).build().unwrap();
    let mut engine = Inline::connect(&target.endpoint(), &config).unwrap();
    for n in 0..100 {
        while engine.submit(&Tool::new("count"), b"{}", n).is_err() {
            engine.turn(Duration::from_millis(100), |_, _, _| ()).unwrap();
        }
        let mut ended = 0;
        while ended == 0 {
            engine.turn(Duration::from_secs(10), |_, _, _| ended += 1).unwrap();
        }
    }
    let stats = engine.stats();
    assert!((16..70).contains(&(stats.spins - stats.spins_paid)), "{stats:?}");
    engine.close(|_, _, _| ());
}
