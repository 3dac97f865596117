//! Conversations under each revision, and the clauses they come from.

use serde_json::{Value, json};

use super::super::peer::{META, MODERN, Peer};

const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

fn hello(version: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"p","version":"0"}}}}}}"#
    )
}

fn code(answer: &Value) -> i64 {
    answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {answer}"))
}

#[test]
fn initialize_gets_its_version_or_the_newest_legacy_one() {
    for version in LEGACY {
        let mut peer = Peer::opened(version, &[]);
        assert_eq!(code(&peer.say(&hello(version))[0]), -32600, "only once");
    }
    for (words, asked) in [(vec![], MODERN), (vec![], "1999-01-01"), (vec!["--revisions", "legacy"], MODERN)]
    {
        let answer = Peer::new(&words).say(&hello(asked)).remove(0);
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
    }
    let answer = Peer::new(&["--revisions", "2024-11-05,2025-03-26"]).say(&hello("2025-11-25")).remove(0);
    assert_eq!(answer["result"]["protocolVersion"], "2025-03-26");
}

#[test]
fn before_initialize_only_ping_is_served() {
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let list = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
    let mut peer = Peer::new(&[]);
    assert_eq!(peer.say(ping), [json!({"jsonrpc": "2.0", "id": 1, "result": {}})]);
    assert_eq!(code(&peer.say(list)[0]), -32600);
    assert_eq!(peer.say(&hello("2025-06-18")).len(), 1);
    assert!(peer.say(list)[0].get("result").is_some());
    assert!(Peer::new(&["--lenient"]).say(list)[0].get("result").is_some());
}

#[test]
fn a_modern_request_carries_version_and_capabilities() {
    let mut peer = Peer::new(&[]);
    let answer = peer.ask("d1", "server/discover", "");
    let result = &answer["result"];
    assert_eq!(result["supportedVersions"], json!([MODERN]));
    assert_eq!(result["resultType"], "complete");
    assert!(result["ttlMs"].is_u64() && result["cacheScope"].is_string());
    assert!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"].is_string());

    let bare = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{}}"#;
    assert_eq!(code(&peer.say(bare)[0]), -32602);
    let half = META.replace(r#","io.modelcontextprotocol/clientCapabilities":{}"#, "");
    let half = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{{{half}}}}}"#);
    assert_eq!(code(&peer.say(&half)[0]), -32602);
    let future = META.replace(MODERN, "2099-01-01");
    let future = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{{{future}}}}}"#);
    let refused = peer.say(&future).remove(0);
    assert_eq!(code(&refused), -32022);
    assert_eq!(refused["error"]["data"], json!({"supported": [MODERN], "requested": "2099-01-01"}));

    assert_eq!(code(&peer.ask("p", "ping", "")), -32601);
    assert_eq!(code(&peer.ask("l", "logging/setLevel", r#""level":"info""#)), -32601);
    assert_eq!(code(&peer.say(&hello("2025-11-25"))[0]), -32022);
    let list = peer.ask("t", "tools/list", "");
    assert!(list["result"]["ttlMs"].is_u64() && list["result"]["resultType"] == "complete");
}

#[test]
fn one_era_knows_nothing_of_the_other() {
    let mut legacy_only = Peer::new(&["--revisions", "legacy"]);
    let discover = format!(r#"{{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{{{META}}}}}"#);
    assert_eq!(code(&legacy_only.say(&discover)[0]), -32601);
    assert!(legacy_only.say(&hello("2025-11-25"))[0].get("result").is_some());
    assert_eq!(code(&legacy_only.say(&discover)[0]), -32600);

    let mut modern_only = Peer::new(&["--revisions", "modern"]);
    assert_eq!(code(&modern_only.say(&hello("2025-11-25"))[0]), -32022);
    assert_eq!(code(&modern_only.say(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)[0]), -32601);
    assert_eq!(code(&modern_only.say(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)[0]), -32602);
    let mut undiscovered = Peer::new(&[]);
    assert_eq!(
        undiscovered.call("echo", r#""message":"at once""#)["result"]["content"][0]["text"],
        "at once"
    );
}

#[test]
fn tools_answer_as_they_say() {
    for revision in LEGACY.into_iter().chain([MODERN]) {
        let mut peer = Peer::opened(revision, &[]);
        let text = |answer: &Value| answer["result"]["content"][0]["text"].as_str().unwrap().to_owned();
        let echo = peer.call("echo", r#""message":"a\n\"\u00e9 \ud83d\ude00""#);
        assert_eq!(text(&echo), "a\n\"é 😀");
        assert_eq!(echo["result"].get("resultType").is_some(), revision == MODERN);
        let sum = peer.call("sum", r#""a":2,"b":40"#);
        assert_eq!(text(&sum), "42");
        assert_eq!(sum["result"].get("structuredContent").is_some(), revision >= "2025-06-18");
        assert_eq!(text(&peer.call("sum", r#""a":0.5,"b":1"#)), "1.5");
        assert_eq!(text(&peer.call("blob", r#""bytes":1000"#)).len(), 1000);
        let fail = peer.call("fail", r#""message":"no""#);
        assert!(fail["result"]["isError"] == true && text(&fail) == "no");
        assert_eq!(text(&peer.call("count", "")), "2");
        assert_eq!(code(&peer.call("nonsense", "")), -32602);
        let bad = peer.call("echo", r#""message":7"#);
        assert_eq!(bad["result"]["isError"] == true, revision >= "2025-11-25");
        assert_eq!(bad.get("error").is_some(), revision < "2025-11-25");
        assert_eq!(code(&peer.ask("x", "completion/complete", "")), -32601);
        assert_eq!(peer.ask("r", "resources/list", "")["result"]["resources"], json!([]));
    }
}

#[test]
fn pages_name_the_next_and_the_last_names_none() {
    for words in [&["--page-size", "3"][..], &["--page-size", "3", "--empty-cursor"]] {
        let mut peer = Peer::opened("2025-11-25", words);
        let (mut names, mut cursors, mut params) = (Vec::new(), Vec::new(), String::new());
        loop {
            let page = peer.ask("l", "tools/list", &params);
            let tools = page["result"]["tools"].as_array().unwrap().clone();
            names.extend(tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["result"].get("nextCursor") else { break };
            cursors.push(cursor.as_str().unwrap().to_owned());
            params = format!(r#""cursor":{cursor}"#);
        }
        assert_eq!(names.len(), 8);
        assert_eq!(cursors, [if words.len() > 2 { "" } else { "tool-3" }, "tool-6"]);
        assert_eq!(code(&peer.ask("l", "tools/list", r#""cursor":"elsewhere""#)), -32602);
    }
}

#[test]
fn a_batch_is_answered_as_the_policy_says() {
    let line = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"message":"a"}}},7]"#;
    let answers = Peer::opened("2025-03-26", &[]).say(line);
    let array = answers[0].as_array().unwrap();
    assert_eq!(answers.len(), 1);
    assert_eq!(array.iter().map(|a| a["id"].clone()).collect::<Vec<_>>(), [json!(1), json!(2), Value::Null]);

    assert_eq!(Peer::opened("2025-03-26", &["--batch", "separate-lines"]).say(line).len(), 3);
    let ids = |answers: &[Value]| -> Vec<Value> {
        let mut ids: Vec<Value> =
            answers.iter().flat_map(|group| group.as_array().unwrap()).map(|one| one["id"].clone()).collect();
        ids.sort_by_key(Value::to_string);
        ids
    };
    let shuffled = Peer::opened("2025-03-26", &["--batch", "shuffled"]).say(line);
    assert_eq!((shuffled.len(), ids(&shuffled)), (1, vec![json!(1), json!(2), Value::Null]));
    let longer = line.replace(",7]", ",7,8]");
    let grouped = Peer::opened("2025-03-26", &["--batch", "groups"]).say(&longer);
    assert_eq!((grouped.len(), ids(&grouped)), (2, vec![json!(1), json!(2), Value::Null, Value::Null]));
    let mut strict = Peer::opened("2025-03-26", &["--batch-max", "4"]);
    assert!(strict.say(line)[0].is_array() && code(&strict.say(&longer)[0]) == -32600);
    assert!(Peer::opened("2025-03-26", &["--batch", "drop"]).say(line).is_empty());
    for mut peer in [
        Peer::opened("2025-03-26", &["--batch", "refuse"]),
        Peer::opened("2025-06-18", &[]),
        Peer::opened("2024-11-05", &[]),
        Peer::opened(MODERN, &[]),
        Peer::new(&[]),
    ] {
        let answers = peer.say(line);
        assert!(answers.len() == 1 && code(&answers[0]) == -32600 && answers[0]["id"].is_null());
    }
    let mut peer = Peer::opened("2025-03-26", &[]);
    assert!(peer.say("[]")[0].is_object());
    assert!(peer.say(r#"[{"jsonrpc":"2.0","method":"notifications/x"}]"#).is_empty());
}

#[test]
fn a_batch_waits_for_its_slowest_call() {
    let mut peer = Peer::opened("2025-03-26", &[]);
    let sleep =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sleep","arguments":{"ms":50}}}"#;
    let line =
        format!(r#"[{sleep},{},{{"jsonrpc":"2.0","id":3,"method":"ping"}}]"#, sleep.replacen('1', "2", 1));
    assert!(peer.say(&line.replace("\"id\":1", "\"id\":9")).is_empty());
    assert!(
        peer.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}"#)
            .is_empty()
    );
    let answers = peer.wait(51);
    assert_eq!(answers.len(), 1);
    assert!(answers[0].as_array().unwrap().iter().all(|answer| answer["id"] != 9));
}

#[test]
fn a_cancelled_call_gets_no_answer() {
    for revision in ["2025-11-25", MODERN] {
        let mut peer = Peer::opened(revision, &[]);
        let meta = if revision == MODERN { format!(",{META}") } else { String::new() };
        for id in [1, 2] {
            let line = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"sleep","arguments":{{"ms":20}}{meta}}}}}"#
            );
            assert!(peer.say(&line).is_empty());
        }
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        assert!(peer.say(cancel).is_empty() && peer.say(cancel).is_empty());
        let answers = peer.wait(21);
        assert!(answers.len() == 1 && answers[0]["id"] == 2 && !peer.session.owes());
    }
}

#[test]
fn progress_is_reported_before_the_answer() {
    let mut peer = Peer::opened("2025-11-25", &[]);
    let line = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"progress","arguments":{"steps":2,"ms":10},"_meta":{"progressToken":"t"}}}"#;
    assert!(peer.say(line).is_empty());
    let first = peer.wait(10);
    assert_eq!(first[0]["params"], json!({"progressToken": "t", "progress": 1, "total": 2}));
    let last = peer.wait(10);
    assert!(last.len() == 2 && last[0]["params"]["progress"] == 2 && last[1]["id"] == 1);
}

#[test]
fn the_client_is_asked_and_its_word_passed_on() {
    let mut peer = Peer::opened("2025-11-25", &[]);
    let asked = peer.call("request_client", r#""method":"roots/list""#);
    assert_eq!(asked, json!({"jsonrpc": "2.0", "id": "srv-1", "method": "roots/list"}));
    let response = r#"{"jsonrpc":"2.0","id":"srv-1","error":{"code":-32601,"message":"no"}}"#;
    let answers = peer.say(response);
    assert_eq!(answers[0]["id"], "c");
    assert_eq!(answers[0]["result"]["content"][0]["text"], response);
    assert!(peer.say(response).is_empty(), "nobody waits for it any more");
    assert_eq!(
        Peer::opened(MODERN, &[]).call("request_client", r#""method":"x""#)["result"]["isError"],
        true
    );
}

#[test]
fn broken_lines_are_answered_and_forgotten() {
    let mut peer = Peer::opened("2025-11-25", &[]);
    assert_eq!(code(&peer.say("{nonsense")[0]), -32700);
    assert_eq!(code(&peer.say("7")[0]), -32600);
    assert!(peer.say("").is_empty() && peer.say("  \r").is_empty());
    assert_eq!(super::super::peer::values(&peer.raw(b"\"\xff\"\n"))[0]["error"]["code"], -32700);
    assert_eq!(peer.call("echo", r#""message":"still here""#)["result"]["content"][0]["text"], "still here");
}
