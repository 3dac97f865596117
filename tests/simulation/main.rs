//! Simulated worlds: the engine's core against servers, kernels and clocks that are drawn from a seed.
//!
//! What runs here is what a shard runs, without its sockets; time is moved, not awaited. A world that fails prints its seed:
//! `VOLLEY_SIM_SEED=… cargo test --test simulation` repeats it, and a line in `seeds.txt` keeps it. `VOLLEY_SIM_WORLDS`
//! says how many fresh worlds there shall be.

mod capacity;
mod checks;
mod driver;
mod http_properties;
mod http_world;
mod ledger;
mod nature;
mod pipe;
mod pools;
mod properties;
mod regressions;
mod runs;
mod server;
mod world;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use volley::Stats;

use world::World;

/// Fresh worlds, unless somebody wants more.
const WORLDS: u64 = 2000;

/// Counters that stay at zero: nothing lives on at the end, and no queue is so short here that it could be full.
const UNSEEN: [&str; 20] = [
    "live",
    "notifications_dropped",
    "output_suppressed",
    "notifications_early",
    // Nobody refuses here for being too busy, and few worlds last long enough for a window to grow; `capacity` has such servers.
    "refusals",
    "rests",
    "window_cuts_refused",
    "window_cuts_flat",
    "window_raises",
    // Of HTTP.
    "arrays_refused",
    "array_fallbacks",
    // The worlds are of streams; HTTP is not in them.
    "sessions_lost",
    "errands_refused",
    "http_requests",
    "http_sockets",
    "http_idle_closed",
    "http_idle_retired",
    "streams_resumed",
    // The worlds have no shard, which is what polls.
    "spins",
    "spins_paid",
];

/// Steps of a world, at most.
const STEPS_MAX: usize = 600;

fn run(seed: u64) -> Stats {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed);
        for step in 0..world.rng.usize(20..STEPS_MAX) {
            world.step();
            if step % 32 == 31 {
                world.come_to_rest();
            }
        }
        world.finish();
        world.core.stats()
    }));
    ran.unwrap_or_else(|panic| {
        eprintln!("this world repeats with VOLLEY_SIM_SEED={seed}; keep it in tests/simulation/seeds.txt");
        resume_unwind(panic)
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Worlds that failed once stay good.
#[test]
fn kept_seeds_hold() {
    for line in include_str!("seeds.txt").lines() {
        let seed = line.split('#').next().unwrap_or_default().trim();
        if !seed.is_empty() {
            run(seed.parse().expect("a seed is a number"));
        }
    }
}

/// Every call ends once and rightly in every world, and together the worlds have seen everything.
#[test]
fn fresh_worlds_hold() {
    if let Some(seed) = number("VOLLEY_SIM_SEED") {
        println!("{:?}", run(seed));
        return;
    }
    let first = fastrand::u64(..);
    let worlds = number("VOLLEY_SIM_WORLDS").unwrap_or(WORLDS);
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for n in 0..worlds {
        let stats = serde_json::to_value(run(first.wrapping_add(n))).expect("counters are numbers");
        for (name, count) in stats.as_object().expect("counters have names") {
            *seen.entry(name.clone()).or_default() += count.as_u64().unwrap_or_default();
        }
    }
    println!("{worlds} worlds: {seen:?}");
    if worlds >= WORLDS {
        let never: Vec<&String> = seen
            .iter()
            .filter(|(name, n)| **n == 0 && !UNSEEN.contains(&name.as_str()))
            .map(|(name, _)| name)
            .collect();
        assert!(never.is_empty(), "in {worlds} worlds from {first} on it never came to {never:?}");
    }
}
