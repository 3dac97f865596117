//! Wall time of the stages of a call. It informs; it never gates (`instructions.rs` does).
//!
//! Every bench checks its answer inside the measured loop, or before it where checking would cost more than the stage.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use volley::ToolResult;
use volley::internals::stages::{self, Loopback};
use volley_bench::{
    answers::{self, Content, Response},
    scenario::{self, Scenario},
};

/// Newlines found, ids found: per window of 1,024 replies.
fn receive(c: &mut Criterion) {
    let scenarios: Vec<Scenario> = scenario::windows().chain([scenario::mixture()]).collect();
    let mut group = c.benchmark_group("split");
    for scenario in &scenarios {
        group.throughput(Throughput::Elements(scenario.frames() as u64));
        group.bench_function(scenario.name(), |b| {
            b.iter(|| assert_eq!(stages::split(black_box(scenario.bytes())), scenario.frames()));
        });
    }
    group.finish();
    let mut group = c.benchmark_group("split+scan");
    for scenario in &scenarios {
        let ids = || scenario.answers().iter().filter_map(|answer| answer.id);
        let expected = (ids().count(), ids().sum::<u64>());
        group.throughput(Throughput::Elements(scenario.frames() as u64));
        group.bench_function(scenario.name(), |b| {
            b.iter(|| assert_eq!(stages::split_and_scan(black_box(scenario.bytes())), expected));
        });
    }
    group.finish();
}

/// All user-space stages together: encode, slot, split, scan, slot, outcome.
fn exchange(c: &mut Criterion) {
    let mut group = c.benchmark_group("exchange");
    for window in [1, 64, 1024] {
        let mut loopback = Loopback::new(window);
        group.throughput(Throughput::Elements(window.into()));
        group.bench_function(format!("window {window}"), |b| {
            b.iter(|| assert_eq!(loopback.round(), window as usize));
        });
    }
    group.finish();
}

/// The engine's reader against others into the same type: what the choice of the reader and the offload bound rest on. simd-json
/// spoils its bytes, so it gets a copy of them, as it would have to.
fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.sample_size(20);
    for (size, bytes) in DECODE_SIZES {
        for content in Content::ALL {
            // Neither does it say anything new without optimisation, where each bench runs once.
            if cfg!(debug_assertions) && bytes > 1 << 20 {
                continue;
            }
            // Building values takes seconds at this size, and says nothing new.
            if bytes > 10 << 20 && matches!(content, Content::Blocks | Content::Structured) {
                continue;
            }
            let answer = answers::answer(content, bytes);
            let expected = answers::by_serde_json(&answer);
            assert_eq!(stages::decode(&answer).ok(), expected);
            group.throughput(Throughput::Bytes(answer.len() as u64));
            let mut bench = |reader: &str, read: &mut dyn FnMut(&[u8]) -> Option<ToolResult>| {
                group.bench_function(format!("{reader}/{}/{size}", content.name()), |b| {
                    b.iter_with_large_drop(|| read(black_box(&answer)).expect("a result"));
                });
            };
            let mut buffers = simd_json::Buffers::default();
            bench("engine", &mut |bytes| stages::decode(bytes).ok());
            bench("serde_json", &mut answers::by_serde_json);
            bench("simd-json", &mut |bytes| {
                let mut bytes = bytes.to_vec();
                simd_json::serde::from_slice_with_buffers(&mut bytes, &mut buffers)
                    .ok()
                    .and_then(Response::result)
            });
            bench("sonic-rs", &mut |bytes| sonic_rs::from_slice(bytes).ok().and_then(Response::result));
        }
    }
    group.finish();
}

const DECODE_SIZES: [(&str, usize); 8] = [
    ("200B", 200),
    ("1KiB", 1 << 10),
    ("4KiB", 4 << 10),
    ("16KiB", 16 << 10),
    ("64KiB", 64 << 10),
    ("1MiB", 1 << 20),
    ("10MiB", 10 << 20),
    ("100MiB", 100 << 20),
];

criterion_group!(benches, receive, exchange, decode);
criterion_main!(benches);
