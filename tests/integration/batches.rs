//! Batches over real sockets: outcomes in order, each its own, whatever the server makes of arrays; and the server's own count says
//! that each call was executed once.

use std::time::Duration;

use serde_json::json;
use volley::{
    Arrays, Config, ConfigBuilder, ErrorKind, Fate, Inline, InlineOutcome, Revision, Tool, ToolCall,
    blocking::Client,
};
use volley_tests::{
    calls::{call, echo, message},
    patience::until_blocking,
    target::Target,
};

const BATCH: u64 = 50;
const BATCHES: u64 = 40;

fn config(arrays: Arrays) -> ConfigBuilder {
    Config::builder()
        .revision(Revision::V2025_03_26)
        .arrays(arrays)
        .in_flight(BATCH as u32)
        .array_probe_timeout(Duration::from_millis(100))
}

fn connect(target: &Target, config: ConfigBuilder) -> Client {
    Client::connect(target.endpoint(), config.build().expect("valid")).expect("the target can be reached")
}

/// Makes the batches and checks every outcome; then the server's count.
fn each_is_its_own(client: &Client) {
    for first in (0..BATCHES).map(|n| n * BATCH) {
        let outcomes = client.batch().calls((first..first + BATCH).map(echo)).send().wait();
        assert_eq!(outcomes.len() as u64, BATCH);
        for (n, outcome) in (first..).zip(outcomes) {
            let result = outcome.unwrap_or_else(|error| panic!("call {n}: {error} ({:?})", error.fate()));
            assert_eq!(result.text(), message(n), "in order");
        }
    }
    let counted = client.call(call("count", json!({}))).expect("a count").text();
    let calls = client.stats().submitted;
    // It counts itself, before or after.
    assert!(counted == calls.to_string() || counted == (calls - 1).to_string(), "{counted} of {calls} calls");
}

/// What the target is told to do with arrays, and whether they are worth sending then.
const POLICIES: [(&[&str], bool); 7] = [
    (&["--batch", "answer"], true),
    (&["--batch", "shuffled"], true),
    (&["--batch", "groups"], true),
    (&["--batch", "separate-lines"], true),
    (&["--batch", "answer", "--batch-max", "20"], true),
    (&["--batch", "drop"], false),
    (&["--batch", "refuse"], false),
];

fn whatever_the_server_does(over_http: bool, start: impl Fn(&[&str]) -> Target) {
    for (policy, executes) in POLICIES {
        // On a stream nothing names the array that was too long; its calls would time out.
        if policy.contains(&"--batch-max") && !over_http {
            continue;
        }
        for arrays in [Arrays::Explicit, Arrays::Auto, Arrays::Never] {
            let target = start(policy);
            let client = connect(&target, config(arrays));
            each_is_its_own(&client);
            client.close();
            let stats = client.stats();
            assert_eq!((stats.failed, stats.answered), (0, stats.submitted), "{policy:?}: {stats:?}");
            let is_asked = arrays != Arrays::Never;
            assert_eq!(stats.array_probes, u64::from(is_asked), "{policy:?}: {stats:?}");
            assert_eq!(stats.arrays_sent > 0, is_asked && executes, "{policy:?}: {stats:?}");
        }
    }
}

#[test]
fn each_outcome_is_its_own_over_tcp() {
    whatever_the_server_does(false, Target::tcp);
}

#[test]
fn each_outcome_is_its_own_over_a_unix_socket() {
    whatever_the_server_does(false, Target::unix);
}

#[test]
fn each_outcome_is_its_own_over_http_in_json() {
    whatever_the_server_does(true, Target::http);
}

#[test]
fn each_outcome_is_its_own_over_http_in_events() {
    whatever_the_server_does(true, |policy| Target::http(&[policy, &["--reply", "sse"]].concat()));
}

/// Answers that never come leave holes; the calls around them do not suffer.
#[test]
fn calls_of_an_array_that_are_never_answered_end_with_their_fate() {
    let target = Target::http(&["--missing", "0.2", "--seed", "7"]);
    let client = connect(&target, config(Arrays::Explicit).timeout(Duration::from_millis(500)));
    let mut failed = 0;
    for first in (0..10).map(|n| n * BATCH) {
        let outcomes = client.batch().calls((first..first + BATCH).map(echo)).send().wait();
        for (n, outcome) in (first..).zip(outcomes) {
            match outcome {
                Ok(result) => assert_eq!(result.text(), message(n)),
                Err(error) => {
                    assert_eq!(error.fate(), Fate::Unknown, "{error}");
                    failed += 1;
                }
            }
        }
    }
    client.close();
    let stats = client.stats();
    assert!(failed > 20 && stats.failed == failed && stats.arrays_sent > 0, "{failed}: {stats:?}");
}

#[test]
fn a_job_is_grouped_only_in_the_automatic_mode() {
    for (arrays, groups) in [(Arrays::Auto, true), (Arrays::Explicit, false)] {
        let target = Target::http(&[]);
        let client = connect(&target, config(arrays));
        for (n, outcome) in client.bulk((0..5_000).map(echo)) {
            assert_eq!(outcome.unwrap().tool_result().unwrap().text(), message(n));
        }
        let stats = client.stats();
        assert_eq!(stats.calls_in_arrays > 2_500, groups, "{arrays:?}: {stats:?}");
        client.close();
    }
}

#[test]
fn inline_batches_are_answered_one_by_one() {
    let target = Target::http(&["--batch", "shuffled"]);
    let config = config(Arrays::Explicit).build().expect("valid");
    let mut engine = Inline::connect(&target.endpoint(), &config).expect("the target can be reached");
    let tool = Tool::new("echo");
    let arguments: Vec<String> = (0..2_000).map(|n| json!({"message": message(n)}).to_string()).collect();
    let calls: Vec<(&[u8], u64)> = arguments.iter().map(|text| text.as_bytes()).zip(0..).collect();
    let (mut taken, mut answered) = (0, vec![false; calls.len()]);
    while answered.iter().any(|answered| !answered) {
        taken += engine.submit_batch(&tool, &calls[taken..]);
        engine
            .turn(Duration::from_millis(100), |tag, _, outcome| match outcome {
                InlineOutcome::Result(line) => {
                    let line = std::str::from_utf8(line).unwrap();
                    assert!(line.contains(&format!("\"{}\"", message(tag))), "{line}");
                    assert!(!std::mem::replace(&mut answered[tag as usize], true), "{tag} twice");
                }
                other => panic!("{tag}: {other:?}"),
            })
            .expect("a turn");
    }
    let stats = engine.stats();
    assert!(stats.calls_in_arrays > 1_000, "{stats:?}");
    engine.close(|_, _, _| ());
}

#[test]
fn what_cannot_be_sent_is_the_outcome_of_its_place() {
    let target = Target::tcp(&[]);
    let client = connect(&target, config(Arrays::Explicit));
    let outcomes = client.with_batch(|batch| {
        batch.push_tool("echo", &json!({"message": "first"}));
        batch.push_tool("echo", &"no object");
        batch.push(ToolCall::new("no such tool", &json!({})).unwrap());
        batch.push_tool("echo", &json!({"message": "last"}));
    });
    assert_eq!(outcomes.len(), 4);
    assert_eq!(outcomes[0].as_ref().unwrap().text(), "first");
    assert_eq!(outcomes[1].as_ref().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(outcomes[2].as_ref().is_err() || outcomes[2].as_ref().is_ok_and(|result| result.is_error));
    assert_eq!(outcomes[3].as_ref().unwrap().text(), "last");
    assert!(client.batch().is_empty() && client.batch().send().wait().is_empty());

    client.close();
    let late = client.batch().calls((0..3).map(echo)).send().wait();
    for outcome in late {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::NotSent));
    }
}

#[test]
fn a_call_keeps_its_own_time_in_a_batch() {
    let target = Target::tcp(&["--delay", "300ms"]);
    let client = connect(&target, config(Arrays::Explicit));
    let hasty = |n| echo(n).timeout(Duration::from_millis(50));
    let outcomes =
        client.batch().calls((0..10).map(|n| if n % 3 == 0 { hasty(n) } else { echo(n) })).send().wait();
    for (n, outcome) in (0..).zip(outcomes) {
        match outcome {
            Ok(result) => assert_eq!((result.text(), n % 3 != 0), (message(n), true)),
            Err(error) => assert_eq!((error.kind(), n % 3), (ErrorKind::Timeout, 0)),
        }
    }
    client.close();
}

#[test]
fn dropped_answers_cancel_their_calls() {
    let target = Target::tcp(&["--never-answer"]);
    let client = connect(&target, config(Arrays::Explicit));
    let answers = client.batch().calls((0..30).map(echo)).send();
    until_blocking("they are out", || client.stats().submitted == 30);
    drop(answers);
    until_blocking("they are cancelled", || client.stats().cancelled == 30);
    client.close();
    assert_eq!((client.stats().live, client.stats().failed), (0, 0));
}

/// A batch is a job of the shard's, of which it can name 65,536 at a time; those that came after them were told that the client is closed.
#[test]
fn batches_wait_for_a_place_when_there_are_too_many() {
    const MANY: u64 = 66_000;
    let target = Target::tcp(&[]);
    let client = connect(&target, Config::builder().in_flight(64));
    // While these are under way none of the others is.
    let slow = ToolCall::new("sleep", &json!({"ms": 2_000})).expect("an object");
    let held: Vec<_> = (0..64).map(|_| client.batch().calls([slow.clone()]).send()).collect();
    let many: Vec<_> = (0..MANY).map(|n| client.batch().calls([echo(n)]).send()).collect();
    for answers in held {
        assert!(answers.wait().iter().all(Result::is_ok));
    }
    for (n, answers) in (0..).zip(many) {
        let outcomes = answers.wait();
        assert_eq!(outcomes.len(), 1);
        assert_eq!(outcomes[0].as_ref().expect("an answer").text(), message(n));
    }
    client.close();
    let stats = client.stats();
    assert_eq!((stats.submitted, stats.answered, stats.live), (MANY + 64, MANY + 64, 0), "{stats:?}");
}
