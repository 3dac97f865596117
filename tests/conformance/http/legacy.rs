//! Clauses 32 to 36: streams of the legacy revisions that end early, what the server asks on them, and what cancels.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use volley::{ErrorKind, Fate, Revision};
use volley_tests::{
    http_server::{HttpServer, Peer, Request, Then},
    patience::until_blocking,
    scripted_server::echoed,
};

use super::{STREAMABLE_LEGACY, echo, is_response, opens, play_http, server, with};
use crate::{
    play::{all_answered, auto, call, text},
    ways::{event, started},
};

/// How a stream ends before its answer has come.
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    /// With the last chunk.
    Whole,
    /// In the middle.
    Torn,
}

/// A server that says `first` on the stream of a call, ends it so, and delivers the answer on the last of so many streams that
/// are then asked for. When it ended each, and what it was asked for.
fn polled(
    revision: Revision,
    first: &'static str,
    end: End,
    polls: usize,
) -> (HttpServer, Arc<Mutex<Vec<Instant>>>) {
    let ended = Arc::<Mutex<Vec<Instant>>>::default();
    let (ends, asked) = (Arc::clone(&ended), Mutex::new(Value::Null));
    let server = server(revision, move |peer, request| {
        let finish = |peer: &mut Peer| {
            ends.lock().push(Instant::now());
            if end == End::Torn {
                return Then::Close;
            }
            peer.end_chunks();
            Then::Keep
        };
        if request.text() == text(0) && request.is_call() {
            *asked.lock() = request.message.clone();
            peer.begin_events();
            peer.chunk(first);
            return finish(peer);
        }
        if request.method != "GET" {
            return echo(peer, request);
        }
        peer.begin_events();
        if ends.lock().len() < polls {
            peer.chunk(&format!("id: e{}\ndata:\n\n", ends.lock().len() + 1));
            return finish(peer);
        }
        peer.chunk(&format!("id: last\n{}", event(&echoed(&asked.lock()).to_string())));
        peer.end_chunks();
        Then::Keep
    });
    (server, ended)
}

fn gets(requests: &[Request]) -> Vec<&Request> {
    requests.iter().filter(|request| request.method == "GET").collect()
}

#[test]
fn must_32_retry_is_respected_and_the_stream_asked_for_by_its_last_event() {
    const RETRY: Duration = Duration::from_millis(300);
    for revision in STREAMABLE_LEGACY {
        for end in [End::Whole, End::Torn] {
            let (server, ended) = polled(revision, "id: e1\nretry: 300\ndata:\n\n", end, 2);
            let (requests, stats) = play_http(revision, server, auto(), |client, _| {
                assert_eq!(client.call(call(0)).unwrap().text(), text(0));
                (1..4).for_each(|n| assert_eq!(client.call(call(n)).unwrap().text(), text(n)));
            });
            let (gets, ended) = (gets(&requests), ended.lock());
            assert_eq!((gets.len(), ended.len(), stats.streams_resumed), (2, 2, 2), "{end:?}: {stats:?}");
            for ((get, ended), id) in gets.iter().zip(ended.iter()).zip(["e1", "e2"]) {
                assert!(get.at - *ended >= RETRY, "{:?} after the end", get.at - *ended);
                assert_eq!(get.header("last-event-id"), Some(id));
            }
            assert_eq!(with(&requests, "tools/call").len(), 4, "the call itself is not repeated");
        }
    }
}

#[test]
fn must_33_a_stream_without_an_answer_resumes_if_an_event_had_an_id() {
    for revision in STREAMABLE_LEGACY {
        for end in [End::Whole, End::Torn] {
            // The id may come with a message, too, and the wait with another event.
            let first = "retry: 1\n\nid: 42\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n";
            let (server, _) = polled(revision, first, end, 1);
            let (requests, stats) = play_http(revision, server, auto(), |client, _| {
                assert_eq!(client.call(call(0)).unwrap().text(), text(0));
            });
            assert_eq!(gets(&requests)[0].header("last-event-id"), Some("42"), "{end:?}");
            assert_eq!((stats.answered, stats.notifications), (1, 1), "{stats:?}");
        }
    }
}

#[test]
fn must_33_a_stream_without_an_answer_fails_its_call_if_no_event_had_an_id() {
    for revision in STREAMABLE_LEGACY {
        for end in [End::Whole, End::Torn] {
            for first in [
                ": nothing\n\n",
                "retry: 1\n\n",
                "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n",
                // An empty id takes the last one away.
                "id: 1\ndata:\n\nid\ndata:\n\n",
            ] {
                let (server, _) = polled(revision, first, end, 1);
                let (requests, _) = play_http(revision, server, auto(), |client, _| {
                    let error = client.call(call(0)).unwrap_err();
                    assert_eq!((error.kind(), error.fate()), (ErrorKind::ConnectionLost, Fate::Unknown));
                    (1..4).for_each(|n| assert_eq!(client.call(call(n)).unwrap().text(), text(n)));
                });
                assert!(gets(&requests).is_empty(), "{end:?} {first}: {requests:#?}");
            }
        }
    }
}

/// A server with a session that asks these on a stream, wherever it is, and ends it with an answer when each has its reply.
fn asking(revision: Revision, on_get: bool) -> HttpServer {
    let replies = Arc::new(AtomicUsize::new(0));
    HttpServer::plain("", move |peer, request| {
        if opens(peer, request, revision, "Mcp-Session-Id: s\r\n") {
            return Then::Keep;
        }
        if is_response(&request.message) {
            peer.accept();
            replies.fetch_add(1, Ordering::SeqCst);
            return Then::Keep;
        }
        let asks = if on_get { request.method == "GET" } else { request.is_call() };
        if !asks {
            return echo(peer, request);
        }
        peer.begin_events();
        // The last one has the id of a call of ours, if it stands on the stream of one: that is another space.
        let ours = if on_get { json!("g") } else { request.message["id"].clone() };
        for (method, id) in [("ping", json!(1)), ("roots/list", json!("r")), ("ping", ours)] {
            peer.chunk(&event(&started(method, Some(id), &json!({}))));
        }
        until_blocking("each has its reply", || replies.load(Ordering::SeqCst) >= 3);
        if on_get {
            peer.bytes_until_end();
            return Then::Close;
        }
        peer.chunk(&event(&echoed(&request.message).to_string()));
        peer.end_chunks();
        Then::Keep
    })
}

#[test]
fn must_34_what_a_server_asks_on_a_stream_is_answered_by_a_post() {
    for revision in STREAMABLE_LEGACY {
        for on_get in [false, true] {
            let config = auto().listen(on_get);
            let (requests, stats) =
                play_http(revision, asking(revision, on_get), config, |client, server| {
                    assert_eq!(client.call(call(1)).unwrap().text(), text(1));
                    until_blocking("all replies have come", || {
                        server.count(|request| is_response(&request.message)) == 3
                    });
                });
            let replies: Vec<&Request> =
                requests.iter().filter(|request| is_response(&request.message)).collect();
            assert!(replies.iter().all(|reply| reply.header("mcp-session-id") == Some("s")), "{replies:#?}");
            let to = |id: &Value| {
                replies.iter().find(|reply| reply.message["id"] == *id).expect("a reply").message.clone()
            };
            assert_eq!(to(&json!(1)), json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
            assert_eq!(to(&json!("r"))["error"]["code"], -32601);
            assert_eq!((stats.server_requests, stats.failed), (3, 0), "{stats:?}");
        }
    }
}

#[test]
fn must_35_a_call_is_cancelled_by_a_notification_and_not_by_hanging_up() {
    for revision in STREAMABLE_LEGACY {
        for drops in [false, true] {
            for as_events in [false, true] {
                let hears = AtomicBool::new(false);
                let server = server(revision, move |peer, request| {
                    if request.rpc() == "notifications/cancelled" {
                        peer.accept();
                        hears.store(true, Ordering::SeqCst);
                        return Then::Keep;
                    }
                    if request.text() != text(0) || !request.is_call() {
                        return echo(peer, request);
                    }
                    if as_events {
                        peer.begin_events();
                        peer.chunk(": working on it\n\n");
                    }
                    until_blocking("the cancellation", || hears.load(Ordering::SeqCst));
                    // It comes all the same, and is nobody's any more. That it is read shows that the socket has stayed.
                    if as_events {
                        peer.chunk(&event(&echoed(&request.message).to_string()));
                        peer.end_chunks();
                        Then::Keep
                    } else {
                        echo(peer, request)
                    }
                });
                let patience = if drops { Duration::from_secs(20) } else { Duration::from_millis(100) };
                let config = auto().timeout(patience).orphan_debt(Duration::from_secs(15));
                let (requests, stats) = play_http(revision, server, config, |client, server| {
                    let unanswered = client.as_async().call(call(0));
                    until_blocking("it has come", || server.count(Request::is_call) == 1);
                    if drops {
                        drop(unanswered);
                    } else {
                        assert_eq!(pollster::block_on(unanswered).unwrap_err().kind(), ErrorKind::Timeout);
                    }
                    until_blocking("the late answer is read", || client.stats().late == 1);
                });
                let told = with(&requests, "notifications/cancelled");
                assert_eq!(told.len(), 1);
                assert_eq!(
                    told[0].message["params"]["requestId"],
                    with(&requests, "tools/call")[0].message["id"]
                );
                assert_eq!((stats.late, stats.unknown), (1, 0), "{stats:?}");
            }
        }
    }
}

#[test]
fn must_36_a_server_without_a_get_stream_is_no_worse() {
    for revision in STREAMABLE_LEGACY {
        let (requests, stats) =
            play_http(revision, server(revision, echo), auto().listen(true), |client, server| {
                until_blocking("it was asked for", || server.count(|request| request.method == "GET") == 1);
                all_answered(client, 20);
            });
        assert_eq!((stats.failed, stats.disconnects, stats.connects), (0, 0, 1), "{stats:?}");
        assert_eq!(gets(&requests).len(), 1, "and it is not asked for again");
    }
}
