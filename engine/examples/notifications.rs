//! Listens to what the server says unasked, while calls go on.
//!
//! `cargo run --release --bin loadgen -- serve --tcp 127.0.0.1:9000 --notify 0.5`, then
//! `cargo run -p mcp-volley --example notifications -- tcp://127.0.0.1:9000`

use serde_json::{Value, json};
use volley::{Client, Config, Inbound};

#[tokio::main]
async fn main() -> Result<(), volley::Error> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:9000".to_owned());
    let client = Client::connect(&endpoint, Config::default()).await?;
    let mut notifications = client.notifications();
    let listener = tokio::spawn(async move {
        while let Some(inbound) = notifications.next().await {
            match inbound {
                Inbound::Notification(one) => println!("{}: {:?}", one.method(), one.params::<Value>()),
                Inbound::Missed(n) => println!("too slow: {n} missed"),
                _ => {}
            }
        }
    });
    for i in 0..10 {
        client.call_tool("echo", &json!({"message": i.to_string()})).await?;
    }
    // Closing ends the stream once everything has been read.
    client.close().await;
    let _ = listener.await;
    Ok(())
}
