//! Clauses 61 to 63 on every way: what a legacy server asks of the client.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use volley::{Era, Revision, mcp::ElicitResult};
use volley_tests::{http_server::Then, patience::until_blocking, scripted_server::echoed};

use super::is_response;
use crate::{
    play::{all_answered, auto, call, text},
    ways::{Way, event, everywhere, play_on, started},
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
fn must_61_ping_is_answered_with_a_full_window_on_every_shared_way() {
    legacy_everywhere(|way, revision| {
        if !way.is_shared() {
            return;
        }
        let held = Mutex::new(Vec::new());
        let says = move |message: &Value| {
            if is_response(message) {
                // The window is full until the ping has been answered.
                return Some(std::mem::take(&mut *held.lock()));
            }
            if message["method"] != "tools/call" {
                return None;
            }
            let mut held = held.lock();
            held.push(echoed(message).to_string());
            // Its id is one of ours in use: that is another space.
            let ping = started("ping", Some(message["id"].clone()), &json!({}));
            Some(if held.len() == 2 { vec![ping] } else { Vec::new() })
        };
        let (said, stats) =
            play_on(way, revision, auto().in_flight(2), says, |client, _| all_answered(client, 10));
        assert_eq!((said.responses().len(), stats.server_requests), (5, 5), "{way:?}: {stats:?}");
        assert!(said.responses().iter().all(|reply| reply["result"] == json!({})), "{way:?}");
    });
}

/// Over Streamable HTTP the ping comes on a call's stream, while all calls that there may be wait.
#[test]
fn must_61_ping_on_a_calls_stream_is_answered_with_a_full_window() {
    for revision in super::STREAMABLE_LEGACY {
        let replies = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&replies);
        let server = super::server(revision, move |peer, request| {
            if is_response(&request.message) {
                peer.accept();
                replies.fetch_add(1, Ordering::SeqCst);
                return Then::Keep;
            }
            if !request.is_call() {
                return super::echo(peer, request);
            }
            peer.begin_events();
            peer.chunk(&event(&started("ping", Some(json!(request.text())), &json!({}))));
            until_blocking("both have been answered", || replies.load(Ordering::SeqCst) >= 2);
            peer.chunk(&event(&echoed(&request.message).to_string()));
            peer.end_chunks();
            Then::Keep
        });
        super::play_http(revision, server, auto().in_flight(2), |client, _| {
            let (one, two) = (client.as_async().call(call(1)), client.as_async().call(call(2)));
            assert_eq!(pollster::block_on(one).unwrap().text(), text(1));
            assert_eq!(pollster::block_on(two).unwrap().text(), text(2));
        });
        assert_eq!(seen.load(Ordering::SeqCst), 2);
    }
}

#[test]
fn must_62_what_is_not_supported_gets_method_not_found_on_every_way() {
    const METHODS: [&str; 6] =
        ["roots/list", "sampling/createMessage", "elicitation/create", "tasks/get", "x", ""];
    let ids = [json!(1), json!(0), json!(-7), json!("s"), json!(""), json!("ü\"\\")];
    legacy_everywhere(|way, revision| {
        let asked = ids.clone();
        let says = move |message: &Value| {
            (message["method"] == "tools/call").then(|| {
                let asked = METHODS
                    .iter()
                    .zip(&asked)
                    .map(|(method, id)| started(method, Some(id.clone()), &json!({})));
                asked.chain([echoed(message).to_string()]).collect()
            })
        };
        let (said, _) = play_on(way, revision, auto(), says, |client, server| {
            assert_eq!(client.call(call(1)).unwrap().text(), text(1));
            until_blocking("each has its reply", || {
                server.messages().iter().filter(|message| is_response(message)).count() == METHODS.len()
            });
        });
        for id in &ids {
            let own: Vec<_> = said.responses().into_iter().filter(|reply| reply["id"] == *id).collect();
            assert_eq!(own.len(), 1, "{way:?}: one reply to {id}");
            assert_eq!(own[0]["error"]["code"], -32601, "{way:?}");
            assert!(own[0].get("result").is_none(), "{way:?}");
        }
    });
}

#[test]
fn must_63_forms_are_the_default_mode_get_their_defaults_and_other_modes_are_refused() {
    let schema = json!({"type": "object", "properties": {
        "name": {"type": "string", "default": "nobody"},
        "age": {"type": "integer", "default": 36},
        "open": {"type": "boolean"},
    }});
    legacy_everywhere(|way, revision| {
        if !matches!(revision, Revision::V2025_06_18 | Revision::V2025_11_25) {
            return;
        }
        let form = json!({"message": "who?", "requestedSchema": schema});
        let says = move |message: &Value| {
            (message["method"] == "tools/call").then(|| {
                let mut spelled = form.clone();
                spelled["mode"] = json!("form");
                let url = json!({"mode": "url", "message": "go", "url": "http://127.0.0.1:1/", "elicitationId": "e"});
                let asked = [("plain", form.clone()), ("spelled", spelled), ("url", url), ("odd", json!({"mode": "odd"}))];
                let asked = asked.map(|(id, params)| started("elicitation/create", Some(json!(id)), &params));
                asked.into_iter().chain([echoed(message).to_string()]).collect()
            })
        };
        let config = auto().on_elicitation(|form| {
            assert_eq!(form.message, "who?");
            Ok(ElicitResult::accept(&json!({"name": "Ada"})))
        });
        let (said, _) = play_on(way, revision, config, says, |client, server| {
            assert_eq!(client.call(call(1)).unwrap().text(), text(1));
            until_blocking("each has its reply", || {
                server.messages().iter().filter(|message| is_response(message)).count() == 4
            });
        });
        let reply =
            |id: &str| said.responses().into_iter().find(|reply| reply["id"] == id).expect("a reply").clone();
        let filled = json!({"action": "accept", "content": {"name": "Ada", "age": 36}});
        assert_eq!((&reply("plain")["result"], &reply("spelled")["result"]), (&filled, &filled), "{way:?}");
        assert_eq!(reply("url")["error"]["code"], -32602, "{way:?}");
        assert_eq!(reply("odd")["error"]["code"], -32602, "{way:?}");
    });
}
