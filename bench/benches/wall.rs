//! Wall time of the stages of a call. It informs; it never gates (instructions will).
//!
//! Every bench checks its answer inside the measured loop, or before it where checking would cost more than the stage.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use volley::ToolResult;
use volley::internals::stages::{self, Loopback};
use volley_bench::scenario::{self, Scenario};

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

#[derive(serde::Deserialize)]
struct Response {
    result: ToolResult,
}

/// The engine's way to read an answer against serde_json into the same type: what the offload bound and the choice of the
/// reader rest on.
fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.sample_size(20);
    for scenario in scenario::singles() {
        if !scenario.name().contains("python") && !scenario.name().contains("typescript") {
            continue;
        }
        let text = &scenario.answers()[0].text;
        group.throughput(Throughput::Bytes(scenario.bytes().len() as u64));
        group.bench_function(format!("engine/{}", scenario.name()), |b| {
            b.iter_batched(
                || scenario.bytes().to_vec(),
                |mut bytes| {
                    assert_eq!(stages::decode(&mut bytes).expect("a result").text().len(), text.len())
                },
                BatchSize::LargeInput,
            );
        });
        group.bench_function(format!("serde_json/{}", scenario.name()), |b| {
            b.iter_batched(
                || scenario.bytes().to_vec(),
                |bytes| {
                    let response: Response = serde_json::from_slice(&bytes).expect("a result");
                    assert_eq!(response.result.text().len(), text.len());
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, receive, exchange, decode);
criterion_main!(benches);
