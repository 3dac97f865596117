//! What the exchange of a shard is told of the configuration.

use std::{num::NonZeroU32, time::Duration};

use super::Config;
use crate::proto::exchange::{Overflow, Settings};

impl Config {
    /// What the exchange of one shard is told.
    pub(crate) fn settings(&self, shard: usize, seed: u64) -> Settings {
        let values = &self.values;
        let name = |text: &str| serde_json::Value::from(text).to_string();
        Settings {
            connections: (self.connections_of(shard) + self.overflow_of(shard)) as u32,
            overflow: Overflow {
                connections: self.overflow_of(shard) as u32,
                idle: values.pool.overflow_idle,
            },
            health: values.pool.health,
            window: NonZeroU32::new(values.window.max()).unwrap_or(NonZeroU32::MIN),
            window_min: values.window.moves_from(),
            frame_bytes_max: values.frame_bytes_max,
            revision: values.revision,
            client_info: format!(
                r#"{{"name":{},"version":{}}}"#,
                name(&values.client_name),
                name(&values.client_version)
            ),
            capabilities: values.handlers.declared().to_string(),
            probe_timeout: values.probe_timeout,
            attempt_timeout: values.connect_timeout,
            attempts_max: values.attempts_max,
            revives: values.shards > 1,
            first_attempts_max: values.attempts_max.min(3),
            backoff_base: values.backoff.0,
            backoff_cap: values.backoff.1,
            orphan_debt: values.orphan_debt,
            // The longest that a late answer may be expected: request timeout, opening, and the longest wait between.
            orphan_ttl: values
                .timeout
                .saturating_add(values.connect_timeout)
                .saturating_add(values.backoff.1),
            standing_max: values.subscriptions_max,
            silence: Duration::from_secs(5),
            http: None,
            arrays: values.arrays.rules,
            is_plain: values.arrays.is_plain,
            seed,
        }
    }
}
