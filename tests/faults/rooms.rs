//! Windows that are full, and bulks under stress: nobody is lost in the queue, nobody is served twice.

use std::time::{Duration, Instant};

use volley::{Call, ErrorKind, Fate};
use volley_tests::calls::{all_ends, books_balance, echo, echoes_work, first_text, message};
use volley_tests::target::{ERAS, Target};
use volley_tests::wait::{story, until};

use super::connect;

/// No queue, a window of four, and a server that never answers: the fifth call comes back as it was.
#[test]
fn a_full_window_gives_the_call_back() {
    story(async {
        for era in ERAS {
            let target = Target::tcp(&["--revisions", era, "--never-answer"]);
            let client = connect(target.endpoint(), |config| config.in_flight(4).queue(0)).await;
            let calls: Vec<Call> =
                (0..4).map(|n| client.try_call(echo(n)).expect("there is a place")).collect();
            for _ in 0..10 {
                let full = client.try_call(echo(4)).err().expect("there is no place");
                assert_eq!(full.0, echo(4));
            }
            until("four are in flight", || client.stats().live == 4).await;
            drop(calls);
            books_balance(&client).await;
            let stats = client.stats();
            assert_eq!((stats.submitted, stats.cancelled), (4, 4), "{stats:?}");
            // The places are free; that the window is not, for a while, only makes the call wait.
            drop(client.try_call(echo(5)).expect("there is a place"));
            books_balance(&client).await;
            client.close().await;
        }
    });
}

/// Callers wait for a place in one executor thread, so that several places become free before the first of them runs. If a
/// place that is given back woke only one of them at a time, the window would be used one call at a time from then on.
#[test]
fn every_free_place_wakes_a_waiter() {
    const CALLS: u64 = 400;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let target = Target::tcp(&["--delay", "10ms"]);
        let client = connect(target.endpoint(), |config| config.in_flight(8).queue(0)).await;
        let began = Instant::now();
        for (n, end) in all_ends((0..CALLS).map(|n| client.call(echo(n))).collect()).await.into_iter().enumerate() {
            assert_eq!(first_text(&end.outcome.expect("an answer")), message(n as u64));
        }
        // Eight at a time take 0.5 s, one at a time 4 s.
        assert!(began.elapsed() < Duration::from_secs(2), "the window was not used: {:?}", began.elapsed());
        books_balance(&client).await;
        client.close().await;
    });
}

/// Readings of the counters add up at every moment, not only at the end.
#[test]
fn any_reading_of_the_counters_adds_up() {
    story(async {
        let target = Target::tcp(&[]);
        let client = connect(target.endpoint(), |config| config.in_flight(256)).await;
        let reads = client.clone();
        let (tell, over) = std::sync::mpsc::channel::<()>();
        let reader = std::thread::spawn(move || {
            let mut readings = 0;
            while over.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                let stats = reads.stats();
                assert_eq!(stats.submitted, stats.answered + stats.failed + stats.cancelled + stats.live, "{stats:?}");
                readings += 1;
            }
            readings
        });
        let mut bulk = client.bulk((0..20_000).map(echo));
        while let Some((_, outcome)) = bulk.next().await {
            outcome.expect("an answer");
        }
        drop(tell);
        assert!(reader.join().expect("every reading adds up") > 0);
        books_balance(&client).await;
        client.close().await;
    });
}

/// A bulk over several connections while the server is killed and comes back, twice. Every index has one outcome.
#[test]
fn a_bulk_over_a_dying_server_tells_every_index_once() {
    const CALLS: u64 = 6000;
    story(async {
        for era in ERAS {
            let switches = ["--revisions", era, "--delay", "0ms..2ms"];
            let (mut target, port) = Target::tcp_at_home(&switches);
            let client = connect(target.endpoint(), |config| {
                config
                    .connections(4)
                    .shards(2)
                    .in_flight(32)
                    .attempts_max(1000)
                    .backoff(Duration::from_millis(5), Duration::from_millis(50))
            })
            .await;
            let mut bulk = client.bulk((0..CALLS).map(echo));
            let (mut seen, mut outcomes, mut lost) = (vec![0; CALLS as usize], 0, 0);
            while let Some((index, outcome)) = bulk.next().await {
                seen[index as usize] += 1;
                outcomes += 1;
                match outcome {
                    Ok(answer) => assert_eq!(first_text(&answer.tool_result().expect("a result")), message(index)),
                    Err(error) => {
                        assert_eq!((error.kind(), error.fate()), (ErrorKind::ConnectionLost, Fate::Unknown), "{error}");
                        lost += 1;
                    }
                }
                if outcomes == CALLS / 3 || outcomes == CALLS / 2 {
                    target.kill();
                    target = Target::tcp_at(port, &switches).expect("the port is free");
                }
            }
            assert!(seen.iter().all(|times| *times == 1), "each once");
            assert!(lost <= 2 * 4 * 32, "at most what was in flight: {lost}");
            let stats = books_balance(&client).await;
            assert_eq!(stats.failed, lost);
            echoes_work(&client, 0..100).await;
            client.close().await;
        }
    });
}

/// Outcomes in order from a server that answers in none, with a bound on what is finished and unread.
#[test]
fn an_ordered_bulk_is_in_order_whatever_the_server_does() {
    const CALLS: u64 = 3000;
    story(async {
        for era in ERAS {
            let target = Target::tcp(&["--revisions", era, "--reorder", "32", "--delay", "0ms..2ms"]);
            for buffer in [1, 7, 64, 1000] {
                let client = connect(target.endpoint(), |config| config.connections(2).in_flight(64)).await;
                let pulled = std::cell::Cell::new(0);
                let calls = (0..CALLS / 4).map(|n| {
                    pulled.set(n + 1);
                    echo(n)
                });
                let mut bulk = client.bulk(calls).ordered().buffer(buffer);
                let mut next = 0;
                while let Some((index, outcome)) = bulk.next().await {
                    assert_eq!(index, next);
                    let answer = outcome.expect("an answer");
                    assert_eq!(first_text(&answer.tool_result().expect("a result")), message(index));
                    next += 1;
                    assert!(pulled.get() <= next + buffer as u64 + 1, "pulled {} for {next}", pulled.get());
                }
                assert_eq!(next, CALLS / 4);
                let stats = books_balance(&client).await;
                assert_eq!(stats.answered, CALLS / 4);
                client.close().await;
            }
        }
    });
}
