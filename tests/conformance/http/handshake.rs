//! Clauses 19 to 22 on every way: the opening of a server with a handshake.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use volley::{Era, ErrorKind, Fate, Revision, mcp::Root};
use volley_tests::http_server::{HttpServer, Then};

use super::{echo, opens, play_http, with};
use crate::{
    play::{all_answered, auto, call, text},
    ways::{Server, Way, answer, connect_to, everywhere, play_on},
};

/// Plays on every way of the legacy revisions.
fn legacy_everywhere(mut play: impl FnMut(Way, Revision)) {
    everywhere(|way, revision| {
        if revision.era() == Era::Legacy {
            play(way, revision);
        }
    });
}

#[test]
fn must_19_initialize_is_first_and_carries_a_legacy_version_on_every_way() {
    legacy_everywhere(|way, revision| {
        for insists in [false, true] {
            let config = if insists { auto().revision(revision) } else { auto() };
            let (said, _) = play_on(way, revision, config, |_| None, |client, _| all_answered(client, 3));
            let initialize = said.with("initialize")[0];
            let offered = if insists { revision } else { Revision::V2025_11_25 };
            assert_eq!(initialize["params"]["protocolVersion"], offered.as_str(), "{way:?}");
            let before = said.messages.iter().position(|message| message == initialize).unwrap();
            let probed = said.messages[..before].iter().all(|message| message["method"] == "server/discover");
            assert!(probed && before <= usize::from(!insists), "{way:?}: {:#?}", said.messages);
            assert_eq!(said.with("initialize").len(), 1);
        }
    });
}

#[test]
fn must_19_initialize_is_never_cancelled_on_any_way() {
    for way in Way::of(Revision::V2025_11_25) {
        let server = Server::start(way, Revision::V2025_11_25, |_| Some(Vec::new()));
        let config = auto()
            .revision(Revision::V2025_11_25)
            .connect_timeout(Duration::from_millis(150))
            .attempts_max(2);
        let Err(error) = connect_to(&server.endpoint(), config) else { panic!("nobody answered") };
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent), "{way:?}: {error}");
        let messages = server.messages();
        assert!(
            !messages.is_empty() && messages.iter().all(|one| one["method"] == "initialize"),
            "{messages:#?}"
        );
    }
}

/// Over HTTP the notification is a POST of its own, and it has to be there before the first call.
#[test]
fn must_20_initialized_is_accepted_before_the_first_call_leaves() {
    let accepted = Arc::new(Mutex::new(None));
    let accepts = Arc::clone(&accepted);
    let server = HttpServer::plain("", move |peer, request| {
        if request.rpc() == "notifications/initialized" {
            // Time enough for a call that does not wait.
            std::thread::sleep(Duration::from_millis(150));
            *accepts.lock() = Some(Instant::now());
            peer.accept();
            return Then::Keep;
        }
        if opens(peer, request, Revision::V2025_11_25, "") { Then::Keep } else { echo(peer, request) }
    });
    let (requests, _) =
        play_http(Revision::V2025_11_25, server, auto(), |client, _| all_answered(client, 20));
    let accepted = accepted.lock().unwrap();
    assert!(with(&requests, "tools/call").iter().all(|call| call.at >= accepted));
    assert_eq!(with(&requests, "notifications/initialized").len(), 1);
}

#[test]
fn must_20_initialized_follows_the_result_on_every_way() {
    legacy_everywhere(|way, revision| {
        let (said, _) =
            play_on(way, revision, auto().revision(revision), |_| None, |client, _| all_answered(client, 20));
        let methods: Vec<_> = said.messages.iter().filter_map(|message| message["method"].as_str()).collect();
        assert_eq!(methods[..3], ["initialize", "notifications/initialized", "tools/call"], "{way:?}");
        assert_eq!(said.with("notifications/initialized").len(), 1);
    });
}

#[test]
fn must_21_a_counter_offer_that_we_speak_is_adopted_on_every_way() {
    legacy_everywhere(|way, revision| {
        play_on(
            way,
            revision,
            auto(),
            |_| None,
            |client, _| {
                all_answered(client, 3);
                let info = client.as_async().server_info().unwrap();
                assert_eq!(info.revision(), Some(revision), "{way:?}");
            },
        );
    });
}

#[test]
fn must_21_an_offer_that_we_do_not_speak_leads_to_disconnect_on_every_way() {
    for way in Way::of(Revision::V2025_11_25) {
        for offer in [json!("1999-01-01"), json!("2026-07-28"), json!(""), json!(7), Value::Null] {
            let shown = offer.clone();
            let server = Server::start(way, Revision::V2025_11_25, move |message| {
                let result = json!({"protocolVersion": offer, "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}});
                Some(vec![answer(message, &result)])
            });
            let Err(error) = connect_to(&server.endpoint(), auto().revision(Revision::V2025_11_25)) else {
                panic!("{shown} was taken over {way:?}")
            };
            assert_eq!(error.kind(), ErrorKind::Unreachable, "{way:?}: {error}");
            let messages = server.messages();
            assert!(messages.iter().all(|one| one["method"] == "initialize"), "{way:?}: {messages:#?}");
        }
    }
}

/// What has no handler is not declared, and what is not declared is not answered as if it were.
#[test]
fn must_22_only_what_is_declared_is_used_on_every_way() {
    everywhere(|way, revision| {
        for declared in [false, true] {
            let config = if declared { auto().roots(vec![Root::new("file:///a")]) } else { auto() };
            let (said, _) = play_on(
                way,
                revision,
                config,
                |_| None,
                |client, _| assert_eq!(client.call(call(1)).unwrap().text(), text(1)),
            );
            for message in &said.messages {
                let capabilities = match message["method"].as_str() {
                    Some("initialize") => &message["params"]["capabilities"],
                    _ => &message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"],
                };
                let roots = capabilities.get("roots").is_some();
                assert!(capabilities.is_null() || roots == declared, "{way:?}: {message}");
            }
            // Listing tools is what the modern era needs over HTTP, and only if the server has tools.
            let known =
                ["server/discover", "initialize", "notifications/initialized", "tools/list", "tools/call"];
            let is_known = |message: &Value| known.contains(&message["method"].as_str().unwrap_or_default());
            assert!(said.messages.iter().all(is_known), "{way:?}: {:#?}", said.messages);
        }
    });
}
