//! Servers that hang with their sockets open, and clients that ask whether they live.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use volley::{Call, ConfigBuilder, ErrorKind, Fate, Revision};
use volley_tests::{
    byte_server::ByteServer,
    calls::{all_ends, books_balance, echo, echoes_work},
    processes::{Mark, signal},
    scripted_server::{ScriptedServer, discovered},
    target::{self, ERAS, Target, freeze},
    wait::{story, until},
};

use super::connect;

/// Silent for 50 ms, it is asked; silent for as long again, it is lost.
fn checked(config: ConfigBuilder) -> ConfigBuilder {
    let wait = Duration::from_millis(50);
    config.health_check(wait, wait)
}

/// Its socket stays open, and so do its calls: a client that does not ask waits for each of them until its time is over.
#[test]
fn calls_of_a_server_that_hangs_end_long_before_their_time() {
    story(async {
        for target in [Target::tcp(&["--never-answer"]), Target::unix(&["--never-answer"])] {
            let client = connect(target.endpoint(), |config| {
                // Once is enough here: nothing would come of the next connection.
                checked(config)
                    .timeout(Duration::from_secs(3600))
                    .backoff(Duration::from_secs(60), Duration::from_secs(60))
            })
            .await;
            let calls: Vec<Call> = (0..10).map(|n| client.call(echo(n))).collect();
            until("they are sent", || client.stats().bytes_out > 10 * 100).await;
            target.freeze();
            for end in all_ends(calls).await {
                let error = end.outcome.expect_err("nobody answers");
                assert_eq!((error.kind(), error.fate()), (ErrorKind::ConnectionLost, Fate::Unknown));
                assert!(error.to_string().contains("a health check found the server silent"), "{error}");
            }
            assert_eq!(client.stats().retired, 1);
            client.close().await;
            books_balance(&client).await;
        }
    });
}

/// Nobody calls; the next call finds a connection that works.
#[test]
fn a_process_that_hangs_is_replaced_before_anybody_calls() {
    story(async {
        for era in ERAS {
            let mark = Mark::new();
            let client = connect(target::stdio(&mark, &["--revisions", era]), |config| {
                checked(config).close_grace(Duration::from_millis(50))
            })
            .await;
            echoes_work(&client, 0..10).await;
            let first = mark.await_processes(1).await[0];
            freeze(first);
            until("another is there", || client.stats().connects >= 2 && client.ready_connections() == 1)
                .await;
            echoes_work(&client, 10..20).await;
            // One that is stopped cannot go, but for SIGKILL.
            until("it is gone", || !mark.processes().contains(&first)).await;
            client.close().await;
            mark.nobody_is_left();
            books_balance(&client).await;
        }
    });
}

/// What is asked is what the revision has, and what is answered ends no call.
#[test]
fn a_server_is_asked_in_the_words_of_its_era() {
    story(async {
        for revision in Revision::all() {
            let server = ScriptedServer::start(move |peer| {
                peer.open(revision);
                while let Some(message) = peer.read() {
                    match message["method"].as_str() {
                        Some("ping") => peer.result(&message, &json!({})),
                        Some("server/discover") => peer.result(&message, &discovered(&[revision.as_str()])),
                        Some("tools/call") => peer.echo(&message),
                        other => panic!("{other:?}: {message}"),
                    }
                }
            });
            let client = connect(server.endpoint().parse().expect("an endpoint"), checked).await;
            until("it was asked some times", || client.stats().health_checks >= 5).await;
            echoes_work(&client, 0..10).await;
            client.close().await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.connects, stats.disconnects, stats.answered, stats.unknown), (1, 0, 10, 0));
            let record = server.finish();
            let method = if revision < Revision::V2026_07_28 { "ping" } else { "server/discover" };
            let asked = record.with(method).len() as u64;
            // The opening is a `server/discover` as well, in either era.
            let opening = u64::from(method == "server/discover");
            assert_eq!(asked, stats.health_checks + opening, "{revision}: {record:#?}");
        }
    });
}

/// It knows no `ping`. That is an answer.
#[test]
fn a_refusal_is_a_sign_of_life() {
    story(async {
        let server = ByteServer::tcp("legacy", |_, peer| {
            while let Some(message) = peer.next_after_opening() {
                let refusal = json!({"code": -32601, "message": "no such method"});
                peer.say_line(&json!({"jsonrpc": "2.0", "id": message["id"], "error": refusal}).to_string());
            }
        });
        let client = connect(server.endpoint(), checked).await;
        until("it was asked some times", || client.stats().health_checks >= 5).await;
        assert_eq!((client.stats().disconnects, server.accepted()), (0, 1));
        client.close().await;
        books_balance(&client).await;
    });
}

/// It is at a call that takes long, tells of its progress, and answers the question when it has done that call.
#[test]
fn a_server_that_is_at_work_and_says_so_is_not_lost() {
    story(async {
        let told = Arc::new(AtomicUsize::new(0));
        let tells = Arc::clone(&told);
        let server = ByteServer::tcp("modern", move |_, peer| {
            let asked = peer.next_call().expect("a call");
            for _ in 0..40 {
                std::thread::sleep(Duration::from_millis(10));
                peer.say_line(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#);
                tells.fetch_add(1, Ordering::Relaxed);
            }
            peer.say_line(&volley_tests::byte_server::answer(&asked.id, &asked.message));
            // The end of the script would be the end of the connection.
            while peer.next_message().is_some_and(|message| message != Value::Null) {}
        });
        let client = connect(server.endpoint(), |config| {
            let every = Duration::from_millis(5);
            config.health_check(every, Duration::from_secs(30))
        })
        .await;
        client.call(echo(1)).await.expect("an answer");
        assert_eq!(told.load(Ordering::Relaxed), 40);
        let stats = client.stats();
        assert_eq!((stats.disconnects, server.accepted()), (0, 1));
        assert!(stats.health_checks <= 1, "one question at a time: {}", stats.health_checks);
        client.close().await;
        books_balance(&client).await;
    });
}

/// One of three hangs; the calls on the others are answered, and the next ones go where somebody answers.
#[test]
fn one_of_several_that_hangs_takes_its_own_calls_only() {
    story(async {
        let server = ByteServer::tcp("modern", |number, peer| {
            if number == 1 {
                peer.open();
                while peer.next_message().is_some_and(|message| message["method"] != "tools/call") {}
                // Nothing is read or said any more; the socket stays open for as long as the test lasts.
                std::thread::park();
            }
            peer.answer_all();
        });
        let client = connect(server.endpoint(), |config| {
            checked(config).connections(3).in_flight(4).timeout(Duration::from_secs(3600))
        })
        .await;
        until("all are ready", || client.ready_connections() == 3).await;
        let mut lost = 0;
        for round in 0..10 {
            let calls: Vec<Call> = (0..12).map(|n| client.call(echo(round * 12 + n))).collect();
            for end in all_ends(calls).await {
                if let Err(error) = end.outcome {
                    assert_eq!(
                        (error.kind(), error.fate()),
                        (ErrorKind::ConnectionLost, Fate::Unknown),
                        "{error}"
                    );
                    lost += 1;
                }
            }
        }
        assert!((1..=4).contains(&lost), "{lost} lost");
        let stats = books_balance(&client).await;
        assert_eq!((stats.retired, stats.answered), (1, 120 - lost));
        client.close().await;
    });
}

/// Frozen while it is asked and let go again at once, many times: nothing is lost that need not be.
#[test]
fn a_server_that_stutters_is_not_lost() {
    story(async {
        let mark = Mark::new();
        let client = connect(target::stdio(&mark, &[]), |config| {
            config.health_check(Duration::from_millis(10), Duration::from_secs(60))
        })
        .await;
        let pid = mark.await_processes(1).await[0];
        for round in 0..10_u64 {
            freeze(pid);
            until("it is asked", || client.stats().health_checks > round).await;
            signal(pid, Signal::CONT);
            echoes_work(&client, round * 10..round * 10 + 10).await;
        }
        let stats = client.stats();
        assert_eq!((stats.connects, stats.disconnects, stats.answered), (1, 0, 100));
        client.close().await;
        books_balance(&client).await;
        mark.nobody_is_left();
    });
}
