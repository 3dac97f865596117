//! Clauses 48, 49 and 52: finding out the era on a stream.

use std::{thread, time::Duration};

use serde_json::{Value, json};
use volley::{ErrorKind, Revision};
use volley_tests::{
    scripted_server::{Peer, ScriptedServer, discovered},
    wait::until_blocking,
};

use crate::play::{all_answered, auto, connect, outcomes, play};

/// Answers the probe as `answer` says, then is a legacy server.
fn legacy_after(answer: impl Fn(&mut Peer, &Value) + Send + Sync + 'static) {
    let (record, _) = play(
        auto().probe_timeout(Duration::from_millis(150)),
        move |peer| {
            let probe = peer.read().expect("a probe");
            assert_eq!(probe["method"], "server/discover");
            assert_eq!(probe["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
            answer(peer, &probe);
            let initialize = peer.read().expect("initialize");
            peer.agree(&initialize, "2025-11-25");
            peer.echo_rest();
        },
        |client, _| {
            all_answered(client, 3);
            assert_eq!(client.as_async().server_info().unwrap().revision(), Some(Revision::V2025_11_25));
        },
    );
    assert_eq!(record.connections(), 1, "on the same channel: {record:#?}");
    assert_eq!(record.with("server/discover").len(), 1);
}

#[test]
fn must_48_any_other_error_leads_to_initialize_on_the_same_channel() {
    let codes = [
        -32601, -32600, -32602, -32603, -32700, -32000, -32001, -32002, -32003, -32004, -32019, -32042, -1,
        0, 1, 404,
    ];
    for code in codes {
        legacy_after(move |peer, probe| peer.error(probe, code, &json!({"supported": ["2026-07-28"]})));
    }
}

#[test]
fn must_48_a_result_that_is_no_discovery_leads_to_initialize() {
    for result in
        [json!({}), json!({"tools": []}), json!({"supportedVersions": "2026-07-28"}), json!(null), json!([1])]
    {
        legacy_after(move |peer, probe| peer.result(probe, &result));
    }
}

#[test]
fn must_48_silence_leads_to_initialize() {
    legacy_after(|_, _| ());
    // As do errors that name no request.
    legacy_after(|peer, _| {
        peer.say("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"\"}}\n")
    });
    legacy_after(|peer, _| peer.say("error: not initialized\n"));
}

#[test]
fn must_48_a_late_answer_to_the_probe_is_ignored() {
    let (record, _) = play(
        auto().probe_timeout(Duration::from_millis(100)),
        |peer| {
            let probe = peer.read().expect("a probe");
            let initialize = peer.read().expect("initialize");
            peer.result(&probe, &discovered(&["2026-07-28"]));
            peer.agree(&initialize, "2025-11-25");
            peer.echo_rest();
        },
        |client, _| all_answered(client, 3),
    );
    assert_eq!(record.connections(), 1);
}

#[test]
fn must_48_a_server_that_dies_of_the_probe_gets_initialize_first() {
    let (record, _) = play(
        auto(),
        |peer| {
            let first = peer.read().expect("a request");
            if peer.number() == 0 {
                assert_eq!(first["method"], "server/discover");
                return peer.hang_up();
            }
            peer.agree(&first, "2024-11-05");
            peer.echo_rest();
        },
        |client, _| all_answered(client, 3),
    );
    assert_eq!((record.connections(), record.with("server/discover").len()), (2, 1));
}

const MODERN_ERRORS: [i64; 3] = [-32020, -32021, -32022];

#[test]
fn must_49_a_modern_error_that_lists_a_modern_version_leads_to_that_version() {
    for code in MODERN_ERRORS {
        let (record, _) = play(
            auto(),
            move |peer| {
                let probe = peer.read().expect("a probe");
                // It may list the very version that was asked for.
                peer.error(&probe, code, &json!({"supported": ["2199-01-01", "2026-07-28", "2025-11-25"], "requested": "2026-07-28"}));
                let again = peer.read().expect("a second probe");
                assert_eq!(again["method"], "server/discover");
                assert_ne!(again["id"], probe["id"], "a retry has a new id");
                peer.result(&again, &discovered(&["2026-07-28"]));
                peer.echo_rest();
            },
            |client, _| all_answered(client, 3),
        );
        assert!(record.with("initialize").is_empty(), "{record:#?}");
        assert_eq!(record.connections(), 1);
    }
}

#[test]
fn must_49_a_modern_error_never_leads_to_initialize_on_that_channel() {
    for code in MODERN_ERRORS {
        // It lists only legacy versions: a fresh channel, with a handshake from its first line on.
        let (record, _) = play(
            auto(),
            move |peer| {
                let first = peer.read().expect("a request");
                if first["method"] == "server/discover" {
                    peer.error(&first, code, &json!({"supported": ["2025-06-18", "2025-11-25"]}));
                    assert_eq!(peer.read(), None, "nothing more on this channel");
                    return;
                }
                peer.agree(&first, "2025-06-18");
                peer.echo_rest();
            },
            |client, _| all_answered(client, 3),
        );
        assert_eq!((record.connections(), record.with("server/discover").len()), (2, 1), "{record:#?}");
    }
}

#[test]
fn must_49_nothing_in_common_ends_in_an_error_without_any_handshake() {
    for code in MODERN_ERRORS {
        for data in [json!({"supported": ["2199-01-01"]}), json!({"supported": []}), json!({}), Value::Null] {
            let server = ScriptedServer::start(move |peer| {
                while let Some(probe) = peer.read() {
                    peer.error(&probe, code, &data);
                }
            });
            let Err(error) = connect(&server, auto()) else { panic!("there is nothing to agree on") };
            assert_eq!(error.kind(), ErrorKind::Unreachable);
            let record = server.finish();
            assert!(record.with("initialize").is_empty(), "{record:#?}");
        }
    }
}

#[test]
fn must_49_a_server_that_refuses_what_it_lists_is_not_asked_for_ever() {
    let server = ScriptedServer::start(|peer| {
        while let Some(probe) = peer.read() {
            peer.error(&probe, -32022, &json!({"supported": ["2026-07-28"]}));
        }
    });
    assert!(connect(&server, auto()).is_err());
    let record = server.finish();
    for connection in 0..record.connections() {
        assert_eq!(record.on(connection).len(), 2, "once, and once more");
    }
    assert!(record.with("initialize").is_empty());
}

#[test]
fn must_49_an_unheard_probe_and_a_modern_refusal_of_initialize_lead_to_a_fresh_channel() {
    let (record, _) = play(
        auto().probe_timeout(Duration::from_millis(100)),
        |peer| {
            let first = peer.read().expect("a request");
            if peer.number() == 0 {
                let initialize = peer.read().expect("initialize, since the probe met silence");
                peer.error(
                    &initialize,
                    -32022,
                    &json!({"supported": ["2026-07-28"], "requested": "2025-11-25"}),
                );
                assert_eq!(peer.read(), None, "nothing more on this channel");
                return;
            }
            // The era is known now, and what the server says of itself is not. (It was not asked, and `server_info` was `None` after a slow start.) It is
            // as slow as before.
            assert_eq!(first["method"], "server/discover", "{first}");
            thread::sleep(Duration::from_millis(300));
            peer.result(&first, &discovered(&["2026-07-28"]));
            peer.echo_rest();
        },
        |client, _| {
            all_answered(client, 3);
            assert_eq!(
                client.as_async().server_info().expect("it was asked").revision(),
                Some(Revision::V2026_07_28)
            );
        },
    );
    assert_eq!(record.with("initialize").len(), 1);
    assert_eq!(record.connections(), 2);
}

#[test]
fn must_52_the_era_is_found_out_once_for_all_shards_and_connections() {
    for revision in crate::play::ERAS {
        let (record, _) = play(
            auto().connections(6).shards(3).in_flight(4),
            move |peer| {
                while let Some(message) = peer.read() {
                    match (message["method"].as_str(), revision) {
                        (Some("server/discover"), Revision::V2026_07_28) => {
                            peer.result(&message, &discovered(&["2026-07-28"]))
                        }
                        (Some("server/discover"), _) => peer.error(&message, -32601, &Value::Null),
                        (Some("initialize"), Revision::V2025_11_25) => peer.agree(&message, "2025-11-25"),
                        (Some("tools/call"), _) => peer.echo(&message),
                        other => panic!("{other:?}"),
                    }
                }
            },
            |client, _| {
                until_blocking("all are ready", || client.as_async().ready_connections() == 6);
                all_answered(client, 1_000);
            },
        );
        assert_eq!(record.with("server/discover").len(), 1, "one probe");
        let handshakes = if revision == Revision::V2026_07_28 { 0 } else { 6 };
        assert_eq!(record.with("initialize").len(), handshakes);
        // All six are ready, above. A modern connection says nothing before its first call, and the shard of some may have
        // had none.
        assert!((handshakes.max(1)..=6).contains(&record.connections()), "{}", record.connections());
    }
}

#[test]
fn must_52_a_reconnect_needs_no_second_probe() {
    for revision in crate::play::ERAS {
        let (record, _) = play(
            auto(),
            move |peer| {
                let era = revision;
                if peer.number() == 0 {
                    peer.open(era);
                    let call = peer.read_call();
                    peer.echo(&call);
                    return peer.hang_up();
                }
                if era == Revision::V2025_11_25 {
                    let first = peer.read().expect("a request");
                    peer.agree(&first, era.as_str());
                }
                peer.echo_rest();
            },
            |client, _| {
                assert_eq!(outcomes(client, 1).len(), 1);
                until_blocking("it is lost", || client.stats().disconnects == 1);
                until_blocking("it is back", || client.as_async().ready_connections() == 1);
                all_answered(client, 10);
            },
        );
        assert_eq!((record.connections(), record.with("server/discover").len()), (2, 1), "{revision}");
    }
}
