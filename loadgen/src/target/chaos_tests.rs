//! One test for each switch: what it does to the answers, and what it leaves alone.

use serde_json::{Value, json};

use super::super::peer::{Peer, values};

const LEGACY: &str = "2025-11-25";

fn echo(id: u64) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"m{id}"}}}}}}{}"#,
        "\n"
    )
}

/// What comes back for calls with the ids 1 to `calls`, sent at once.
fn answers(words: &[&str], calls: u64) -> (Vec<Value>, Vec<u8>, Peer) {
    let mut peer = Peer::opened(LEGACY, words);
    let lines: String = (1..=calls).map(echo).collect();
    let raw = peer.raw(lines.as_bytes());
    (values(&raw), raw, peer)
}

fn is_right(answer: &Value) -> bool {
    let text = answer["result"]["content"][0]["text"].as_str();
    let id = answer["id"].to_string();
    text.is_some_and(|text| text == format!("m{}", id.trim_matches('"')))
}

#[test]
fn reorder_shuffles_and_loses_nothing() {
    let (answers, ..) = answers(&["--reorder", "10", "--seed", "1"], 25);
    let ids: Vec<u64> = answers.iter().map(|answer| answer["id"].as_u64().unwrap()).collect();
    assert!(!ids.is_sorted() && answers.iter().all(is_right));
    for (window, first) in ids.chunks(10).zip([1, 11, 21]) {
        let mut window = window.to_vec();
        window.sort_unstable();
        assert_eq!(window, (first..first + window.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn shapes_and_string_ids_change_no_meaning() {
    let words = ["--id-last", "--spaced", "--string-id", "--escaped-keys", "--reply-bytes", "100"];
    let (answers, raw, _) = answers(&words, 3);
    assert!(answers.iter().all(is_right) && answers[2]["id"] == "3");
    assert_eq!(answers[0]["result"]["content"][1]["text"].as_str().unwrap().len(), 100);
    let raw = String::from_utf8(raw).unwrap();
    assert!(raw.contains("\\u0069d") && raw.contains("\\u0072esult") && raw.contains(" :\t"));
}

#[test]
fn duplicates_come_twice_and_missing_ones_never() {
    let (answers_twice, ..) = answers(&["--duplicate", "1"], 3);
    assert_eq!(
        answers_twice.iter().map(|a| a["id"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 1, 2, 2, 3, 3]
    );
    let (none, _, mut peer) = answers(&["--missing", "1"], 3);
    assert!(none.is_empty());
    assert_eq!(peer.world.executed, 3);
    assert_eq!(peer.ask("p", "ping", "")["result"], json!({}));
}

#[test]
fn extras_leave_the_answers_right() {
    let words = ["--unknown", "0.5", "--null-id-errors", "0.5", "--noise", "0.5", "--notify", "0.5"];
    let (answers, raw, _) = answers(&words, 200);
    let right = answers.iter().filter(|answer| is_right(answer)).count();
    assert_eq!(right, 200);
    let unknown = answers.iter().filter(|a| a["id"].as_u64().is_some_and(|id| id > 200)).count();
    let null = answers.iter().filter(|a| a.get("error").is_some() && a["id"].is_null()).count();
    let notified = answers.iter().filter(|a| a.get("method").is_some()).count();
    let noise = raw.split(|&b| b == b'\n').count() - 1 - answers.len();
    for count in [unknown, null, notified, noise] {
        assert!((70..130).contains(&count), "{count}");
    }
}

#[test]
fn refused_calls_are_not_executed_and_wrong_ones_are() {
    let (answers_refused, _, peer) = answers(&["--refuse", "1"], 3);
    assert!(answers_refused.iter().all(|answer| answer["error"]["code"] == -32000));
    assert_eq!(peer.world.executed, 0);
    let (answers_wrong, _, peer) = answers(&["--wrong", "1"], 3);
    assert!(answers_wrong.iter().all(|a| a.get("result").is_some() && !is_right(a)));
    assert_eq!(peer.world.executed, 3);
}

#[test]
fn dying_and_dropping_cut_the_frame_in_half() {
    for words in [["--die-after", "3"], ["--drop-after", "3"]] {
        let mut peer = Peer::opened(LEGACY, &words);
        let mut out = peer.raw(echo(1).as_bytes());
        out.extend(peer.raw(echo(2).as_bytes()));
        out.extend(peer.raw(echo(3).as_bytes()));
        let whole = values(&out);
        assert_eq!(whole.len(), 2);
        let lines: Vec<&[u8]> = out.split(|&byte| byte == b'\n').collect();
        assert!(lines.len() == 3 && lines[2].starts_with(b"{\"jsonrpc\""), "{words:?}");
        assert_eq!(
            (peer.world.dying, peer.session.ending),
            (words[0] == "--die-after", words[0] != "--die-after")
        );
    }
}

#[test]
fn a_delay_holds_each_answer() {
    let (none, _, mut peer) = answers(&["--delay", "5ms..10ms"], 100);
    assert!(none.is_empty() && peer.session.owes());
    assert!(peer.wait(4).is_empty());
    let mut later = peer.wait(3);
    assert!((1..100).contains(&later.len()));
    later.extend(peer.wait(4));
    assert!(later.len() == 100 && later.iter().all(is_right) && !peer.session.owes());
}

#[test]
fn silence_is_kept_where_it_was_asked_for() {
    let (none, _, mut peer) = answers(&["--never-answer"], 3);
    assert!(none.is_empty() && peer.say(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).is_empty());
    let mut peer = Peer::new(&["--ignore-handshake", "--lenient"]);
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    assert!(peer.say(hello).is_empty());
    assert_eq!(values(&peer.raw(echo(1).as_bytes())).len(), 1);
}

#[test]
fn a_seed_replays_its_run() {
    let words =
        ["--noise", "0.3", "--duplicate", "0.3", "--missing", "0.3", "--reorder", "7", "--seed", "42"];
    assert_eq!(answers(&words, 100).1, answers(&words, 100).1);
}
