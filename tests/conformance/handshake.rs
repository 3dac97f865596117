//! Clauses 19 to 22: the opening of a server with a handshake.

use std::time::Duration;

use serde_json::{Value, json};
use volley::{Era, ErrorKind, Fate, Revision};
use volley_tests::scripted_server::{ScriptedServer, discovered, initialized};

use crate::play::{all_answered, auto, connect, play};

fn legacy() -> impl Iterator<Item = Revision> {
    Revision::all().filter(|revision| revision.era() == Era::Legacy)
}

#[test]
fn must_19_initialize_is_the_first_request_and_carries_a_legacy_version() {
    for revision in legacy() {
        let (record, _) = play(
            auto().revision(revision).client_info("a \"name\"", "1.0-\u{3B2}"),
            move |peer| peer.serve(revision),
            |client, _| all_answered(client, 3),
        );
        let first = &record.lines()[0].message;
        assert_eq!(first["method"], "initialize");
        assert_eq!(first["params"]["protocolVersion"], revision.as_str());
        assert_eq!(first["params"]["clientInfo"], json!({"name": "a \"name\"", "version": "1.0-\u{3B2}"}));
        assert_eq!(record.with("initialize").len(), 1);
    }
    // Without a revision to insist on, the newest legacy one is offered, never the modern one.
    let (record, _) =
        play(auto(), |peer| peer.serve(Revision::V2024_11_05), |client, _| all_answered(client, 3));
    assert_eq!(record.with("initialize")[0]["params"]["protocolVersion"], "2025-11-25");
}

#[test]
fn must_19_initialize_is_never_cancelled() {
    let server = ScriptedServer::start(|peer| {
        // It reads, and never says a word.
        peer.read_rest();
    });
    let config =
        auto().revision(Revision::V2025_11_25).connect_timeout(Duration::from_millis(100)).attempts_max(2);
    let Err(error) = connect(&server, config) else { panic!("nobody answered") };
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent));
    let record = server.finish();
    assert_eq!(record.lines().len(), record.connections(), "one line on each connection: {record:#?}");
    assert_eq!(record.with("initialize").len(), record.connections());
}

#[test]
fn must_20_initialized_follows_the_result_and_nothing_comes_before_it() {
    let (record, _) = play(
        auto().revision(Revision::V2025_11_25).connections(2).in_flight(4),
        |peer| {
            let initialize = peer.read().expect("initialize");
            if peer.number() == 1 {
                // The other connection has calls to spare all the while; none may come here yet.
                peer.send(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}));
                peer.expect_silence(Duration::from_millis(150));
            }
            peer.agree(&initialize, "2025-11-25");
            peer.echo_rest();
        },
        |client, server| {
            let mut waiting = client.bulk((0..).map(crate::play::call));
            // As many as it takes until the second connection carries calls.
            while server.so_far().on(1).iter().all(|line| line.method() != "tools/call") {
                waiting.next().unwrap().1.unwrap();
            }
        },
    );
    for connection in 0..2 {
        let methods: Vec<_> =
            record.on(connection).iter().map(|line| line.method().to_owned()).take(3).collect();
        assert_eq!(methods, ["initialize", "notifications/initialized", "tools/call"]);
    }
}

#[test]
fn must_20_a_ping_before_the_result_is_answered() {
    let (record, _) = play(
        auto().revision(Revision::V2025_06_18),
        |peer| {
            let initialize = peer.read().expect("initialize");
            peer.send(&json!({"jsonrpc": "2.0", "id": "early", "method": "ping"}));
            assert_eq!(peer.read().unwrap(), json!({"jsonrpc": "2.0", "id": "early", "result": {}}));
            peer.agree(&initialize, "2025-06-18");
            peer.echo_rest();
        },
        |client, _| all_answered(client, 3),
    );
    assert_eq!(record.responses().len(), 1);
}

#[test]
fn must_21_a_counter_offer_that_we_speak_is_adopted() {
    for revision in legacy() {
        let server = ScriptedServer::start(move |peer| peer.serve(revision));
        let client = connect(&server, auto()).unwrap();
        all_answered(&client, 3);
        assert_eq!(client.as_async().server_info().unwrap().revision(), Some(revision));
        client.close();
        server.finish();
    }
}

#[test]
fn must_21_an_offer_that_we_do_not_speak_leads_to_disconnect() {
    for offer in [
        json!("2024-10-07"),
        json!("1999-01-01"),
        json!("2026-07-28"),
        json!(""),
        json!(20251125),
        Value::Null,
    ] {
        let shown = offer.clone();
        let server = ScriptedServer::start(move |peer| {
            let first = peer.read().expect("initialize");
            let mut result = initialized("");
            result["protocolVersion"] = offer.clone();
            peer.result(&first, &result);
            assert_eq!(peer.read(), None, "nothing more, but the end");
        });
        let Err(error) = connect(&server, auto().revision(Revision::V2025_11_25)) else {
            panic!("{shown} was taken")
        };
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.to_string().contains("revision"), "{error}");
        let record = server.finish();
        assert!(record.lines().iter().all(|line| line.method() == "initialize"), "{record:#?}");
    }
}

#[test]
fn must_21_a_refusal_to_initialize_is_told_with_the_servers_words() {
    let server = ScriptedServer::start(|peer| {
        let first = peer.read().expect("initialize");
        peer.error(&first, -32602, &json!({"supported": ["2199-01-01"], "requested": "2025-11-25"}));
        assert_eq!(peer.read(), None);
    });
    let Err(error) = connect(&server, auto().revision(Revision::V2025_11_25)) else {
        panic!("it was refused")
    };
    assert!(error.to_string().contains("2199-01-01"), "{error}");
    server.finish();
}

/// Each call that failed with it had a copy: a thousand of them, and megabytes of words, are gigabytes.
#[test]
fn must_21_of_the_servers_words_no_more_than_a_page_is_told() {
    let server = ScriptedServer::start(|peer| {
        let first = peer.read().expect("initialize");
        peer.error(
            &first,
            -32602,
            &json!({"supported": ["2199-01-01"], "words": "\u{20AC}".repeat(1 << 20)}),
        );
        assert_eq!(peer.read(), None);
    });
    let Err(error) = connect(&server, auto().revision(Revision::V2025_11_25)) else {
        panic!("it was refused")
    };
    let told = error.to_string();
    assert!(told.contains("-32602") && told.len() < 2048, "{} bytes: {told:.200}", told.len());
    server.finish();
}

#[test]
fn must_22_no_capability_is_declared_and_so_none_is_used() {
    for (revision, handler) in
        [Revision::V2025_11_25, Revision::V2026_07_28].into_iter().flat_map(|r| [(r, false), (r, true)])
    {
        let config = if handler { auto().on_request(|_| Ok(json!({"roots": []}))) } else { auto() };
        let (record, _) = play(
            config,
            move |peer| {
                let first = peer.read().expect("a request");
                if revision.era() == Era::Modern {
                    peer.result(&first, &discovered(&[revision.as_str()]));
                } else {
                    peer.error(&first, -32601, &Value::Null);
                    let initialize = peer.read().expect("initialize");
                    peer.agree(&initialize, revision.as_str());
                }
                peer.echo_rest();
            },
            |client, _| all_answered(client, 3),
        );
        for line in record.lines().iter().filter(|line| line.is_request()) {
            match line.method() {
                "initialize" => assert_eq!(line.message["params"]["capabilities"], json!({})),
                _ if line.meta("protocolVersion").is_null() => {}
                _ => assert_eq!(line.meta("clientCapabilities"), &json!({})),
            }
        }
        let known = ["server/discover", "initialize", "notifications/initialized", "tools/call"];
        assert!(record.lines().iter().all(|line| known.contains(&line.method())), "{record:#?}");
    }
}
