//! Calls one tool as often as asked on the thread of `main`, and says how fast that went.
//!
//! `cargo run --release -p mcp-volley --example inline -- tcp://127.0.0.1:9000 1000000 1024`

use std::time::{Duration, Instant};

use volley::{Config, Inline, InlineOutcome, Tool};

#[expect(clippy::disallowed_methods, reason = "a program that measures has a clock")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let endpoint = words.next().ok_or("usage: inline ENDPOINT [CALLS] [IN_FLIGHT] [SPIN_US]")?.parse()?;
    let calls: u64 = words.next().map_or(Ok(100_000), |word| word.parse())?;
    let in_flight: u32 = words.next().map_or(Ok(64), |word| word.parse())?;
    let spin: u64 = words.next().map_or(Ok(0), |word| word.parse())?;

    let config = Config::builder().in_flight(in_flight).spin(Duration::from_micros(spin)).build()?;
    let mut engine = Inline::connect(&endpoint, &config)?;
    println!("connected, revision {:?}", engine.revision());

    let echo = Tool::new("echo");
    let (mut sent, mut answered, mut failed) = (0, 0, 0);
    let started = Instant::now();
    while answered + failed < calls {
        let now = engine.now_ns();
        while sent < calls && engine.submit_at(&echo, br#"{"message":"hello"}"#, sent, now).is_ok() {
            sent += 1;
        }
        engine.turn(Duration::from_secs(1), |_tag, _now_ns, outcome| match outcome {
            InlineOutcome::Result(_) => answered += 1,
            _ => failed += 1,
        })?;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{answered} answered, {failed} failed, {:.0} calls/s", calls as f64 / seconds);
    println!("{:?}", engine.stats());
    engine.close(|_, _, _| ());
    Ok(())
}
