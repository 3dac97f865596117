//! Calls over HTTP that their callers give up, and clients that close with calls under way.
//!
//! In the modern era the end of the socket is the cancellation, and nothing else is said. A server of the handshake era is told
//! by a POST of its own, and the call's socket stays for a while, since the answer may still come. Closing ends every call, ends
//! the session if there is one, and does not wait for a server that says nothing.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use volley::{Call, Client, ErrorKind, Fate};
use volley_tests::calls::{all_ends, books_balance, echo, echoes_work, message};
use volley_tests::http_server::{HttpServer, Request, Then};
use volley_tests::patience::until;
use volley_tests::target::ERAS;
use volley_tests::wait::{PATIENCE, story_alone};

use super::connect;

const DEBT: Duration = Duration::from_millis(400);

/// How a call is given up: its future is dropped, or its time runs out.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Dropped,
    TimedOut,
}

async fn give_up(client: &Client, server: &HttpServer, way: Way) {
    let call = client.call(echo(0));
    until("the call is there", || server.count(Request::is_call) > 0).await;
    match way {
        Way::Dropped => drop(call),
        Way::TimedOut => {
            let error = call.await.expect_err("no answer comes");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown), "{error}");
        }
    }
}

/// What the server saw of the end of a call's socket: how many bytes came before it, and when.
type End = (usize, Instant);

/// A server that answers all calls but number 0, and tells how that one's socket ended.
fn silent_to_the_first(era: &'static str) -> (HttpServer, Mutex<std::sync::mpsc::Receiver<End>>) {
    let (tell, told) = channel();
    let server = HttpServer::start(era, move |peer, request| {
        if request.text() == message(0) {
            let bytes = peer.bytes_until_end();
            // Nobody listens any more when the test is over.
            let _ = tell.send((bytes, Instant::now()));
            return Then::Close;
        }
        if request.is_call() {
            peer.echo(request)
        } else {
            peer.accept()
        };
        Then::Keep
    });
    (server, Mutex::new(told))
}

#[test]
fn a_modern_call_is_cancelled_by_the_end_of_its_socket_and_nothing_else() {
    story_alone(async {
        for way in [Way::Dropped, Way::TimedOut] {
            let (server, ends) = silent_to_the_first("modern");
            let client = connect(server.endpoint(), |config| {
                config.timeout(Duration::from_millis(500)).orphan_debt(Duration::from_secs(10))
            })
            .await;
            give_up(&client, &server, way).await;
            let gave_up_at = Instant::now();
            let (bytes, ended_at) = ends.lock().recv_timeout(PATIENCE).expect("the socket ends");
            assert_eq!(bytes, 0, "nothing is said on it any more");
            assert!(ended_at.saturating_duration_since(gave_up_at) < Duration::from_secs(2));
            echoes_work(&client, 1..20).await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.cancelled + stats.timed_out, stats.answered), (1, 19), "{stats:?}");
            client.close().await;
            assert_eq!(server.count_rpc("notifications/cancelled"), 0);
            assert_eq!(server.count(|request| request.method == "DELETE"), 0);
            server.no_socket_is_left();
        }
    });
}

#[test]
fn a_legacy_call_is_cancelled_on_another_socket_and_its_own_stays_for_the_debt() {
    story_alone(async {
        for way in [Way::Dropped, Way::TimedOut] {
            let (server, ends) = silent_to_the_first("legacy");
            let client = connect(server.endpoint(), |config| {
                config.timeout(Duration::from_millis(500)).orphan_debt(DEBT)
            })
            .await;
            give_up(&client, &server, way).await;
            until("the server is told", || server.count_rpc("notifications/cancelled") == 1).await;
            let requests = server.requests();
            let call = requests.iter().find(|request| request.is_call()).expect("the call");
            let told = requests
                .iter()
                .find(|request| request.rpc() == "notifications/cancelled")
                .expect("it was told");
            assert_ne!(told.connection, call.connection, "a socket carries one request at a time");
            assert_eq!(told.message["params"]["requestId"], call.message["id"]);
            let (bytes, ended_at) = ends.lock().recv_timeout(PATIENCE).expect("the socket ends");
            assert_eq!(bytes, 0, "nothing is said on it any more");
            let stood = ended_at.saturating_duration_since(told.at);
            assert!(stood > DEBT / 2 && stood < 4 * DEBT, "it stood for {stood:?}");
            echoes_work(&client, 1..20).await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.cancellations_sent, stats.answered, stats.late), (1, 19, 0), "{stats:?}");
            client.close().await;
            server.no_socket_is_left();
        }
    });
}

/// The answer comes within the debt: it is counted as late, and its socket carries the next call.
#[test]
fn a_late_answer_over_http_keeps_its_socket() {
    story_alone(async {
        let server = HttpServer::start("legacy", |peer, request| {
            if request.rpc() == "notifications/cancelled" {
                peer.accept();
            } else {
                if request.text() == message(0) {
                    std::thread::sleep(Duration::from_millis(200));
                }
                peer.echo(request);
            }
            Then::Keep
        });
        let client =
            connect(server.endpoint(), |config| config.in_flight(1).orphan_debt(Duration::from_secs(5)))
                .await;
        give_up(&client, &server, Way::Dropped).await;
        until("the answer comes late", || client.stats().late == 1).await;
        let sockets = server.accepted();
        echoes_work(&client, 1..20).await;
        assert_eq!(server.accepted(), sockets, "the sockets there are suffice");
        let stats = books_balance(&client).await;
        assert_eq!((stats.cancelled, stats.answered, stats.unknown), (1, 19, 0), "{stats:?}");
        client.close().await;
    });
}

/// Many calls, every third dropped at once, every third in flight, every third kept. The kept are answered, and after the
/// debt the window is as wide as before.
#[test]
fn calls_dropped_at_any_moment_leave_no_trace() {
    const WINDOW: u64 = 8;
    story_alone(async {
        for era in ERAS {
            let server = HttpServer::start(era, |peer, request| {
                if request.is_call() {
                    std::thread::sleep(Duration::from_millis(3));
                    peer.echo(request);
                } else {
                    peer.accept();
                }
                Then::Keep
            });
            let client = connect(server.endpoint(), |config| {
                config.in_flight(WINDOW as u32).orphan_debt(Duration::from_millis(100))
            })
            .await;
            for round in 0..10_u64 {
                let calls: Vec<Call> = (0..30).map(|n| client.call(echo(round * 30 + n))).collect();
                let mut kept = Vec::new();
                for (n, call) in calls.into_iter().enumerate() {
                    match n % 3 {
                        0 => drop(call),
                        1 => {
                            let _ = tokio::time::timeout(Duration::from_millis(n as u64 % 7), call).await;
                        }
                        _ => kept.push(call),
                    }
                }
                for end in all_ends(kept).await {
                    end.outcome.expect("an answer");
                }
            }
            let stats = books_balance(&client).await;
            assert!(stats.cancelled >= 30 && stats.failed == 0 && stats.unknown == 0, "{era}: {stats:?}");
            // The whole window works at once.
            let (began, calls) = (Instant::now(), (0..WINDOW).map(|n| client.call(echo(n))).collect());
            for end in all_ends(calls).await {
                end.outcome.expect("an answer");
            }
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
            let told = server.count_rpc("notifications/cancelled");
            assert_eq!(told == 0, era == "modern", "{told} cancellations told");
            client.close().await;
            server.no_socket_is_left();
        }
    });
}

#[test]
fn a_bulk_dropped_in_the_middle_ends_all_its_exchanges() {
    story_alone(async {
        for era in ERAS {
            let server = HttpServer::start(era, |peer, request| {
                if request.is_call() {
                    std::thread::sleep(Duration::from_millis(2));
                    peer.echo(request);
                } else {
                    peer.accept();
                }
                Then::Keep
            });
            let client = connect(server.endpoint(), |config| {
                config.in_flight(16).orphan_debt(Duration::from_millis(100))
            })
            .await;
            for _ in 0..5 {
                let mut bulk = client.bulk((0..1000).map(echo));
                for _ in 0..40 {
                    let (_, outcome) = bulk.next().await.expect("there are more");
                    outcome.expect("an answer");
                }
                drop(bulk);
                books_balance(&client).await;
            }
            echoes_work(&client, 0..100).await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.failed, stats.unknown), (0, 0), "{stats:?}");
            client.close().await;
            server.no_socket_is_left();
        }
    });
}

/// A server with a session that answers calls never, and the DELETE never. Some of the calls are in flight, some wait, one
/// is half read.
#[test]
fn closing_does_not_wait_for_a_server_that_says_nothing() {
    story_alone(async {
        for era in ERAS {
            let server = HttpServer::plain(era, |peer, request| {
                if request.method != "DELETE" && peer.opens_with(request, "Mcp-Session-Id: only-one\r\n") {
                    return Then::Keep;
                }
                if request.text() == message(0) {
                    peer.begin_events();
                    peer.chunk("id: 1\nretry: 1000\ndata: {\"jsonrpc\":");
                }
                peer.bytes_until_end();
                Then::Close
            });
            let client = connect(server.endpoint(), |config| config.in_flight(8).queue(40)).await;
            let calls: Vec<Call> = (0..40).map(|n| client.call(echo(n))).collect();
            until("the window is full", || server.count(Request::is_call) == 8).await;
            let ends = tokio::spawn(all_ends(calls));
            let began = Instant::now();
            client.close().await;
            let took = began.elapsed();
            assert!(took < Duration::from_secs(1), "closing took {took:?}");
            let (mut unknown, mut not_sent) = (0, 0);
            for end in ends.await.expect("no panic") {
                let error = end.outcome.expect_err("no answer comes");
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                match error.fate() {
                    Fate::Unknown => unknown += 1,
                    Fate::NotSent => not_sent += 1,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((unknown, not_sent), (8, 32));
            books_balance(&client).await;
            let ends = server.requests().into_iter().filter(|request| request.method == "DELETE");
            let ends: Vec<_> = ends.map(|end| end.header("mcp-session-id").map(str::to_owned)).collect();
            let expected = if era == "legacy" { vec![Some("only-one".to_owned())] } else { Vec::new() };
            assert_eq!(ends, expected, "a session is ended, and only a session");
            server.no_socket_is_left();
        }
    });
}

/// In the middle of all sorts of trouble: calls being answered, refused, cancelled, streams to be taken up again.
#[test]
fn closing_in_a_storm_ends_every_call_once() {
    story_alone(async {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        for round in 0..12 {
            let era = ERAS[round % 2];
            let rng = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed + round as u64)));
            let server = HttpServer::plain(era, move |peer, request| {
                if peer.opens_with(request, "Mcp-Session-Id: a\r\n") {
                    return Then::Keep;
                }
                let (dice, pause) = {
                    let mut rng = rng.lock();
                    (rng.u8(..6), rng.u64(..2000))
                };
                std::thread::sleep(Duration::from_micros(pause));
                match dice {
                    0 => {
                        peer.begin_events();
                        peer.chunk("id: 7\nretry: 1\ndata:\n\n");
                        peer.end_chunks();
                    }
                    1 => {
                        peer.respond("503 Busy", "", "");
                    }
                    2 => return Then::Close,
                    _ if request.is_call() => {
                        peer.echo(request);
                    }
                    _ => {
                        peer.accept();
                    }
                }
                Then::Keep
            });
            let client = connect(server.endpoint(), |config| config.in_flight(8).queue(500)).await;
            let mut calls: Vec<Call> = (0..400).map(|n| client.call(echo(n))).collect();
            let dropped = calls.split_off(350);
            let ends = tokio::spawn(all_ends(calls));
            until("the storm is on", || client.stats().answered >= 20).await;
            drop(dropped);
            let began = Instant::now();
            client.close().await;
            assert!(began.elapsed() < Duration::from_secs(1), "closing took {:?}", began.elapsed());
            assert_eq!(ends.await.expect("no panic").len(), 350);
            let stats = books_balance(&client).await;
            assert_eq!(stats.submitted, stats.answered + stats.failed + stats.cancelled, "{stats:?}");
            server.no_socket_is_left();
        }
    });
}

/// What a call that was given up still owed is over after a while, and its place is free. Of that nobody told a bulk job: it was asked
/// again when something else happened, and that may be never.
#[test]
fn a_bulk_job_goes_on_when_a_debt_is_over_and_nothing_else_happens() {
    story_alone(async {
        for era in ERAS {
            let server = HttpServer::start(era, |peer, request| {
                if request.is_call() {
                    peer.bytes_until_end();
                    return Then::Close;
                }
                peer.accept();
                Then::Keep
            });
            let client = connect(server.endpoint(), |config| {
                let config = config.in_flight(1).timeout(Duration::from_millis(100));
                config.orphan_debt(Duration::from_millis(300)).http_idle_timeout(Duration::from_secs(600))
            })
            .await;
            let begun = Instant::now();
            let mut bulk = client.bulk((0..4).map(echo));
            while let Some((n, outcome)) = bulk.next().await {
                let error = outcome.expect_err("no answer comes");
                assert_eq!(error.kind(), ErrorKind::Timeout, "call {n}: {error}");
            }
            drop(bulk);
            assert!(begun.elapsed() < Duration::from_secs(20), "{era}: {:?}", begun.elapsed());
            client.close().await;
        }
    });
}
