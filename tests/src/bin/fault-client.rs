//! A client in a process of its own, for faults that concern the whole process.
//!
//! `fault-client hold COMMAND ARGS` starts a stdio server, makes a call, says `ready` and waits to be killed.
//! `fault-client flood ENDPOINT FRAME_BYTES_MAX TIMEOUT_S TOOL ARGS` puts one call of a tool among many of `echo`, and says as JSON
//! how each ended and how much memory it took.

#![forbid(unsafe_code)]

use std::io::Read;
use std::time::Duration;

use serde_json::json;
use volley::{Call, Client, Command, Config, Error, ToolCall};
use volley_tests::calls::{books_balance, echo, first_text, message};
use volley_tests::processes::{peak_rss_bytes, rss_bytes_now};

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["hold", program, ref args @ ..] => hold(program, args).await,
        ["flood", endpoint, frame_bytes_max, timeout_s, tool, args] => {
            let large = ToolCall::raw(tool, args).expect("arguments");
            flood(endpoint, frame_bytes_max, timeout_s, large).await;
        }
        _ => panic!("usage: hold COMMAND ARGS | flood ENDPOINT FRAME_BYTES_MAX TIMEOUT_S TOOL ARGS"),
    }
}

async fn hold(program: &str, args: &[&str]) {
    let command = Command::new(program).args(args.iter().copied());
    let client = Client::connect(command, Config::builder().build().expect("the defaults fit"))
        .await
        .expect("a server");
    client.call(echo(0)).await.expect("an answer");
    println!("ready");
    // Held open by the test, so this ends only by a signal.
    let _ = std::io::stdin().read(&mut [0]);
}

async fn flood(endpoint: &str, frame_bytes_max: &str, timeout_s: &str, large: ToolCall) {
    let config = Config::builder()
        .connections(2)
        .frame_bytes_max(frame_bytes_max.parse().expect("a number"))
        .timeout(Duration::from_secs(timeout_s.parse().expect("a number")))
        .build()
        .expect("a configuration");
    let client = Client::connect(endpoint, config).await.expect("a server");
    let before = peak_rss_bytes();
    let mut right = 0;
    let mut others = Vec::new();
    let mut ended = |n: u64, outcome: Result<volley::ToolResult, Error>| match outcome {
        Ok(result) if first_text(&result) == message(n) => right += 1,
        Ok(_) => panic!("call {n}: the answer of another"),
        Err(error) => others.push(format!("{:?}", error.kind())),
    };
    let calls: Vec<Call> = (0..50).map(|n| client.call(echo(n))).collect();
    let large = client.call_raw(large);
    let more: Vec<Call> = (50..100).map(|n| client.call(echo(n))).collect();
    for (n, call) in (0..).zip(calls.into_iter().chain(more)) {
        ended(n, call.await);
    }
    let large = match large.await {
        Ok(answer) => json!({ "bytes": answer.message().len() }),
        Err(error) => {
            json!({ "kind": format!("{:?}", error.kind()), "fate": error.fate(), "says": error.to_string() })
        }
    };
    // The same connections go on.
    let after: Vec<Call> = (100..200).map(|n| client.call(echo(n))).collect();
    for (n, call) in (100..).zip(after) {
        ended(n, call.await);
    }
    let stats = books_balance(&client).await;
    client.close().await;
    let rss_bytes = peak_rss_bytes() - before;
    let kept_bytes = rss_bytes_now().saturating_sub(before);
    println!(
        "{}",
        json!({"right": right, "others": others, "large": large, "rss_bytes": rss_bytes, "kept_bytes": kept_bytes, "stats": stats})
    );
}
