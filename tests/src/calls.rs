//! Calls whose answers can be checked, and the books that have to balance at the end of every test.

use std::time::{Duration, Instant};

use serde_json::json;
use volley::{Call, Client, Error, Inline, InlineOutcome, Stats, Tool, ToolCall, ToolResult};

use crate::patience::{PATIENCE, until};

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

/// Two writes, as the poll may tell of room in the middle of a turn.
const BYTES_A_TURN_MAX: u64 = 2 * 256 * 1024;

/// Writes requests to a server that does not read until `read` is called: one that is far longer than all that the two kernels
/// take, then some that are about as long as what was taken of it. Of those the transport itself still holds a part when nothing
/// is left to be written, and that part has to leave all the same. `connect` makes one connection.
///
/// # Panics
/// When a request has no answer.
pub fn requests_leave_whole(connect: impl Fn() -> Inline, read: impl Fn()) {
    let mut taken = 6 * 1024 * 1024;
    for shorter in [0, 1, 8, 16, 24, 32, 40, 48] {
        let mut engine = connect();
        let before = engine.stats().bytes_out;
        let text = "x".repeat(taken - shorter * 1024);
        let arguments = json!({ "message": text }).to_string();
        engine.submit(&Tool::new("echo"), arguments.as_bytes(), 0).expect("there is room");
        // More turns than it takes to write everything; none of them waits.
        for _ in 0..200 {
            let before = engine.stats().bytes_out;
            engine.turn(Duration::ZERO, |_, _, outcome| panic!("too early: {outcome:?}")).expect("a turn");
            // However little the transport takes at a time: one that takes 64 KiB once wrote on until the kernel was full.
            let written = engine.stats().bytes_out - before;
            assert!(written <= BYTES_A_TURN_MAX, "{written} bytes in one turn hold the other connections up");
        }
        let took = (engine.stats().bytes_out - before) as usize;
        read();
        let (until, mut is_answered) = (Instant::now() + PATIENCE, false);
        while !is_answered {
            assert!(Instant::now() < until, "of {} bytes {took} were taken and then no more", text.len());
            let answered = engine.turn(Duration::from_millis(50), |_, _, outcome| {
                let InlineOutcome::Result(answer) = outcome else { panic!("{outcome:?}") };
                assert!(answer.iter().filter(|byte| **byte == b'x').count() >= text.len(), "cut short");
                is_answered = true;
            });
            answered.expect("a turn");
        }
        taken = taken.min(took);
    }
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
