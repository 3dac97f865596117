//! Clauses 61 and 62: what a legacy server asks of the client.

use std::time::Duration;

use serde_json::{Value, json};
use volley::{Era, Revision};
use volley_tests::scripted_server::Peer;

use crate::play::{all_answered, auto, call, play, text};

/// Ids as JSON texts: those of a server are its own, whatever they look like.
const IDS: [&str; 7] = ["1", "0", "-7", r#""srv-1""#, r#""""#, "9007199254740993", r#""ü\"\\""#];

fn ask(peer: &mut Peer, id: &str, method: &str) {
    peer.say(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{}}}}\n"));
}

/// The next line, as it came; `None` at the end.
fn next_raw(peer: &mut Peer) -> Value {
    peer.read().expect("an answer")
}

#[test]
fn must_61_ping_is_answered_at_once_even_with_a_full_window() {
    for revision in Revision::all().filter(|revision| revision.era() == Era::Legacy) {
        let (record, stats) = play(
            auto().in_flight(4),
            move |peer| {
                peer.open(revision);
                let calls = peer.read_calls(4);
                // More wait, but the window is full.
                peer.expect_silence(Duration::from_millis(50));
                for id in IDS {
                    ask(peer, id, "ping");
                    assert_eq!(next_raw(peer)["result"], json!({}));
                }
                // An id of ours in use is another space.
                ask(peer, &calls[0]["id"].to_string(), "ping");
                assert_eq!(next_raw(peer), json!({"jsonrpc": "2.0", "id": calls[0]["id"], "result": {}}));
                calls.iter().for_each(|call| peer.echo(call));
                peer.echo_rest();
            },
            |client, _| all_answered(client, 20),
        );
        let raw: Vec<_> = record.lines().iter().filter(|line| line.is_response()).collect();
        for (line, id) in raw.iter().zip(IDS) {
            let shown = String::from_utf8_lossy(&line.bytes);
            assert!(shown.contains(&format!(r#""id":{id},"#)), "the id comes back as it was: {shown}");
        }
        assert_eq!(stats.server_requests, 8);
    }
}

#[test]
fn must_62_requests_that_are_not_supported_get_method_not_found_with_the_same_id() {
    let methods = [
        "roots/list",
        "sampling/createMessage",
        "elicitation/create",
        "tasks/get",
        "tasks/list",
        "tools/call",
        "x",
        "",
    ];
    for revision in Revision::all().filter(|revision| revision.era() == Era::Legacy) {
        let (record, _) = play(
            auto(),
            move |peer| {
                peer.open(revision);
                let first = peer.read_call();
                for method in methods {
                    for id in IDS {
                        ask(peer, id, method);
                    }
                }
                for _ in 0..methods.len() * IDS.len() {
                    let answer = next_raw(peer);
                    assert_eq!(answer["error"]["code"], -32601, "{answer}");
                    assert!(
                        answer["error"]["message"].is_string() && answer.get("result").is_none(),
                        "{answer}"
                    );
                }
                peer.echo(&first);
                peer.echo_rest();
            },
            |client, _| {
                assert_eq!(client.call(call(1)).unwrap().text(), text(1));
                all_answered(client, 3);
            },
        );
        let answered: Vec<_> = record.lines().iter().filter(|line| line.is_response()).collect();
        assert_eq!(answered.len(), methods.len() * IDS.len(), "one answer each");
        for (line, id) in answered.iter().zip(IDS.iter().cycle()) {
            let shown = String::from_utf8_lossy(&line.bytes);
            assert!(shown.contains(&format!(r#""id":{id},"#)), "in order, with the same id: {shown}");
        }
    }
}

#[test]
fn must_62_each_request_gets_one_answer_when_there_is_a_handler() {
    let (record, _) = play(
        auto().on_request(|request| match request.method() {
            "roots/list" => Ok(json!({"roots": []})),
            other => Err(volley::RpcError { code: -32601, message: other.to_owned(), data: None }),
        }),
        |peer| {
            peer.open(Revision::V2025_11_25);
            for n in 0..100 {
                ask(peer, &n.to_string(), if n % 2 == 0 { "roots/list" } else { "line\\nfeed" });
            }
            let mut answers = 0;
            while answers < 100 {
                match next_raw(peer) {
                    call if call["method"] == "tools/call" => peer.echo(&call),
                    _ => answers += 1,
                }
            }
            peer.echo_rest();
        },
        |client, server| {
            all_answered(client, 3);
            server.wait_for(|line| line.is_response() && line.message["id"] == 99);
        },
    );
    let answers = record.responses();
    assert_eq!(answers.len(), 100);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer["id"], n);
        match n % 2 {
            0 => assert_eq!(answer["result"], json!({"roots": []})),
            _ => assert_eq!(answer["error"], json!({"code": -32601, "message": "line\nfeed"})),
        }
    }
}
