//! Fixed windows from 1 to 256 against the adaptive one, on the official Python SDK's server.
//!
//! The rates are this machine's at this moment, so every window is measured several times in turn, and the best of each counts: a server
//! that shares its cores with something else is slower for whoever has his turn just then. The claim has a tolerance for what is left.
//! `just windows` runs it.

use std::time::Duration;

use volley::{Config, Endpoint, Inline, InlineOutcome, Tool, Window};
use volley_tests::processes::Mark;

use crate::servers::{PYTHON, Running};

/// Measured turns of each window.
const TURNS: usize = 3;

/// What the best fixed window's rate may be better by.
const LEAST: f64 = 0.95;

#[derive(Clone, Copy, Debug)]
struct Measured {
    calls_per_s: f64,
    p99_ms: f64,
    window: u64,
}

/// So many calls over one connection, with all the window takes; the first quarter is not measured.
fn measure(endpoint: &Endpoint, window: Window, calls: u64) -> Measured {
    let config = Config::builder().window(window).build().expect("a valid configuration");
    let mut engine = Inline::connect(endpoint, &config).expect("the server answers");
    let echo = Tool::new("echo");
    let (mut sent, mut latencies) = (0, Vec::new());
    let mut started = vec![0; calls as usize];
    let (mut ended, mut from_ns, mut to_ns) = (0, 0, 0);
    let warm = calls / 4;
    while ended < calls {
        let now = engine.now_ns();
        while sent < calls && engine.submit_at(&echo, br#"{"message":"how wide?"}"#, sent, now).is_ok() {
            started[sent as usize] = now;
            sent += 1;
        }
        engine
            .turn(Duration::from_millis(100), |tag, now_ns, outcome| {
                assert!(matches!(outcome, InlineOutcome::Result(_)), "{outcome:?}");
                ended += 1;
                if ended == warm {
                    from_ns = now_ns;
                } else if ended > warm {
                    latencies.push(now_ns - started[tag as usize]);
                    to_ns = now_ns;
                }
            })
            .expect("the server is there");
    }
    let window = engine.stats().window;
    engine.close(|_, _, _| ());
    latencies.sort_unstable();
    Measured {
        calls_per_s: latencies.len() as f64 / ((to_ns - from_ns) as f64 / 1e9),
        p99_ms: latencies[latencies.len() * 99 / 100] as f64 / 1e6,
        window,
    }
}

fn compare(name: &str, widest: u32, endpoint: impl Fn() -> Endpoint) {
    let calls =
        std::env::var("VOLLEY_WINDOW_CALLS").ok().and_then(|calls| calls.parse().ok()).unwrap_or(8_000);
    let adaptive = Window::Adaptive { min: 1, max: widest };
    let fixed: Vec<u32> = (0..).map(|power| 1 << power).take_while(|calls| *calls <= widest).collect();
    let mut windows: Vec<Window> = fixed.iter().map(|calls| Window::Fixed(*calls)).collect();
    windows.push(adaptive);
    let mut best: Vec<Option<Measured>> = vec![None; windows.len()];
    for _ in 0..TURNS {
        for (window, best) in windows.iter().zip(&mut best) {
            let measured = measure(&endpoint(), *window, calls);
            if best.is_none_or(|best| measured.calls_per_s > best.calls_per_s) {
                *best = Some(measured);
            }
        }
    }
    let measured: Vec<Measured> = best.into_iter().map(|best| best.expect("measured")).collect();
    for (window, measured) in windows.iter().zip(&measured) {
        println!(
            "{name}: {window:?}: {:.0} calls/s, p99 {:.2} ms, at the end {}",
            measured.calls_per_s, measured.p99_ms, measured.window
        );
    }
    let (ours, fixed) = (measured[measured.len() - 1], &measured[..measured.len() - 1]);
    let best = fixed.iter().max_by(|a, b| a.calls_per_s.total_cmp(&b.calls_per_s)).expect("some");
    let share = ours.calls_per_s / best.calls_per_s;
    println!(
        "{name}: adaptive has {:.1} % of the best fixed rate, p99 {:.2} ms to {:.2} ms",
        100.0 * share,
        ours.p99_ms,
        best.p99_ms
    );
    assert!(share >= LEAST, "{name}: {share:.3} of the best fixed window's rate");
    // The smallest window with such a rate is as good as the adaptive one; nobody knows it beforehand.
    let knee = fixed.iter().find(|fixed| fixed.calls_per_s >= LEAST * best.calls_per_s).expect("the best");
    assert!(ours.p99_ms < best.p99_ms || ours.p99_ms < 1.5 * knee.p99_ms, "{name}: p99 {ours:?} to {knee:?}");
}

#[test]
#[ignore = "needs tests/real-servers/install, and a quiet machine; `just windows` runs it"]
fn windows_on_the_python_server_over_stdio() {
    let mark = Mark::new();
    compare("python, stdio", 256, || PYTHON.stdio(&mark));
}

#[test]
#[ignore = "needs tests/real-servers/install, and a quiet machine; `just windows` runs it"]
fn windows_on_the_python_server_over_http() {
    let running: Running = PYTHON.listen("http");
    let url = format!("http://127.0.0.1:{}/mcp", running.port());
    compare("python, HTTP", 64, || url.parse().expect("a URL"));
}
