//! Instructions of the stages of a call, counted by callgrind under gungraun. They gate: `just instr` compares them with
//! `results/gates/instructions.toml`.
//!
//! The same scenarios as under the clock (`wall.rs`), each warmed up where the first round does what no later one does
//! (growing buffers, making chunks), each with its answer checked, and with nothing counted but the stage: what prepares a
//! bench and what checks it stands outside. Only instructions are counted; caches are not simulated.
#![allow(missing_docs, reason = "gungraun's macros make modules and functions without a word")]

use std::{hint::black_box, mem, ops::Range};

use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use volley::internals::{
    hand_over::HandOver,
    stages::{self, Encoder, Loopback},
};
use volley::{Config, Interceptor, ToolResult};
use volley_bench::scenario::{self, Scenario};

/// Calls in one count of `encode`.
const CALLS: u32 = 1_024;

/// Calls in one count of `call`.
const SINGLE_CALLS: u32 = 100;

fn window(name: &str) -> Scenario {
    named(scenario::windows(), "window", name)
}

fn responses(name: &str) -> Scenario {
    named(scenario::responses(), "http", name)
}

fn named(mut all: impl Iterator<Item = Scenario>, kind: &str, name: &str) -> Scenario {
    all.find(|one| one.name() == format!("{kind}/{name}")).expect("a scenario of this name")
}

/// A way to write so many requests.
type Write = fn(&Encoder, &mut Vec<u8>, u32);

fn encoder(write: Write) -> (Encoder, Vec<u8>, Write) {
    let (encoder, mut out, mut alike) = (Encoder::default(), Vec::new(), Vec::new());
    encoder.encode(&mut alike, CALLS);
    write(&encoder, &mut out, CALLS);
    assert!(out == alike, "all ways write the same");
    out.clear();
    (encoder, out, write)
}

// Requests written out: head, id, body, tail; one by one, and in a run.
#[library_benchmark(setup = encoder)]
#[bench::calls_1024(Encoder::encode)]
#[bench::run_1024(Encoder::encode_run)]
fn encode((encoder, mut out, write): (Encoder, Vec<u8>, Write)) -> Vec<u8> {
    write(&encoder, black_box(&mut out), CALLS);
    out
}

// Line feeds found.
#[library_benchmark(setup = window)]
#[bench::python("python")]
#[bench::go("go")]
fn split(scenario: Scenario) -> Scenario {
    assert_eq!(stages::split(black_box(scenario.bytes())), scenario.frames());
    scenario
}

fn with_ids(scenario: Scenario) -> (Scenario, (usize, u64)) {
    let ids = || scenario.answers().iter().filter_map(|answer| answer.id);
    let expected = (ids().count(), ids().sum());
    (scenario, expected)
}

/// Bytes, where the frames in them lie, and what has to be found.
type Cut = (Scenario, Vec<Range<usize>>, (usize, u64));

fn cut(scenario: Scenario) -> Cut {
    let (scenario, expected) = with_ids(scenario);
    let ends = scenario.bytes().iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let frames: Vec<_> = ends.scan(0, |start, end| Some(mem::replace(start, end + 1)..end)).collect();
    (scenario, frames, expected)
}

fn cut_window(name: &str) -> Cut {
    cut(window(name))
}

fn cut_mixture() -> Cut {
    cut(scenario::mixture())
}

// Kind and id of frames that are cut already.
#[library_benchmark]
#[bench::typescript(args = ("typescript"), setup = cut_window)]
#[bench::python(args = ("python"), setup = cut_window)]
#[bench::rmcp(args = ("rmcp"), setup = cut_window)]
#[bench::go(args = ("go"), setup = cut_window)]
#[bench::mixture(args = (), setup = cut_mixture)]
fn envelope((scenario, frames, expected): Cut) -> Cut {
    let bytes = black_box(scenario.bytes());
    assert_eq!(stages::scan(frames.iter().map(|frame| &bytes[frame.clone()])), expected);
    (scenario, frames, expected)
}

fn mixture_with_ids() -> (Scenario, (usize, u64)) {
    with_ids(scenario::mixture())
}

// Line feeds and ids found, as a turn does it.
#[library_benchmark(setup = mixture_with_ids)]
#[bench::mixture()]
fn receive((scenario, expected): (Scenario, (usize, u64))) -> Scenario {
    assert_eq!(stages::split_and_scan(black_box(scenario.bytes())), expected);
    scenario
}

fn loopback(window: u32) -> (Loopback, u32) {
    let mut loopback = Loopback::new(window);
    // Buffers have grown and the keys go round by then.
    for _ in 0..8 {
        loopback.round();
    }
    (loopback, window)
}

// All user-space stages together, one round of a full window.
#[library_benchmark(setup = loopback)]
#[bench::window_1(1)]
#[bench::window_64(64)]
#[bench::window_1024(1024)]
fn exchange((mut loopback, window): (Loopback, u32)) -> Loopback {
    assert_eq!(black_box(&mut loopback).round(), window as usize);
    loopback
}

// The same with calls that are handed over together.
#[library_benchmark(setup = loopback)]
#[bench::window_64(64)]
#[bench::window_1024(1024)]
fn together((mut loopback, window): (Loopback, u32)) -> Loopback {
    assert_eq!(black_box(&mut loopback).round_together(), window as usize);
    loopback
}

fn small(shape: &str) -> (Vec<u8>, usize) {
    let scenario = named(scenario::singles(), "one", &format!("{shape}/1KiB"));
    // The work buffers of the reader are this thread's and have their size by then.
    stages::decode(scenario.bytes()).expect("a result");
    (scenario.bytes().to_vec(), scenario.answers()[0].text.len())
}

// What `echo` answers.
fn common(_: &str) -> (Vec<u8>, usize) {
    let answer = r#"{"jsonrpc":"2.0","id":1048577,"result":{"content":[{"type":"text","text":"hello"}],"resultType":"complete"}}"#;
    // What is found out about the processor has been found out by then.
    stages::decode(answer.as_bytes()).expect("a result");
    (answer.into(), "hello".len())
}

// An answer of 1 KiB with escapes, or the shortest there is, read into its type.
#[library_benchmark]
#[bench::common(args = ("common"), setup = common)]
#[bench::python(args = ("python"), setup = small)]
#[bench::typescript(args = ("typescript"), setup = small)]
fn decode((bytes, expected): (Vec<u8>, usize)) -> ToolResult {
    let result = stages::decode(black_box(&bytes)).expect("a result");
    assert!(result.content[0].as_text().is_some_and(|text| text.len() == expected));
    result
}

fn responses_with_ids(name: &str) -> (Scenario, (usize, usize, u64)) {
    let (scenario, (with_id, sum)) = with_ids(responses(name));
    let expected = (scenario.frames(), with_id, sum);
    (scenario, expected)
}

// Responses over HTTP taken apart, heads and framing and ids.
#[library_benchmark(setup = responses_with_ids)]
#[bench::length("length")]
#[bench::chunked("chunked")]
#[bench::events("events")]
fn http((scenario, expected): (Scenario, (usize, usize, u64))) -> Scenario {
    assert_eq!(stages::responses(black_box(scenario.bytes())), expected);
    scenario
}

fn client(config: Config) -> HandOver {
    let mut client = HandOver::new(config);
    client.round();
    client
}

fn plain_client() -> HandOver {
    client(Config::default())
}

/// Lets everything pass, in both directions.
struct Idle;

impl Interceptor for Idle {}

fn chained_client() -> HandOver {
    let config = Config::builder().interceptor(Idle).interceptor(Idle).interceptor(Idle);
    client(config.build().expect("a valid configuration"))
}

// A single call from its caller to the shard and back: `Client::call_raw` until its future is ready.
#[library_benchmark]
#[bench::plain(args = (), setup = plain_client)]
#[bench::chain_of_three(args = (), setup = chained_client)]
fn call(mut client: HandOver) -> HandOver {
    for _ in 0..SINGLE_CALLS {
        let (asked, answered) = black_box(&mut client).round();
        assert!(asked > 0 && answered > 0);
    }
    client
}

library_benchmark_group!(
    name = counted,
    benchmarks = [encode, split, envelope, receive, exchange, together, decode, http, call]
);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = counted
);
