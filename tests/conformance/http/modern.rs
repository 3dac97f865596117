//! Clauses 43 to 47: Streamable HTTP without sessions, where the end of a stream means something.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use std::time::Duration;

use serde_json::json;
use volley::{ErrorKind, Fate, Revision};
use volley_tests::{
    http_server::{HttpServer, Request, Then},
    patience::until_blocking,
    scripted_server::{discovered, echoed},
};

use super::{echo, opens, play_http, play_odd, server, with};
use crate::{
    play::{all_answered, auto, call, text},
    ways::{address, answer, connect_to},
};

const MODERN: Revision = Revision::V2026_07_28;

/// An error of the modern era, with its status and the versions that it lists.
fn refusal(request: &Request, code: i64) -> String {
    let data = json!({"supported": ["2025-11-25", "2026-07-28"], "requested": "2026-07-28"});
    let error = json!({"code": code, "message": "so says the script", "data": data});
    json!({"jsonrpc": "2.0", "id": request.message["id"], "error": error}).to_string()
}

#[test]
fn must_43_what_belongs_to_sessions_is_ignored_and_never_sent() {
    let server = HttpServer::plain("", |peer, request| {
        if opens(peer, request, MODERN, "Mcp-Session-Id: s\r\n") {
            return Then::Keep;
        }
        if !request.is_call() {
            return echo(peer, request);
        }
        let session = "Content-Type: text/event-stream\r\nMcp-Session-Id: s\r\n";
        if request.text() == text(0) {
            // An event with an id, and then nothing: there is no way back to this stream.
            peer.respond("200 OK", session, "id: e1\nretry: 1\ndata:\n\n");
        } else {
            peer.respond("200 OK", session, &format!("id: e2\ndata: {}\n\n", echoed(&request.message)));
        }
        Then::Keep
    });
    // That no request has a session, an event's id, or another method than POST, is checked.
    let (_, stats) = play_http(MODERN, server, auto().listen(true).on_notification(drop), |client, _| {
        let error = client.call(call(0)).unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::ConnectionLost, Fate::Unknown), "{error}");
        (1..10).for_each(|n| assert_eq!(client.call(call(n)).unwrap().text(), text(n)));
    });
    assert_eq!(stats.streams_resumed, 0, "{stats:?}");
}

#[test]
fn must_44_a_call_is_cancelled_by_closing_its_stream_and_no_other() {
    for drops in [false, true] {
        for as_events in [false, true] {
            let (closed, may_end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let (closes, ends) = (Arc::clone(&closed), Arc::clone(&may_end));
            let server = server(MODERN, move |peer, request| {
                match request.text() {
                    "this is call 0" => {
                        if as_events {
                            peer.begin_events();
                            peer.chunk(": working on it\n\n");
                        }
                        peer.bytes_until_end();
                        closes.store(true, Ordering::SeqCst);
                        return Then::Close;
                    }
                    "this is call 1" => {
                        until_blocking("the other was given up", || ends.load(Ordering::SeqCst))
                    }
                    _ => {}
                }
                echo(peer, request)
            });
            let patience = if drops { Duration::from_secs(20) } else { Duration::from_millis(150) };
            let (requests, stats) = play_http(MODERN, server, auto(), |client, server| {
                let other = client.as_async().call(call(1));
                let given_up = client.as_async().call(call(0).timeout(patience));
                until_blocking("both have come", || server.count(Request::is_call) == 2);
                if drops {
                    drop(given_up);
                } else {
                    assert_eq!(pollster::block_on(given_up).unwrap_err().kind(), ErrorKind::Timeout);
                }
                until_blocking("its stream is closed", || closed.load(Ordering::SeqCst));
                may_end.store(true, Ordering::SeqCst);
                assert_eq!(pollster::block_on(other).unwrap().text(), text(1));
                (2..10).for_each(|n| assert_eq!(client.call(call(n)).unwrap().text(), text(n)));
            });
            assert!(with(&requests, "notifications/cancelled").is_empty());
            assert_eq!((stats.answered, stats.disconnects), (9, 0), "{stats:?}");
        }
    }
}

/// Whether a call is made again is its caller's to say: the engine loses it once, and what is made again is a new request.
#[test]
fn must_45_a_lost_stream_is_only_asked_for_again_with_a_new_id() {
    for begun in [false, true] {
        let lost = AtomicBool::new(false);
        let server = server(MODERN, move |peer, request| {
            if !request.is_call() || lost.swap(true, Ordering::SeqCst) {
                return echo(peer, request);
            }
            if begun {
                peer.begin_events();
                peer.chunk("id: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n");
            }
            Then::Close
        });
        let (requests, _) = play_http(MODERN, server, auto(), |client, _| {
            let error = client.call(call(1)).unwrap_err();
            assert_eq!((error.kind(), error.fate()), (ErrorKind::ConnectionLost, Fate::Unknown), "{error}");
            assert_eq!(client.call(call(1)).unwrap().text(), text(1));
        });
        let calls = with(&requests, "tools/call");
        assert_eq!(calls.len(), 2, "once for each time the caller asked");
        assert_ne!(calls[0].id(), calls[1].id());
    }
}

#[test]
fn must_46_an_unsupported_version_leads_to_a_listed_one_and_never_to_initialize() {
    // While it is found out what the server speaks.
    let refused = AtomicBool::new(false);
    let server = HttpServer::plain("", move |peer, request| {
        if request.rpc() == "server/discover" && !refused.swap(true, Ordering::SeqCst) {
            peer.json("400 Bad Request", &refusal(request, -32022));
            return Then::Keep;
        }
        if opens(peer, request, MODERN, "") { Then::Keep } else { echo(peer, request) }
    });
    let (requests, _) = play_http(MODERN, server, auto(), |client, _| all_answered(client, 5));
    assert_eq!((with(&requests, "server/discover").len(), with(&requests, "initialize").len()), (2, 0));
    // And at a call.
    let refused = AtomicBool::new(false);
    let server = self::server(MODERN, move |peer, request| {
        if request.is_call() && !refused.swap(true, Ordering::SeqCst) {
            peer.json("400 Bad Request", &refusal(request, -32022));
            return Then::Keep;
        }
        echo(peer, request)
    });
    let (requests, stats, _) = play_odd(server, auto(), |client, _| {
        assert_eq!(client.call(call(1)).unwrap().text(), text(1));
    });
    assert_eq!((with(&requests, "tools/call").len(), with(&requests, "initialize").len()), (2, 0));
    assert_eq!((stats.answered, stats.rpc_errors), (1, 0), "{stats:?}");
    for call in with(&requests, "tools/call") {
        assert_eq!(call.header("mcp-protocol-version"), Some("2026-07-28"));
    }
}

#[test]
fn must_46_a_server_that_refuses_what_it_lists_is_not_asked_for_ever() {
    let refusing = |peer: &mut volley_tests::http_server::Peer, request: &Request| {
        peer.json("400 Bad Request", &refusal(request, -32022));
        Then::Keep
    };
    let server = HttpServer::plain("", refusing);
    assert!(connect_to(&address(&server), auto().attempts_max(2)).is_err());
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.rpc() == "server/discover"), "{requests:#?}");
    assert!(requests.len() <= 6, "{} probes", requests.len());
    let server =
        self::server(
            MODERN,
            move |peer, request| {
                if request.is_call() { refusing(peer, request) } else { echo(peer, request) }
            },
        );
    let (requests, _, _) = play_odd(server, auto(), |client, _| {
        let error = client.call(call(1)).unwrap_err();
        assert_eq!(error.rpc_error().unwrap().code, -32022);
    });
    assert_eq!((with(&requests, "tools/call").len(), with(&requests, "initialize").len()), (2, 0));
}

/// A server whose tool wants its `region` mirrored as `X-Region` from the second listing on; it refuses with -32020 what is not.
fn changing(listings: Arc<AtomicUsize>, relents: bool) -> HttpServer {
    HttpServer::plain("", move |peer, request| {
        let message = &request.message;
        match request.rpc() {
            "server/discover" => peer.json("200 OK", &answer(message, &discovered(&["2026-07-28"]))),
            "tools/list" => {
                let mut region = json!({"type": "string"});
                if listings.fetch_add(1, Ordering::SeqCst) > 0 {
                    region["x-mcp-header"] = json!("X-Region");
                }
                let schema = json!({"type": "object", "properties": {"region": region}});
                let tools = json!({"tools": [{"name": "echo", "inputSchema": schema}], "ttlMs": 0, "cacheScope": "public"});
                peer.json("200 OK", &answer(message, &tools))
            }
            "tools/call" if !relents || request.header("mcp-param-x-region") != Some("eu") => {
                peer.json("400 Bad Request", &refusal(request, -32020))
            }
            _ => return echo(peer, request),
        };
        Then::Keep
    })
}

#[test]
fn must_47_a_header_mismatch_refreshes_the_tools_and_retries_once() {
    for relents in [true, false] {
        let listings = Arc::new(AtomicUsize::new(0));
        let server = changing(Arc::clone(&listings), relents);
        let (requests, stats, _) = play_odd(server, auto(), |client, _| {
            let outcome = client.call_tool("echo", &json!({"message": "m", "region": "eu"}));
            if relents {
                assert_eq!(outcome.unwrap().text(), "m");
            } else {
                assert_eq!(outcome.unwrap_err().rpc_error().unwrap().code, -32020);
            }
        });
        assert_eq!(with(&requests, "tools/call").len(), 2, "{stats:?}");
        assert_eq!(listings.load(Ordering::SeqCst), 2);
        let order: Vec<&str> = requests.iter().map(Request::rpc).collect();
        assert_eq!(order[order.len() - 3..], ["tools/call", "tools/list", "tools/call"]);
        assert!(with(&requests, "initialize").is_empty());
    }
}
