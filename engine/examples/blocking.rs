//! The same without async: a thread that waits, and many threads that share one client.
//!
//! `cargo run -p mcp-volley --example blocking -- tcp://127.0.0.1:9000`

use serde_json::json;
use volley::{Config, blocking::Client};

fn main() -> Result<(), volley::Error> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:9000".to_owned());
    let client = Client::connect(&endpoint, Config::default())?;
    println!("{}", client.call_tool("echo", &json!({"message": "hello"}))?.text());
    std::thread::scope(|scope| {
        for n in 0..4 {
            let client = &client;
            scope.spawn(move || {
                let result = client.call_tool("echo", &json!({"message": format!("from thread {n}")}));
                println!("{:?}", result.map(|result| result.text()));
            });
        }
    });
    client.close();
    Ok(())
}
