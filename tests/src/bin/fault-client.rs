//! A client in a process of its own, for faults that concern the whole process.
//!
//! `fault-client hold COMMAND ARGS` starts a stdio server, makes a call, says `ready` and waits to be killed.
//! `fault-client flood ENDPOINT FRAME_BYTES_MAX TIMEOUT_S TOOL ARGS` puts one call of a tool among many of `echo`, and says as JSON
//! how each ended and how much memory it took.
//! `fault-client swamped ENDPOINT` has a handler that never comes back and a stream that it never reads, makes a call, and says how much
//! memory it took until that was answered.
//! `fault-client unread ENDPOINT` makes calls of 16 KB for two seconds, as many as the engine will have, and says how much memory they took.

#![forbid(unsafe_code)]

use std::io::Read;
use std::time::Duration;

use serde_json::json;
use volley::{Call, Client, Command, Config, Error, ErrorKind, ToolCall};
use volley_tests::calls::{books_balance, echo, first_text, long_echo, message};
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
        ["swamped", endpoint] => swamped(endpoint).await,
        ["unread", endpoint] => unread(endpoint).await,
        _ => panic!(
            "usage: hold COMMAND ARGS | flood ENDPOINT FRAME_BYTES_MAX TIMEOUT_S TOOL ARGS | swamped ENDPOINT | unread ENDPOINT"
        ),
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

async fn swamped(endpoint: &str) {
    let config = Config::builder().on_notification(|_| {
        loop {
            std::thread::park();
        }
    });
    let client = Client::connect(endpoint, config.build().expect("a configuration")).await.expect("a server");
    let stream = client.notifications();
    let before = peak_rss_bytes();
    let result = client.call(echo(0)).await.expect("an answer");
    assert_eq!(first_text(&result), message(0));
    let rss_bytes = peak_rss_bytes() - before;
    println!("{}", json!({"rss_bytes": rss_bytes, "stats": books_balance(&client).await}));
    drop(stream);
    // Closing would wait for the handler.
    std::process::exit(0);
}

async fn unread(endpoint: &str) {
    const PATIENCE: Duration = Duration::from_millis(200);
    let config = Config::builder().build().expect("the defaults fit");
    let client = Client::connect(endpoint, config).await.expect("a server");
    client.call(echo(0)).await.expect("an answer");
    let before = peak_rss_bytes();
    let pulled = std::cell::Cell::new(0_u64);
    let mut bulk = client.bulk((0..).map(|n| {
        pulled.set(n);
        long_echo(n, 16_000).timeout(PATIENCE)
    }));
    let (mut timed_out, until) = (0_u64, std::time::Instant::now() + Duration::from_secs(2));
    while std::time::Instant::now() < until {
        let (_, outcome) = bulk.next().await.expect("it is endless");
        assert_eq!(outcome.expect_err("nobody reads them").kind(), ErrorKind::Timeout);
        timed_out += 1;
    }
    let rss_bytes = peak_rss_bytes() - before;
    drop(bulk);
    client.close().await;
    println!("{}", json!({"rss_bytes": rss_bytes, "pulled": pulled.get(), "timed_out": timed_out}));
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
