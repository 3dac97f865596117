//! All measurements of whole calls, and the report on them: `perf --help` says how.

fn main() -> std::process::ExitCode {
    volley_bench::perf::cli::main()
}
