//! Simulated worlds: the engine's core against servers, kernels and clocks that are drawn from a seed.
//!
//! What runs here is what a shard runs, without its sockets; time is moved, not awaited. A world that fails prints its seed:
//! `VOLLEY_SIM_SEED=… cargo test --test simulation` repeats it, and a line in `seeds.txt` keeps it. `VOLLEY_SIM_WORLDS`
//! says how many fresh worlds there shall be.

mod ledger;
mod pipe;
mod properties;
mod server;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::World;

/// Fresh worlds, unless somebody wants more.
const WORLDS: u64 = 2000;

/// Steps of a world, at most.
const STEPS_MAX: usize = 250;

fn run(seed: u64) {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed);
        for step in 0..world.rng.usize(20..STEPS_MAX) {
            world.step();
            if step % 32 == 31 {
                world.come_to_rest();
            }
        }
        world.finish();
    }));
    if let Err(panic) = ran {
        eprintln!("this world repeats with VOLLEY_SIM_SEED={seed}; keep it in tests/simulation/seeds.txt");
        resume_unwind(panic);
    }
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

/// Every call ends once and rightly in every world.
#[test]
fn fresh_worlds_hold() {
    if let Some(seed) = number("VOLLEY_SIM_SEED") {
        return run(seed);
    }
    let first = fastrand::u64(..);
    for n in 0..number("VOLLEY_SIM_WORLDS").unwrap_or(WORLDS) {
        run(first.wrapping_add(n));
    }
}
