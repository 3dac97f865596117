//! Many calls, each with a text of its own, and what became of each.

use std::time::{Duration, Instant};

use serde_json::json;
use volley::{Client, Error, ToolCall};

use crate::servers::Server;

/// So many calls: 20,000, or what `VOLLEY_REAL_CALLS` says.
pub(crate) fn calls() -> u64 {
    std::env::var("VOLLEY_REAL_CALLS").map_or(20_000, |text| {
        text.parse().unwrap_or_else(|_| panic!("VOLLEY_REAL_CALLS is {text:?}, which is no number of calls"))
    })
}

fn message(n: u64) -> String {
    format!("call {n}, \"{n}\" \u{1F3D0}")
}

/// Checks that there is a tool to call.
pub(crate) async fn has_echo(client: &Client) -> usize {
    let tools = client.list_tools().await.expect("a list of tools");
    let echo = tools.iter().find(|tool| tool.name == "echo").expect("a tool named echo");
    assert_eq!(echo.input_schema["properties"]["message"]["type"], "string");
    tools.len()
}

/// Sends so many calls and sees each of them end, once. An answer has to be that call's own; what else becomes of a call is
/// `failed`'s to judge. After each end `ended` hears how many there are.
pub(crate) async fn volley(
    client: &Client,
    server: &Server,
    calls: u64,
    mut failed: impl FnMut(u64, Error),
    mut ended: impl FnMut(u64),
) -> Duration {
    let all = (0..calls).map(|n| ToolCall::new("echo", &json!({"message": message(n)})).expect("an object"));
    let mut seen = vec![false; calls as usize];
    let started = Instant::now();
    let mut bulk = client.bulk(all);
    let mut count = 0;
    while let Some((n, outcome)) = bulk.next().await {
        assert!(!std::mem::replace(&mut seen[n as usize], true), "call {n} ended twice");
        match outcome {
            Ok(answer) => {
                let result = answer.tool_result().unwrap_or_else(|error| panic!("call {n}: {error}"));
                assert!(!result.is_error, "call {n}: {result:?}");
                let expected = format!("{}{}", server.prefix, message(n));
                assert_eq!(result.text(), expected, "the answer to call {n}");
            }
            Err(error) => failed(n, error),
        }
        count += 1;
        ended(count);
    }
    assert!(seen.iter().all(|seen| *seen), "a call never ended");
    started.elapsed()
}

/// For [`volley`], where every call has to be answered.
pub(crate) fn must_not_fail(n: u64, error: Error) {
    panic!("call {n}: {error} (fate: {:?})", error.fate());
}
