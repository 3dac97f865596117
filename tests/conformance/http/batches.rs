//! Clauses 13 to 18: arrays are received where the revision has them, and none ever leaves.

use parking_lot::Mutex;
use serde_json::{Value, json};
use volley::Revision;
use volley_tests::scripted_server::echoed;

use crate::{
    play::{all_answered, auto, call, text},
    ways::{Way, everywhere, play_on, started},
};

const ARRAYS: Revision = Revision::V2025_03_26;

/// All that is sent is recorded, and it is one object each: in the check of every test as well as here.
#[test]
fn must_13_no_array_is_sent_in_any_revision() {
    everywhere(|way, revision| {
        let (said, _) = play_on(
            way,
            revision,
            auto().revision(revision),
            |_| None,
            |client, server| {
                // As much at once as there is: a job, single calls, notifications.
                all_answered(client, 100);
                for n in 0..3 {
                    client.notify("notifications/x", &json!({"n": n})).unwrap();
                }
                server.wait_for("the last of them", |message| {
                    message["method"] == "notifications/x" && message["params"]["n"] == 2
                });
            },
        );
        assert!(said.messages.iter().all(Value::is_object), "{way:?}: {:#?}", said.messages);
        assert_eq!(said.with("tools/call").len(), 100);
    });
}

#[test]
fn must_14_arrays_are_received_on_every_way_when_2025_03_26_is_negotiated() {
    for way in Way::of(ARRAYS) {
        let (said, stats) = play_on(
            way,
            ARRAYS,
            auto(),
            |message| {
                (message["method"] == "tools/call").then(|| {
                    let all = json!([
                        {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"},
                        {"jsonrpc": "2.0", "id": message["id"], "method": "ping"},
                        echoed(message),
                        {"jsonrpc": "2.0", "id": "r", "method": "roots/list"},
                    ]);
                    vec![all.to_string()]
                })
            },
            |client, server| {
                all_answered(client, 5);
                volley_tests::patience::until_blocking("each request has its reply", || {
                    server.messages().iter().filter(|message| message.get("method").is_none()).count() == 10
                });
            },
        );
        let replies = said.responses();
        assert_eq!(replies.iter().filter(|reply| reply["result"] == json!({})).count(), 5, "{way:?}");
        assert_eq!(replies.iter().filter(|reply| reply["error"]["code"] == -32601).count(), 5, "{way:?}");
        assert_eq!((stats.notifications, stats.server_requests, stats.malformed), (5, 10, 0), "{way:?}");
    }
}

/// Three calls, answered in every shape in which a batch could be: nobody sent one, and a server may write so all the same.
#[test]
fn must_15_a_batch_reply_is_accepted_in_every_shape() {
    for way in Way::of(ARRAYS) {
        for shape in 0..4 {
            let held = Mutex::new(Vec::new());
            let says = move |message: &Value| {
                if message["method"] != "tools/call" {
                    return None;
                }
                let own = echoed(message);
                if !way.is_shared() {
                    let other = json!({"jsonrpc": "2.0", "method": "notifications/x"});
                    return Some(match shape {
                        0 => vec![json!([own]).to_string()],
                        1 => vec![other.to_string(), own.to_string()],
                        2 => vec![json!([other]).to_string(), json!([own]).to_string()],
                        _ => vec![own.to_string()],
                    });
                }
                let mut held = held.lock();
                held.push(own);
                if held.len() < 3 {
                    return Some(Vec::new());
                }
                let all = std::mem::take(&mut *held);
                Some(match shape {
                    0 => vec![json!(all).to_string()],
                    1 => all.iter().rev().map(Value::to_string).collect(),
                    2 => vec![json!([all[2], all[0]]).to_string(), json!([all[1]]).to_string()],
                    _ => vec![json!([all[1]]).to_string(), all[0].to_string(), all[2].to_string()],
                })
            };
            let (_, stats) = play_on(way, ARRAYS, auto(), says, |client, _| {
                for round in 0..3 {
                    let calls = [0, 1, 2].map(|n| client.as_async().call(call(round * 3 + n)));
                    for (n, answer) in calls.into_iter().enumerate() {
                        assert_eq!(pollster::block_on(answer).unwrap().text(), text(round * 3 + n as u64));
                    }
                }
            });
            assert_eq!((stats.answered, stats.unknown, stats.malformed), (9, 0, 0), "{way:?}: {stats:?}");
        }
    }
}

/// The replies to an array of requests leave one by one, among calls and notifications.
#[test]
fn must_16_requests_and_responses_never_share_an_array() {
    for way in Way::of(ARRAYS) {
        let (said, _) = play_on(
            way,
            ARRAYS,
            auto(),
            |message| {
                (message["method"] == "tools/call").then(|| {
                    let asked: Vec<Value> =
                        (0..4).map(|n| json!({"jsonrpc": "2.0", "id": n, "method": "ping"})).collect();
                    vec![json!(asked).to_string(), echoed(message).to_string()]
                })
            },
            |client, server| {
                all_answered(client, 5);
                volley_tests::patience::until_blocking("each request has its reply", || {
                    server.messages().iter().filter(|message| message.get("method").is_none()).count() == 20
                });
            },
        );
        assert!(said.messages.iter().all(Value::is_object), "{way:?}: {:#?}", said.messages);
    }
}

/// Since none is sent there is nothing to fall back from: a server that drops arrays, and one that refuses them, gets each
/// call once.
#[test]
fn must_17_a_server_without_arrays_gets_each_call_once() {
    for way in Way::of(ARRAYS) {
        for refuses in [false, true] {
            let says = move |message: &Value| {
                let refusal = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no arrays"}}"#;
                let answer = if refuses { vec![refusal.to_owned()] } else { Vec::new() };
                message.is_array().then_some(answer)
            };
            let (said, stats) =
                play_on(way, ARRAYS, auto().in_flight(16), says, |client, _| all_answered(client, 200));
            assert_eq!((said.with("tools/call").len(), stats.answered), (200, 200), "{way:?}");
        }
    }
}

#[test]
fn must_18_arrays_are_no_messages_in_the_other_revisions_on_any_way() {
    everywhere(|way, revision| {
        if revision == ARRAYS {
            return;
        }
        let (said, stats) = play_on(
            way,
            revision,
            auto().revision(revision),
            |message| {
                (message["method"] == "tools/call").then(|| {
                    let mut wrong = echoed(message);
                    wrong["result"]["content"][0]["text"] = json!("from an array");
                    let asked = started("ping", Some(json!(1)), &json!({}));
                    vec![format!("[{wrong},{asked}]"), echoed(message).to_string()]
                })
            },
            |client, _| all_answered(client, 2),
        );
        assert_eq!(stats.malformed, 2, "{way:?} in {revision}: {stats:?}");
        assert!(said.responses().is_empty() && said.messages.iter().all(Value::is_object));
    });
}
