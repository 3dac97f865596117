//! Calls put together: sent in one go, outcomes in order, each its own. Where the server takes JSON-RPC arrays they leave as such.
//!
//! `cargo run --release -p mcp-volley --example batch -- http://127.0.0.1:9000/mcp`

use serde_json::json;
use volley::{Client, Config, Revision};

#[tokio::main]
async fn main() -> Result<(), volley::Error> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:9000/mcp".to_owned());
    // There are arrays in this revision only; with another one the same calls go one by one. The window has room for a whole one.
    let config = Config::builder().revision(Revision::V2025_03_26).in_flight(100).build()?;
    let client = Client::connect(&endpoint, config).await?;
    for round in 0..10 {
        let outcomes = client
            .with_batch(|batch| {
                for n in 0..100 {
                    batch.push_tool("echo", &json!({"message": format!("call {n} of round {round}")}));
                }
            })
            .await;
        for (n, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok(result) => assert!(result.text().ends_with(&format!("call {n} of round {round}"))),
                // The fate says whether this call may be repeated.
                Err(error) => eprintln!("call {n}: {error} ({:?}); {}", error.fate(), error.hint()),
            }
        }
    }
    let stats = client.stats();
    println!("{} calls, {} of them in {} arrays", stats.answered, stats.calls_in_arrays, stats.arrays_sent);
    client.close().await;
    Ok(())
}
