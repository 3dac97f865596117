//! One act: a server with a script, a client, what is done with it, and the record of what it wrote.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use volley::{Config, ConfigBuilder, Error, Fate, Revision, Stats, ToolCall, blocking::Client};
use volley_tests::{
    record::Record,
    scripted_server::{Peer, ScriptedServer},
};

/// The two eras, by the newest revision of each.
pub(crate) const ERAS: [Revision; 2] = [Revision::V2025_11_25, Revision::V2026_07_28];

/// Starts a server, connects, lets the act happen, closes, and gives what was written and what was counted.
pub(crate) fn play(
    config: ConfigBuilder,
    script: impl Fn(&mut Peer) + Send + Sync + 'static,
    act: impl FnOnce(&Client, &ScriptedServer),
) -> (Record, Stats) {
    let server = ScriptedServer::start(script);
    let client = connect(&server, config).unwrap_or_else(|error| panic!("no connection: {error}"));
    act(&client, &server);
    client.close();
    let stats = client.stats();
    assert_eq!(stats.live, 0, "{stats:?}");
    assert_eq!(stats.submitted, stats.answered + stats.failed + stats.cancelled, "{stats:?}");
    (server.finish(), stats)
}

/// Connects with waits that suit a test.
pub(crate) fn connect(server: &ScriptedServer, config: ConfigBuilder) -> Result<Client, Error> {
    let config = config.backoff(Duration::from_millis(1), Duration::from_millis(20)).build().expect("valid");
    Client::connect(server.endpoint(), config)
}

/// The default configuration.
pub(crate) fn auto() -> ConfigBuilder {
    Config::builder()
}

/// A call that says its own number.
pub(crate) fn call(n: u64) -> ToolCall {
    ToolCall::new("echo", &json!({"message": text(n)})).expect("an object")
}

pub(crate) fn text(n: u64) -> String {
    format!("this is call {n}")
}

/// Makes so many calls and expects each one's own answer.
pub(crate) fn all_answered(client: &Client, count: u64) {
    let outcomes = outcomes(client, count);
    assert_eq!(outcomes.len() as u64, count);
    for (n, outcome) in outcomes {
        assert_eq!(outcome.unwrap_or_else(|(error, _)| panic!("call {n}: {error}")), text(n));
    }
}

/// Makes so many calls and gives what became of each; each ends once.
pub(crate) fn outcomes(client: &Client, count: u64) -> BTreeMap<u64, Result<String, (Error, Fate)>> {
    let mut outcomes = BTreeMap::new();
    for (n, outcome) in client.bulk((0..count).map(call)) {
        let outcome = outcome.and_then(|answer| Ok(answer.tool_result()?.text())).map_err(|error| {
            let fate = error.fate();
            (error, fate)
        });
        assert!(outcomes.insert(n, outcome).is_none(), "call {n} ended twice");
    }
    outcomes
}
