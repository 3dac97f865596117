//! The stream for what a server starts by itself, and what it starts, over HTTP: when its session goes, when the server is not well, and
//! when there never was one.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use volley::{Client, ConfigBuilder};
use volley_tests::{
    calls::{books_balance, echo, first_text, message},
    http_server::{HttpServer, Peer, Request, Then},
    wait::{story_alone, until, until_blocking},
};

use super::connect;

/// A server of the handshake era with sessions, which it numbers from 1 and knows the newest of.
#[derive(Default)]
struct Sessions {
    newest: AtomicU64,
    known: AtomicU64,
}

impl Sessions {
    fn newest(&self) -> u64 {
        self.newest.load(Ordering::SeqCst)
    }

    fn forget(&self) {
        self.known.store(0, Ordering::SeqCst);
    }

    /// `script` has the calls of known sessions, and the GETs with the number of the session that they name.
    fn serve(
        self: &Arc<Self>,
        script: impl Fn(&Self, &mut Peer, &Request, u64) -> Then + Send + Sync + 'static,
    ) -> HttpServer {
        let sessions = Arc::clone(self);
        HttpServer::plain("legacy", move |peer, request| {
            let named = request.header("mcp-session-id").and_then(|id| id.parse().ok()).unwrap_or(0);
            if request.rpc() == "initialize" {
                let number = sessions.newest.fetch_add(1, Ordering::SeqCst) + 1;
                sessions.known.store(number, Ordering::SeqCst);
                peer.opens_with(request, &format!("Mcp-Session-Id: {number}\r\n"));
            } else if request.method == "GET" {
                return script(&sessions, peer, request, named);
            } else if request.rpc() == "server/discover" || request.method == "DELETE" {
                peer.opens(request);
            } else if named != sessions.known.load(Ordering::SeqCst) {
                peer.respond("404 Not Found", "", "");
            } else if request.is_call() {
                return script(&sessions, peer, request, named);
            } else {
                peer.accept();
            }
            Then::Keep
        })
    }

    /// Each session has its stream once, which ends, and is not found after that.
    fn serve_and_lose_streams(
        self: &Arc<Self>,
        answer: impl Fn(&mut Peer, &Request) + Send + Sync + 'static,
    ) -> HttpServer {
        let streams = Mutex::new(HashSet::new());
        self.serve(move |_, peer, request, named| {
            if is_get(request) && streams.lock().insert(named) {
                peer.begin_events();
                peer.chunk("retry: 50\n\n");
                peer.end_chunks();
            } else if is_get(request) {
                peer.respond("404 Not Found", "", "");
            } else {
                answer(peer, request);
            }
            Then::Keep
        })
    }
}

fn is_get(request: &Request) -> bool {
    request.method == "GET"
}

async fn client(server: &HttpServer, more: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Client {
    connect(server.endpoint(), |config| {
        more(config.backoff(Duration::from_millis(1), Duration::from_millis(20)))
    })
    .await
}

async fn answered(client: &Client, n: u64) {
    assert_eq!(first_text(&client.call(echo(n)).await.expect("an answer")), message(n));
}

/// A ping on the stream of a call that was sent in the session before. The answer to it was posted in the session of now, in which a request of
/// the server's with the same id may be waiting: for somebody's consent, say.
#[test]
fn what_a_lost_session_asks_is_not_answered_in_the_next() {
    story_alone(async {
        let sessions = Arc::new(Sessions::default());
        let server = sessions.serve(|sessions, peer, request, _| {
            if request.text() == message(1) {
                peer.begin_events();
                until_blocking("the next session", || sessions.newest() == 2);
                peer.chunk("data: {\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"ping\"}\n\n");
                peer.chunk(&format!("data: {}\n\n", request.answer()));
                peer.end_chunks();
            } else {
                peer.echo(request);
            }
            Then::Keep
        });
        let client = client(&server, |config| config).await;
        let first = client.call(echo(1));
        until("it is at the server", || server.count(|request| request.text() == message(1)) == 1).await;
        sessions.forget();
        answered(&client, 2).await;
        assert_eq!(first_text(&first.await.expect("an answer")), message(1));
        answered(&client, 3).await;
        client.close().await;
        assert_eq!((sessions.newest(), client.stats().server_requests), (2, 1));
        let replies = server.count(|request| request.message.get("result").is_some());
        assert_eq!(replies, 0, "the session that asked is gone");
    });
}

/// Each stream of a session that was gone kept its lane and its socket, until there was none left for calls.
#[test]
fn the_stream_of_a_lost_session_is_hung_up() {
    const SESSIONS: u64 = 30;
    story_alone(async {
        let sessions = Arc::new(Sessions::default());
        let server = sessions.serve(|_, peer, request, _| {
            if is_get(request) {
                peer.begin_events();
                peer.chunk(": welcome\n\n");
                peer.bytes_until_end();
                return Then::Close;
            }
            peer.echo(request);
            Then::Keep
        });
        let client = client(&server, |config| config.listen(true).in_flight(4)).await;
        for n in 1..=SESSIONS {
            until("the session has its stream", || server.count(is_get) as u64 == n).await;
            answered(&client, n).await;
            if n < SESSIONS {
                sessions.forget();
                answered(&client, SESSIONS + n).await;
            }
        }
        assert_eq!(sessions.newest(), SESSIONS);
        until("only the last stream stands", || server.open() <= 8).await;
        client.close().await;
        books_balance(&client).await;
    });
}

/// A gateway that is restarted has no server behind it for a moment. One 503 to the GET and the client was deaf for the rest of its session.
#[test]
fn a_stream_that_cannot_be_had_just_now_is_asked_for_again() {
    story_alone(async {
        let sessions = Arc::new(Sessions::default());
        let gets = AtomicU64::new(0);
        let server = sessions.serve(move |_, peer, request, _| {
            if !is_get(request) {
                peer.echo(request);
                return Then::Keep;
            }
            match gets.fetch_add(1, Ordering::SeqCst) {
                0 => {
                    peer.begin_events();
                    peer.chunk("retry: 50\n\n");
                    peer.end_chunks();
                }
                1 => drop(peer.respond("503 Service Unavailable", "", "")),
                2 => drop(peer.respond("502 Bad Gateway", "", "")),
                _ => {
                    peer.begin_events();
                    peer.chunk("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n");
                    peer.bytes_until_end();
                }
            }
            Then::Keep
        });
        let client = client(&server, |config| config.listen(true)).await;
        until("it hears again", || client.stats().notifications == 1).await;
        answered(&client, 1).await;
        client.close().await;
        assert_eq!((server.count(is_get), client.stats().connects), (4, 1));
    });
}

/// 404 to the GET of a session that had a stream is the end of that session, which a client that only listens learns in no other way. Of a session that
/// never had one it says that there is none, as many a server does.
#[test]
fn a_stream_that_is_not_found_any_more_is_the_end_of_its_session() {
    story_alone(async {
        for has_stream in [true, false] {
            let sessions = Arc::new(Sessions::default());
            let server = sessions.serve(move |sessions, peer, request, named| {
                if !is_get(request) {
                    peer.echo(request);
                } else if has_stream && named == sessions.known.load(Ordering::SeqCst) {
                    peer.begin_events();
                    peer.chunk("retry: 50\n\n");
                    if named == 1 {
                        sessions.forget();
                        peer.end_chunks();
                    } else {
                        peer.bytes_until_end();
                    }
                } else {
                    peer.respond("404 Not Found", "", "");
                }
                Then::Keep
            });
            let client = client(&server, |config| config.listen(true)).await;
            let (expected, gets) = if has_stream { (2, 3) } else { (1, 1) };
            until("it has asked", || server.count(is_get) == gets).await;
            until("it is connected", || client.stats().connects == expected).await;
            answered(&client, 1).await;
            client.close().await;
            assert_eq!((sessions.newest(), server.count(is_get)), (expected, gets));
        }
    });
}

/// A gateway gave each session its stream, ended it, and knew neither it nor the session at the next GET; calls went well. A client that only listened
/// opened one session after the other until it took the server for unreachable, and a call that was under way all the time ended with that.
#[test]
fn a_stream_that_is_never_found_again_ends_no_call() {
    story_alone(async {
        let sessions = Arc::new(Sessions::default());
        let goes_on = Arc::new(AtomicU64::new(0));
        let may_answer = Arc::clone(&goes_on);
        let server = sessions.serve_and_lose_streams(move |peer, request| {
            peer.begin_events();
            until_blocking("it may be answered", || may_answer.load(Ordering::SeqCst) == 1);
            peer.chunk(&format!("data: {}\n\n", request.answer()));
            peer.end_chunks();
        });
        let client = client(&server, |config| config.listen(true).attempts_max(3)).await;
        let long = client.call(echo(1));
        // The longest wait is 20 ms here, so that the stream is believed to be gone each time.
        until("it has lost more streams than attempts", || server.count(is_get) >= 16).await;
        goes_on.store(1, Ordering::SeqCst);
        assert_eq!(first_text(&long.await.expect("it was under way")), message(1));
        client.close().await;
        assert!(sessions.newest() > 3, "{} sessions", sessions.newest());
    });
}

/// The same with a longest wait that is longer than the server's `retry`: the stream is looked for once more after it, and only then is its
/// absence believed.
#[test]
fn a_stream_that_is_never_found_is_not_believed_to_be_gone_each_time() {
    const CAP: Duration = Duration::from_millis(500);
    story_alone(async {
        let sessions = Arc::new(Sessions::default());
        let server = sessions.serve_and_lose_streams(|peer, request| {
            peer.echo(request);
        });
        let began = Instant::now();
        let client = connect(server.endpoint(), |config| {
            config.listen(true).attempts_max(3).backoff(Duration::from_millis(1), CAP)
        })
        .await;
        until("some sessions have been lost", || sessions.newest() == 5).await;
        // The second is opened at once, each of the others a longest wait after the one before.
        assert!(began.elapsed() >= 3 * CAP, "{:?}", began.elapsed());
        answered(&client, 1).await;
        client.close().await;
        // Of each session but the last: the stream, and the look in vain; of those in the middle a second look.
        assert!(server.count(is_get) >= 11, "{}", server.count(is_get));
    });
}

/// A page for people stood where a stream of events was looked for, and was fetched each second for ever.
#[test]
fn a_page_is_no_stream() {
    story_alone(async {
        let sessions = Arc::new(Sessions::default());
        let server = sessions.serve(|_, peer, request, _| {
            if is_get(request) {
                peer.respond("200 OK", "Content-Type: text/html\r\n", "<h1>Welcome</h1>");
            } else {
                peer.echo(request);
            }
            Then::Keep
        });
        let client = client(&server, |config| config.listen(true)).await;
        until("it has asked", || server.count(is_get) == 1).await;
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        answered(&client, 1).await;
        client.close().await;
        assert_eq!(server.count(is_get), 1);
    });
}

/// The opening of HTTP+SSE was tried, once, on a server that was still starting and then on one that shows a page to browsers; and never again
/// anything else.
#[test]
fn one_refused_opening_does_not_make_a_server_one_of_events() {
    story_alone(async {
        let refusals = AtomicU64::new(0);
        let server = HttpServer::plain("legacy", move |peer: &mut Peer, request: &Request| {
            if is_get(request) {
                peer.respond("200 OK", "Content-Type: text/html\r\n", "<h1>Welcome</h1>");
            } else if request.rpc() == "initialize" && refusals.fetch_add(1, Ordering::SeqCst) == 0 {
                peer.respond("404 Not Found", "", "");
            } else if !peer.opens(request) {
                peer.echo(request);
            }
            Then::Keep
        });
        let client = client(&server, |config| config).await;
        answered(&client, 1).await;
        client.close().await;
        assert_eq!((server.count(is_get), server.count_rpc("initialize")), (1, 2));
    });
}
