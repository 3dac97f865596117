//! Patience: how long a condition may take before a test gives up, and the waiting for it.

use std::time::{Duration, Instant};

/// What a condition may take on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `happened`.
///
/// # Panics
/// When it has not within [`PATIENCE`]; `what` says what was waited for.
pub async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let since = Instant::now();
    while !happened() {
        assert!(since.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The same on a thread that has nothing better to do.
///
/// # Panics
/// As [`until`].
pub fn until_blocking(what: &str, mut happened: impl FnMut() -> bool) {
    let since = Instant::now();
    while !happened() {
        assert!(since.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(1);
