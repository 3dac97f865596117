//! Callers that lose interest: calls dropped before they are sent, in flight, and answered but unread. Nothing leaks.

use std::time::Duration;

use volley::{Call, Client};
use volley_tests::byte_server::{ByteServer, Peer, answer};
use volley_tests::calls::{books_balance, echo, echoes_work};
use volley_tests::processes::Mark;
use volley_tests::target::{self, ERAS, Target};
use volley_tests::wait::{story, until};

use super::connect;

const WINDOW: u64 = 32;

/// All places can be taken at once, and none more: nothing has been lost and nothing won.
async fn has_all_its_places(client: &Client, places: u64) {
    let mut calls: Vec<Call> = Vec::new();
    for n in 0..places {
        // A call that was dropped a moment ago may not have been cleared away yet.
        until("there is a place", || client.try_call(echo(n)).map(|call| calls.push(call)).is_ok()).await;
    }
    assert!(client.try_call(echo(places)).is_err(), "there is a place too many");
    for call in calls {
        call.await.expect("an answer");
    }
}

/// Every other of them is dropped while the server works on all of them.
#[test]
fn calls_dropped_in_flight_are_cancelled_and_leave_no_trace() {
    story(async {
        for era in ERAS {
            let target = Target::tcp(&["--revisions", era, "--delay", "50ms"]);
            let client = connect(target.endpoint(), |config| config.in_flight(WINDOW as u32)).await;
            for round in 1..=3 {
                let calls: Vec<Call> = (0..WINDOW).map(|n| client.call(echo(n))).collect();
                let mut kept = Vec::new();
                for (n, call) in calls.into_iter().enumerate() {
                    if n % 2 == 0 { kept.push(call) } else { drop(call) }
                }
                for call in kept {
                    call.await.expect("an answer");
                }
                let stats = books_balance(&client).await;
                assert_eq!(
                    (stats.cancelled, stats.answered),
                    (round * WINDOW / 2, round * WINDOW / 2),
                    "{stats:?}"
                );
            }
            has_all_its_places(&client, 2 * WINDOW).await;
            books_balance(&client).await;
            client.close().await;
        }
    });
}

/// The window is one call wide and taken, so the others have not been sent when they are dropped: the server hears of
/// none of them, not even a cancellation.
#[test]
fn calls_dropped_before_they_are_sent_never_are() {
    story(async {
        for era in ERAS {
            let (heard_tell, heard) = std::sync::mpsc::channel();
            let (go_tell, go) = std::sync::mpsc::channel::<()>();
            let go = std::sync::Mutex::new(go);
            let server = ByteServer::tcp(era, move |_, peer: &mut Peer| {
                let Some(first) = peer.next_call() else { return };
                let _ = go.lock().expect("one script").recv();
                peer.say_line(&answer(&first.id, &first.message));
                while let Some(message) = peer.next_after_opening() {
                    let text =
                        message["params"]["arguments"]["message"].as_str().unwrap_or_default().to_owned();
                    peer.say_line(&answer(&message["id"].to_string(), &text));
                    let _ = heard_tell.send(message);
                }
            });
            let client = connect(server.endpoint(), |config| config.in_flight(1).queue(63)).await;
            let first = client.call(echo(0));
            let dropped: Vec<Call> = (1..64).map(|n| client.call(echo(n))).collect();
            until("all are taken on", || client.stats().live == 64).await;
            drop(dropped);
            until("all but one are cancelled", || client.stats().cancelled == 63).await;
            go_tell.send(()).expect("the script waits");
            first.await.expect("an answer");
            client.call(echo(64)).await.expect("an answer");
            let message = heard.recv_timeout(Duration::from_secs(10)).expect("the server heard one");
            assert_eq!(message["params"]["arguments"]["message"], "call 64 and no other", "{message}");
            let stats = books_balance(&client).await;
            assert_eq!((stats.submitted, stats.answered, stats.cancelled), (65, 2, 63), "{stats:?}");
            assert_eq!(stats.cancellations_sent, 0, "nobody was told of what it never heard");
            has_all_its_places(&client, 64).await;
            client.close().await;
        }
    });
}

/// They have been answered and nobody has looked. They count as answered, and their places are free.
#[test]
fn calls_dropped_after_their_answer_give_their_places_back() {
    story(async {
        let target = Target::tcp(&[]);
        let client = connect(target.endpoint(), |config| config.in_flight(WINDOW as u32)).await;
        for round in 1..=3 {
            let calls: Vec<Call> = (0..WINDOW).map(|n| client.call(echo(n))).collect();
            until("all are answered", || client.stats().answered == round * WINDOW).await;
            drop(calls);
        }
        let stats = books_balance(&client).await;
        assert_eq!((stats.answered, stats.cancelled), (3 * WINDOW, 0));
        has_all_its_places(&client, 2 * WINDOW).await;
        client.close().await;
    });
}

/// At any moment, from several threads, over a server that shuffles. Whoever keeps a call gets its answer.
#[test]
fn half_of_all_calls_are_dropped_at_any_moment() {
    story(async {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        for era in ERAS {
            let mark = Mark::new();
            let switches = ["--revisions", era, "--delay", "0ms..3ms", "--reorder", "4"];
            let client = connect(target::stdio(&mark, &switches), |config| {
                config.in_flight(WINDOW as u32).orphan_debt(Duration::from_millis(50))
            })
            .await;
            let tasks: Vec<_> = (0..16)
                .map(|task| {
                    let (client, mut rng) = (client.clone(), fastrand::Rng::with_seed(seed ^ task));
                    tokio::spawn(async move {
                        for n in 0..200 {
                            let call = client.call(echo(n));
                            match rng.u8(..4) {
                                0 => drop(call),
                                1 => {
                                    let a_while = Duration::from_micros(rng.u64(..3000));
                                    let _ = tokio::time::timeout(a_while, call).await;
                                }
                                _ => drop(call.await.expect("an answer")),
                            }
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("no task panics");
            }
            let stats = books_balance(&client).await;
            assert!(stats.cancelled > 500 && stats.answered > 1600, "{stats:?}");
            assert_eq!((stats.failed, stats.unknown, stats.disconnects), (0, 0, 0), "{stats:?}");
            has_all_its_places(&client, 2 * WINDOW).await;
            echoes_work(&client, 0..100).await;
            client.close().await;
            books_balance(&client).await;
            mark.nobody_is_left();
        }
    });
}

/// A bulk is dropped with its calls in every phase. They are cancelled, and the windows are as wide as before.
#[test]
fn a_bulk_dropped_in_the_middle_leaves_no_trace() {
    story(async {
        for era in ERAS {
            let target = Target::tcp(&["--revisions", era, "--delay", "0ms..5ms"]);
            let client = connect(target.endpoint(), |config| {
                config.in_flight(WINDOW as u32).orphan_debt(Duration::from_millis(50))
            })
            .await;
            for ordered in [false, true] {
                let mut bulk = client.bulk((0_u64..).map(echo));
                if ordered {
                    bulk = bulk.ordered();
                }
                for _ in 0..100 {
                    bulk.next().await.expect("there is no end to it").1.expect("an answer");
                }
                drop(bulk);
                let stats = books_balance(&client).await;
                assert!(stats.cancelled > 0 && stats.failed == 0, "{stats:?}");
            }
            let mut bulk = client.bulk((0..500).map(echo));
            let mut answered = 0;
            while let Some((_, outcome)) = bulk.next().await {
                outcome.expect("an answer");
                answered += 1;
            }
            assert_eq!(answered, 500);
            has_all_its_places(&client, 2 * WINDOW).await;
            books_balance(&client).await;
            client.close().await;
        }
    });
}
