//! A chain of two interceptors: one that answers repeated calls from what it has seen, one that measures what gets through.
//!
//! `cargo run -p mcp-volley --example interceptor -- tcp://127.0.0.1:9000`

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::json;
use volley::{Client, Config, Error, InterceptedCall, Interceptor, RawAnswer, Verdict};

/// Answers that were given before, by tool and arguments.
#[derive(Default)]
struct Cache(Mutex<HashMap<String, RawAnswer>>);

impl Interceptor for Cache {
    async fn before(&self, call: &mut InterceptedCall) -> Result<Verdict, Error> {
        let key = format!("{:?} {:?}", call.tool(), call.arguments());
        let known = self.0.lock().expect("nobody panics with it").get(&key).cloned();
        call.keep(key);
        Ok(known.map_or(Verdict::Pass, Verdict::Answer))
    }

    async fn after(
        &self,
        call: &mut InterceptedCall,
        outcome: Result<RawAnswer, Error>,
    ) -> Result<RawAnswer, Error> {
        if let (Some(key), Ok(answer)) = (call.take::<String>(), &outcome) {
            self.0.lock().expect("nobody panics with it").insert(key, answer.clone());
        }
        outcome
    }
}

/// Says how long each call took that went to the server.
struct Stopwatch;

#[expect(clippy::disallowed_methods, reason = "a program that measures has a clock")]
impl Interceptor for Stopwatch {
    async fn before(&self, call: &mut InterceptedCall) -> Result<Verdict, Error> {
        call.set_timeout(Duration::from_secs(5));
        call.keep(Instant::now());
        Ok(Verdict::Pass)
    }

    async fn after(
        &self,
        call: &mut InterceptedCall,
        outcome: Result<RawAnswer, Error>,
    ) -> Result<RawAnswer, Error> {
        if let Some(began) = call.take::<Instant>() {
            println!("  {} took {:?}", call.tool().unwrap_or_default(), began.elapsed());
        }
        outcome
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1).ok_or("usage: interceptor ENDPOINT")?;
    let config = Config::builder().interceptor(Cache::default()).interceptor(Stopwatch).build()?;
    pollster::block_on(async {
        let client = Client::connect(endpoint.as_str(), config).await?;
        for message in ["hello", "hello", "hello again"] {
            println!("{message:?}");
            println!("  {}", client.call_tool("echo", &json!({"message": message})).await?.text());
        }
        client.close().await;
        Ok(())
    })
}
