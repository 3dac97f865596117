//! Clauses 1 to 7 on every way: messages, ids, whom an answer is for, and what is answered.

use std::{
    collections::HashSet,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use volley::{ErrorKind, Revision};
use volley_tests::{http_server::Then, patience::until_blocking, scripted_server::echoed};

use super::{echo, opens, play_http, play_odd, server, with};
use crate::{
    jsonrpc::in_some_shape,
    play::{ERAS, all_answered, auto, call, outcomes, text},
    ways::{answer, event, everywhere, in_both_eras, play_on, started},
};

#[test]
fn must_01_every_message_is_json_rpc_2_on_every_way() {
    everywhere(|way, revision| {
        let (said, _) = play_on(
            way,
            revision,
            auto().revision(revision),
            |_| None,
            |client, server| {
                client.call(call(1)).unwrap();
                client.list_tools().unwrap();
                client.request("any/thing", &json!(null)).unwrap_err();
                client.notify("notifications/roots/list_changed", &json!(null)).unwrap();
                server.wait_for("the notification", |message| {
                    message["method"] == "notifications/roots/list_changed"
                });
            },
        );
        assert!(said.messages.iter().all(|message| message["jsonrpc"] == "2.0"), "{:#?}", said.messages);
        for message in said.messages.iter().filter(|message| message.get("id").is_some()) {
            assert!(message["id"].is_u64(), "{message}");
        }
        assert!(said.responses().is_empty() && said.with("tools/call").len() == 1);
    });
}

#[test]
fn must_02_no_id_is_used_twice_in_a_session_over_http() {
    let (sessions, calls) = (AtomicUsize::new(0), Mutex::new(Vec::<usize>::new()));
    let server = volley_tests::http_server::HttpServer::plain("", move |peer, request| {
        if request.rpc() == "initialize" {
            let number = sessions.fetch_add(1, Ordering::SeqCst);
            calls.lock().push(0);
            opens(peer, request, Revision::V2025_11_25, &format!("Mcp-Session-Id: s{number}\r\n"));
            return Then::Keep;
        }
        if opens(peer, request, Revision::V2025_11_25, "") {
            return Then::Keep;
        }
        if !request.is_call() {
            return echo(peer, request);
        }
        let session: usize = request.header("mcp-session-id").unwrap()[1..].parse().unwrap();
        let so_far = {
            let mut calls = calls.lock();
            calls[session] += 1;
            calls[session]
        };
        if so_far > 60 {
            peer.respond("404 Not Found", "", "");
            return Then::Keep;
        }
        echo(peer, request);
        // Sockets come and go within a session.
        if so_far % 7 == 0 { Then::Close } else { Then::Keep }
    });
    let config = auto().connections(3).shards(2).in_flight(4);
    let (requests, stats, _) = play_odd(server, config, |client, _| {
        outcomes(client, 500).into_values().for_each(drop);
    });
    assert!(stats.sessions_lost > 1 && stats.answered > 400, "{stats:?}");
    let mut ids = HashSet::new();
    for call in with(&requests, "tools/call") {
        assert!(ids.insert((call.header("mcp-session-id"), call.id())), "{call:?}");
    }
}

#[test]
fn must_03_no_two_requests_in_flight_share_an_id_across_shards_over_http() {
    let (at_once, seen) = (Barrier::new(12), AtomicUsize::new(0));
    let server = server(Revision::V2026_07_28, move |peer, request| {
        if request.is_call() && seen.fetch_add(1, Ordering::SeqCst) < 12 {
            // All windows of all shards are full.
            at_once.wait();
        }
        echo(peer, request)
    });
    let config = auto().connections(3).shards(3).in_flight(4);
    let (requests, _) = play_http(Revision::V2026_07_28, server, config, |client, _| {
        until_blocking("all are ready", || client.as_async().ready_connections() == 3);
        let calls: Vec<_> = (0..12).map(|n| client.as_async().call(call(n))).collect();
        for (n, answer) in calls.into_iter().enumerate() {
            assert_eq!(pollster::block_on(answer).unwrap().text(), text(n as u64));
        }
        all_answered(client, 240);
    });
    // That no id came twice has been checked.
    assert_eq!(with(&requests, "tools/call").len(), 252);
}

#[test]
fn must_04_ids_match_in_any_order_on_every_way() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    in_both_eras(|way, revision| {
        let (rng, held) = (Mutex::new(fastrand::Rng::with_seed(seed)), Mutex::new(Vec::new()));
        let (at_once, shapes) = (Barrier::new(8), AtomicUsize::new(0));
        let (_, stats) = play_on(
            way,
            revision,
            auto().in_flight(8),
            move |message| {
                if message["method"] != "tools/call" {
                    return None;
                }
                let said = in_some_shape(message, shapes.fetch_add(1, Ordering::SeqCst));
                if !way.is_shared() {
                    // Each on its own stream; all of them at once, whichever thread is first.
                    at_once.wait();
                    return Some(vec![said]);
                }
                let mut held = held.lock();
                held.push(said);
                if held.len() < 8 {
                    return Some(Vec::new());
                }
                rng.lock().shuffle(&mut held);
                Some(std::mem::take(&mut *held))
            },
            |client, _| all_answered(client, 160),
        );
        assert_eq!((stats.lenient_ids, stats.unknown, stats.malformed), (0, 0, 0), "{way:?}: {stats:?}");
    });
}

#[test]
fn must_04_an_answer_on_another_calls_stream_is_nobodys() {
    for revision in ERAS {
        let (first, both) = (Mutex::new(None), Barrier::new(2));
        let server = server(revision, move |peer, request| {
            if !request.is_call() {
                return echo(peer, request);
            }
            if request.text() == text(1) {
                *first.lock() = Some(request.message.clone());
                both.wait();
                // The other one has said something in this one's name.
                both.wait();
                return echo(peer, request);
            }
            both.wait();
            let mut wrong = echoed(first.lock().as_ref().unwrap());
            wrong["result"]["content"][0]["text"] = json!("not yours");
            peer.begin_events();
            peer.chunk(&event(&wrong.to_string()));
            peer.chunk(&event(&echoed(&request.message).to_string()));
            peer.end_chunks();
            both.wait();
            Then::Keep
        });
        let (_, stats) = play_http(revision, server, auto(), |client, _| {
            let (one, two) = (client.as_async().call(call(1)), client.as_async().call(call(2)));
            assert_eq!(pollster::block_on(two).unwrap().text(), text(2));
            assert_eq!(pollster::block_on(one).unwrap().text(), text(1));
        });
        assert_eq!(stats.unknown, 1, "{stats:?}");
    }
}

#[test]
fn must_04_an_error_with_an_id_of_another_type_is_not_the_calls() {
    in_both_eras(|way, revision| {
        let (_, stats) = play_on(
            way,
            revision,
            auto(),
            |message| {
                let odd = [r#""x""#, "-1", "1.5", "true"].map(|id| {
                    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-1,"message":"another's"}}}}"#)
                });
                (message["method"] == "tools/call")
                    .then(|| odd.into_iter().chain([echoed(message).to_string()]).collect())
            },
            |client, _| all_answered(client, 3),
        );
        assert_eq!((stats.rpc_errors, stats.answered), (0, 3), "{way:?}: {stats:?}");
    });
}

#[test]
fn must_05_errors_without_an_id_complete_no_call_on_a_shared_channel() {
    in_both_eras(|way, revision| {
        if !way.is_shared() {
            return;
        }
        let (_, stats) = play_on(
            way,
            revision,
            auto(),
            |message| {
                let null = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not read"}}"#;
                let none = r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"not read"}}"#;
                (message["method"] == "tools/call")
                    .then(|| vec![null.to_owned(), none.to_owned(), echoed(message).to_string()])
            },
            |client, _| all_answered(client, 10),
        );
        assert_eq!((stats.id_less, stats.answered), (20, 10), "{way:?}: {stats:?}");
    });
}

/// Where a response has one request, an error without an id is that one's; it is no other's.
#[test]
fn must_05_an_error_without_an_id_in_a_response_is_of_that_request_only() {
    for revision in super::STREAMABLE {
        for id in [r#""id":null,"#, ""] {
            let both = Barrier::new(2);
            let server = server(revision, move |peer, request| {
                if !request.is_call() {
                    return echo(peer, request);
                }
                both.wait();
                if request.text() == text(2) {
                    both.wait();
                    return echo(peer, request);
                }
                let body =
                    format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":-32600,"message":"not read"}}}}"#);
                peer.json(if request.connection % 2 == 0 { "200 OK" } else { "400 Bad Request" }, &body);
                both.wait();
                Then::Keep
            });
            let (_, stats) = play_http(revision, server, auto(), |client, _| {
                for _ in 0..4 {
                    let (one, two) = (client.as_async().call(call(1)), client.as_async().call(call(2)));
                    let error = pollster::block_on(one).unwrap_err();
                    assert_eq!((error.kind(), error.rpc_error().unwrap().code), (ErrorKind::Rpc, -32600));
                    assert_eq!(pollster::block_on(two).unwrap().text(), text(2));
                }
            });
            assert_eq!((stats.rpc_errors, stats.answered), (4, 8), "{stats:?}");
        }
    }
}

/// What a server may say of its own accord, known and unknown.
const NOTIFICATIONS: [&str; 6] = [
    "notifications/tools/list_changed",
    "notifications/message",
    "notifications/progress",
    "notifications/cancelled",
    "notifications/nobody/knows",
    "",
];

#[test]
fn must_06_notifications_are_never_answered_on_any_way() {
    everywhere(|way, revision| {
        let (said, stats) = play_on(
            way,
            revision,
            auto().revision(revision).on_request(|_| Ok(json!({}))),
            |message| {
                (message["method"] == "tools/call").then(|| {
                    let news =
                        NOTIFICATIONS.map(|method| started(method, None, &json!({"progressToken": "x"})));
                    news.into_iter().chain([echoed(message).to_string()]).collect()
                })
            },
            |client, _| all_answered(client, 5),
        );
        assert!(said.responses().is_empty(), "{way:?}: {:#?}", said.responses());
        assert_eq!(stats.notifications, 5 * NOTIFICATIONS.len() as u64, "{way:?}: {stats:?}");
    });
}

#[test]
fn must_07_a_modern_client_writes_no_response_on_any_way() {
    for handler in [false, true] {
        for way in crate::ways::Way::of(Revision::V2026_07_28) {
            let config = if handler { auto().on_request(|_| Ok(json!({}))) } else { auto() };
            let (said, stats) = play_on(
                way,
                Revision::V2026_07_28,
                config,
                |message| {
                    (message["method"] == "tools/call").then(|| {
                        let asked = ["ping", "roots/list", "sampling/createMessage", "x"];
                        let asked = asked.map(|method| started(method, Some(json!(method)), &json!({})));
                        asked.into_iter().chain([echoed(message).to_string()]).collect()
                    })
                },
                |client, _| all_answered(client, 5),
            );
            assert!(said.responses().is_empty(), "{way:?}: {:#?}", said.responses());
            assert_eq!(stats.server_requests, 20, "{way:?}: {stats:?}");
        }
    }
}

/// A result that names nothing is not guessed at, and its call waits for a better one.
#[test]
fn must_05_a_result_without_an_id_completes_nothing() {
    in_both_eras(|way, revision| {
        let (_, stats) = play_on(
            way,
            revision,
            auto(),
            |message| {
                (message["method"] == "tools/call").then(|| {
                    let wrong = json!({"content": [{"type": "text", "text": "whose?"}]});
                    vec![answer(&Value::Null, &wrong), echoed(message).to_string()]
                })
            },
            |client, _| all_answered(client, 3),
        );
        assert_eq!((stats.answered, stats.id_less), (3, 3), "{way:?}: {stats:?}");
    });
}
