//! The life of a connection: every state, every event, and what follows, as one table.
//!
//! All transitions of all connections are here and nowhere else; this file does not know what a transition does. The
//! picture in `docs/lifecycle.md` is drawn from this table, and a test compares the two. `Stay`
//! means that the event is harmless in that state, `Never` that the exchange must not raise it there: a bug of ours, which
//! stops a debug build and changes nothing in a release build.

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) enum State {
    /// No transport yet; one is wanted or being opened.
    Starting,
    /// `server/discover` is out.
    Probing,
    /// `initialize` is out.
    Initializing,
    /// Calls flow.
    Ready,
    /// Calls in flight may end, no new ones are taken.
    Draining,
    /// The transport is being shut.
    Closing,
    /// Nothing is left. A later call may start it again.
    Closed,
    /// The transport failed; waiting before the next attempt.
    Backoff,
}

/// What can happen to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) enum Event {
    /// The transport stands and the era is unknown.
    OpenedUnknown,
    /// The transport stands and the server is known to be legacy.
    OpenedLegacy,
    /// The transport stands and the server is known to be modern.
    OpenedModern,
    /// The probe found a modern server.
    FoundModern,
    /// The probe found anything else, or nothing in time.
    FoundLegacy,
    /// `initialize` was answered with a revision we speak.
    Agreed,
    /// The opening failed for good on this transport: no common revision, refusal, or the attempt's deadline.
    OpeningFailed,
    /// The transport ended or broke.
    Lost,
    /// The wait before the next attempt is over.
    WaitOver,
    /// The last attempt allowed has failed.
    GaveUp,
    /// A call came for a connection that had given up.
    Revived,
    /// No new calls, please.
    Drain,
    /// Nothing is in flight any more.
    Drained,
    /// Shut now.
    Close,
    /// The transport is gone after `Close`.
    Gone,
}

/// What follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Go(State),
    Stay,
    Never,
}

pub(crate) const STATES: [State; 8] = [
    State::Starting,
    State::Probing,
    State::Initializing,
    State::Ready,
    State::Draining,
    State::Closing,
    State::Closed,
    State::Backoff,
];

pub(crate) const EVENTS: [Event; 15] = [
    Event::OpenedUnknown,
    Event::OpenedLegacy,
    Event::OpenedModern,
    Event::FoundModern,
    Event::FoundLegacy,
    Event::Agreed,
    Event::OpeningFailed,
    Event::Lost,
    Event::WaitOver,
    Event::GaveUp,
    Event::Revived,
    Event::Drain,
    Event::Drained,
    Event::Close,
    Event::Gone,
];

/// One row for each state, one column for each event, in the orders above.
#[rustfmt::skip]
const TABLE: [[Step; EVENTS.len()]; STATES.len()] = {
    use State::{Backoff as B, Closed as X, Closing as C, Draining as D, Initializing as I, Probing as P, Ready as R, Starting as S};
    use Step::{Go, Never as NO, Stay as __};
    [
        //              Unknown Legacy Modern  FoundM  FoundL  Agreed  Failed  Lost   WaitOver GaveUp Revived Drain  Drained Close   Gone
        /* Starting */ [Go(P),  Go(I), Go(R),  NO,     NO,     NO,     Go(B),  Go(B), __,      Go(X), __,     Go(C), __,     Go(C),  __    ],
        /* Probing  */ [NO,     NO,    NO,     Go(R),  Go(I),  NO,     Go(B),  Go(B), __,      Go(X), __,     Go(C), __,     Go(C),  __    ],
        /* Initial. */ [NO,     NO,    NO,     __,     __,     Go(R),  Go(B),  Go(B), __,      Go(X), __,     Go(C), __,     Go(C),  __    ],
        /* Ready    */ [NO,     NO,    NO,     __,     __,     NO,     Go(B),  Go(B), __,      NO,    __,     Go(D), __,     Go(C),  __    ],
        /* Draining */ [NO,     NO,    NO,     __,     __,     NO,     Go(C),  Go(C), __,      NO,    __,     __,    Go(C),  Go(C),  __    ],
        /* Closing  */ [__,     __,    __,     __,     __,     __,     __,     Go(X), __,      __,    __,     __,    __,     __,     Go(X) ],
        /* Closed   */ [__,     __,    __,     __,     __,     __,     __,     __,    __,      __,    Go(S),  __,    __,     __,     __    ],
        /* Backoff  */ [NO,     NO,    NO,     NO,     NO,     NO,     __,     __,    Go(S),   Go(X), __,     Go(C), __,     Go(C),  __    ],
    ]
};

impl State {
    /// What follows in this state from `event`.
    pub(crate) fn step(self, event: Event) -> Step {
        TABLE[self as usize][event as usize]
    }

    /// The state after `event`.
    pub(crate) fn after(self, event: Event) -> Self {
        match self.step(event) {
            Step::Go(next) => next,
            Step::Stay => self,
            Step::Never => {
                debug_assert!(false, "{event:?} must not happen in {self:?}");
                self
            }
        }
    }

    /// Is there, or may there be, a transport?
    pub(crate) fn has_transport(self) -> bool {
        !matches!(self, Self::Closed | Self::Backoff)
    }

    /// Is the opening under way on a standing transport?
    pub(crate) fn is_opening(self) -> bool {
        matches!(self, Self::Probing | Self::Initializing)
    }
}

/// The table as a Mermaid state diagram, for the documentation.
#[cfg(test)]
pub(crate) fn diagram() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> Starting\n");
    for from in STATES {
        for to in STATES {
            let events: Vec<String> = EVENTS
                .iter()
                .filter(|event| from.step(**event) == Step::Go(to))
                .map(|event| format!("{event:?}"))
                .collect();
            if !events.is_empty() {
                text.push_str(&format!("    {from:?} --> {to:?}: {}\n", events.join(", ")));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_orders_are_those_of_the_enums() {
        assert!(STATES.iter().enumerate().all(|(n, state)| *state as usize == n));
        assert!(EVENTS.iter().enumerate().all(|(n, event)| *event as usize == n));
    }

    /// Every state times every event has a written answer, and these hold for all of them.
    #[test]
    fn the_whole_table_is_walked() {
        for state in STATES {
            for event in EVENTS {
                let next = match state.step(event) {
                    Step::Go(next) => next,
                    Step::Stay | Step::Never => continue,
                };
                assert_ne!(next, state, "{state:?} on {event:?}: a step to itself is a stay");
                if state == State::Closed {
                    assert_eq!(event, Event::Revived, "only a new call brings a closed connection back");
                }
                if state == State::Closing {
                    assert_eq!(next, State::Closed, "what is closing can only close");
                }
                if next == State::Ready {
                    assert!(matches!(event, Event::OpenedModern | Event::FoundModern | Event::Agreed));
                }
            }
            assert_ne!(state.step(Event::Close), Step::Never, "closing is always allowed");
            assert_ne!(state.step(Event::Lost), Step::Never, "a transport can be lost at any time");
            assert_ne!(state.step(Event::Drain), Step::Never, "draining is always allowed");
        }
    }

    #[test]
    fn every_state_is_reached_and_every_state_can_close() {
        let reach = |from: State| {
            let mut seen = HashSet::from([from]);
            let mut todo = vec![from];
            while let Some(state) = todo.pop() {
                for event in EVENTS {
                    if let Step::Go(next) = state.step(event)
                        && seen.insert(next)
                    {
                        todo.push(next);
                    }
                }
            }
            seen
        };
        assert_eq!(reach(State::Starting).len(), STATES.len());
        for state in STATES {
            assert!(reach(state).contains(&State::Closed), "{state:?} cannot end");
        }
    }

    /// No livelock: every ring of states passes through a wait (Backoff) or a caller's wish (Closed).
    #[test]
    fn every_ring_waits_somewhere() {
        for start in STATES.into_iter().filter(|state| !matches!(state, State::Backoff | State::Closed)) {
            let mut todo = vec![start];
            let mut seen = HashSet::new();
            while let Some(state) = todo.pop() {
                for event in EVENTS {
                    if let Step::Go(next) = state.step(event) {
                        assert_ne!(next, start, "a ring through {start:?} without a wait");
                        if !matches!(next, State::Backoff | State::Closed) && seen.insert(next) {
                            todo.push(next);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_documented_picture_is_this_table() {
        let document = include_str!("../../../docs/lifecycle.md");
        assert!(
            document.contains(&diagram()),
            "docs/lifecycle.md is not drawn from the table; it should hold:\n{}",
            diagram()
        );
    }
}
