//! Where all workers and the main thread wait for each other between the phases.
//!
//! A barrier that one can leave: a worker that fails, or panics, drops its [`Seat`] and nobody
//! waits for it. Cost: a lock per phase, none per call. Proof: below.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The meeting point.
pub(super) struct Meeting {
    state: Mutex<State>,
    all_there: Condvar,
}

/// Invariant outside of the lock: `waiting < seats`, or both are zero.
struct State {
    seats: usize,
    waiting: usize,
    /// Counts the times that all were there.
    rounds: u64,
}

/// A place at the meeting; given up when dropped.
pub(super) struct Seat<'a>(&'a Meeting);

impl Meeting {
    /// A meeting of so many; each must take its [`Seat`] once.
    pub(super) const fn new(seats: usize) -> Self {
        Self { state: Mutex::new(State { seats, waiting: 0, rounds: 0 }), all_there: Condvar::new() }
    }

    /// Takes one of the seats.
    pub(super) const fn seat(&self) -> Seat<'_> {
        Seat(self)
    }

    /// A panic elsewhere leaves the counters whole: nothing here can panic half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn everyone_is_here(&self) -> bool {
        self.waiting == self.seats
    }

    fn next_round(&mut self) {
        self.waiting = 0;
        self.rounds += 1;
    }
}

impl Seat<'_> {
    /// Waits until all who still have a seat are here.
    pub(super) fn meet(&self) {
        let mut state = self.0.lock();
        state.waiting += 1;
        if state.everyone_is_here() {
            state.next_round();
            self.0.all_there.notify_all();
            return;
        }
        let round = state.rounds;
        while state.rounds == round {
            state = self.0.all_there.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.seats -= 1;
        if state.waiting > 0 && state.everyone_is_here() {
            state.next_round();
            self.0.all_there.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn nobody_goes_on_before_all_are_there() {
        let meeting = Meeting::new(4);
        let arrived = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let seat = meeting.seat();
                    for round in 1..=50 {
                        arrived.fetch_add(1, Ordering::SeqCst);
                        seat.meet();
                        assert!(arrived.load(Ordering::SeqCst) >= 4 * round);
                        seat.meet();
                    }
                });
            }
        });
    }

    #[test]
    fn who_leaves_or_panics_is_not_waited_for() {
        let meeting = Meeting::new(3);
        thread::scope(|scope| {
            let failing = scope.spawn(|| {
                let _seat = meeting.seat();
                panic!("on purpose");
            });
            for rounds in [1, 3] {
                let meeting = &meeting;
                scope.spawn(move || {
                    let seat = meeting.seat();
                    (0..rounds).for_each(|_| seat.meet());
                });
            }
            assert!(failing.join().is_err());
        });
    }
}
