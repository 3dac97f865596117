//! The lookout: the poll that a shard looks at and sleeps in, and the timer that ends its sleep.
//!
//! A time-out that is given to `epoll_wait` is a timer of the kernel's that is made and unmade with each sleep: a twentieth of a call that goes by itself over
//! a pipe. Here there is one timer for all sleeps, a descriptor in the poll. It is set only if it would ring too late for the next of them; if it rings
//! too early, the shard sleeps on. Deadlines move on with the calls, so it is set once in a time-out rather than once in a sleep. And it counts
//! nanoseconds, where `epoll_wait` counts milliseconds.
//!
//! Owner: one shard, on one thread. Always: while `rings_at` is a moment, the poll has still to tell of it. Proof: the tests below; ADR 0032.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use mio::{Events, Interest, Poll, Registry, Token, event::Source, unix::SourceFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::clock::Clock;
use crate::base::time::Instant;

/// The token of the waker by which other threads end the wait.
pub(crate) const WAKE: Token = Token(usize::MAX);

/// The token of the timer.
pub(super) const TIMER: Token = Token(usize::MAX - 1);

/// What one look at the poll tells of, at most.
const EVENTS_MAX: usize = 1024;

/// See the module.
pub(crate) struct Lookout {
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    /// When it rings; `NEVER` if it is not set, or has rung.
    rings_at: Instant,
}

impl Lookout {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        SourceFd(&timer.as_raw_fd()).register(poll.registry(), TIMER, Interest::READABLE)?;
        Ok(Self { poll, events: Events::with_capacity(EVENTS_MAX), timer, rings_at: Instant::NEVER })
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Did the last look find anything?
    #[cfg(feature = "tokio")]
    pub(crate) fn has_seen_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Looks without waiting.
    pub(super) fn look(&mut self) -> io::Result<()> {
        self.poll.poll(&mut self.events, Some(Duration::ZERO))
    }

    /// Sleeps until something has happened or the time has come.
    pub(super) fn sleep(&mut self, clock: &Clock, until: Instant) -> io::Result<()> {
        loop {
            if until < self.rings_at {
                self.set(until.since(clock.now()))?;
                self.rings_at = until;
            }
            self.poll.poll(&mut self.events, None)?;
            if !self.has_only_rung() || clock.now() >= until {
                return Ok(());
            }
            self.has_rung();
        }
    }

    /// What the last look has found, lent out until it is given back. Of [`TIMER`] it wants to be told.
    pub(super) fn take_found(&mut self) -> Events {
        std::mem::replace(&mut self.events, Events::with_capacity(0))
    }

    pub(super) fn give_back(&mut self, found: Events) {
        self.events = found;
    }

    /// The poll has told of the timer.
    pub(super) fn has_rung(&mut self) {
        self.rings_at = Instant::NEVER;
    }

    fn has_only_rung(&self) -> bool {
        let mut found = self.events.iter();
        found.next().is_some_and(|event| event.token() == TIMER) && found.next().is_none()
    }

    /// Sets the timer, which forgets when it was to ring before.
    fn set(&self, wait: Duration) -> io::Result<()> {
        // Nothing at all would be never.
        let wait = wait.max(Duration::from_nanos(1));
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let spec = Itimerspec { it_interval: none, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    const SOON: Duration = Duration::from_millis(2);
    const LATE: Duration = Duration::from_secs(600);

    /// Tokens of the last look, as the shard goes through them.
    fn found(lookout: &mut Lookout) -> Vec<Token> {
        let found = lookout.take_found();
        let tokens: Vec<Token> = found.iter().map(|event| event.token()).collect();
        lookout.give_back(found);
        if tokens.contains(&TIMER) {
            lookout.has_rung();
        }
        tokens
    }

    /// What passes while the shard is at work.
    fn let_it_ring(lookout: &Lookout) {
        let mut timer = [PollFd::new(&lookout.timer, PollFlags::IN)];
        assert_eq!(poll(&mut timer, None), Ok(1));
    }

    #[test]
    fn a_sleep_ends_in_time_and_not_before() {
        let (mut lookout, clock) = (Lookout::new().unwrap(), Clock::new());
        for _ in 0..20 {
            let until = clock.now().after(SOON);
            lookout.sleep(&clock, until).unwrap();
            assert!(clock.now() >= until);
            assert_eq!(found(&mut lookout), [TIMER]);
        }
    }

    #[test]
    fn what_has_passed_is_no_sleep() {
        let (mut lookout, clock) = (Lookout::new().unwrap(), Clock::new());
        let now = clock.now();
        lookout.sleep(&clock, now).unwrap();
        assert_eq!(found(&mut lookout), [TIMER]);
    }

    /// The sleep that the timer was set for was ended by something else, and the next ones are to last longer.
    #[test]
    fn what_rings_too_early_is_slept_over() {
        let (mut lookout, clock) = (Lookout::new().unwrap(), Clock::new());
        let waker = mio::Waker::new(lookout.registry(), WAKE).unwrap();
        let early = clock.now().after(SOON);
        waker.wake().unwrap();
        lookout.sleep(&clock, early).unwrap();
        assert_eq!(found(&mut lookout), [WAKE]);
        assert_eq!(lookout.rings_at, early);

        let until = early.after(10 * SOON);
        lookout.sleep(&clock, until).unwrap();
        assert!(clock.now() >= until, "it rang for the sleep before");
        assert_eq!(found(&mut lookout), [TIMER]);
        assert_eq!(lookout.rings_at, Instant::NEVER);
    }

    #[test]
    fn a_sleep_that_has_to_end_earlier_does() {
        let (mut lookout, clock) = (Lookout::new().unwrap(), Clock::new());
        let waker = mio::Waker::new(lookout.registry(), WAKE).unwrap();
        waker.wake().unwrap();
        lookout.sleep(&clock, clock.now().after(LATE)).unwrap();
        assert_eq!(found(&mut lookout), [WAKE]);

        let (begun, until) = (clock.now(), clock.now().after(SOON));
        lookout.sleep(&clock, until).unwrap();
        assert!(clock.now().since(begun) < LATE / 2);
        assert_eq!(found(&mut lookout), [TIMER]);
    }

    /// It rings while the shard is at work: the next look tells of it, and the sleep after that has it set.
    #[test]
    fn what_rang_meanwhile_is_no_reason_to_sleep_for_ever() {
        let (mut lookout, clock) = (Lookout::new().unwrap(), Clock::new());
        let waker = mio::Waker::new(lookout.registry(), WAKE).unwrap();
        for looks in [false, true] {
            waker.wake().unwrap();
            let early = clock.now().after(SOON);
            lookout.sleep(&clock, early).unwrap();
            assert_eq!(found(&mut lookout), [WAKE]);
            let_it_ring(&lookout);
            if looks {
                lookout.look().unwrap();
                assert_eq!(found(&mut lookout), [TIMER]);
            }
            let until = clock.now().after(SOON);
            lookout.sleep(&clock, until).unwrap();
            assert!(clock.now() >= until);
            assert_eq!(found(&mut lookout), [TIMER]);
        }
    }

    #[test]
    fn a_wake_and_the_timer_come_together() {
        let (mut lookout, clock) = (Lookout::new().unwrap(), Clock::new());
        let waker = mio::Waker::new(lookout.registry(), WAKE).unwrap();
        waker.wake().unwrap();
        let early = clock.now().after(SOON);
        lookout.sleep(&clock, early).unwrap();
        assert_eq!(found(&mut lookout), [WAKE]);
        let_it_ring(&lookout);
        waker.wake().unwrap();
        lookout.sleep(&clock, clock.now().after(LATE)).unwrap();
        let mut both = found(&mut lookout);
        both.sort();
        assert_eq!(both, [TIMER, WAKE]);
        assert_eq!(lookout.rings_at, Instant::NEVER);
    }
}
