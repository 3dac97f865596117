# The table of contents. CI calls these recipes and nothing else.

loom_flags := "--cfg volley_loom"
gungraun_version := "0.20.0"
gungraun := "target/ci-tools/bin/gungraun-runner"
shuttle_flags := "--cfg volley_shuttle"
asan_target := "x86_64-unknown-linux-gnu"
asan_flags := 'target.x86_64-unknown-linux-gnu.rustflags=["-Zsanitizer=address"]'

# List the recipes.
default:
    @just --list

# What has to pass before a push.
check: lint test loom fuzz-bodies bench-once

# Formatting, clippy with warnings denied, documentation.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    # With an example cargo counts in what tests alone depend on, as it does above: so nothing is checked twice.
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features --lib --bins --example hello

# The README's test command.
test:
    cargo test --workspace

# The same without debug assertions, as users run us.
test-release-checks:
    cargo test --workspace --profile testrelease

# Each feature alone, and the models that CI builds nowhere else: they had stopped to compile once.
features:
    cargo check -p mcp-volley --no-default-features
    cargo check -p mcp-volley --no-default-features --features tls
    cargo check -p mcp-volley --no-default-features --features http2
    cargo check -p mcp-volley --no-default-features --features websocket
    cargo check -p mcp-volley --no-default-features --features oauth
    cargo check -p mcp-volley --no-default-features --features tokio
    RUSTFLAGS="{{shuttle_flags}}" cargo check -p mcp-volley --no-default-features --lib --tests --target-dir target/shuttle

# Every interleaving of the lock-free parts (at most three preemptions a run; loom's own advice) and of callers with shards (two).
loom preemptions="3" composed="2":
    LOOM_MAX_PREEMPTIONS={{preemptions}} LOOM_COMPOSED_PREEMPTIONS={{composed}} RUSTFLAGS="{{loom_flags}}" cargo test -p mcp-volley --no-default-features --lib --profile testrelease --target-dir target/loom loom_

# Longer histories of callers and shards, under schedules drawn at random; a run prints its seed, `just shuttle N SEED` repeats it.
shuttle schedules="2000" seed="":
    VOLLEY_SHUTTLE_SCHEDULES={{schedules}} VOLLEY_SEED={{seed}} RUSTFLAGS="{{shuttle_flags}}" cargo test -p mcp-volley --no-default-features --lib --target-dir target/shuttle shuttle_ -- --nocapture --test-threads 1

# A million calls each, inline and in bulk, over stdio, Unix, TCP and HTTP: how often they ask for memory.
allocations calls="1000000":
    VOLLEY_ALLOCATION_CALLS={{calls}} cargo test -p volley-tests --profile testrelease --test allocations -- --nocapture

# The engine's unit tests under AddressSanitizer; `just asan integration` and `just asan faults`: those of volley-tests.
asan suite="lib":
    RUSTC_BOOTSTRAP=1 cargo test --config '{{asan_flags}}' --target {{asan_target}} --target-dir target/asan \
        {{ if suite == "lib" { "-p mcp-volley --lib --features internals,websocket,oauth" } else { "-p volley-tests --test " + suite } }}

# The fuzz targets' bodies on random bytes, without a fuzzer.
fuzz-bodies seed="1":
    VOLLEY_SEED={{seed}} cargo test -p mcp-volley --lib --features internals,websocket fuzz_bodies

# A fuzz target for so many seconds: framing, envelope, http_head, chunked, event_stream, decode, exchange, multiplexed or websocket. Needs `cargo install cargo-fuzz`.
fuzz target seconds="60":
    cd engine && mkdir -p fuzz/corpus/{{target}} && RUSTC_BOOTSTRAP=1 cargo fuzz run {{target}} fuzz/corpus/{{target}} fuzz/seeds/{{target}} -- -dict=fuzz/json.dict -max_total_time={{seconds}}

# More simulated worlds, or one of them again (`just sim 1 SEED`).
sim worlds="20000" seed="":
    VOLLEY_SIM_WORLDS={{worlds}} VOLLEY_SIM_SEED={{seed}} cargo test -p volley-tests --release --test simulation

# Installs the pinned real servers and calls each of them 20,000 times, over stdio and HTTP, in each era (about a quarter of an hour).
real-servers calls="20000" profile="release" threads="1":
    tests/real-servers/install
    VOLLEY_REAL_CALLS={{calls}} cargo test --workspace --profile {{profile}} --test real_servers -- --ignored --nocapture --test-threads {{threads}} --skip nginx --skip windows

# JSON-RPC arrays on real servers: executed by those that take them, calls one by one on the others, every answer its own (half an hour).
arrays calls="100000":
    tests/real-servers/install
    VOLLEY_REAL_CALLS={{calls}} cargo test -p volley-tests --profile testrelease --test real_servers -- --ignored --nocapture --test-threads 2 arrays

# Adaptive windows against fixed ones from 1 to 256, on the Python SDK's server; needs `tests/real-servers/install` and a quiet machine.
windows calls="8000" profile="release":
    VOLLEY_WINDOW_CALLS={{calls}} cargo test --workspace --profile {{profile}} --test real_servers -- --ignored --nocapture --test-threads 1 windows

# nginx with TLS between the engine and a real server, 100,000 calls in each era. Installs Debian's nginx if it can.
nginx:
    command -v nginx || [ -x /usr/sbin/nginx ] || apt-get install -y --no-install-recommends nginx || echo "nginx cannot be installed here; the test will say that it is skipped"
    cargo test --workspace --release --test real_servers -- --ignored --nocapture nginx

# The official conformance suite, client and server, every scored scenario of both requirement sets; needs npm.
official *args:
    tests/official-suite/install
    cargo test --workspace --test official -- --ignored --nocapture --test-threads 1 {{args}}

# Wall time of the stages, by criterion.
bench *args:
    cargo bench -p volley-bench --bench wall -- {{args}}

# Every bench once, to see that its answers are right; not optimised, since nothing is measured.
bench-once:
    cargo test --workspace --bench wall

# Instructions of the stages, counted and compared with `results/gates/instructions.toml`; fails if a line is broken.
instr: instr-count
    target/release/instruction-gate check

# The unchanged tree passes ten times out of ten.
instr-ten:
    for run in 1 2 3 4 5 6 7 8 9 10; do just instr >target/instr-ten.log || { cat target/instr-ten.log; exit 1; }; done
    @echo "10 of 10 pass"

# The counts of this tree become the baselines.
instr-baseline: instr-count
    target/release/instruction-gate baseline

# Plants 5 % in encode, then in envelope, and sees the gate fail for each; then the tree as it is, which passes.
instr-demo: instr-tools && instr
    for stage in encode envelope; do \
        rm -rf target/gungraun; \
        RUSTC_WORKSPACE_WRAPPER="$PWD/bench/planted/$stage" GUNGRAUN_RUNNER="$PWD/{{gungraun}}" cargo bench --quiet -p volley-bench --no-default-features --bench instructions >/dev/null || exit 1; \
        target/release/instruction-gate planted $stage || exit 1; \
    done

# Counts only.
instr-count: instr-tools
    rm -rf target/gungraun
    GUNGRAUN_RUNNER="$PWD/{{gungraun}}" cargo bench --quiet -p volley-bench --no-default-features --bench instructions >/dev/null

# What counting needs: valgrind, a Debian package, and gungraun's runner in the version of its library, kept under `target/`.
instr-tools:
    command -v valgrind >/dev/null || apt-get install -y --no-install-recommends valgrind || { apt-get update && apt-get install -y --no-install-recommends valgrind; } || { echo "valgrind is not installed and cannot be: nothing was counted, nothing is gated" >&2; exit 1; }
    {{gungraun}} --version 2>/dev/null | grep -qF {{gungraun_version}} || cargo install --quiet --debug --locked --version ={{gungraun_version}} --root target/ci-tools --target-dir target/ci-tools/build gungraun-runner

# All measurements of whole calls, and the report on them in results/reports (40 minutes; `just perf --quick`: minutes; `just perf --help`).
perf *args:
    cargo build --release -p volley-bench --bins
    target/release/perf {{args}}

# Where one contestant's time goes, by samples of the processor's clock over all its threads; needs `perf` (Debian: linux-perf).
profile contestant="volley inline" transport="tcp" in_flight="1024" cores="one" connections="1" array="1" seconds="4":
    cargo build --release -p volley-bench --bin perf --bin fast-target
    perf record -q -e cpu-clock -F 5000 -o target/profile.data target/release/perf cell \
        '{"run":{"contestant":"{{contestant}}","course":{"transport":"{{transport}}","era":"modern","cores":"{{cores}}","connections":{{connections}},"in_flight":{{in_flight}},"array":{{array}},"seconds":{{seconds}},"latency":false}}}'
    # `fast-target` and `connection` are the threads of the target.
    perf report -i target/profile.data --sort comm,dso --stdio 2>/dev/null | grep -vE '^#|% +(fast-target|connection) ' | head -12
    perf report -i target/profile.data --sort comm,sym --stdio 2>/dev/null | grep -vE '^#|% +(fast-target|connection) ' | head -40

# A view of `just perf`: tables of the floor, the engine and the peer over streams, unpinned. `--one-core` pins both sides.
hot-path *args:
    cargo build --release -p volley-bench --bins
    target/release/perf --view streams {{args}}

# A view of `just perf`: tables of the engine, wrk and the peers over HTTP. Needs wrk (`just install-wrk`), or goes without it.
wrk *args:
    cargo build --release -p volley-bench --bins
    target/release/perf --view http {{args}}

# The Debian package of wrk, which `just perf` and `just wrk` run if it is there.
install-wrk:
    apt-get install -y wrk

# A million calls in each era over each transport, every answer checked.
million:
    cargo build --release --bin loadgen
    for transport in stdio unix tcp; do for revision in 2025-11-25 2026-07-28; do \
        target/release/loadgen run --transport $transport --revision $revision -n 1000000 -p 1024 --expect 'call {i}' --quiet || exit 1; \
    done; done

# A thousand connections, one call in flight on each, for a minute.
thousand:
    cargo build --release --bin loadgen
    target/release/loadgen run -c 1000 -p 1 -z 60s

# Ten thousand connections on one engine, one call in flight on each; needs 20,000 descriptors for either side.
ten-thousand duration="30s":
    cargo build --release --bin loadgen
    ulimit -n 20000 && target/release/loadgen run -c 10000 -p 1 -z {{duration}}
    ulimit -n 20000 && target/release/loadgen run --transport unix -c 10000 -p 1 -z {{duration}}

# A short load on the embedded target.
load *args="-z 5s":
    cargo run --release --bin loadgen -- run {{args}}

# The same with the program as the tests have built it.
load-once *args="-z 5s":
    cargo build --workspace --bin loadgen --example hello
    target/debug/loadgen run {{args}}

# Licences and advisories. Needs `cargo install cargo-deny`.
deny:
    cargo deny check
