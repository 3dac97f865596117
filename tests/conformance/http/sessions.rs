//! Clauses 28 to 31: the session of Streamable HTTP in its legacy revisions, from its first request to its last.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use serde_json::json;
use volley::{ErrorKind, Fate, Revision};
use volley_tests::{
    http_server::{HttpServer, Then},
    patience::until_blocking,
};

use super::{STREAMABLE_LEGACY, echo, is_response, opens, play_http, play_odd, server, with};
use crate::{
    play::{all_answered, auto, call, text},
    ways::{address, connect_to, ended, started},
};

const LATEST: Revision = Revision::V2025_11_25;

#[test]
fn must_28_the_session_is_named_on_all_later_requests_if_it_was_issued() {
    for revision in STREAMABLE_LEGACY {
        for session in [None, Some("s-1"), Some("!~=;,\"{}")] {
            let server = HttpServer::plain("", move |peer, request| {
                let headers = session.map(|id| format!("mcp-session-id: {id}\r\n")).unwrap_or_default();
                if opens(peer, request, revision, &headers) {
                    return Then::Keep;
                }
                if request.method == "GET" {
                    peer.begin_events();
                    let ping = started("ping", Some(json!(1)), &json!({}));
                    peer.chunk(&format!("data: {ping}\n\n"));
                    peer.bytes_until_end();
                    return Then::Close;
                }
                echo(peer, request)
            });
            let (requests, _) = play_http(revision, server, auto().listen(true), |client, server| {
                all_answered(client, 20);
                client.notify("notifications/x", &json!({})).unwrap();
                until_blocking("a notification and a reply have come", || {
                    server.count_rpc("notifications/x") == 1
                        && server.count(|request| is_response(&request.message)) == 1
                });
            });
            let kinds = |method: &str| requests.iter().filter(|request| request.method == method).count();
            assert_eq!((kinds("GET"), kinds("DELETE")), (1, usize::from(session.is_some())));
            for request in requests {
                let before = ["server/discover", "initialize"].contains(&request.rpc());
                assert_eq!(request.header("mcp-session-id"), session.filter(|_| !before), "{request:?}");
            }
        }
    }
}

#[test]
fn must_28_a_session_named_anywhere_but_with_initialize_is_none() {
    let server = server(LATEST, |peer, request| {
        if !request.is_call() {
            return echo(peer, request);
        }
        let body = volley_tests::scripted_server::echoed(&request.message).to_string();
        peer.respond("200 OK", "Content-Type: application/json\r\nMcp-Session-Id: late\r\n", &body);
        Then::Keep
    });
    let (requests, _) = play_http(LATEST, server, auto(), |client, _| all_answered(client, 5));
    assert!(requests.iter().all(|request| request.header("mcp-session-id").is_none()));
}

/// A server whose sessions end after so many calls, with this status; how often each call was executed.
fn forgetful(
    revision: Revision,
    calls_max: usize,
    status: &'static str,
) -> (HttpServer, Arc<Mutex<HashMap<String, usize>>>) {
    let executed = Arc::<Mutex<HashMap<String, usize>>>::default();
    let (executes, sessions) = (Arc::clone(&executed), AtomicUsize::new(0));
    let left = Mutex::new(HashMap::<String, usize>::new());
    let server = HttpServer::plain("", move |peer, request| {
        if request.rpc() == "initialize" {
            let name = format!("s{}", sessions.fetch_add(1, Ordering::SeqCst));
            left.lock().insert(name.clone(), calls_max);
            opens(peer, request, revision, &format!("Mcp-Session-Id: {name}\r\n"));
            return Then::Keep;
        }
        if opens(peer, request, revision, "") {
            return Then::Keep;
        }
        if request.is_call() {
            let mut left = left.lock();
            let left = left.get_mut(request.header("mcp-session-id").unwrap_or_default());
            let Some(left) = left.filter(|left| **left > 0) else {
                peer.respond(status, "", "");
                return Then::Keep;
            };
            *left -= 1;
            *executes.lock().entry(request.text().to_owned()).or_default() += 1;
        }
        echo(peer, request)
    });
    (server, executed)
}

#[test]
fn must_29_a_forgotten_session_is_begun_anew_and_its_calls_go_on() {
    for revision in STREAMABLE_LEGACY {
        // 400 is what one server in use says instead.
        for status in ["404 Not Found", "400 Bad Request"] {
            let (server, executed) = forgetful(revision, 40, status);
            let (requests, stats, _) =
                play_odd(server, auto().in_flight(8), |client, _| all_answered(client, 100));
            let initialize = with(&requests, "initialize");
            assert_eq!(initialize.len(), 3, "once a session, whoever noticed first");
            assert!(initialize.iter().all(|request| request.header("mcp-session-id").is_none()));
            assert!(initialize.iter().all(|request| request.header("mcp-protocol-version").is_none()));
            assert_eq!((stats.sessions_lost, stats.failed, stats.answered), (2, 0, 100), "{stats:?}");
            let executed = executed.lock();
            assert!(executed.len() == 100 && executed.values().all(|times| *times == 1), "{executed:?}");
        }
    }
}

#[test]
fn must_29_a_404_without_a_session_is_only_the_calls() {
    for revision in STREAMABLE_LEGACY {
        let server = server(revision, |peer, request| {
            if request.text() != text(0) {
                return echo(peer, request);
            }
            peer.respond("404 Not Found", "", "");
            Then::Keep
        });
        let (requests, stats) = play_http(revision, server, auto(), |client, _| {
            let error = client.call(call(0)).unwrap_err();
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Http, Fate::Answered), "{error}");
            (1..5).for_each(|n| assert_eq!(client.call(call(n)).unwrap().text(), text(n)));
        });
        assert_eq!((with(&requests, "initialize").len(), stats.sessions_lost), (1, 0));
    }
}

/// A server that forgets every session at once is not served with handshakes for ever.
#[test]
fn must_29_a_server_that_forgets_every_session_ends_the_calls() {
    let (server, executed) = forgetful(LATEST, 0, "404 Not Found");
    let (requests, stats, _) = play_odd(server, auto().attempts_max(4), |client, _| {
        client.call(call(0)).unwrap_err();
    });
    assert!(with(&requests, "initialize").len() <= 8 && stats.answered == 0, "{stats:?}");
    assert!(executed.lock().is_empty());
}

#[test]
fn must_30_the_version_header_is_what_was_agreed_where_there_is_one() {
    for revision in STREAMABLE_LEGACY {
        // It is the server's choice that counts, not what was offered.
        let (requests, _) = play_http(revision, server(revision, echo), auto(), |client, server| {
            all_answered(client, 5);
            client.notify("notifications/x", &json!({})).unwrap();
            until_blocking("it has come", || server.count_rpc("notifications/x") == 1);
        });
        let wanted = (revision != Revision::V2025_03_26).then_some(revision.as_str());
        for request in requests {
            let header = request.header("mcp-protocol-version");
            match request.rpc() {
                // The probe is of the other era, and speaks its language.
                "server/discover" => assert_eq!(header, Some("2026-07-28")),
                "initialize" => assert_eq!(header, None),
                _ => assert_eq!(header, wanted, "{request:?}"),
            }
        }
    }
}

#[test]
fn must_31_a_session_is_deleted_when_the_client_closes() {
    for revision in STREAMABLE_LEGACY {
        for (session, status) in
            [(true, "200 OK"), (true, "204 No Content"), (true, "405 Method Not Allowed"), (false, "200 OK")]
        {
            let server = HttpServer::plain("", move |peer, request| {
                if request.method == "DELETE" {
                    peer.say(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
                    return Then::Keep;
                }
                let headers = if session { "Mcp-Session-Id: s\r\n" } else { "" };
                if opens(peer, request, revision, headers) { Then::Keep } else { echo(peer, request) }
            });
            let client = connect_to(&address(&server), auto()).unwrap();
            all_answered(&client, 20);
            let stats = ended(&client);
            server.no_socket_is_left();
            let deletes = || server.count(|request| request.method == "DELETE");
            if session {
                until_blocking("the session has been ended", || deletes() == 1);
            }
            assert_eq!((deletes(), stats.failed), (usize::from(session), 0), "{status}: {stats:?}");
            crate::seen::check(&server.requests(), server.port(), revision);
        }
    }
}
