//! How many connections there are beyond the lasting ones, and how silent ones are asked whether they live.

use std::time::Duration;

use crate::{base::limits::CONNECTIONS_MAX, error::Error, proto::health::HealthCheck};

/// Settings of the connections of streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolValues {
    pub(crate) overflow: usize,
    /// Of no meaning without an overflow.
    pub(crate) overflow_idle: Duration,
    pub(crate) health: Option<HealthCheck>,
}

impl PoolValues {
    pub(super) fn check(&self, lasting: usize) -> Result<(), Error> {
        let most = CONNECTIONS_MAX.saturating_sub(lasting);
        if self.overflow > most {
            return Err(Error::config(format!(
                "overflow is {}, with {lasting} connections it must be from 0 to {most}",
                self.overflow
            )));
        }
        let mut times = Vec::new();
        if self.overflow > 0 {
            times.push(("overflow's idle time", self.overflow_idle));
        }
        if let Some(HealthCheck { every, timeout }) = self.health {
            times.extend([("health_check's every", every), ("health_check's timeout", timeout)]);
        }
        match times.iter().find(|(_, time)| *time < Duration::from_millis(1)) {
            Some((name, time)) => Err(Error::config(format!("{name} is {time:?}, it must be 1 ms or more"))),
            None => Ok(()),
        }
    }
}
