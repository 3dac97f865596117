//! Sessions over HTTP that the server forgets, once or again and again.
//!
//! A server that answers 404 (or, as one reference server does, 400) to the id of a session has not executed anything. However
//! many calls learn of it, one new session is opened, and all of them are sent again, each once. The answers of the old
//! session may be late: they speak of the session that is gone and not of the new one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use volley::{ErrorKind, Fate};
use volley_tests::calls::{all_ends, books_balance, echo, echoes_work, first_text, message};
use volley_tests::http_server::{HttpServer, Peer, Request, Then};
use volley_tests::wait::{PATIENCE, story_alone, until};

use super::connect;

/// What a server with sessions remembers.
#[derive(Default)]
struct Sessions {
    /// The number of the newest session; they count from 1.
    newest: AtomicU64,
    /// The number of the session that it still knows; 0 for none.
    known: AtomicU64,
    /// Calls that were executed.
    executed: AtomicU64,
    /// How often each call was executed, by its text.
    times: Mutex<HashMap<String, u32>>,
}

impl Sessions {
    /// Opens sessions; the script gets the rest, and whether its session is known.
    fn serve(
        self: &Arc<Self>,
        script: impl Fn(&Self, &mut Peer, &Request, bool) -> Then + Send + Sync + 'static,
    ) -> HttpServer {
        let sessions = Arc::clone(self);
        HttpServer::plain("legacy", move |peer, request| {
            if request.rpc() == "server/discover" {
                peer.opens(request);
            } else if request.rpc() == "initialize" {
                assert_eq!(request.header("mcp-session-id"), None, "a new session has no id yet");
                let number = sessions.newest.fetch_add(1, Ordering::SeqCst) + 1;
                sessions.known.store(number, Ordering::SeqCst);
                peer.opens_with(request, &format!("Mcp-Session-Id: session-{number}\r\n"));
            } else {
                let known = sessions.known.load(Ordering::SeqCst);
                let is_known = request.header("mcp-session-id") == Some(&format!("session-{known}"));
                if request.is_call() || !is_known {
                    return script(&sessions, peer, request, is_known);
                }
                peer.opens(request);
            }
            Then::Keep
        })
    }

    /// Answers a call; which one it is, counted from 1.
    fn execute(&self, peer: &mut Peer, request: &Request) -> u64 {
        *self.times.lock().entry(request.text().to_owned()).or_default() += 1;
        let nth = self.executed.fetch_add(1, Ordering::SeqCst) + 1;
        peer.echo(request);
        nth
    }
}

/// Ways to say that a session is gone.
const REFUSALS: [(&str, &str, &str); 5] = [
    ("404 Not Found", "", ""),
    (
        "404 Not Found",
        "application/json",
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#,
    ),
    ("404 Not Found", "text/html", "<h1>Not Found</h1>"),
    (
        "400 Bad Request",
        "application/json",
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no such session"}}"#,
    ),
    (
        "404 Not Found",
        "text/event-stream",
        "data: {\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32001,\"message\":\"Session not found\"}}\n\n",
    ),
];

/// The session ends while the window is full. The refusals come slowly, the last ones long after the new session stands.
#[test]
fn one_new_session_is_opened_however_many_calls_have_lost_theirs() {
    const CALLS: u64 = 600;
    story_alone(async {
        for (status, media, body) in REFUSALS {
            let sessions = Arc::new(Sessions::default());
            let server = sessions.serve(move |sessions, peer, request, is_known| {
                if is_known {
                    if sessions.execute(peer, request) == CALLS / 2 {
                        sessions.known.store(0, Ordering::SeqCst);
                    }
                } else {
                    let nth = request.message["id"].as_u64().unwrap_or_default() % 7;
                    std::thread::sleep(Duration::from_millis(nth * 10));
                    peer.respond(status, &format!("Content-Type: {media}\r\n"), body);
                }
                Then::Keep
            });
            let client = connect(server.endpoint(), |config| config.in_flight(32)).await;
            let mut bulk = client.bulk((0..CALLS).map(echo));
            let mut seen = 0;
            while let Some((index, outcome)) = bulk.next().await {
                let answer = outcome
                    .unwrap_or_else(|error| panic!("{status}, call {index}: {error} ({:?})", error.fate()));
                assert_eq!(first_text(&answer.tool_result().expect("a result")), message(index));
                seen += 1;
            }
            assert_eq!(seen, CALLS);
            let stats = books_balance(&client).await;
            assert_eq!(
                (stats.submitted, stats.answered, stats.sessions_lost),
                (CALLS, CALLS, 1),
                "{stats:?}"
            );
            assert_eq!(server.count_rpc("initialize"), 2, "{status} {body}: one session, and one after it");
            assert!(sessions.times.lock().values().all(|times| *times == 1), "a call was executed twice");
            client.close().await;
            let ends = server.count(|request| request.method == "DELETE");
            assert_eq!(ends, 1, "the session that is left is ended");
            server.no_socket_is_left();
        }
    });
}

/// Several sessions end, one after the other, under single calls.
#[test]
fn each_lost_session_is_replaced_once() {
    story_alone(async {
        let sessions = Arc::new(Sessions::default());
        let server = sessions.serve(|sessions, peer, request, is_known| {
            if is_known {
                if sessions.execute(peer, request).is_multiple_of(50) {
                    sessions.known.store(0, Ordering::SeqCst);
                }
            } else {
                peer.respond("404 Not Found", "", "");
            }
            Then::Keep
        });
        let client = connect(server.endpoint(), |config| {
            config.in_flight(8).backoff(Duration::from_millis(1), Duration::from_millis(20))
        })
        .await;
        for round in 0..10 {
            echoes_work(&client, round * 40..(round + 1) * 40).await;
        }
        let stats = books_balance(&client).await;
        assert_eq!((stats.answered, stats.failed), (400, 0), "{stats:?}");
        let opened = server.count_rpc("initialize") as u64;
        assert!((8..=9).contains(&opened), "{opened} sessions for 400 calls, 50 each");
        assert_eq!(stats.sessions_lost, opened - 1, "{stats:?}");
        assert!(sessions.times.lock().values().all(|times| *times == 1), "a call was executed twice");
        client.close().await;
    });
}

/// Each session is forgotten before its first call. Nobody is answered; all are told, and the server is not flooded with
/// new sessions.
#[test]
fn sessions_that_never_hold_are_no_hot_loop() {
    story_alone(async {
        for (status, media, body) in REFUSALS {
            let sessions = Arc::new(Sessions::default());
            let server = sessions.serve(move |_, peer, _, _| {
                peer.respond(status, &format!("Content-Type: {media}\r\n"), body);
                Then::Keep
            });
            let client = connect(server.endpoint(), |config| {
                config
                    .in_flight(8)
                    .timeout(Duration::from_secs(3))
                    .backoff(Duration::from_millis(50), Duration::from_millis(500))
            })
            .await;
            let began = Instant::now();
            let ends = all_ends((0..40).map(|n| client.call(echo(n))).collect()).await;
            let took = began.elapsed();
            for end in ends {
                let error = end.outcome.expect_err("no session holds");
                let right = matches!(
                    (error.kind(), error.fate()),
                    (ErrorKind::Http | ErrorKind::Rpc, Fate::Answered)
                        | (ErrorKind::Unreachable | ErrorKind::Timeout, Fate::NotSent)
                        // Those whose refusal is under way when the connection is given up.
                        | (ErrorKind::ConnectionLost, Fate::Unknown)
                );
                assert!(right, "{status}: {error} ({:?} {:?})", error.kind(), error.fate());
            }
            let opened = server.count_rpc("initialize");
            println!("{status} {body}: {opened} sessions in {took:?}");
            assert!(took < Duration::from_secs(5), "{took:?}");
            assert!(opened <= 12, "{opened} sessions in {took:?}");
            // Each call was sent once for each session that refused it, at most four times.
            assert!(server.count(Request::is_call) <= 4 * 40, "{}", server.count(Request::is_call));
            books_balance(&client).await;
            client.close().await;
            server.no_socket_is_left();
        }
    });
}

/// A server that is started again and again forgets sessions before they have carried a call, and one that says so with 400 (as
/// the reference server does) was taken at its word about the *call*: after the second such session every call was given the
/// server's error, for half a minute. (Found by the real `everything`, whose sessions were ended behind the engine's back.)
#[test]
fn sessions_in_a_row_that_end_before_their_first_call_are_replaced() {
    const LOST: u64 = 3;
    story_alone(async {
        for (status, media, body) in REFUSALS {
            let sessions = Arc::new(Sessions::default());
            let server = sessions.serve(move |sessions, peer, request, is_known| {
                let newest = sessions.newest.load(Ordering::SeqCst);
                // The first one works for a while, the next ones never do.
                if is_known && !(2..=LOST).contains(&newest) {
                    if sessions.execute(peer, request) == 20 {
                        sessions.known.store(0, Ordering::SeqCst);
                    }
                } else {
                    peer.respond(status, &format!("Content-Type: {media}\r\n"), body);
                }
                Then::Keep
            });
            let client = connect(server.endpoint(), |config| {
                config.in_flight(4).backoff(Duration::from_millis(1), Duration::from_secs(30))
            })
            .await;
            echoes_work(&client, 0..100).await;
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.sessions_lost), (100, LOST), "{status} {body}: {stats:?}");
            assert_eq!(server.count_rpc("initialize") as u64, LOST + 1);
            assert!(sessions.times.lock().values().all(|times| *times == 1), "a call was executed twice");
            client.close().await;
        }
    });
}

/// A server that has worked and then says 400 to everything means the calls: they are told its own words, soon, and it is not
/// flooded with sessions.
#[test]
fn a_400_to_every_call_reaches_the_caller_though_calls_were_served() {
    story_alone(async {
        for connections in [1, 2] {
            let (status, media, body) = REFUSALS[3];
            let sessions = Arc::new(Sessions::default());
            let server = sessions.serve(move |sessions, peer, request, _| {
                if !request.is_call() {
                    // It knows all of its sessions here: or else an opening lost its own to the other connection's, as often as chance had it.
                    peer.opens(request);
                } else if request.text() == message(0) {
                    sessions.execute(peer, request);
                } else {
                    peer.respond(status, &format!("Content-Type: {media}\r\n"), body);
                }
                Then::Keep
            });
            let client = connect(server.endpoint(), |config| {
                let config = config.connections(connections).in_flight(8);
                config.backoff(Duration::from_millis(1), Duration::from_secs(30))
            })
            .await;
            until("all are ready", || client.ready_connections() == connections).await;
            echoes_work(&client, 0..1).await;
            let began = Instant::now();
            for end in all_ends((1..40).map(|n| client.call(echo(n))).collect()).await {
                let error = end.outcome.expect_err("it is refused");
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Rpc, Fate::Answered), "{error}");
                assert!(error.to_string().contains("no such session"), "{error}");
            }
            assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
            let opened = server.count_rpc("initialize");
            assert!(opened <= 4 * connections, "{opened}: each had one, and three in its place");
            // Each call was sent four times at most.
            assert!(server.count(Request::is_call) <= 1 + 4 * 39, "{}", server.count(Request::is_call));
            books_balance(&client).await;
            client.close().await;
        }
    });
}

/// 400 with the call's own id in the error is the answer to the call, whatever the session.
#[test]
fn a_bad_request_that_names_its_call_ends_no_session() {
    story_alone(async {
        let sessions = Arc::new(Sessions::default());
        let server = sessions.serve(|sessions, peer, request, _| {
            if request.text() == message(0) {
                let error = r#"{"code":-32602,"message":"bad arguments"}"#;
                let body = format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, request.id());
                peer.json("400 Bad Request", &body);
            } else {
                sessions.execute(peer, request);
            }
            Then::Keep
        });
        let client = connect(server.endpoint(), |config| config).await;
        let error = client.call(echo(0)).await.expect_err("it was refused");
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Rpc, Fate::Answered), "{error}");
        echoes_work(&client, 1..20).await;
        let stats = books_balance(&client).await;
        assert_eq!((stats.sessions_lost, stats.rpc_errors, stats.answered), (0, 1, 20), "{stats:?}");
        assert_eq!(server.count_rpc("initialize"), 1);
        client.close().await;
    });
}

/// Behind a balancer without sticky sessions the word that ends an opening may meet a backend that has never heard of the session. The
/// opening then stood still until its time was over, as if the server were silent.
#[test]
fn a_404_to_the_end_of_an_opening_fails_the_attempt_and_the_next_one_stands() {
    story_alone(async {
        let refusals = AtomicU64::new(0);
        let server = HttpServer::plain("legacy", move |peer, request| {
            match request.rpc() {
                "initialize" => peer.opens_with(request, "Mcp-Session-Id: one-backend\r\n"),
                "notifications/initialized" if refusals.fetch_add(1, Ordering::SeqCst) == 0 => {
                    peer.respond("404 Not Found", "", "")
                }
                _ if request.is_call() => peer.echo(request),
                _ => peer.opens(request),
            };
            Then::Keep
        });
        let begun = Instant::now();
        let client = connect(server.endpoint(), |config| {
            config.backoff(Duration::from_millis(1), Duration::from_millis(20)).connect_timeout(2 * PATIENCE)
        })
        .await;
        echoes_work(&client, 0..10).await;
        assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
        assert_eq!(server.count_rpc("initialize"), 2, "the second opening stands");
        client.close().await;
        books_balance(&client).await;
    });
}

/// While a session is renewed, what is under way in the old one goes on. One 503 to the new `initialize`, as a backend that restarts says
/// it, ended all of that once.
#[test]
fn a_renewal_that_is_refused_once_takes_nothing_with_it() {
    story_alone(async {
        let (initializes, late) = (AtomicU64::new(0), AtomicU64::new(0));
        let server = HttpServer::plain("legacy", move |peer, request| {
            if request.rpc() == "initialize" {
                match initializes.fetch_add(1, Ordering::SeqCst) {
                    1 => peer.respond("503 Service Unavailable", "", ""),
                    nth => peer.opens_with(request, &format!("Mcp-Session-Id: session-{nth}\r\n")),
                };
            } else if !request.is_call() {
                peer.opens(request);
            } else if request.text() == message(9) {
                if late.fetch_add(1, Ordering::SeqCst) == 0 {
                    peer.respond("404 Not Found", "", "");
                } else {
                    peer.echo(request);
                }
            } else {
                let since = Instant::now();
                while initializes.load(Ordering::SeqCst) < 3 && since.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_millis(5));
                }
                peer.echo(request);
            }
            Then::Keep
        });
        let client = connect(server.endpoint(), |config| {
            config.in_flight(8).backoff(Duration::from_millis(1), Duration::from_millis(20))
        })
        .await;
        let slow: Vec<_> = (0..4).map(|n| client.call(echo(n))).collect();
        until("the slow calls are there", || server.count(Request::is_call) == 4).await;
        let moved = client.call(echo(9)).await.expect("it is sent again in the new session");
        assert_eq!(first_text(&moved), message(9));
        for (n, end) in all_ends(slow).await.into_iter().enumerate() {
            assert_eq!(first_text(&end.outcome.expect("an answer")), message(n as u64));
        }
        assert_eq!((server.count_rpc("initialize"), client.stats().sessions_lost), (3, 1));
        client.close().await;
        books_balance(&client).await;
    });
}

/// Whatever the status says, a call whose result comes with it was executed. As JSON it was read; in an event it was not, and the call was executed
/// once more in a session of its own.
#[test]
fn a_result_in_an_event_of_a_404_is_a_result() {
    story_alone(async {
        let sessions = Arc::new(Sessions::default());
        let server = sessions.serve(|sessions, peer, request, _| {
            if request.text() == message(1) {
                *sessions.times.lock().entry(message(1)).or_default() += 1;
                let event = format!("data: {}\n\n", request.answer());
                peer.respond("404 Not Found", "Content-Type: text/event-stream\r\n", &event);
            } else {
                sessions.execute(peer, request);
            }
            Then::Keep
        });
        let client = connect(server.endpoint(), |config| config).await;
        assert_eq!(first_text(&client.call(echo(1)).await.expect("its result")), message(1));
        assert_eq!(first_text(&client.call(echo(2)).await.expect("an answer")), message(2));
        client.close().await;
        assert_eq!(sessions.times.lock().get(&message(1)), Some(&1));
        assert_eq!(server.count_rpc("initialize"), 1);
    });
}
