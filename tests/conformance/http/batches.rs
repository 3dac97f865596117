//! Clauses 13 to 18: arrays are received where the revision has them, and sent where it has them and the server has shown that it
//! answers them; everywhere else the same calls go one by one.
//!
//! What each array looks like is checked at the end of every test, over HTTP and on lines
//! ([`check_array`](volley_tests::record::check_array)).

use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use volley::{Arrays, Error, Revision, ToolResult, blocking::Client};
use volley_tests::{patience::until_blocking, scripted_server::echoed};

use crate::{
    play::{all_answered, auto, call, text},
    ways::{Way, everywhere, play_on, started},
};

const ARRAYS: Revision = Revision::V2025_03_26;

/// What a server without manners but those of JSON-RPC says to each element of an array.
fn elements_answered(message: &Value) -> Vec<Value> {
    let answered = |element: &Value| match element["method"].as_str() {
        Some("tools/call") => echoed(element),
        _ => json!({"jsonrpc": "2.0", "id": element["id"], "result": {}}),
    };
    message.as_array().expect("an array").iter().map(answered).collect()
}

/// The outcomes of a batch of so many calls, each of which says its own number.
fn batch(client: &Client, first: u64, calls: u64) -> Vec<Result<ToolResult, Error>> {
    client.batch().calls((first..first + calls).map(call)).send().wait()
}

/// Each outcome is its own call's.
fn all_their_own(outcomes: &[Result<ToolResult, Error>], first: u64) {
    for (n, outcome) in outcomes.iter().enumerate() {
        let answer = outcome.as_ref().unwrap_or_else(|error| panic!("call {n}: {error}"));
        assert_eq!(answer.text(), text(first + n as u64));
    }
}

/// Batches until the server's arrays are known, one way or the other.
fn until_sent(client: &Client) {
    until_blocking("an array is sent", || {
        all_their_own(&batch(client, 0, 2), 0);
        client.stats().arrays_sent > 0
    });
}

#[test]
fn must_13_an_array_is_sent_only_in_2025_03_26_and_after_the_server_has_answered_one() {
    for way in Way::of(ARRAYS) {
        for arrays in [Arrays::Never, Arrays::Explicit, Arrays::Auto] {
            let says = |message: &Value| {
                message.is_array().then(|| vec![json!(elements_answered(message)).to_string()])
            };
            let (said, stats) = play_on(way, ARRAYS, auto().arrays(arrays), says, |client, _| {
                if arrays != Arrays::Never {
                    until_sent(client);
                }
                all_their_own(&batch(client, 0, 30), 0);
                all_answered(client, 200);
            });
            let sent: Vec<&Value> = said.messages.iter().filter(|message| message.is_array()).collect();
            assert_eq!(sent.is_empty(), arrays == Arrays::Never, "{way:?}: {sent:#?}");
            if let Some(first) = sent.first() {
                assert!(first.as_array().unwrap().iter().all(|one| one["method"] == "ping"), "the probe");
                assert_eq!((stats.array_probes, sent.len() as u64), (1, 1 + stats.arrays_sent), "{way:?}");
            }
            let in_job = stats.calls_in_arrays > 2 + 30 + 2;
            assert!(
                in_job <= (arrays == Arrays::Auto),
                "jobs are grouped by themselves in one mode: {stats:?}"
            );
        }
    }
}

#[test]
fn must_18_no_array_is_sent_in_any_other_revision() {
    everywhere(|way, revision| {
        if revision == ARRAYS {
            return;
        }
        let config = auto().revision(revision).arrays(Arrays::Auto);
        let (said, stats) = play_on(
            way,
            revision,
            config,
            |_| None,
            |client, _| {
                all_their_own(&batch(client, 0, 100), 0);
                all_answered(client, 100);
            },
        );
        assert!(said.messages.iter().all(Value::is_object), "{way:?}: {:#?}", said.messages);
        assert_eq!((stats.array_probes, stats.arrays_sent), (0, 0), "nobody is asked: {way:?}");
    });
}

/// All that is sent is recorded, and it is one object each.
#[test]
fn must_13_no_array_is_sent_unasked_in_any_revision() {
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

/// A batch of fourteen, answered in every shape there is, in any order.
#[test]
fn must_15_a_batch_of_calls_is_answered_in_every_shape() {
    for way in Way::of(ARRAYS) {
        for shape in 0..5 {
            let says = move |message: &Value| {
                let all = message.is_array().then(|| elements_answered(message))?;
                let news = json!({"jsonrpc": "2.0", "method": "notifications/x"});
                Some(match shape {
                    0 => vec![json!(all).to_string()],
                    1 => all.iter().map(Value::to_string).collect(),
                    2 => all.iter().rev().map(|one| json!([one]).to_string()).collect(),
                    3 => {
                        let half = all.len() / 2;
                        let back: Vec<&Value> = all[..half].iter().rev().collect();
                        vec![json!(all[half..]).to_string(), news.to_string(), json!(back).to_string()]
                    }
                    _ => {
                        let last = all.last().unwrap();
                        let others: Vec<&Value> =
                            std::iter::once(&news).chain(all[..all.len() - 1].iter().rev()).collect();
                        vec![last.to_string(), json!(others).to_string()]
                    }
                })
            };
            let (said, stats) = play_on(way, ARRAYS, auto(), says, |client, _| {
                until_sent(client);
                all_their_own(&batch(client, 50, 14), 50);
            });
            let largest = said.messages.iter().filter_map(Value::as_array).map(Vec::len).max();
            assert_eq!(largest, Some(14), "{way:?}, shape {shape}");
            assert_eq!(
                (stats.answered, stats.unknown, stats.malformed),
                (stats.submitted, 0, 0),
                "{stats:?}"
            );
            assert_eq!((stats.arrays_refused, stats.array_fallbacks), (0, 0), "{stats:?}");
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

/// A server that drops arrays, one that refuses them, and one that refuses each element: the probe shows it, at most two harmless
/// requests were lost, and each call goes once.
#[test]
fn must_17_a_server_without_arrays_gets_each_call_once() {
    for way in Way::of(ARRAYS) {
        for refusal in [
            None,
            Some(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no arrays"}}"#),
            Some(r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"no arrays"}}"#),
        ] {
            let says = move |message: &Value| {
                message.is_array().then(|| refusal.iter().map(|refusal| (*refusal).to_owned()).collect())
            };
            let config = auto().arrays(Arrays::Auto).array_probe_timeout(Duration::from_millis(50));
            let (said, stats) = play_on(way, ARRAYS, config.in_flight(16), says, |client, _| {
                for round in 0..5 {
                    all_their_own(&batch(client, 40 * round, 40), 40 * round);
                }
                until_blocking("the probe is over", || {
                    all_answered(client, 20);
                    client.stats().array_probes == 1
                });
                all_answered(client, 200);
            });
            assert_eq!(said.with("tools/call").len() as u64, stats.answered, "{way:?}: {stats:?}");
            assert_eq!(
                (stats.failed, stats.arrays_sent, stats.array_probes),
                (0, 0, 1),
                "{way:?}: {stats:?}"
            );
        }
    }
}

/// A server that answers the probe and then loses its taste: where it says so, each call goes once more, alone.
#[test]
fn must_17_a_refused_array_falls_back_to_single_requests() {
    for way in [Way::Json, Way::Events] {
        let refusal = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no arrays"}}"#;
        let says = move |message: &Value| {
            let elements = message.as_array()?;
            let is_probe = elements[0]["method"] == "ping";
            Some(vec![if is_probe {
                json!(elements_answered(message)).to_string()
            } else {
                refusal.to_owned()
            }])
        };
        let (said, stats) = play_on(way, ARRAYS, auto(), says, |client, _| {
            until_sent(client);
            all_their_own(&batch(client, 0, 60), 0);
        });
        let alone = said.messages.iter().filter(|message| message["method"] == "tools/call").count();
        assert_eq!((alone as u64, stats.failed), (stats.submitted, 0), "{way:?}: {stats:?}");
        assert_eq!((stats.arrays_sent, stats.arrays_refused, stats.array_fallbacks), (1, 1, 2), "{stats:?}");
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
