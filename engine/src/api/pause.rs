//! Waiting without an executor: a pause, and work that must end within a time.
//!
//! Futures of this crate run in any executor or none, so there is no timer to ask. A pause is a thread that waits for its own
//! end: for the time to be over, or for the future to be dropped, whichever comes first. That costs a thread, some tens of
//! microseconds, and is used only where a person or a poll interval is waited for, never on the path of a plain call.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use crossbeam::channel::bounded;

use super::client::offload;
use crate::{
    error::{Error, ErrorKind, Phase},
    proto::event::Fate,
};

/// Returns after `wait`.
///
/// # Cancel safety
/// Dropping it ends its thread at once.
pub(super) async fn pause(wait: Duration) -> Result<(), Error> {
    let (held, gone) = bounded::<()>(0);
    // Nothing is ever sent: it ends by the time, or because `held` went with this future.
    let paused = offload("volley-pause", move || {
        let _ = gone.recv_timeout(wait);
    });
    let paused = paused.await;
    drop(held);
    paused.ok_or_else(no_thread)
}

/// The outcome of `work`, or `None` if it takes longer than `wait`.
pub(super) async fn within<T>(wait: Duration, work: impl Future<Output = T>) -> Result<Option<T>, Error> {
    let (mut work, mut end) = (pin!(work), pin!(pause(wait)));
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Ok(Some(outcome))),
        Poll::Pending => end.as_mut().poll(cx).map(|ended| ended.map(|()| None)),
    })
    .await
}

/// The system refused a thread.
pub(super) fn no_thread() -> Error {
    Error::new(ErrorKind::Internal, Fate::Answered, Phase::Call, "the system has no thread to give")
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[test]
    fn work_that_is_done_is_not_waited_for_and_other_work_is_cut() {
        let done = pollster::block_on(within(Duration::from_secs(3600), ready(7)));
        assert_eq!(done.unwrap(), Some(7));
        let cut = pollster::block_on(within(Duration::from_millis(1), pending::<()>()));
        assert_eq!(cut.unwrap(), None);
    }
}
