//! Waiting with an end: a story may take so long, a condition may take so long, and then the test says what it waited for.

use std::future::Future;
use std::time::{Duration, Instant};

/// What a condition may take on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a whole test may take before it counts as hung.
const STORY_TIME_MAX: Duration = Duration::from_secs(60);

/// Runs a test to its end, or fails it when it hangs. Two threads, since some stories block one of them.
///
/// # Panics
/// When the story takes longer than a minute.
pub fn story(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the system has threads to give");
    let told = runtime.block_on(async { tokio::time::timeout(STORY_TIME_MAX, story).await });
    runtime.shutdown_background();
    assert!(told.is_ok(), "the test hangs: it has not ended within {STORY_TIME_MAX:?}");
}

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
