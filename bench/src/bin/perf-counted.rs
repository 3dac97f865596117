//! A run of `perf` with an allocator that counts. `perf` starts it; nothing is timed here.

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

fn main() -> std::process::ExitCode {
    volley_bench::counted::is_counted();
    volley_bench::perf::cli::main()
}
