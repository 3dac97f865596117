//! Clauses 64 to 66, 68 and 69 on every way: time, cancellations, progress, losses, subscriptions.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use volley::{Era, ErrorKind, Fate, Inbound, Revision, mcp::SubscriptionFilter};
use volley_tests::{
    http_server::Then,
    patience::until_blocking,
    scripted_server::{ScriptedServer, discovered, echoed},
};

use super::{STREAMABLE, echo, play_http, server, with};
use crate::{
    play::{all_answered, auto, call, outcomes, text},
    ways::{event, everywhere, in_both_eras, play_on, started},
};

#[test]
fn must_64_every_request_has_its_time_and_a_late_answer_is_ignored_on_every_way() {
    everywhere(|way, revision| {
        let late = Mutex::new(Vec::new());
        let says = move |message: &Value| match message["method"].as_str() {
            Some("tools/call") if message["params"]["arguments"]["message"] == text(0) => {
                late.lock().push(echoed(message).to_string());
                Some(Vec::new())
            }
            // On a shared channel the answer comes after all.
            Some("notifications/cancelled") if way.is_shared() => Some(std::mem::take(&mut *late.lock())),
            _ => None,
        };
        let config = auto().revision(revision).timeout(Duration::from_millis(150));
        let (said, stats) = play_on(way, revision, config, says, |client, server| {
            let error = client.call(call(0)).unwrap_err();
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown), "{way:?}: {error}");
            if way.is_shared() {
                until_blocking("the late answer has been read", || {
                    client.stats().late + client.stats().unknown == 1
                });
            }
            if way.is_shared() || revision.era() == Era::Legacy {
                server.wait_for("the cancellation", |message| message["method"] == "notifications/cancelled");
            }
            // Patient now, since the machine may be busy.
            let patient = |n| call(n).timeout(Duration::from_secs(20));
            (1..5).for_each(|n| assert_eq!(client.call(patient(n)).unwrap().text(), text(n)));
        });
        let cancelled = said.with("notifications/cancelled");
        // In the modern era the end of the response's stream says it, over HTTP.
        let told = way.is_shared() || revision.era() == Era::Legacy;
        assert_eq!(cancelled.len(), usize::from(told), "{way:?} in {revision}");
        let of = said.with("tools/call")[0]["id"].clone();
        assert!(cancelled.iter().all(|message| message["params"]["requestId"] == of), "{way:?}");
        assert_eq!((stats.timed_out, stats.answered, stats.failed), (1, 4, 1), "{way:?}: {stats:?}");
    });
}

#[test]
fn must_65_cancellations_name_own_requests_in_flight_on_every_way() {
    everywhere(|way, revision| {
        let says = |message: &Value| {
            let never =
                message["params"]["arguments"]["message"].as_str().is_some_and(|text| text.ends_with('0'));
            (message["method"] == "tools/call" && never).then(Vec::new)
        };
        let config = auto().revision(revision).in_flight(32);
        let (said, stats) = play_on(way, revision, config, says, |client, server| {
            let mut calls: Vec<_> = (0..20).map(|n| client.as_async().call(call(n))).collect();
            until_blocking("all have come", || {
                server.messages().iter().filter(|message| message["method"] == "tools/call").count() == 20
            });
            until_blocking("most are answered", || client.stats().answered == 18);
            // Two are in flight; the others have answers that nobody looks at.
            calls.clear();
            until_blocking("both are cancelled", || client.stats().cancelled == 2);
            all_answered(client, 0);
            if way.is_shared() || revision.era() == Era::Legacy {
                until_blocking("both are told", || {
                    let is_one = |message: &&Value| message["method"] == "notifications/cancelled";
                    server.messages().iter().filter(is_one).count() == 2
                });
            }
        });
        let in_flight: HashSet<String> = said
            .with("tools/call")
            .into_iter()
            .filter(|call| call["params"]["arguments"]["message"].as_str().unwrap().ends_with('0'))
            .map(|call| call["id"].to_string())
            .collect();
        let named: HashSet<String> = said
            .with("notifications/cancelled")
            .iter()
            .map(|message| message["params"]["requestId"].to_string())
            .collect();
        if way.is_shared() || revision.era() == Era::Legacy {
            assert_eq!(named, in_flight, "{way:?} in {revision}");
        } else {
            assert!(named.is_empty(), "{way:?} in {revision}");
        }
        assert_eq!(stats.cancellations_sent, 2, "{way:?}: {stats:?}");
    });
}

#[test]
fn must_66_progress_tokens_are_unique_and_progress_is_heard_on_every_way() {
    in_both_eras(|way, revision| {
        let says = |message: &Value| {
            let token = &message["params"]["_meta"]["progressToken"];
            (message["method"] == "tools/call" && !token.is_null()).then(|| {
                let steps = [json!(1), json!(1.5), json!(2)].map(|progress| {
                    let params =
                        json!({"progressToken": token, "progress": progress, "total": 2, "message": "m"});
                    started("notifications/progress", None, &params)
                });
                steps.into_iter().chain([echoed(message).to_string()]).collect()
            })
        };
        let (said, stats) = play_on(way, revision, auto(), says, |client, _| {
            let of = |n| if n % 2 == 0 { call(n).with_progress() } else { call(n) };
            let calls: Vec<_> = (0..32).map(|n| client.as_async().call(of(n))).collect();
            for (n, answer) in calls.into_iter().enumerate() {
                assert_eq!(pollster::block_on(answer).unwrap().text(), text(n as u64), "{way:?}");
            }
        });
        let tokens: Vec<String> = said
            .with("tools/call")
            .iter()
            .map(|call| call["params"]["_meta"]["progressToken"].to_string())
            .filter(|token| token != "null")
            .collect();
        assert_eq!(tokens.len(), 16, "only where it was asked for");
        assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), 16, "{way:?}: {tokens:?}");
        assert_eq!(stats.notifications, 48, "{way:?}: {stats:?}");
    });
}

/// Sockets end in the middle of calls, in several ways; each call ends once, and none that may have been executed is repeated.
#[test]
fn must_68_after_losses_over_http_every_call_ends_once() {
    for revision in STREAMABLE {
        let calls = AtomicUsize::new(0);
        let server = server(revision, move |peer, request| {
            if !request.is_call() {
                return echo(peer, request);
            }
            match calls.fetch_add(1, Ordering::SeqCst) % 10 {
                3 => Then::Close,
                5 => {
                    peer.say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"json");
                    Then::Close
                }
                7 => {
                    peer.begin_events();
                    peer.chunk("data: {\"jsonrpc\":");
                    Then::Close
                }
                _ => echo(peer, request),
            }
        });
        let (requests, stats) = play_http(revision, server, auto().in_flight(8), |client, _| {
            let outcomes = outcomes(client, 300);
            assert_eq!(outcomes.len(), 300, "each once");
            for (n, outcome) in outcomes {
                match outcome {
                    Ok(said) => assert_eq!(said, text(n)),
                    Err((error, fate)) => {
                        assert_eq!(
                            (error.kind(), fate),
                            (ErrorKind::ConnectionLost, Fate::Unknown),
                            "{error}"
                        );
                    }
                }
            }
        });
        assert_eq!((stats.answered, stats.failed), (210, 90), "{stats:?}");
        assert_eq!(with(&requests, "tools/call").len(), 300, "nothing is repeated");
    }
}

/// The common stream of HTTP+SSE ends: what waited on it ends with it, and the next calls have a new one.
#[test]
fn must_68_after_the_loss_of_the_common_stream_every_call_ends_once() {
    let (streams, held) = (AtomicUsize::new(0), Mutex::new(None::<std::sync::mpsc::Sender<String>>));
    let server = volley_tests::http_server::HttpServer::plain("", move |peer, request| {
        if request.method == "GET" {
            let first = streams.fetch_add(1, Ordering::SeqCst) == 0;
            let (send, receive) = std::sync::mpsc::channel();
            *held.lock() = Some(send);
            peer.begin_events();
            peer.chunk("event: endpoint\ndata: /post\n\n");
            let mut calls = 0;
            while let Ok(message) = receive.recv_timeout(Duration::from_secs(2)) {
                calls += usize::from(message.contains("tools/call"));
                if first && calls == 8 {
                    return Then::Close;
                }
                let message: Value = serde_json::from_str(&message).unwrap();
                for said in crate::ways::manners(Revision::V2024_11_05, &message) {
                    if !(first && message["method"] == "tools/call") {
                        peer.chunk(&event(&said));
                    }
                }
            }
            return Then::Close;
        }
        peer.accept();
        if let Some(stream) = &*held.lock() {
            // The stream may have ended.
            let _ = stream.send(request.message.to_string());
        }
        Then::Keep
    });
    let client =
        crate::ways::connect_to(&format!("sse+{}", crate::ways::address(&server)), auto().in_flight(8))
            .unwrap();
    let outcomes = outcomes(&client, 40);
    assert_eq!(outcomes.len(), 40, "each once");
    let lost = outcomes.values().filter(|outcome| outcome.is_err()).count();
    let stats = crate::ways::ended(&client);
    assert!((1..=16).contains(&lost) && stats.failed == lost as u64, "{lost}: {stats:?}");
}

/// What a server says to a subscription's request: before the acknowledgement and after it, to it and to another one.
fn told(request: &Value) -> [Value; 5] {
    const CHANGED: &str = "notifications/tools/list_changed";
    let (own, other) = (&request["id"], json!(request["id"].as_u64().expect("an integer") + 1));
    let tagged = |method: &str, id: &Value, n: u64| {
        let params = json!({"_meta": {"io.modelcontextprotocol/subscriptionId": id}, "notifications": {"toolsListChanged": true}, "n": n});
        json!({"jsonrpc": "2.0", "method": method, "params": params})
    };
    [
        tagged(CHANGED, own, 1),
        tagged(CHANGED, &other, 2),
        tagged("notifications/subscriptions/acknowledged", own, 0),
        tagged(CHANGED, &other, 3),
        tagged(CHANGED, own, 4),
    ]
}

/// Subscribes, and expects what is for this subscription after its acknowledgement: once before a loss, and once after it.
fn hears_its_own_twice(client: &volley::blocking::Client) {
    let filter = SubscriptionFilter { tools_list_changed: true, ..Default::default() };
    let mut subscription = pollster::block_on(client.as_async().listen(filter)).unwrap();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        match pollster::block_on(subscription.next()) {
            Some(Ok(Inbound::Notification(one))) => {
                heard.push(one.params::<Value>().unwrap()["n"].clone());
            }
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, [json!(4), json!(4)]);
}

#[test]
fn must_69_nothing_is_delivered_before_the_acknowledgement_or_from_another_subscription() {
    let server = ScriptedServer::start(|peer| {
        while let Some(request) = peer.read() {
            match request["method"].as_str() {
                Some("server/discover") => peer.result(&request, &discovered(&["2026-07-28"])),
                Some("subscriptions/listen") => {
                    told(&request).iter().for_each(|message| peer.send(message));
                    if peer.number() == 0 {
                        return peer.hang_up();
                    }
                }
                _ => {}
            }
        }
    });
    let client = crate::play::connect(&server, auto()).unwrap();
    hears_its_own_twice(&client);
    client.close();
    let record = server.finish();
    let asked = record.with("subscriptions/listen");
    assert_eq!(asked.len(), 2, "sent again after the reconnect");
    assert_ne!(asked[0]["id"], asked[1]["id"]);
}

#[test]
fn must_69_a_subscription_over_http_is_its_own_stream_and_asked_for_again() {
    let times = AtomicUsize::new(0);
    let server = server(Revision::V2026_07_28, move |peer, request| {
        if request.rpc() != "subscriptions/listen" {
            return echo(peer, request);
        }
        peer.begin_events();
        for message in told(&request.message) {
            peer.chunk(&event(&message.to_string()));
        }
        if times.fetch_add(1, Ordering::SeqCst) > 0 {
            peer.bytes_until_end();
        }
        Then::Close
    });
    let (requests, stats) = play_http(Revision::V2026_07_28, server, auto().in_flight(1), |client, _| {
        hears_its_own_twice(client);
        all_answered(client, 5);
    });
    let asked = with(&requests, "subscriptions/listen");
    assert_eq!(asked.len(), 2, "sent again after the loss: {stats:?}");
    assert_ne!(asked[0].id(), asked[1].id());
}
