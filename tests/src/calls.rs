//! Calls whose answers can be checked, and the books that have to balance at the end of every test.

use std::time::Instant;

use serde_json::json;
use volley::{Call, Client, Error, Stats, ToolCall, ToolResult};

use crate::patience::until;

/// A call of `echo` whose answer can be told from all others.
pub fn echo(n: u64) -> ToolCall {
    ToolCall::new("echo", &json!({ "message": message(n) })).expect("an object")
}

/// What [`echo`] of the same number says, and has to be told.
pub fn message(n: u64) -> String {
    format!("call {n} and no other")
}

/// A call of `echo` of about so many bytes.
pub fn long_echo(n: u64, bytes: usize) -> ToolCall {
    ToolCall::new("echo", &json!({ "message": long_message(n, bytes) })).expect("an object")
}

/// What [`long_echo`] of the same number says.
pub fn long_message(n: u64, bytes: usize) -> String {
    format!("{} {}", message(n), "x".repeat(bytes))
}

/// A call of any tool.
pub fn call(tool: &str, arguments: serde_json::Value) -> ToolCall {
    ToolCall::new(tool, &arguments).expect("an object")
}

/// Does a series of calls, all at once, and checks that each gets its own answer.
///
/// # Panics
/// When one does not.
pub async fn echoes_work(client: &Client, numbers: std::ops::Range<u64>) {
    let calls: Vec<Call> = numbers.clone().map(|n| client.call(echo(n))).collect();
    for (n, call) in numbers.zip(calls) {
        let result = call.await.unwrap_or_else(|error| panic!("call {n}: {error} ({:?})", error.fate()));
        assert_eq!(first_text(&result), message(n));
    }
}

/// The first text block; the target may add others.
pub fn first_text(result: &ToolResult) -> &str {
    result.content.first().and_then(volley::Content::as_text).unwrap_or("no text at all")
}

/// When and how a call ended.
pub struct Ended {
    /// The moment at which its caller was told.
    pub at: Instant,
    /// The outcome.
    pub outcome: Result<ToolResult, Error>,
}

/// Awaits all calls, each in a task of its own, so that the moments are true.
pub async fn all_ends(calls: Vec<Call>) -> Vec<Ended> {
    let tasks: Vec<_> = calls
        .into_iter()
        .map(|call| {
            tokio::spawn(async move {
                let outcome = call.await;
                Ended { at: Instant::now(), outcome }
            })
        })
        .collect();
    let mut ends = Vec::with_capacity(tasks.len());
    for task in tasks {
        ends.push(task.await.expect("no call panics"));
    }
    ends
}

/// Waits until no call is under way, and checks that every call that was taken on has ended once.
///
/// # Panics
/// When the counters do not add up.
pub async fn books_balance(client: &Client) -> Stats {
    until("no call is live", || client.stats().live == 0).await;
    let stats = client.stats();
    assert_eq!(stats.submitted, stats.answered + stats.failed + stats.cancelled, "{stats:?}");
    assert_eq!(stats.live, 0, "{stats:?}");
    stats
}
