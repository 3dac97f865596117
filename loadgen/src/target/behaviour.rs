//! How the target misbehaves, when it is asked to: one field a switch, all off by default.
//!
//! Plain data, read-only once made. What is random is drawn from one seeded generator, so that a
//! failing run is a number. [`Behaviour::leaves_calls_alone`] is computed once; while it holds,
//! no call pays for any switch.

use std::time::Duration;

/// All the switches. A zero count, a zero rate and `false` mean: behave.
#[derive(Clone, Debug, Default)]
pub(super) struct Behaviour {
    /// Seeds everything random below.
    pub(super) seed: u64,
    /// How long each call waits for its answer.
    pub(super) delay: Option<Delay>,
    /// Answers are gathered up to this many, and leave in random order.
    pub(super) reorder: usize,
    /// An extra text block of this size in each `echo` answer.
    pub(super) reply_bytes: usize,
    /// How the members of a reply are written.
    pub(super) shape: Shape,
    /// The id of an answer comes back as a string.
    pub(super) string_id: bool,
    /// An answer is sent twice.
    pub(super) duplicate: Rate,
    /// An extra answer bears an id that nobody used.
    pub(super) unknown: Rate,
    /// An answer is never sent.
    pub(super) missing: Rate,
    /// An extra error bears the id null.
    pub(super) null_id_errors: Rate,
    /// A line that is no JSON precedes an answer.
    pub(super) noise: Rate,
    /// A notification nobody asked for precedes an answer.
    pub(super) notify: Rate,
    /// A call is not executed and answered with an error "busy".
    pub(super) refuse: Rate,
    /// A call is executed and answered with some other text.
    pub(super) wrong: Rate,
    /// The process exits in the middle of this answer, counted over all connections.
    pub(super) die_after: Option<u64>,
    /// A connection closes in the middle of this answer, counted for each connection.
    pub(super) drop_after: Option<u64>,
    /// Connections are accepted and never read.
    pub(super) accept_silent: bool,
    /// Only the handshake is answered.
    pub(super) never_answer: bool,
    /// Only the handshake is *not* answered.
    pub(super) ignore_handshake: bool,
    /// This much goes to stderr at the start, and some more for each call.
    pub(super) stderr_flood: Option<u64>,
    /// A connection is read at one byte a millisecond.
    pub(super) slow_read: bool,
    /// So many children that sleep are spawned at the start.
    pub(super) fork_children: u64,
    /// The end of stdin does not end a stdio server.
    pub(super) ignore_eof: bool,
    /// SIGTERM does not end the server.
    pub(super) ignore_term: bool,
    /// Connections beyond this many are closed at once.
    pub(super) connections_max: Option<u64>,
}

impl Behaviour {
    /// Whether a call is answered at once, in order, in the plain form: the condition of the
    /// spliced path. (`reply_bytes` is not asked for: the spliced path can do that too.)
    pub(super) fn leaves_calls_alone(&self) -> bool {
        let rates = [
            self.duplicate,
            self.unknown,
            self.missing,
            self.null_id_errors,
            self.noise,
            self.notify,
            self.refuse,
            self.wrong,
        ];
        self.delay.is_none()
            && self.reorder == 0
            && self.shape == Shape::default()
            && !self.string_id
            && rates.into_iter().all(|rate| rate == Rate::NEVER)
            && self.die_after.is_none()
            && self.drop_after.is_none()
            && !self.never_answer
            && self.stderr_flood.is_none()
    }
}

/// How the members of a reply are written. All of them are the same JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// `result` first, `id` last.
    pub(super) id_last: bool,
    /// White space wherever JSON allows it on one line.
    pub(super) spaced: bool,
    /// Keys begin with an escape: `"\u0069d"`.
    pub(super) escaped_keys: bool,
}

/// The share of the calls that something happens to.
///
/// Invariant: from 0.0 to 1.0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate(f64);

impl Rate {
    pub(super) const NEVER: Self = Self(0.0);

    pub(super) fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// Throws the dice; a rate of zero leaves the generator alone.
    pub(super) fn strikes(self, rng: &mut fastrand::Rng) -> bool {
        self.0 > 0.0 && rng.f64() < self.0
    }
}

/// A wait, the same each time or drawn evenly from a range.
///
/// Invariant: `least <= most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delay {
    least: Duration,
    most: Duration,
}

impl Delay {
    pub(super) fn new(least: Duration, most: Duration) -> Option<Self> {
        (least <= most).then_some(Self { least, most })
    }

    pub(super) fn draw(self, rng: &mut fastrand::Rng) -> Duration {
        let (least, most) = (self.least.as_nanos() as u64, self.most.as_nanos() as u64);
        Duration::from_nanos(if least == most { least } else { rng.u64(least..=most) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_nothing_happens() {
        assert!(Behaviour::default().leaves_calls_alone());
    }

    #[test]
    fn a_rate_strikes_as_often_as_it_says() {
        let mut rng = fastrand::Rng::with_seed(1);
        let rate = Rate::new(0.25).unwrap();
        let hits = (0..10_000).filter(|_| rate.strikes(&mut rng)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        assert!((0..1_000).all(|_| Rate::new(1.0).unwrap().strikes(&mut rng)));
        assert!(!(0..1_000).any(|_| Rate::NEVER.strikes(&mut rng)));
    }

    #[test]
    fn a_delay_stays_in_its_range() {
        let mut rng = fastrand::Rng::with_seed(2);
        let (least, most) = (Duration::from_millis(1), Duration::from_millis(3));
        let delay = Delay::new(least, most).unwrap();
        assert!((0..1_000).map(|_| delay.draw(&mut rng)).all(|wait| (least..=most).contains(&wait)));
        assert_eq!(Delay::new(most, least), None);
    }
}
