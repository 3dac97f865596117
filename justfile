# The table of contents. CI calls these recipes and nothing else.

loom_flags := "--cfg volley_loom"

# List the recipes.
default:
    @just --list

# What has to pass before a push.
check: lint test loom fuzz-bodies bench-once

# Formatting, clippy with warnings denied, documentation.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# The README's test command.
test:
    cargo test --workspace

# The same without debug assertions, as users run us.
test-release-checks:
    cargo test --workspace --profile testrelease

# Each feature alone.
features:
    cargo check -p mcp-volley --no-default-features
    cargo check -p mcp-volley --no-default-features --features tls
    cargo check -p mcp-volley --no-default-features --features http2
    cargo check -p mcp-volley --no-default-features --features websocket
    cargo check -p mcp-volley --no-default-features --features oauth
    cargo check -p mcp-volley --features internals

# Every interleaving of the lock-free parts (at most three preemptions a run; loom's own advice).
loom preemptions="3":
    LOOM_MAX_PREEMPTIONS={{preemptions}} RUSTFLAGS="{{loom_flags}}" cargo test -p mcp-volley --lib --release --target-dir target/loom loom_

# The fuzz targets' bodies on random bytes, without a fuzzer.
fuzz-bodies seed="1":
    VOLLEY_SEED={{seed}} cargo test -p mcp-volley --lib --features internals fuzz_bodies

# A fuzz target for so many seconds: framing, envelope, http_head, chunked, event_stream or decode. Needs `cargo install cargo-fuzz`.
fuzz target seconds="60":
    cd engine && mkdir -p fuzz/corpus/{{target}} && RUSTC_BOOTSTRAP=1 cargo fuzz run {{target}} fuzz/corpus/{{target}} fuzz/seeds/{{target}} -- -dict=fuzz/json.dict -max_total_time={{seconds}}

# More simulated worlds, or one of them again (`just sim 1 SEED`).
sim worlds="20000" seed="":
    VOLLEY_SIM_WORLDS={{worlds}} VOLLEY_SIM_SEED={{seed}} cargo test -p volley-tests --release --test simulation

# Installs the pinned real servers and calls each of them 20,000 times, over stdio and HTTP, in each era (about a quarter of an hour).
real-servers calls="20000" profile="release":
    tests/real-servers/install
    VOLLEY_REAL_CALLS={{calls}} cargo test -p volley-tests --profile {{profile}} --test real_servers -- --ignored --nocapture --test-threads 1 --skip nginx

# nginx with TLS between the engine and a real server, 100,000 calls in each era. Installs Debian's nginx if it can.
nginx:
    command -v nginx || [ -x /usr/sbin/nginx ] || apt-get install -y --no-install-recommends nginx || echo "nginx cannot be installed here; the test will say that it is skipped"
    cargo test -p volley-tests --release --test real_servers -- --ignored --nocapture nginx

# The official conformance suite, client and server, every scored scenario of both requirement sets; needs npm.
official *args:
    tests/official-suite/install
    cargo test -p volley-tests --test official -- --ignored --nocapture --test-threads 1 {{args}}

# Wall time of the stages, by criterion.
bench *args:
    cargo bench -p volley-bench --bench wall -- {{args}}

# Every bench once, to see that its answers are right.
bench-once:
    cargo bench -p volley-bench --bench wall -- --test

# The floor, the engine and the peer over real sockets, in turns.
hot-path *args:
    cargo build --release -p volley-bench --bins
    target/release/hot-path {{args}}

# The engine, wrk and the peer over HTTP, in turns. Needs wrk (`just install-wrk`); without it: `just wrk --only volley,rmcp`.
wrk *args:
    cargo build --release -p volley-bench --bins
    target/release/http-race {{args}}

# The Debian package that `just wrk` needs.
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

# A short load on the embedded target.
load *args="-z 5s":
    cargo run --release --bin loadgen -- run {{args}}

# Licences and advisories. Needs `cargo install cargo-deny`.
deny:
    cargo deny check
