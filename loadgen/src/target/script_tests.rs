//! Fixtures and subscriptions in a conversation over lines; over HTTP the official suite plays them.

use serde_json::{Value, json};

use super::super::peer::{META, MODERN, Peer};
use super::super::session::Era;

const LATEST: &str = "2025-11-25";

fn opened(revision: &str) -> Peer {
    Peer::opened(revision, &["--fixtures"])
}

/// What is told when the notifications to everybody are passed on.
fn told(peer: &mut Peer) -> Vec<Value> {
    let mut told = Vec::new();
    for (method, params) in std::mem::take(&mut peer.world.broadcasts) {
        told.extend(peer.hear(&method, &params));
    }
    told
}

#[test]
fn fixtures_stand_beside_the_tools_there_are() {
    for revision in [LATEST, MODERN] {
        let mut peer = opened(revision);
        let list = peer.ask("l", "tools/list", "");
        let tools = list["result"]["tools"].as_array().unwrap();
        let has = |name: &str| tools.iter().filter(|tool| tool["name"] == name).count() == 1;
        assert!(has("test_simple_text") && has("echo"), "{list}");
        assert_eq!(list["result"]["resultType"] == "complete", revision == MODERN);
        let text = |answer: &Value| answer["result"]["content"][0]["text"].as_str().unwrap().to_owned();
        assert_eq!(text(&peer.call("test_simple_text", "")), "This is a simple text response for testing.");
        assert_eq!(text(&peer.call("echo", r#""message":"m""#)), "m");
        assert_eq!(peer.call("nonsense", "")["error"]["code"], -32602);
        let ping = peer.ask("p", "ping", "");
        assert_eq!(ping["error"]["code"] == -32601, revision == MODERN);
    }
    let without = Peer::opened(LATEST, &[]).call("test_simple_text", "");
    assert_eq!(without["error"]["code"], -32602, "only where they were asked for");
}

#[test]
fn a_script_pauses_and_its_switches_apply() {
    let mut peer = Peer::opened(LATEST, &["--fixtures", "--duplicate", "1"]);
    let line = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"test_tool_with_progress","_meta":{"progressToken":"t"}}}"#;
    assert_eq!(peer.say(line)[0]["params"]["progress"], 0);
    assert!(peer.session.owes());
    assert_eq!(peer.wait(50)[0]["params"]["progress"], 50);
    let last = peer.wait(50);
    assert!(last.len() == 3 && last[1] == last[2] && last[1]["id"] == 1 && !peer.session.owes());
}

#[test]
fn the_client_is_asked_and_its_word_goes_on() {
    let mut peer = opened(LATEST);
    let asked = peer.call("test_elicitation", r#""message":"who?""#);
    let code = asked["error"]["code"].as_i64();
    assert!(code.is_some() || asked["method"].is_null(), "nothing was declared: {asked}");

    let mut peer = Peer::new(&["--fixtures"]);
    peer.say(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}}}}"#);
    let asked = peer.call("test_elicitation", r#""message":"who?""#);
    assert_eq!(asked["method"], "elicitation/create");
    let response = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}}).to_string();
    let answer = peer.say(&response).remove(0);
    assert_eq!(answer["id"], "c");
    assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains("decline"), "{answer}");
    assert!(peer.say(&response).is_empty(), "nobody waits for it any more");

    peer.call("test_elicitation", r#""message":"again?""#);
    peer.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c"}}"#);
    assert!(peer.session.asked.is_empty());
}

#[test]
fn the_log_level_is_remembered() {
    let mut peer = opened(LATEST);
    let logs = |peer: &mut Peer| {
        let mut count = 0;
        let call =
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"test_tool_with_logging"}}"#;
        let mut heard = peer.say(call);
        while !heard.iter().any(|message| message["id"] == 1) {
            count += heard.len();
            heard = peer.wait(50);
        }
        count + heard.len() - 1
    };
    assert_eq!(logs(&mut peer), 3);
    assert_eq!(peer.ask("s", "logging/setLevel", r#""level":"error""#)["result"], json!({}));
    assert_eq!(logs(&mut peer), 0);
}

#[test]
fn a_legacy_client_hears_of_lists_and_of_what_it_subscribed_to() {
    let mut peer = opened(LATEST);
    peer.call("test_trigger_tool_change", "");
    assert_eq!(told(&mut peer)[0]["method"], "notifications/tools/list_changed");
    peer.call("test_trigger_resource_update", "");
    assert!(told(&mut peer).is_empty());
    let uri = r#""uri":"test://watched-resource""#;
    assert_eq!(peer.ask("s", "resources/subscribe", uri)["result"], json!({}));
    peer.call("test_trigger_resource_update", "");
    assert_eq!(told(&mut peer)[0]["params"]["uri"], "test://watched-resource");
    peer.ask("u", "resources/unsubscribe", uri);
    peer.call("test_trigger_resource_update", "");
    assert!(told(&mut peer).is_empty());
}

#[test]
fn a_modern_client_hears_what_it_listens_to_until_it_stops() {
    let mut peer = opened(MODERN);
    let listen = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"subscriptions/listen","params":{{"notifications":{{"promptsListChanged":true,"toolsListChanged":false}},{META}}}}}"#
    );
    let first = peer.say(&listen).remove(0);
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    let params = json!({
        "notifications": {"promptsListChanged": true},
        "_meta": {"io.modelcontextprotocol/subscriptionId": 7},
    });
    assert_eq!(first["params"], params);
    peer.call("test_trigger_tool_change", "");
    assert!(told(&mut peer).is_empty());
    peer.call("test_trigger_prompt_change", "");
    let heard = told(&mut peer).remove(0);
    assert_eq!(heard["params"]["_meta"], params["_meta"]);
    assert!(
        peer.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#)
            .is_empty()
    );
    peer.call("test_trigger_prompt_change", "");
    assert!(told(&mut peer).is_empty());
    assert!(peer.session.is_settled() && peer.session.era != Era::Undecided);
    assert_eq!(peer.ask("l", "subscriptions/listen", "")["error"]["code"], -32602);
}
