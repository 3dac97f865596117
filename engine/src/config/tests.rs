//! What a configuration refuses, and what it makes of its parts.

use super::*;

#[test]
fn the_defaults_are_valid() {
    ConfigBuilder::default().build().unwrap();
}

#[test]
fn every_bound_is_named() {
    let refused = |builder: ConfigBuilder, name: &str| {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    };
    let new = Config::builder;
    refused(new().shards(0), "shards");
    refused(new().connections(0), "connections");
    refused(new().in_flight(0), "in_flight");
    refused(new().window(Window::Adaptive { min: 0, max: 9 }), "min");
    refused(new().window(Window::Adaptive { min: 10, max: 9 }), "max is 9");
    refused(new().window(Window::Adaptive { min: 1, max: 1 << 20 }), "max");
    refused(new().shards(2), "each shard");
    refused(new().overflow(100_000, Duration::from_secs(1)), "overflow is 100000");
    refused(new().overflow(1, Duration::ZERO), "overflow's idle time");
    refused(new().overflow(100, Duration::from_secs(1)).in_flight(10_000), "on 101 connections");
    refused(new().health_check(Duration::ZERO, Duration::from_secs(1)), "health_check's every");
    refused(new().health_check(Duration::from_secs(1), Duration::ZERO), "health_check's timeout");
    refused(new().connections(1000).in_flight(1024), "slots");
    refused(new().timeout(Duration::ZERO), "timeout");
    refused(new().backoff(Duration::from_secs(2), Duration::from_secs(1)), "backoff");
    refused(new().timeout_at_most(Duration::from_secs(1)), "timeout_at_most");
    refused(new().frame_bytes_max(10), "frame_bytes_max");
    refused(new().capabilities(Value::from(7)), "capabilities");
}

#[test]
fn capabilities_are_those_of_the_handlers_and_the_callers_own() {
    let declared = |builder: ConfigBuilder| {
        let settings = builder.build().unwrap().settings(0, 0);
        serde_json::from_str::<Value>(&settings.capabilities).unwrap()
    };
    assert_eq!(declared(Config::builder()), serde_json::json!({}));
    let all = Config::builder()
        .roots(vec![Root::new("file:///")])
        .on_sampling(|_| Ok(CreateMessageResult::text("m", "t")))
        .on_elicitation(|_| Ok(ElicitResult::decline()))
        .on_url_elicitation(|_| Ok(ElicitResult::decline()))
        .capabilities(serde_json::json!({"roots": {"listChanged": true}, "extensions": {"a/b": {}}}))
        .tasks();
    let expected = serde_json::json!({
        "roots": {"listChanged": true},
        "sampling": {},
        "elicitation": {"form": {}, "url": {}},
        "extensions": {"a/b": {}, "io.modelcontextprotocol/tasks": {}},
    });
    assert_eq!(declared(all), expected);
}

#[test]
fn connections_are_shared_out_evenly() {
    let config = Config::builder().shards(3).connections(8).build().unwrap();
    assert_eq!((0..3).map(|shard| config.connections_of(shard)).collect::<Vec<_>>(), [3, 3, 2]);
}
