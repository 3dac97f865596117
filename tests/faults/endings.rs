//! Endings: drained, closed, dropped, and what becomes of the calls that are still under way.

use std::time::{Duration, Instant};

use volley::{Call, ErrorKind, Fate};
use volley_tests::calls::{all_ends, books_balance, echo, first_text, message};
use volley_tests::processes::{Mark, exists, threads_named};
use volley_tests::target::{self, ERAS, Target};
use volley_tests::wait::{story, until};

use super::connect;

/// Those in flight and those that wait are answered; those that come later are not taken.
#[test]
fn draining_completes_what_was_taken_on() {
    story(async {
        for era in ERAS {
            let target = Target::tcp(&["--revisions", era, "--delay", "50ms"]);
            let client = connect(target.endpoint(), |config| config.in_flight(16)).await;
            let ends = tokio::spawn(all_ends((0..32).map(|n| client.call(echo(n))).collect()));
            until("all are taken on", || client.stats().live == 32).await;
            assert!(client.drain(Duration::from_secs(20)).await, "nothing had to be ended");
            for (n, end) in ends.await.expect("no panic").into_iter().enumerate() {
                assert_eq!(first_text(&end.outcome.expect("an answer")), message(n as u64));
            }
            let error = client.call(echo(0)).await.expect_err("it is closed");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::NotSent));
            let stats = books_balance(&client).await;
            assert_eq!((stats.submitted, stats.answered), (32, 32));
        }
    });
}

/// Draining ends at its deadline, whatever the server does.
#[test]
fn draining_ends_at_its_deadline() {
    story(async {
        let target = Target::tcp(&["--never-answer"]);
        let client = connect(target.endpoint(), |config| config.in_flight(4)).await;
        let ends = tokio::spawn(all_ends((0..8).map(|n| client.call(echo(n))).collect()));
        until("all are taken on", || client.stats().live == 8).await;
        let began = Instant::now();
        assert!(!client.drain(Duration::from_millis(100)).await, "eight had to be ended");
        assert!(began.elapsed() < Duration::from_secs(10));
        let mut fates = [0, 0];
        for end in ends.await.expect("no panic") {
            let error = end.outcome.expect_err("nobody answers");
            assert_eq!(error.kind(), ErrorKind::Closed);
            fates[usize::from(error.fate() == Fate::Unknown)] += 1;
        }
        assert_eq!(fates, [4, 4], "those in the window were sent, the others were not");
        books_balance(&client).await;
    });
}

/// A bulk that is under way when draining begins: what is in flight is answered, what comes after is not sent.
#[test]
fn draining_does_not_wait_for_the_end_of_an_endless_bulk() {
    story(async {
        let target = Target::tcp(&["--delay", "1ms"]);
        let client = connect(target.endpoint(), |config| config.in_flight(16)).await;
        let mut bulk = client.bulk((0_u64..).map(echo));
        for _ in 0..100 {
            bulk.next().await.expect("endless").1.expect("an answer");
        }
        let drains = client.clone();
        let drained = tokio::spawn(async move { drains.drain(Duration::from_secs(20)).await });
        let refused = loop {
            let (index, outcome) = bulk.next().await.expect("endless");
            match outcome {
                Ok(answer) => {
                    assert_eq!(first_text(&answer.tool_result().expect("a result")), message(index))
                }
                Err(error) => break error,
            }
        };
        assert_eq!((refused.kind(), refused.fate()), (ErrorKind::Closed, Fate::NotSent), "{refused}");
        assert!(drained.await.expect("no panic"), "what was in flight has ended by itself");
        drop(bulk);
        books_balance(&client).await;
    });
}

/// Closing ends everything, in flight, waiting for the window, waiting for a place, and in a bulk.
#[test]
fn closing_ends_every_call_with_closed() {
    story(async {
        for era in ERAS {
            let mark = Mark::new();
            let client = connect(target::stdio(&mark, &["--revisions", era, "--never-answer"]), |config| {
                config.in_flight(4)
            })
            .await;
            let mut bulk = client.bulk((0..20).map(echo)).ordered();
            let bulk = tokio::spawn(async move {
                let mut errors = Vec::new();
                while let Some((index, outcome)) = bulk.next().await {
                    errors.push((index, outcome.expect_err("nobody answers")));
                }
                errors
            });
            until("the bulk has filled the window", || client.stats().live == 4).await;
            let ends = tokio::spawn(all_ends((0..20).map(|n| client.call(echo(n))).collect()));
            until("the queue is full", || client.stats().live == 12).await;
            client.close().await;
            for end in ends.await.expect("no panic") {
                let error = end.outcome.expect_err("nobody answers");
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::NotSent), "{error}");
            }
            let errors = bulk.await.expect("no panic");
            assert!(errors.iter().map(|(index, _)| *index).eq(0..20), "each once, in order");
            assert!(errors.iter().all(|(_, error)| error.kind() == ErrorKind::Closed));
            assert_eq!(errors.iter().filter(|(_, error)| error.fate() == Fate::Unknown).count(), 4);
            books_balance(&client).await;
            mark.nobody_is_left();
            assert_eq!(client.ready_connections(), 0);
            // A closed client refuses whatever comes, and can be closed again.
            let error = client.call(echo(0)).await.expect_err("it is closed");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::NotSent));
            let late = client.try_call(echo(0)).expect("closed is not full").await.expect_err("it is closed");
            assert_eq!(late.kind(), ErrorKind::Closed);
            let mut late = client.bulk((0..3).map(echo));
            let mut outcomes = 0;
            while let Some((_, outcome)) = late.next().await {
                assert_eq!(outcome.expect_err("it is closed").kind(), ErrorKind::Closed);
                outcomes += 1;
            }
            assert_eq!(outcomes, 3);
            let error =
                client.notify("notifications/roots/list_changed", &()).await.expect_err("it is closed");
            assert_eq!(error.kind(), ErrorKind::Closed);
            assert!(client.notifications().next().await.is_none(), "a stream of a closed client ends");
            client.close().await;
        }
    });
}

/// Dropping the last handle without closing: threads and children end by themselves. Seven shards, because then the name
/// of the seventh is no other test's.
#[test]
fn dropping_the_last_clone_leaves_no_thread_and_no_child() {
    story(async {
        let mark = Mark::new();
        let client = connect(target::stdio(&mark, &[]), |config| config.connections(7).shards(7)).await;
        let pids = mark.await_processes(7).await;
        assert_eq!(threads_named("volley-shard-6"), 1);
        let clone = client.clone();
        let call: Call = clone.call(echo(0));
        drop(client);
        drop(clone);
        // A call holds the engine too: it is answered.
        assert_eq!(first_text(&call.await.expect("an answer")), message(0));
        until("the threads are gone", || threads_named("volley-shard-6") == 0).await;
        until("the children are gone", || pids.iter().all(|pid| !exists(*pid))).await;
    });
}
