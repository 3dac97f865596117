//! The settings about JSON-RPC arrays, and about peers that speak JSON-RPC and nothing of MCP.

use std::time::Duration;

use crate::{
    base::limits::ARRAY_CALLS_CEILING,
    error::Error,
    proto::{
        batch::{ArrayRules, Arrays},
        revision::Revision,
    },
};

/// What may be configured.
#[derive(Clone, Debug)]
pub(crate) struct ArrayValues {
    pub(crate) rules: ArrayRules,
    /// The peer speaks plain JSON-RPC: no opening, no `_meta`.
    pub(crate) is_plain: bool,
}

impl Default for ArrayValues {
    fn default() -> Self {
        Self {
            rules: ArrayRules {
                arrays: Arrays::Explicit,
                calls_max: 100,
                bytes_max: 1024 * 1024,
                probe_timeout: Duration::from_secs(1),
            },
            is_plain: false,
        }
    }
}

impl ArrayValues {
    pub(super) fn check(&self, revision: Option<Revision>) -> Result<(), Error> {
        let ArrayRules { calls_max, bytes_max, probe_timeout, .. } = self.rules;
        if !(2..=ARRAY_CALLS_CEILING).contains(&calls_max) {
            return Err(Error::config(format!(
                "array_calls_max is {calls_max}, it must be from 2 to {ARRAY_CALLS_CEILING}"
            )));
        }
        if !(BYTES_MIN..=BYTES_CEILING).contains(&bytes_max) {
            return Err(Error::config(format!(
                "array_bytes_max is {bytes_max}, it must be from {BYTES_MIN} to {BYTES_CEILING}"
            )));
        }
        if probe_timeout.is_zero() {
            return Err(Error::config("array_probe_timeout is zero, it must be longer"));
        }
        match revision {
            Some(revision) if self.is_plain => Err(Error::config(format!(
                "plain_json_rpc is set and so is revision {revision}: a plain peer has none"
            ))),
            _ => Ok(()),
        }
    }
}

/// Two small calls.
const BYTES_MIN: usize = 1024;

/// Places in an array's text are 32 bits wide, and so are those in a chunk.
const BYTES_CEILING: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigBuilder};

    #[test]
    fn every_bound_is_named() {
        let refused = |builder: ConfigBuilder, name: &str| {
            let error = builder.build().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        };
        refused(Config::builder().array_calls_max(1), "array_calls_max");
        refused(Config::builder().array_bytes_max(10), "array_bytes_max");
        refused(Config::builder().array_probe_timeout(Duration::ZERO), "array_probe_timeout");
        refused(Config::builder().plain_json_rpc().revision(Revision::LATEST), "plain_json_rpc");
    }
}
