//! Clauses 64, 65, 66 and 68: time-outs, cancellations, progress tokens, and what is lost with a connection.

use std::{collections::HashSet, time::Duration};

use serde_json::{Value, json};
use volley::{ErrorKind, Fate, Revision, ToolCall};

use crate::play::{ERAS, all_answered, auto, call, outcomes, play, text};

#[test]
fn must_64_a_request_whose_time_is_over_is_cancelled_and_its_late_answer_ignored() {
    for revision in ERAS {
        let (record, stats) = play(
            auto().timeout(Duration::from_millis(150)),
            move |peer| {
                peer.open(revision);
                let unanswered: Vec<Value> = ["tools/call", "any/thing", "tools/list"]
                    .map(|method| peer.read_until(method).expect("a request"))
                    .into();
                // All of them are cancelled; only then come the answers.
                let mut cancelled: Vec<Value> = (0..3)
                    .map(|_| peer.read_until("notifications/cancelled").expect("a cancellation")["params"]["requestId"].clone())
                    .collect();
                cancelled.sort_by_key(Value::as_u64);
                assert_eq!(
                    cancelled,
                    unanswered.iter().map(|request| request["id"].clone()).collect::<Vec<_>>()
                );
                unanswered
                    .iter()
                    .for_each(|request| peer.result(request, &json!({"content": [], "tools": []})));
                // And once more: by now nobody remembers.
                unanswered.iter().for_each(|request| peer.error(request, -1, &Value::Null));
                peer.echo_rest();
            },
            |client, _| {
                let engine = client.as_async();
                let (one, two) = (engine.call(call(1)), engine.request("any/thing", &json!({})));
                let outcomes = pollster::block_on(async {
                    let three = engine.list_tools().await.map(drop);
                    [one.await.map(drop), two.await.map(drop), three]
                });
                for outcome in outcomes {
                    let error = outcome.unwrap_err();
                    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown), "{error}");
                }
                all_answered(client, 10);
            },
        );
        assert_eq!((stats.late, stats.unknown, stats.timed_out), (3, 3, 3), "{stats:?}");
        assert_eq!(record.with("notifications/cancelled").len(), 3);
    }
}

#[test]
fn must_64_whoever_waits_is_told_when_the_time_is_over() {
    play(
        auto(),
        |peer| {
            peer.open(Revision::V2025_11_25);
            peer.read_rest();
        },
        |client, _| {
            for timeout in [50, 200] {
                let since = std::time::Instant::now();
                let error = client.call(call(1).timeout(Duration::from_millis(timeout))).unwrap_err();
                let took = since.elapsed().as_millis() as u64;
                assert_eq!(error.kind(), ErrorKind::Timeout);
                assert!((timeout..timeout + 600).contains(&took), "{took} ms instead of {timeout} ms");
                let since = std::time::Instant::now();
                let mut bulk =
                    client.as_async().bulk([call(1)]).timeout(Duration::from_millis(timeout)).blocking();
                assert_eq!(bulk.next().unwrap().1.unwrap_err().kind(), ErrorKind::Timeout);
                let took = since.elapsed().as_millis() as u64;
                assert!((timeout..timeout + 600).contains(&took), "{took} ms instead of {timeout} ms");
            }
        },
    );
}

#[test]
fn must_65_cancellations_name_own_requests_in_flight_and_no_others() {
    for revision in ERAS {
        let (record, stats) = play(
            auto().in_flight(2),
            move |peer| {
                peer.open(revision);
                let answered = peer.read_call();
                peer.echo(&answered);
                let held = peer.read_calls(2);
                let cancelled = peer.read_until("notifications/cancelled").expect("a cancellation");
                assert_eq!(cancelled["params"]["requestId"], held[0]["id"]);
                assert!(cancelled["params"]["reason"].is_string() && cancelled.get("id").is_none());
                peer.echo(&held[1]);
                peer.echo_rest();
            },
            |client, server| {
                let engine = client.as_async();
                // Answered and never looked at: there is nothing to cancel.
                let answered = engine.call(call(1));
                volley_tests::wait::until_blocking("it is answered", || engine.stats().answered == 1);
                drop(answered);
                // Two in flight, and two more that have not been sent.
                let (dropped, kept) = (engine.call(call(2)), engine.call(call(3)));
                let (unsent, last) = (engine.call(call(4)), engine.call(call(5)));
                server.wait_for(|line| line.message["params"]["arguments"]["message"] == text(3));
                drop(unsent);
                drop(dropped);
                assert_eq!(pollster::block_on(kept).unwrap().text(), text(3));
                assert_eq!(pollster::block_on(last).unwrap().text(), text(5));
                all_answered(client, 3);
            },
        );
        assert_eq!(record.with("notifications/cancelled").len(), 1);
        assert_eq!((stats.cancelled, stats.cancellations_sent), (2, 1), "{stats:?}");
        let said: Vec<_> = record
            .with("tools/call")
            .iter()
            .map(|call| call["params"]["arguments"]["message"].clone())
            .collect();
        assert!(!said.contains(&json!(text(4))), "what was given up before it was sent is never sent");
    }
}

#[test]
fn must_66_progress_tokens_are_unique_and_only_where_they_were_asked_for() {
    for revision in ERAS {
        let (record, stats) = play(
            auto().in_flight(64),
            move |peer| {
                peer.open(revision);
                let calls = peer.read_calls(64);
                for call in &calls {
                    let token = &call["params"]["_meta"]["progressToken"];
                    for progress in [json!(1), json!(1.5), json!(2)] {
                        let params = json!({"progressToken": token, "progress": progress, "total": 2, "message": "on its way"});
                        peer.send(
                            &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}),
                        );
                    }
                }
                calls.iter().for_each(|call| peer.echo(call));
                peer.echo_rest();
            },
            |client, _| {
                let calls: Vec<_> = (0..64)
                    .map(|n| {
                        client.as_async().call(if n % 2 == 0 { call(n).with_progress() } else { call(n) })
                    })
                    .collect();
                for (n, answer) in calls.into_iter().enumerate() {
                    assert_eq!(pollster::block_on(answer).unwrap().text(), text(n as u64));
                }
            },
        );
        let mut tokens = HashSet::new();
        for call in record.with("tools/call") {
            let number: u64 = call["params"]["arguments"]["message"]
                .as_str()
                .unwrap()
                .trim_start_matches("this is call ")
                .parse()
                .unwrap();
            let token = &call["params"]["_meta"]["progressToken"];
            assert_eq!(token.is_null(), number % 2 == 1, "{call}");
            assert!(token.is_null() || token.is_u64() || token.is_string());
            assert!(token.is_null() || tokens.insert(token.to_string()), "{call}");
        }
        assert_eq!(tokens.len(), 32);
        assert_eq!(stats.notifications, 192);
    }
}

#[test]
fn must_68_after_a_loss_every_call_in_flight_ends_once() {
    for revision in ERAS {
        let (record, stats) = play(
            auto().in_flight(16),
            move |peer| {
                let lost = peer.number() == 0;
                if lost {
                    peer.open(revision);
                    let calls = peer.read_calls(16);
                    calls[..5].iter().for_each(|call| peer.echo(call));
                    // Half an answer is none.
                    let half = volley_tests::scripted_server::echoed(&calls[5]).to_string();
                    peer.say(&half[..half.len() / 2]);
                    return peer.hang_up();
                }
                if revision == Revision::V2025_11_25 {
                    let initialize = peer.read().expect("initialize");
                    peer.agree(&initialize, revision.as_str());
                }
                peer.echo_rest();
            },
            |client, _| {
                let outcomes = outcomes(client, 500);
                assert_eq!(outcomes.len(), 500, "each once");
                for (n, outcome) in &outcomes {
                    match outcome {
                        Ok(said) => assert_eq!(*said, text(*n)),
                        Err((error, fate)) => {
                            assert_eq!(
                                (error.kind(), *fate),
                                (ErrorKind::ConnectionLost, Fate::Unknown),
                                "call {n}"
                            );
                        }
                    }
                }
            },
        );
        // On the first connection 16 calls and perhaps some that filled freed places; what was read there is either answered
        // or lost, and nothing that was sent is sent again.
        let sent: Vec<_> = record
            .with("tools/call")
            .iter()
            .map(|call| call["params"]["arguments"]["message"].to_string())
            .collect();
        assert_eq!(sent.iter().collect::<HashSet<_>>().len(), sent.len(), "no call is repeated");
        assert!((11..=16).contains(&stats.failed), "{stats:?}");
        assert_eq!(stats.answered + stats.failed, 500);
    }
}

#[test]
fn must_68_with_a_server_that_stays_away_every_call_ends_too() {
    for revision in ERAS {
        let (_, stats) = play(
            auto().in_flight(8).attempts_max(2),
            move |peer| {
                if peer.number() > 0 {
                    return peer.hang_up();
                }
                peer.open(revision);
                peer.read_calls(8);
                peer.hang_up();
            },
            |client, _| {
                let single =
                    client.as_async().call(ToolCall::new("echo", &json!({"message": "single"})).unwrap());
                let outcomes = outcomes(client, 100);
                assert_eq!(outcomes.len(), 100, "each once");
                assert!(outcomes.values().all(Result::is_err));
                assert!(pollster::block_on(single).is_err());
            },
        );
        assert_eq!((stats.answered, stats.live), (0, 0), "{stats:?}");
    }
}
