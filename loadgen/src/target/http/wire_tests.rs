//! Exchanges that take their time: order, streams, closing, coming back, and what goes wrong.

use proptest::prelude::*;
use serde_json::Value;

use super::super::web_peer::{Ask, WebPeer, events, text};

const LATEST: &str = "2025-11-25";

fn echo(session: &str, id: u32) -> Ask {
    Ask::call(session, &id.to_string(), "echo", &format!(r#""message":"m{id}""#))
}

fn sleep(session: &str, id: u32, ms: u32) -> Ask {
    Ask::call(session, &id.to_string(), "sleep", &format!(r#""ms":{ms}"#))
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut peer = WebPeer::new(&[]);
    let session = peer.session(LATEST);
    let asks = [echo(&session, 1), sleep(&session, 2, 50), echo(&session, 3), sleep(&session, 4, 10)];
    let bytes: Vec<u8> = asks.iter().flat_map(Ask::bytes).collect();
    let (first, second) = bytes.split_at(bytes.len() - 40);
    peer.send(1, first);
    peer.send(1, second);
    assert_eq!(peer.replies(1)[0].message()["id"], 1);
    peer.wait(50);
    let ids: Vec<Value> = peer.replies(1).iter().map(|reply| reply.message()["id"].clone()).collect();
    assert_eq!(ids, [2, 3]);
    peer.wait(10);
    assert_eq!(peer.replies(1)[0].message()["id"], 4);
}

#[test]
fn many_connections_carry_one_session() {
    let mut peer = WebPeer::new(&[]);
    let session = peer.session(LATEST);
    for connection in 1..5 {
        peer.send(connection, &sleep(&session, connection as u32, 10).bytes());
    }
    peer.wait(10);
    for connection in 1..5 {
        assert_eq!(peer.replies(connection)[0].message()["id"], connection);
    }
}

#[test]
fn what_precedes_an_answer_makes_it_a_stream() {
    let mut peer = WebPeer::new(&[]);
    let session = peer.session(LATEST);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"progress","arguments":{"steps":2,"ms":10},"_meta":{"progressToken":"t"}}}"#;
    peer.send(1, &Ask::post(body).with("mcp-session-id", &session).bytes());
    assert!(peer.bytes(1).is_empty());
    peer.wait(10);
    peer.wait(10);
    let reply = peer.replies(1).remove(0);
    let messages = reply.events();
    assert!(reply.is_whole && messages.len() == 3 && messages[2]["id"] == 1);
    assert_eq!(peer.ask(1, &echo(&session, 2)).text(), "m2", "the connection goes on");
}

#[test]
fn a_client_is_asked_on_its_stream_and_answers_on_another_connection() {
    let mut peer = WebPeer::new(&[]);
    let session = peer.session(LATEST);
    peer.send(1, &Ask::call(&session, "1", "request_client", r#""method":"roots/list""#).bytes());
    let asked = peer.replies(1).remove(0);
    assert!(!asked.is_whole && asked.events()[0]["method"] == "roots/list");
    let id = &asked.events()[0]["id"];
    let response = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"roots":[]}}}}"#);
    let other = peer.session(LATEST);
    assert_eq!(peer.ask(0, &Ask::post(&response).with("mcp-session-id", &other)).status, 202);
    assert!(peer.bytes(1).is_empty(), "another session's word is nothing to this one");
    assert_eq!(peer.ask(0, &Ask::post(&response).with("mcp-session-id", &session)).status, 202);
    let rest = String::from_utf8(peer.bytes(1)).unwrap();
    assert_eq!(text(&events(&rest)[0]), response);
    assert!(rest.ends_with("0\r\n\r\n"));
}

#[test]
fn a_legacy_call_is_cancelled_by_word_and_not_by_closing() {
    let mut peer = WebPeer::new(&[]);
    let session = peer.session(LATEST);
    peer.send(1, &sleep(&session, 1, 50).bytes());
    peer.send(2, &sleep(&session, 2, 50).bytes());
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(peer.ask(3, &Ask::post(cancel).with("mcp-session-id", &session)).status, 202);
    let ended = peer.replies(1).remove(0);
    assert!(ended.is_whole && ended.events().is_empty(), "a stream that ends without an answer");
    peer.close(2);
    assert!(peer.world.timers.next_due().is_some(), "it goes on for nobody");
    peer.wait(50);
    assert_eq!(peer.hub.exchanges.len(), 0);
}

#[test]
fn a_modern_call_is_cancelled_by_closing() {
    let mut peer = WebPeer::new(&[]);
    peer.send(1, &Ask::modern_call("1", "sleep", r#""ms":50"#).bytes());
    assert_eq!(peer.hub.exchanges.len(), 1);
    peer.close(1);
    assert_eq!(peer.hub.exchanges.len(), 0);
    assert!(peer.world.timers.pop_due(peer.world.now + std::time::Duration::from_secs(1)).is_none());
}

#[test]
fn a_stream_that_left_is_found_by_its_last_event() {
    let mut peer = WebPeer::new(&["--polling", "--sse-retry", "250"]);
    let session = peer.session(LATEST);
    let left = peer.ask(1, &echo(&session, 1));
    assert!(left.is_whole && left.events().is_empty());
    assert!(left.body.contains("retry: 250\n") && left.body.contains("data: \n"));
    let resume = |event: &str| Ask::stream(&session).with("last-event-id", event);
    let rest = peer.ask(2, &resume(left.last_event()));
    assert!(rest.is_whole && text(&rest.events()[0]) == "m1");
    let again = peer.ask(1, &resume(left.last_event()));
    assert_eq!(again.events(), rest.events(), "as often as it is asked for");
    assert!(peer.ask(1, &resume(rest.last_event())).events().is_empty(), "nothing follows the last");
    for unknown in ["9999-0", "x", "1-99", ""] {
        assert_eq!(peer.ask(1, &resume(unknown)).status, 400, "{unknown}");
    }
    let other = peer.session(LATEST);
    let stolen = Ask::stream(&other).with("last-event-id", left.last_event());
    assert_eq!(peer.ask(1, &stolen).status, 400, "another session's stream");
}

#[test]
fn an_answer_that_comes_after_the_client_went_is_kept_for_it() {
    let mut peer = WebPeer::new(&["--priming"]);
    let session = peer.session(LATEST);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"progress","arguments":{"steps":2,"ms":10},"_meta":{"progressToken":"t"}}}"#;
    peer.send(1, &Ask::post(body).with("mcp-session-id", &session).bytes());
    peer.wait(10);
    let seen = peer.replies(1).remove(0);
    assert!(!seen.is_whole && seen.events().len() == 1);
    peer.close(1);
    peer.wait(10);
    let rest = peer.ask(2, &Ask::stream(&session).with("last-event-id", seen.last_event()));
    assert!(rest.is_whole && rest.events().len() == 2 && rest.events()[1]["id"] == 1);
}

#[test]
fn a_stream_of_ones_own_hears_what_is_nobodys_answer() {
    let mut peer = WebPeer::new(&["--comments", "20ms"]);
    let session = peer.session(LATEST);
    for connection in [1, 2] {
        peer.send(connection, &Ask::stream(&session).bytes());
        assert!(!peer.replies(connection)[0].is_whole);
    }
    peer.world.broadcasts.push(("notifications/tools/list_changed".into(), Value::Null));
    peer.wait(0);
    let heard: Vec<usize> =
        [1, 2].map(|connection| events(&String::from_utf8(peer.bytes(connection)).unwrap()).len()).into();
    assert_eq!(heard.iter().sum::<usize>(), 1, "each message goes on one stream");
    peer.wait(20);
    assert!(String::from_utf8(peer.bytes(1)).unwrap().contains("\n: still here\n"));
    peer.ask(0, &Ask::new("DELETE", "/mcp").with("mcp-session-id", &session));
    assert_eq!(peer.bytes(1), b"0\r\n\r\n", "the session ends and its streams with it");
    assert_eq!(peer.hub.exchanges.len(), 0);
    assert!(WebPeer::new(&["--get-stream", "off"]).ask(0, &Ask::stream("x")).status == 405);
}

#[test]
fn the_form_of_an_answer_is_up_to_the_switch() {
    let mut peer = WebPeer::new(&["--reply", "sse"]);
    let session = peer.session(LATEST);
    let reply = peer.ask(0, &echo(&session, 1));
    assert!(reply.is_whole && text(&reply.events()[0]) == "m1" && !reply.body.contains("id: "));
    let modern = peer.ask(0, &Ask::modern_call("1", "echo", r#""message":"m""#));
    assert_eq!(text(&modern.events()[0]), "m");
    assert_eq!(peer.ask(0, &Ask::modern("1", "ping", "")).code(), -32601, "a refusal is never a stream");
}

#[test]
fn connections_close_when_they_are_told_to() {
    let mut peer = WebPeer::new(&["--close-after", "2"]);
    let session = peer.session(LATEST);
    assert!(!peer.is_ending(0));
    assert_eq!(peer.ask(0, &echo(&session, 1)).field("connection"), Some("close"));
    assert!(peer.is_ending(0));
    assert_eq!(
        peer.ask(1, &echo(&session, 1).with("connection", "close")).field("connection"),
        Some("close")
    );
    assert!(peer.is_ending(1));
    let old = String::from_utf8(sleep(&session, 1, 5).bytes()).unwrap().replacen("HTTP/1.1", "HTTP/1.0", 1);
    peer.send(2, old.as_bytes());
    peer.wait(5);
    assert_eq!(peer.replies(2)[0].text(), "5");
    assert!(peer.is_ending(2));
    peer.send(3, b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n");
    assert_eq!(peer.replies(3)[0].status, 413);
    assert!(peer.is_ending(3));
}

#[test]
fn an_answer_can_be_torn_doubled_lost_and_shuffled() {
    let mut torn = WebPeer::new(&["--drop-after", "2"]);
    let session = torn.session(LATEST);
    torn.ask(1, &echo(&session, 1));
    torn.send(1, &echo(&session, 2).bytes());
    assert!(!torn.replies(1)[0].is_whole && torn.is_ending(1));

    let mut doubled = WebPeer::new(&["--duplicate", "1"]);
    let session = doubled.session(LATEST);
    assert_eq!(doubled.ask(1, &echo(&session, 1)).events().len(), 2);

    let mut shuffled = WebPeer::new(&["--reorder", "8", "--seed", "1"]);
    let session = shuffled.session(LATEST);
    for connection in 1..8 {
        shuffled.send(connection, &echo(&session, connection as u32).bytes());
        assert!(shuffled.bytes(connection).is_empty());
    }
    shuffled.send(8, &echo(&session, 8).bytes());
    let order = &shuffled.order;
    assert!(order.len() == 8 && !order.is_sorted(), "{order:?}");
    for connection in 1..9 {
        assert_eq!(shuffled.replies(connection)[0].text(), format!("m{connection}"));
    }

    let mut lost = WebPeer::new(&["--missing", "1"]);
    let session = lost.session(LATEST);
    lost.send(1, &echo(&session, 1).bytes());
    lost.wait(1000);
    assert!(lost.bytes(1).is_empty() && lost.world.executed == 1);
}

#[test]
fn subscriptions_are_told_what_they_asked_for() {
    let mut peer = WebPeer::new(&[]);
    let wish = r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:b"]}"#;
    peer.send(1, &Ask::modern("\"s\"", "subscriptions/listen", wish).bytes());
    let opened = peer.replies(1).remove(0);
    let first = &opened.events()[0];
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    let accepted = serde_json::json!({"toolsListChanged": true, "resourceSubscriptions": ["a:b"]});
    assert_eq!(first["params"]["notifications"], accepted);
    for (method, uri) in [
        ("tools/list_changed", ""),
        ("prompts/list_changed", ""),
        ("resources/updated", "a:b"),
        ("resources/updated", "c:d"),
    ] {
        let params = if uri.is_empty() { Value::Null } else { serde_json::json!({"uri": uri}) };
        peer.world.broadcasts.push((format!("notifications/{method}"), params));
    }
    peer.wait(0);
    let told = events(&String::from_utf8(peer.bytes(1)).unwrap());
    let methods: Vec<&str> = told.iter().map(|message| message["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["notifications/tools/list_changed", "notifications/resources/updated"]);
    assert!(
        told.iter()
            .all(|message| message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "s")
    );
    peer.close(1);
    assert_eq!(peer.hub.exchanges.len(), 0);
}

proptest! {
    /// Whatever arrives, in whatever pieces, nothing panics, and other connections are served.
    #[test]
    fn no_bytes_hurt_the_others(
        places in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut peer = WebPeer::new(&["--priming"]);
        let session = peer.session(LATEST);
        let asks = [
            echo(&session, 1),
            Ask::modern_call("2", "sleep", r#""ms":1"#),
            Ask::stream(&session).with("last-event-id", "1-0"),
        ];
        let mut bytes: Vec<u8> = asks.iter().flat_map(Ask::bytes).collect();
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let (first, second) = bytes.split_at(cut.index(bytes.len()));
        peer.send(1, first);
        peer.send(1, second);
        peer.wait(1);
        peer.close(1);
        let answer = peer.ask(2, &Ask::modern_call("3", "echo", r#""message":"m""#));
        prop_assert_eq!(answer.text(), "m");
    }
}
