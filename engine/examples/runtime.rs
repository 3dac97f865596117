//! A thousand tasks that await one call at a time, with the connection driven by a task of their own runtime.
//!
//! `cargo run --release -p mcp-volley --features tokio --example runtime -- tcp://127.0.0.1:9000`

use std::time::Instant;

use serde_json::json;
use volley::{Client, Config, Driver, Error, ToolCall};

const TASKS: u64 = 1_000;
const CALLS: u64 = 200;

#[expect(clippy::disallowed_methods, reason = "a program that measures has a clock")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:9000".to_owned());
    let config = Config::builder().driver(Driver::Tokio).in_flight(1_024).build()?;
    let client = Client::connect(&endpoint, config).await?;

    let begun = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                // Prepared once; nothing is allocated for a call of it.
                let call = ToolCall::new("echo", &json!({"message": format!("task {task}")}))?;
                for _ in 0..CALLS {
                    client.call_raw(&call).await?;
                }
                Ok::<(), Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no call panics")?;
    }
    println!("{} calls in {:?}; {:?}", TASKS * CALLS, begun.elapsed(), client.stats());
    client.close().await;
    Ok(())
}
