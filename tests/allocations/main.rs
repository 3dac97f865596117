//! A call in the steady state allocates nothing: counted over every thread of this process, the caller's included, while a target in
//! another process answers. One test, since the count is the process's.
//!
//! What is counted: allocations and re-allocations after a warm-up, over so many calls that one for each, or for each turn, would
//! be thousands. What is allowed is what grows to its high mark and stays: [`GROWTH_MAX`]. What is not the engine's is done before:
//! a `ToolCall` owns its body, which its maker allocates.
//!
//! `VOLLEY_ALLOCATION_CALLS` says how many calls (`just allocations` takes a million, optimised).

use std::{alloc::System, time::Duration};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::runtime::Runtime;
use volley::{Config, Endpoint, Inline, InlineOutcome, Tool, ToolCall, blocking::Client};
use volley_tests::{
    processes::Mark,
    target::{self, Target},
};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Calls, unless somebody wants more. CI builds this without optimisation.
const CALLS: u64 = 100_000;

/// Calls before the count begins, as a share of those counted.
const WARM_UP_SHARE: u64 = 4;

/// Allocations that do not come from calls, however many there are: buffers that grow to a high mark which the warm-up had not
/// reached. A bulk job has claims of up to 64 KiB and 128 entries, batches, a queue of outcomes; each doubles some ten times, and
/// there are a handful of each. An outbox, a chunk and a table of rows double as well.
const GROWTH_MAX: u64 = 200;

/// Calls in flight on the only connection.
const WINDOW: u32 = 64;

/// Connections where there are many, and calls in flight on each. Their chunks, outboxes and rows come from what the shard has of them, which one
/// connection never needs twice at a time.
const CROWD: usize = 64;
const CROWD_WINDOW: u32 = 4;

/// What grows for each connection: as above, of one connection. And calls for which there may be one more: with many connections a turn has few outcomes, so
/// many batches go round, and when the consumer has had no core for a while there are more of them, and longer ones, than there ever were.
const GROWTH_OF_CONNECTION_MAX: u64 = 8;
const CALLS_FOR_ONE_MORE: u64 = 1_000;

fn allocations() -> u64 {
    let stats = COUNTING.stats();
    (stats.allocations + stats.reallocations) as u64
}

/// What calls are made over.
struct Place {
    name: &'static str,
    endpoint: Endpoint,
    connections: usize,
    /// Is it promised that nothing is allocated?
    is_promised: bool,
}

impl Place {
    fn one(name: &'static str, endpoint: Endpoint) -> Self {
        Self { name, endpoint, connections: 1, is_promised: true }
    }

    fn crowd(name: &'static str, endpoint: Endpoint) -> Self {
        Self { connections: CROWD, ..Self::one(name, endpoint) }
    }

    fn config(&self) -> Config {
        let window = if self.connections == 1 { WINDOW } else { CROWD_WINDOW };
        Config::builder().connections(self.connections).in_flight(window).build().expect("valid")
    }

    fn growth_max(&self, calls: u64) -> u64 {
        if self.connections == 1 {
            return GROWTH_MAX;
        }
        GROWTH_MAX + self.connections as u64 * GROWTH_OF_CONNECTION_MAX + calls / CALLS_FOR_ONE_MORE
    }
}

/// Makes `calls` calls on this thread; how often memory was asked for.
fn inline(engine: &mut Inline, tool: &Tool, calls: u64) -> u64 {
    let before = allocations();
    let (mut sent, mut ended) = (0, 0);
    while ended < calls {
        while sent < calls && engine.submit(tool, br#"{"message":"hello"}"#, sent).is_ok() {
            sent += 1;
        }
        engine
            .turn(Duration::from_millis(100), |_, _, outcome| {
                assert!(matches!(outcome, InlineOutcome::Result(_)), "{outcome:?}");
                ended += 1;
            })
            .expect("the poll works");
    }
    allocations() - before
}

/// Makes `warm_up + calls` calls in one job; how often memory was asked for after the warm-up.
fn bulk(client: &Client, warm_up: u64, calls: u64) -> u64 {
    let all = warm_up + calls;
    let made: Vec<ToolCall> =
        (0..all).map(|_| ToolCall::raw("echo", r#"{"message":"hello"}"#).expect("an object")).collect();
    let mut outcomes = client.bulk(made);
    for _ in 0..warm_up {
        outcomes.next().expect("an outcome for each call").1.expect("an answer");
    }
    let before = allocations();
    let mut ended = 0;
    for (_, outcome) in outcomes {
        outcome.expect("an answer");
        ended += 1;
    }
    let during = allocations() - before;
    assert_eq!(ended, calls);
    during
}

/// One call after the other, prepared once, each awaited and not decoded; how often memory was asked for after a warm-up.
fn prepared(runtime: &Runtime, client: &Client, calls: u64) -> u64 {
    let call = ToolCall::raw("echo", r#"{"message":"hello"}"#).expect("an object");
    let make = async |calls: u64| {
        for _ in 0..calls {
            client.as_async().call_raw(&call).await.expect("an answer");
        }
    };
    runtime.block_on(async {
        make(calls / WARM_UP_SHARE).await;
        let before = allocations();
        make(calls).await;
        allocations() - before
    })
}

/// One call after the other, each awaited and decoded: for information, since what it returns owns its text.
fn single(client: &Client, calls: u64) -> u64 {
    let before = allocations();
    for _ in 0..calls {
        let call = ToolCall::raw("echo", r#"{"message":"hello"}"#).expect("an object");
        client.call(call).expect("an answer");
    }
    allocations() - before
}

#[test]
fn a_call_in_the_steady_state_allocates_nothing() {
    let calls =
        std::env::var("VOLLEY_ALLOCATION_CALLS").ok().map_or(CALLS, |text| text.parse().expect("a number"));
    let warm_up = calls / WARM_UP_SHARE;
    let mark = Mark::new();
    let (tcp, unix, http) = (Target::tcp(&[]), Target::unix(&[]), Target::http(&[]));
    let places = [
        Place::one("stdio", target::stdio(&mark, &[])),
        Place::one("unix", unix.endpoint()),
        Place::one("tcp", tcp.endpoint()),
        Place::crowd("unix, many connections", unix.endpoint()),
        Place::crowd("tcp, many connections", tcp.endpoint()),
        Place { is_promised: false, ..Place::one("http", http.endpoint()) },
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut broken = Vec::new();
    for place in places {
        let config = place.config();
        let mut engine = Inline::connect(&place.endpoint, &config).expect("connected");
        let tool = Tool::new("echo");
        inline(&mut engine, &tool, warm_up);
        let inline = inline(&mut engine, &tool, calls);
        drop(engine);
        let (name, growth_max) = (place.name, place.growth_max(calls));
        let client = Client::connect(place.endpoint, config).expect("connected");
        let bulk = bulk(&client, warm_up, calls);
        let singles = calls / 10;
        let prepared = prepared(&runtime, &client, singles);
        let single = single(&client, singles);
        println!(
            "{name}: {inline} allocations inline and {bulk} in bulk for {calls} calls each; for {singles} single ones {prepared} if prepared once and not decoded, {single} if made and decoded"
        );
        if place.is_promised && [inline, bulk, prepared].into_iter().any(|count| count > growth_max) {
            broken.push(format!("{name} (at most {growth_max})"));
        }
    }
    assert!(broken.is_empty(), "more allocations than what grows once and stays: {}", broken.join(", "));
}
