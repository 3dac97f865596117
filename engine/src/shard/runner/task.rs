//! A shard as a task of the caller's tokio runtime: the same turns, and between them the runtime's other tasks have their go.
//!
//! ```text
//!          ┌── goes: wakes itself, behind the tasks that are ready ──┐
//!   poll ──┴─► one turn ──► rests: the bell, the poll, the timer ────┴─► poll
//! ```
//!
//! One poll is one turn, and a turn is bounded (`SUBMISSIONS_PER_TURN_MAX` calls, for each connection one slice written and two
//! read, or of many some read), so that it starves nobody. The wakes of a turn are pushes to the runtime's own queue, and so is the bell:
//! between tasks of one runtime there is no system call but those that move bytes. The shard's poll is itself watched by the runtime's
//! reactor, so sockets, pipes and children stay where they are in every other way of driving a shard.
//!
//! Rung by a caller, the task lets those who are ready go first, once: they have calls as well, and all of them leave
//! together. (A multi-thread runtime would otherwise run the task right behind the first caller, with one call.)
//!
//! Owner: the runtime's thread that polls it. Always: the runner ends, with all its calls, however the task does: closed,
//! panicked, or dropped with its runtime. Proof: `tests/integration/runtime.rs`. ADR 0018 has the numbers.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Handle,
    time::{Sleep, sleep},
};

use super::{Pace, Runner};
use crate::base::time::Instant;

/// Shortest sleep until a deadline: the runtime's timer counts milliseconds.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// What a task needs of its runtime: a place in the reactor, and a timer.
struct Post {
    /// The shard's poll, by a descriptor of its own.
    poll: AsyncFd<mio::Registry>,
    timer: Pin<Box<Sleep>>,
    /// When the timer goes off; `NEVER` once it has.
    set_for: Instant,
}

/// The task.
pub(crate) struct Task {
    /// `None` once it has ended.
    post: Option<Post>,
    /// As the post.
    runner: Option<Runner>,
    /// It lay down in its last turn.
    rests: bool,
    /// It was rung and has let the others go first.
    held_back: bool,
}

impl Task {
    /// A task for the runtime in whose context this is called. An error says what that lacks.
    pub(crate) fn new(runner: Runner) -> Result<Self, String> {
        let poll = runner.shard.watchable().map_err(|error| error.to_string())?;
        // A runtime without a reactor or a timer says so by a panic, and has no other way to be asked.
        let post = catch_unwind(AssertUnwindSafe(|| {
            #[expect(
                deprecated,
                reason = "the other constructor is unsafe, for the sake of descriptors that are not owned; this one is"
            )]
            let poll = AsyncFd::with_interest(poll, Interest::READABLE)?;
            Ok(Post { poll, timer: Box::pin(sleep(SLEEP_MIN)), set_for: Instant::NEVER })
        }));
        match post {
            Ok(Ok(post)) => {
                Ok(Self { post: Some(post), runner: Some(runner), rests: false, held_back: false })
            }
            Ok(Err(error)) => {
                let error: std::io::Error = error;
                Err(format!("its reactor does not take the shard's poll: {error}"))
            }
            Err(_panic) => Err("it was built without enable_io or without enable_time".to_owned()),
        }
    }

    fn end(&mut self, panicked: bool) {
        self.post = None;
        if let Some(runner) = self.runner.take() {
            runner.end(panicked);
        }
    }

    /// One turn; afterwards the task is asleep in all its wakers, or has woken itself.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let (Some(post), Some(runner)) = (&mut self.post, &mut self.runner) else {
            return Poll::Ready(Ok(()));
        };
        // Looked at before the turn: what becomes readable after the turn's own look must not be cleared with it.
        let readable = match post.poll.poll_read_ready(cx) {
            Poll::Ready(guard) => Some(guard?),
            Poll::Pending => None,
        };
        let pace = runner.turn(false)?;
        if runner.is_finished() {
            return Poll::Ready(Ok(()));
        }
        self.rests = pace == Pace::Rests;
        if !self.rests {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(mut guard) = readable {
            guard.clear_ready();
            drop(guard);
            if post.poll.poll_read_ready(cx)?.is_ready() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let now = runner.shard.clock.now();
        post.set_timer(runner.next_deadline(now), now);
        if post.set_for == Instant::NEVER {
            // A timer that has gone off and was not set again is ready whenever it is asked.
            return Poll::Pending;
        }
        ready!(post.timer.as_mut().poll(cx));
        post.set_for = Instant::NEVER;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Post {
    /// Sees to it that the timer goes off at `deadline`, or earlier: a timer that is set early enough is left alone.
    fn set_timer(&mut self, deadline: Instant, now: Instant) {
        if deadline < self.set_for {
            let wait = deadline.since(now).clamp(SLEEP_MIN, super::SLEEP_MAX);
            self.timer.as_mut().reset(tokio::time::Instant::now() + wait);
            self.set_for = deadline;
        }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Some(runner) = &this.runner {
            let handle = &runner.handle;
            handle.leave_waker(cx.waker());
            if this.rests && !this.held_back && handle.was_rung() {
                this.held_back = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            handle.woke();
        }
        (this.rests, this.held_back) = (false, false);
        match catch_unwind(AssertUnwindSafe(|| this.turn(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            // Finished; or the reactor or the poll is gone, and there is no going on.
            Ok(Poll::Ready(_)) => this.end(false),
            Err(_panic) => this.end(true),
        }
        Poll::Ready(())
    }
}

impl Drop for Task {
    /// The runtime ends with calls under way, or never ran this task.
    fn drop(&mut self) {
        self.end(false);
    }
}

/// Starts tasks in the runtime in whose context it was made.
pub(crate) struct Spawner(Handle);

impl Spawner {
    /// `None` outside of any runtime.
    pub(crate) fn here() -> Option<Self> {
        Handle::try_current().ok().map(Self)
    }

    pub(crate) fn spawn(&self, task: Task) {
        // It ends by itself, and whoever waits for that waits for the shard to be closed.
        drop(self.0.spawn(task));
    }
}
