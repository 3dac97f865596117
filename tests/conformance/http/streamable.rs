//! Clauses 23 to 27: Streamable HTTP in all its revisions.

use std::sync::{
    Barrier,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use volley::{Era, ErrorKind, Fate};
use volley_tests::{
    http_server::{HttpServer, Then},
    patience::until_blocking,
    scripted_server::echoed,
};

use super::{STREAMABLE, echo, play_http, server, with};
use crate::{
    play::{all_answered, auto, call, text},
    ways::{Way, address, answer, connect_to, play_on},
};

#[test]
fn must_23_each_message_is_its_own_post_and_accepts_both_types() {
    for revision in STREAMABLE {
        let (requests, _) = play_http(revision, server(revision, echo), auto(), |client, server| {
            all_answered(client, 50);
            client.list_tools().map(drop).unwrap_or(());
            client.notify("notifications/x", &json!({})).unwrap();
            until_blocking("the notification has come", || server.count_rpc("notifications/x") == 1);
        });
        // Type and Accept of each have been checked, and that each is one object.
        assert_eq!(with(&requests, "tools/call").len(), 50);
        assert!(
            requests.iter().all(|request| request.method == "POST" && request.target.starts_with("/mcp?"))
        );
    }
}

#[test]
fn must_24_every_request_may_be_answered_in_json_or_in_events() {
    for revision in STREAMABLE {
        for way in [Way::Json, Way::Events] {
            let (said, _) = play_on(
                way,
                revision,
                auto(),
                |message| match message["method"].as_str() {
                    Some("prompts/list") => Some(vec![answer(message, &json!({"prompts": []}))]),
                    Some("resources/list") => Some(vec![answer(message, &json!({"resources": []}))]),
                    _ => None,
                },
                |client, _| {
                    // The opening has been answered in the same form.
                    all_answered(client, 5);
                    assert!(client.list_tools().unwrap().is_empty());
                    assert!(client.list_prompts().unwrap().items.is_empty());
                    assert!(client.list_resources().unwrap().items.is_empty());
                    let error = client.request("any/thing", &json!({})).unwrap_err();
                    assert_eq!(error.rpc_error().unwrap().code, -32601, "{way:?}");
                },
            );
            assert!(said.with("server/discover").len() == 1, "{way:?}");
        }
        // And each as the server likes, in turn.
        let turn = AtomicUsize::new(0);
        let server = server(revision, move |peer, request| {
            if !request.is_call() || turn.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                return echo(peer, request);
            }
            peer.begin_events();
            peer.chunk(&crate::ways::event(&echoed(&request.message).to_string()));
            peer.end_chunks();
            Then::Keep
        });
        play_http(revision, server, auto().in_flight(4), |client, _| all_answered(client, 40));
    }
}

#[test]
fn must_24_the_type_is_told_by_content_type_whatever_its_parameters() {
    for revision in STREAMABLE {
        for (media, is_stream) in [
            ("application/json; charset=utf-8", false),
            ("Application/JSON", false),
            ("text/event-stream; charset=utf-8", true),
            ("TEXT/EVENT-STREAM ;x=y", true),
        ] {
            let server = server(revision, move |peer, request| {
                if !request.is_call() {
                    return echo(peer, request);
                }
                let body = echoed(&request.message).to_string();
                let body = if is_stream { format!("data: {body}\n\n") } else { body };
                peer.respond("200 OK", &format!("Content-Type: {media}\r\n"), &body);
                Then::Keep
            });
            play_http(revision, server, auto(), |client, _| all_answered(client, 5));
        }
    }
}

#[test]
fn must_25_notifications_are_accepted_with_202_and_refusals_are_counted() {
    for revision in STREAMABLE {
        for (status, body, refused) in [
            ("202 Accepted", "", 0),
            ("200 OK", "{}", 0),
            ("204 No Content", "", 0),
            ("202 Accepted", "accepted", 0),
            ("400 Bad Request", "", 1),
            ("500 Internal Server Error", "oh", 1),
        ] {
            let server = server(revision, move |peer, request| {
                if request.rpc() != "notifications/x" {
                    return echo(peer, request);
                }
                if status.starts_with("204") {
                    peer.say("HTTP/1.1 204 No Content\r\n\r\n");
                } else {
                    peer.respond(status, "", body);
                }
                Then::Keep
            });
            let (_, stats) = play_http(revision, server, auto(), |client, server| {
                client.notify("notifications/x", &json!({})).unwrap();
                until_blocking("it has come", || server.count_rpc("notifications/x") == 1);
                all_answered(client, 5);
                until_blocking("its answer has been read", || client.stats().errands_refused == refused);
            });
            assert_eq!((stats.errands_refused, stats.failed), (refused, 0), "{status}: {stats:?}");
        }
    }
}

#[test]
fn must_25_an_error_status_is_reported_to_its_call() {
    for revision in STREAMABLE {
        for (status, fate) in [
            ("403 Forbidden", Fate::Answered),
            ("413 Content Too Large", Fate::Answered),
            ("415 Unsupported Media Type", Fate::Answered),
            ("429 Too Many Requests", Fate::Answered),
            ("500 Internal Server Error", Fate::Unknown),
            ("502 Bad Gateway", Fate::Unknown),
            ("503 Service Unavailable", Fate::Answered),
        ] {
            let server = server(revision, move |peer, request| {
                if request.text() != text(0) {
                    return echo(peer, request);
                }
                peer.respond(status, "Content-Type: text/plain\r\n", "so it is");
                Then::Keep
            });
            let (requests, _) = play_http(revision, server, auto(), |client, _| {
                let error = client.call(call(0)).unwrap_err();
                let kind = if status.starts_with("403") { ErrorKind::Unauthorized } else { ErrorKind::Http };
                assert_eq!((error.kind(), error.fate()), (kind, fate), "{error}");
                assert!(error.to_string().contains(&status[..3]), "{error}");
                assert_eq!(client.call(call(1)).unwrap().text(), text(1));
            });
            assert_eq!(with(&requests, "tools/call").len(), 2, "nothing is repeated unasked");
        }
    }
}

/// The same answer in every way in which an event can be written; `@` stands for its text, in one piece or in two.
const EVENTS: [&str; 14] = [
    "data: @\n\n",
    "data:@\n\n",
    "event: message\ndata: @\n\n",
    "data: @\nevent: message\n\n",
    "id: 7\nretry: 10\nevent: message\ndata: @\n\n",
    "data: @\nid: 7\n\n",
    ": comment\n:\n\n:another\ndata: @\n: within\n\n",
    "id: 1\ndata:\n\nid: 2\ndata\n\nretry: 5\n\ndata: @\n\n",
    "data: <\ndata: >\n\n",
    "data: @\r\n\r\n",
    "event: message\rdata: @\r\r",
    "\u{FEFF}data: @\n\n",
    "event: other\ndata: {\"not\": \"ours\"}\n\nunknown: field\nnocolon\ndata: @\n\n",
    ": keep\r\n\r\ndata: <\r\ndata: >\r\nid: x\r\n\r\n",
];

#[test]
fn must_26_events_are_read_however_they_are_written() {
    for revision in STREAMABLE {
        for (n, written) in EVENTS.into_iter().enumerate() {
            let server = server(revision, move |peer, request| {
                if !request.is_call() {
                    return echo(peer, request);
                }
                // Pretty enough to be cut between two lines.
                let body = echoed(&request.message).to_string();
                let (front, back) = body.split_at(body.find(",\"").expect("two members") + 1);
                let stream = written.replace('@', &body).replace('<', front).replace('>', back);
                peer.begin_events();
                peer.chunk(&stream);
                peer.end_chunks();
                Then::Keep
            });
            let (_, stats) = play_http(revision, server, auto(), |client, _| all_answered(client, 3));
            assert_eq!((stats.malformed, stats.streams_resumed), (0, 0), "{n}: {stats:?}");
        }
    }
}

#[test]
fn must_27_errors_in_bodies_of_4xx_reach_the_right_call() {
    for revision in STREAMABLE {
        for status in ["400 Bad Request", "404 Not Found", "409 Conflict", "422 Unprocessable Content"] {
            for has_id in [true, false] {
                let both = Barrier::new(2);
                let server = server(revision, move |peer, request| {
                    if !request.is_call() {
                        return echo(peer, request);
                    }
                    both.wait();
                    if request.text() == text(1) {
                        return echo(peer, request);
                    }
                    let mut error = json!({"jsonrpc": "2.0", "error": {"code": -32602, "message": "no such tool", "data": [1]}});
                    if has_id {
                        error["id"] = request.message["id"].clone();
                    }
                    peer.json(status, &error.to_string());
                    Then::Keep
                });
                let (requests, _) = play_http(revision, server, auto(), |client, _| {
                    let (right, wrong) = (client.as_async().call(call(1)), client.as_async().call(call(0)));
                    let error = pollster::block_on(wrong).unwrap_err();
                    assert_eq!((error.kind(), error.fate()), (ErrorKind::Rpc, Fate::Answered), "{error}");
                    let said = error.rpc_error().unwrap();
                    assert_eq!((said.code, said.data.clone()), (-32602, Some(json!([1]))));
                    assert_eq!(pollster::block_on(right).unwrap().text(), text(1));
                });
                assert_eq!(with(&requests, "tools/call").len(), 2, "{status} in {revision}");
            }
        }
    }
}

/// During an opening as well: what the server says about `initialize` is in the error.
#[test]
fn must_27_an_error_in_the_body_of_a_refused_initialize_is_told() {
    for revision in STREAMABLE.into_iter().filter(|revision| revision.era() == Era::Legacy) {
        let server = HttpServer::plain("", |peer, request| {
            let error = json!({"code": -32602, "message": "not with you", "data": Value::Null});
            let body = json!({"jsonrpc": "2.0", "id": request.message["id"], "error": error}).to_string();
            peer.json("400 Bad Request", &body);
            Then::Keep
        });
        let Err(error) = connect_to(&address(&server), auto().revision(revision)) else {
            panic!("it was refused")
        };
        assert!(error.to_string().contains("not with you"), "{error}");
    }
}
