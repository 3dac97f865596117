//! One call. Start a target with `cargo run --release --bin loadgen -- serve --tcp 127.0.0.1:9000`, then
//! `cargo run -p mcp-volley --example hello -- tcp://127.0.0.1:9000`.

use serde_json::json;
use volley::{Client, Config};

#[tokio::main]
async fn main() -> Result<(), volley::Error> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:9000".to_owned());
    let client = Client::connect(&endpoint, Config::default()).await?;
    let result = client.call_tool("echo", &json!({"message": "hello"})).await?;
    println!("{}", result.text());
    client.close().await;
    Ok(())
}
