//! Waiting with an end: a story may take so long, a condition may take so long ([`patience`](crate::patience)), and then the
//! test says what it waited for.

use std::future::Future;
use std::time::Duration;

pub use crate::patience::{PATIENCE, until, until_blocking};

/// What a whole test may take before it counts as hung.
const STORY_TIME_MAX: Duration = Duration::from_secs(60);

/// Runs a test to its end, or fails it when it hangs. Two threads, since some stories block one of them. The time does not
/// count in which the target is built.
///
/// # Panics
/// When the story takes longer than a minute.
pub fn story(story: impl Future<Output = ()>) {
    crate::target::loadgen();
    story_alone(story);
}

/// The same for a test that has no use for the target.
///
/// # Panics
/// As [`story`].
pub fn story_alone(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the system has threads to give");
    let told = runtime.block_on(async { tokio::time::timeout(STORY_TIME_MAX, story).await });
    runtime.shutdown_background();
    assert!(told.is_ok(), "the test hangs: it has not ended within {STORY_TIME_MAX:?}");
}
