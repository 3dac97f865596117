//! A hundred thousand calls over four connections, each with its own outcome.
//!
//! `cargo run --release -p mcp-volley --example bulk -- tcp://127.0.0.1:9000`

use serde_json::json;
use volley::{Client, Config, ToolCall};

#[tokio::main]
async fn main() -> Result<(), volley::Error> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:9000".to_owned());
    let config = Config::builder().connections(4).in_flight(256).build()?;
    let client = Client::connect(&endpoint, config).await?;

    let calls = (0..100_000)
        .map(|i| ToolCall::new("echo", &json!({"message": format!("call {i}")})).expect("an object"));
    let mut bulk = client.bulk(calls);
    let (mut right, mut wrong) = (0, 0);
    while let Some((index, outcome)) = bulk.next().await {
        match outcome {
            Ok(answer) if answer.tool_result()?.text() == format!("call {index}") => right += 1,
            Ok(_) => wrong += 1,
            // The fate says whether this call may be repeated.
            Err(error) => eprintln!("call {index}: {error} ({:?}); {}", error.fate(), error.hint()),
        }
    }
    println!("{right} right, {wrong} wrong; {:?}", client.stats());
    client.close().await;
    Ok(())
}
