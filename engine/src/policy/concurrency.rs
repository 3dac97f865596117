//! How wide a window should be: the control law of the adaptive window of one connection.
//!
//! It looks at *epochs*: some hundred milliseconds at most, or four round trips, of answers. An epoch knows how many answers came in
//! how much time (the rate), and how many calls were in flight on average (the places); by Little's law their quotient is the mean
//! round trip. From these three it decides:
//!
//! - **rise**: a new connection doubles its window each epoch until a doubling has twice not paid a quarter more calls per
//!   second. That is how BBR finds a full pipe;
//! - **cruise**: a trial epoch with an eighth more or less. More is adopted if the rate gained at least a tenth of what a server with
//!   room would have given, less is adopted if hardly anything was lost. So the window stands at the left end of the plateau;
//! - **flat**: if a round trip takes more than twice the shortest known (which is measured with few calls in flight now and then,
//!   so that a queue that never empties is not taken for the server's own time), an eighth is taken away, unless this connection
//!   has hardly a call in the queue: then it is others who fill it. This is what bounds clients that share a server, who each
//!   would gain by taking more;
//! - **pushback**: a refusal, time-outs, a lost connection cut the window to seven eighths, once in a round trip. The window at which it
//!   happened is a ceiling for the next 64 epochs; one that needs more than four round trips for its answers counts for more.
//!
//! A window that is less than four fifths used proves nothing, and nothing is decided on it. Answers that came together (in one read, in
//! one array) were all in flight until then, so each counts as many places as the first.
//!
//! Units: calls, nanoseconds. Cost of an answer: two additions and a compare. Owner: one connection, on one thread; time is an argument.
//! Always: `min <= limit <= max`. Proof: `any_story_keeps_the_window_in_bounds` below, `tests/simulation/capacity`.
//! Follows: D. Chiu, R. Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance", 1989; N. Cardwell
//! et al., "BBR: Congestion-Based Congestion Control", ACM Queue 2016 (full pipe, draining for the shortest round trip); L.
//! Brakmo, L. Peterson, "TCP Vegas", 1995 (own calls in the queue); J. Little, 1961.

use std::time::Duration;

use crate::base::time::Instant;

/// The control law of one connection's window.
#[derive(Debug)]
pub(crate) struct Concurrency {
    min: u32,
    max: u32,
    /// In force now, trials included.
    limit: u32,
    /// Where trials begin, and go back to if they do not pay.
    settled: u32,
    phase: Phase,
    /// Answers of this epoch.
    answers: u32,
    /// Calls in flight, added up over the answers of this epoch.
    places: u64,
    /// The turn of the last answer, and how many were in flight before those that came in it: what they leave is filled up after it.
    heard_in: Instant,
    heard_of: u32,
    /// Answers at which something is to be done next.
    due: u32,
    /// The answers that come first belong to the window before; they are not measured.
    settling: bool,
    since: Instant,
    /// Nothing has been in flight since then.
    idle_since: Option<Instant>,
    idle_ns: u64,
    /// The shortest mean round trip since the last look, or that look.
    shortest_ns: f64,
    /// What it was when a drain began, which has it measured anew.
    before_drain_ns: f64,
    /// When it is too old to be believed, and looked at anew; and from when on it may be because others do.
    drain_at: Instant,
    join_at: Instant,
    /// Epochs at the settled window before the next trial, and after how many trials in a row that did not pay.
    rest: u32,
    unpaid: u32,
    /// The mean round trip of the last epoch.
    round_trip_ns: f64,
    /// Pushed back at this window, and for how many epochs that is believed.
    ceiling: (u32, u32),
    /// No further pushback counts before.
    deaf_until: Instant,
    /// Answers that make up for the next time-outs.
    answers_in_hand: u32,
    /// The last pause, while refusals go on at the smallest window.
    pause: Duration,
}

/// What the present epoch is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Doubling: the best rate so far, its window, and how many epochs have not been better.
    Rise { best: f64, at: u32, misses: u32 },
    /// At the settled window. The next trial goes up, or down.
    Base { up: bool },
    /// A trial against this rate.
    Trial { up: bool, base: f64 },
    /// A look at the server's own time, with hardly a call in flight.
    Drain { up: bool, until: Instant },
}

/// What pushes a window back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushback {
    /// The server refused a call for being too busy, and may have said for how long.
    Refused { wait: Option<Duration> },
    /// The time of a call ran out.
    TimedOut,
    /// The connection was lost with calls on it.
    Lost,
}

/// What came of an epoch or of a pushback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A trial begins or ends; the settled window stays.
    Trial,
    Raised,
    /// Cut because more in flight brought no more answers, or only longer round trips.
    Flat,
    /// Cut by a pushback. No call is to be sent during the pause.
    Pushed {
        pause: Duration,
    },
    /// Not cut again, but told for how long no call is to be sent.
    Paused {
        pause: Duration,
    },
}

/// What a doubling has to bring: BBR's quarter.
const RISE_PAYS: f64 = 1.25;

/// Doublings in a row that did not pay, before the pipe is taken for full.
const RISE_MISSES: u32 = 2;

/// Share of the window that has to be in use, or nothing is decided.
const USED: f64 = 0.8;

/// A trial moves the window by one in so many, at least by one.
const TRIAL_PART: u32 = 8;

/// Of what a server with room would have gained, the part for which a larger window is worth it.
const UP_PAYS: f64 = 0.1;

/// Of what a server with room would have lost, the part that a smaller window may lose.
const DOWN_COSTS: f64 = 0.12;

/// Round trips longer than the shortest by this factor are mostly queue.
const STRETCH_MAX: f64 = 2.0;

/// Own calls in the queue that are no reason to shrink (TCP Vegas keeps two to four).
const QUEUED_FEW: f64 = 4.0;

/// What is left of a window after a pushback, in eighths.
const LEFT_EIGHTHS: u32 = 7;

/// How long the shortest round trip is believed: ten seconds as in BBR, or so many round trips; then it is measured with a quarter of
/// the window, or with two calls where round trips are half as long again, for so many of the round trips there are at present. Clients that share a server see it idle at the same time, which sets their
/// clocks alike: the next time they look together, and see it without the queue of the others.
const DRAIN_EVERY: Duration = Duration::from_secs(10);
const DRAIN_EVERY_ROUNDS: f64 = 400.0;
const DRAIN_ROUNDS: f64 = 10.0;
const DRAIN_PART: u32 = 4;
const DRAIN_WINDOW_MIN: u32 = 2;
const DRAIN_ALL: f64 = 1.5;

/// Round trips that have become so much shorter, and were so much longer than the shortest, are a sign that another client drains.
const DIP: f64 = 0.8;
const QUEUE_STANDS: f64 = 1.75;

/// Trials that do not pay make the rests between them longer, up to so many epochs: a trial costs up to an eighth of the rate.
const REST_MAX: u32 = 6;

/// Epochs, of four round trips each, for which a pushback's window is a ceiling.
const CEILING_EPOCHS: u32 = 64;

/// Answers of an epoch of cruising: so many, and four for each place. Random service times of 48 answers have an error of 14 %;
/// decisions that come out wrong half the time and right the other half still have a drift.
const ANSWERS_MIN: u32 = 48;
const ANSWERS_RISE: u32 = 8;
const ANSWERS_DRAIN: u32 = 16;
const ROUNDS: u32 = 4;

/// The shortest epochs, rising and cruising: answers come in bunches, as reads bring them, and many bunches make a rate.
const RISE_NS_MIN: u64 = 1_000_000;
const CRUISE_NS_MIN: u64 = 4_000_000;

/// Time-outs count if there is one for every so many answers: a lone one says something of its call, not of the server. Epochs are
/// not asked, of which one may be a few answers old; but answers of long ago make up for no more than two. The first time-out of all is
/// a lone one.
const ANSWERS_PER_TIMEOUT: u32 = 16;
const ANSWERS_IN_HAND_MAX: u32 = 2 * ANSWERS_PER_TIMEOUT;

/// However long the server wants to be left alone: calls have deadlines, and it may be wrong.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The longest pause when the server does not say how long.
const PAUSE_UNTOLD_MAX: Duration = Duration::from_millis(500);

/// The shortest time between two pushbacks, where no round trip is known.
const DEAF_NS_MIN: u64 = 1_000_000;

impl Concurrency {
    /// A window that begins at `min` and never leaves `min..=max`.
    pub(crate) fn new(min: u32, max: u32) -> Self {
        debug_assert!(0 < min && min <= max, "the configuration has checked them");
        let mut law = Self {
            min,
            max,
            limit: min,
            settled: min,
            phase: Phase::Rise { best: 0.0, at: min, misses: 0 },
            answers: 0,
            places: 0,
            heard_in: Instant::NEVER,
            heard_of: 0,
            due: 0,
            settling: true,
            since: Instant::default(),
            idle_since: None,
            idle_ns: 0,
            shortest_ns: f64::INFINITY,
            before_drain_ns: f64::INFINITY,
            drain_at: Instant::NEVER,
            join_at: Instant::NEVER,
            rest: 0,
            unpaid: 0,
            round_trip_ns: 0.0,
            ceiling: (u32::MAX, 0),
            deaf_until: Instant::default(),
            answers_in_hand: ANSWERS_PER_TIMEOUT,
            pause: Duration::ZERO,
        };
        law.settle(1);
        law
    }

    /// The window in force.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// A call is on its way, and none was before.
    pub(crate) fn begun(&mut self, now: Instant) {
        if let Some(since) = self.idle_since.take() {
            self.idle_ns += now.ns().saturating_sub(since.ns());
        }
    }

    /// A call was answered well, in the turn that began at `turn`; `in_flight` were under way, this one included. What changed, if anything did.
    #[inline]
    pub(crate) fn answered(&mut self, now: Instant, turn: Instant, in_flight: u32) -> Option<Change> {
        self.answers += 1;
        self.answers_in_hand = (self.answers_in_hand + 1).min(ANSWERS_IN_HAND_MAX);
        if turn != self.heard_in {
            (self.heard_in, self.heard_of) = (turn, in_flight);
        }
        self.heard_of = self.heard_of.max(in_flight);
        self.places += u64::from(self.heard_of);
        if in_flight <= 1 {
            self.idle_since = Some(now);
        }
        if self.answers < self.due { None } else { self.turn_page(now) }
    }

    /// A call has ended and was not answered well; none is in flight any more.
    pub(crate) fn emptied(&mut self, now: Instant) {
        self.idle_since.get_or_insert(now);
    }

    /// The server, or the want of it, says that it is too much.
    pub(crate) fn pushed_back(&mut self, now: Instant, pushback: Pushback) -> Option<Change> {
        if pushback == Pushback::TimedOut
            && let Some(left) = self.answers_in_hand.checked_sub(ANSWERS_PER_TIMEOUT)
        {
            self.answers_in_hand = left;
            return None;
        }
        let told = match pushback {
            Pushback::Refused { wait } => wait.map(|wait| wait.min(PAUSE_MAX)),
            Pushback::TimedOut | Pushback::Lost => None,
        };
        if now < self.deaf_until {
            // It was sent before the cut, as others were that are refused with it. How long it is to wait is news.
            let wait = told.filter(|wait| !wait.is_zero())?;
            self.pause = wait;
            self.deaf_until = self.deaf_until.max(now.after(wait));
            return Some(Change::Paused { pause: wait });
        }
        let round_trip = (self.round_trip_ns as u64).max(DEAF_NS_MIN);
        // A look at the server's own time has hardly a call in flight: what pushes back are calls from before.
        let stood = if matches!(self.phase, Phase::Drain { .. }) { self.settled } else { self.limit };
        let at_bottom = stood == self.min;
        self.pause = match (told, pushback) {
            (Some(wait), _) => wait,
            (None, Pushback::Refused { .. }) if at_bottom => {
                (self.pause * 2).max(Duration::from_nanos(round_trip)).min(PAUSE_UNTOLD_MAX)
            }
            _ => Duration::ZERO,
        };
        self.deaf_until = now.after(self.pause.max(Duration::from_nanos(round_trip)));
        self.leave_drain();
        self.ceiling = (stood.max(self.min + 1), CEILING_EPOCHS);
        self.settled = (u64::from(stood) * u64::from(LEFT_EIGHTHS) / 8).max(1) as u32;
        self.settled = self.settled.max(self.min);
        self.go(self.settled, Phase::Base { up: true }, stood);
        Some(Change::Pushed { pause: self.pause })
    }

    /// Another transport: what was in flight is gone, what is known of the server stays.
    pub(crate) fn restart(&mut self) {
        self.idle_since = None;
        self.leave_drain();
        let (limit, phase) = (self.settled, self.phase);
        let phase = if matches!(phase, Phase::Rise { .. }) { phase } else { Phase::Base { up: true } };
        self.rest = 0;
        self.go(limit, phase, 1);
    }

    // Inside.

    /// So many answers are in: the epoch ends, or its measured part begins.
    #[cold]
    fn turn_page(&mut self, now: Instant) -> Option<Change> {
        if self.settling {
            self.settling = false;
            (self.since, self.idle_ns) = (now, 0);
            (self.answers, self.places) = (0, 0);
            self.due = match self.phase {
                Phase::Rise { .. } => (2 * self.limit).max(ANSWERS_RISE),
                Phase::Drain { .. } => (2 * self.limit).max(ANSWERS_DRAIN),
                Phase::Base { .. } | Phase::Trial { .. } => (ROUNDS * self.limit).max(ANSWERS_MIN),
            };
            return None;
        }
        let elapsed = now.ns().saturating_sub(self.since.ns()).saturating_sub(self.idle_ns);
        let enough = match self.phase {
            Phase::Rise { .. } | Phase::Drain { .. } => RISE_NS_MIN,
            Phase::Base { .. } | Phase::Trial { .. } => CRUISE_NS_MIN,
        };
        if elapsed < enough && self.answers < u32::MAX / 2 {
            self.due = self.answers + self.limit.max(ANSWERS_RISE);
            return None;
        }
        let (answers, places) = (f64::from(self.answers), self.places as f64 / f64::from(self.answers));
        let rate = answers / elapsed.max(1) as f64;
        let before_ns = std::mem::replace(&mut self.round_trip_ns, places / rate);
        if self.round_trip_ns <= self.shortest_ns {
            self.shortest_ns = self.round_trip_ns;
            self.believe(now);
        }
        self.pause = Duration::ZERO;
        // A queue that shortens by itself: another client takes its calls out to see the server idle. Together they do.
        let others_drain =
            self.round_trip_ns < DIP * before_ns && before_ns > QUEUE_STANDS * self.shortest_ns;
        if others_drain
            && now >= self.join_at
            && matches!(self.phase, Phase::Base { .. } | Phase::Trial { .. })
        {
            self.drain_at = now;
            self.phase = Phase::Base { up: true };
        }
        self.decide(now, rate, places)
    }

    fn decide(&mut self, now: Instant, rate: f64, places: f64) -> Option<Change> {
        let before = self.limit;
        let is_used = places >= USED * f64::from(self.limit);
        // With few places an epoch takes many round trips to have its answers.
        let aged = match self.phase {
            Phase::Base { .. } | Phase::Trial { .. } => (ANSWERS_MIN / (ROUNDS * self.limit)).max(1),
            Phase::Rise { .. } | Phase::Drain { .. } => 1,
        };
        self.ceiling.1 = self.ceiling.1.saturating_sub(aged);
        match self.phase {
            Phase::Rise { best, at, misses } => {
                let paid = rate >= RISE_PAYS * best && self.stretch() <= STRETCH_MAX;
                if !is_used {
                    self.settle(0);
                    None
                } else if paid && self.limit < self.max {
                    self.settled = (self.limit * 2).min(self.max);
                    self.go(self.settled, Phase::Rise { best: rate, at: before, misses: 0 }, before);
                    Some(Change::Raised)
                } else if paid || misses + 1 >= RISE_MISSES {
                    let flat = !paid;
                    self.settled = if paid || rate > best * (1.0 + UP_PAYS) { before } else { at };
                    self.go(self.settled, Phase::Base { up: !flat }, before);
                    flat.then_some(Change::Flat)
                } else {
                    self.phase = Phase::Rise { best, at, misses: misses + 1 };
                    self.settle(0);
                    None
                }
            }
            Phase::Base { up } => {
                if now >= self.drain_at {
                    return self.drain(now, up, is_used);
                }
                if !is_used {
                    self.settle(0);
                    return None;
                }
                let queued = places * (1.0 - 1.0 / self.stretch());
                if self.stretch() > STRETCH_MAX && queued > QUEUED_FEW && self.settled > self.min {
                    self.settled = self.lower();
                    self.go(self.settled, Phase::Base { up: false }, before);
                    return Some(Change::Flat);
                }
                if self.rest > 0 {
                    self.rest -= 1;
                    self.settle(0);
                    return None;
                }
                self.attempt(up, rate)
            }
            Phase::Trial { up: true, base } => {
                let step = f64::from(self.limit) / f64::from(self.settled) - 1.0;
                let paid = is_used && rate >= base * (1.0 + UP_PAYS * step) && self.stretch() <= STRETCH_MAX;
                if paid {
                    (self.settled, self.unpaid) = (self.limit, 0);
                    self.go(self.settled, Phase::Base { up: true }, 1);
                    // What was measured is the base of the next trial.
                    self.attempt(true, rate);
                    return Some(Change::Raised);
                }
                self.unpaid();
                self.go(self.settled, Phase::Base { up: false }, before);
                Some(Change::Trial)
            }
            Phase::Trial { up: false, base } => {
                let step = 1.0 - f64::from(self.limit) / f64::from(self.settled);
                let free = is_used && rate >= base * (1.0 - DOWN_COSTS * step);
                if free {
                    (self.settled, self.unpaid) = (self.limit, 0);
                    self.go(self.settled, Phase::Base { up: false }, 1);
                    self.attempt(false, rate);
                    return Some(Change::Flat);
                }
                self.unpaid();
                self.go(self.settled, Phase::Base { up: true }, before);
                Some(Change::Trial)
            }
            Phase::Drain { until, .. } if now < until => {
                self.settle(0);
                None
            }
            Phase::Drain { up, .. } => {
                self.believe(now);
                self.go(self.settled, Phase::Base { up }, before);
                Some(Change::Trial)
            }
        }
    }

    /// Begins a trial against `base`, in the direction of `up` or, where that way is closed, the other one.
    fn attempt(&mut self, up: bool, base: f64) -> Option<Change> {
        let (before, higher, lower) = (self.limit, self.higher(), self.lower());
        let (can_rise, can_fall) = (higher > self.settled, lower < self.settled);
        let up = if up { can_rise } else { !can_fall && can_rise };
        let to = if up { higher } else { lower };
        if to == self.settled {
            self.phase = Phase::Base { up: true };
            self.settle(0);
            return None;
        }
        self.go(to, Phase::Trial { up, base }, before);
        Some(Change::Trial)
    }

    /// Shows the server's own time by taking the queue away for a moment.
    fn drain(&mut self, now: Instant, up: bool, is_used: bool) -> Option<Change> {
        let part = if self.stretch() > DRAIN_ALL { self.settled } else { DRAIN_PART };
        let window = (self.settled / part).max(DRAIN_WINDOW_MIN).clamp(self.min, self.max);
        if !is_used || self.settled <= window {
            // There is hardly a queue of ours in what was measured just now.
            self.shortest_ns = self.round_trip_ns;
            self.believe(now);
            self.settle(0);
            return None;
        }
        let until = now.after(Duration::from_nanos((DRAIN_ROUNDS * self.round_trip_ns) as u64));
        self.before_drain_ns = self.shortest_ns;
        self.shortest_ns = f64::INFINITY;
        self.go(window, Phase::Drain { up, until }, self.settled);
        Some(Change::Trial)
    }

    /// A drain that is broken off has shown nothing: what was known before stays.
    fn leave_drain(&mut self) {
        if matches!(self.phase, Phase::Drain { .. }) && self.shortest_ns.is_infinite() {
            self.shortest_ns = self.before_drain_ns;
        }
    }

    /// The shortest round trip has been seen just now.
    fn believe(&mut self, now: Instant) {
        let rounds = Duration::from_nanos((DRAIN_EVERY_ROUNDS * self.round_trip_ns) as u64);
        let every = DRAIN_EVERY.max(rounds);
        (self.drain_at, self.join_at) = (now.after(every), now.after(every / 4));
    }

    /// A trial did not pay.
    fn unpaid(&mut self) {
        self.unpaid = (self.unpaid + 1).min(REST_MAX);
        self.rest = self.unpaid;
    }

    fn higher(&self) -> u32 {
        let higher = self.settled.saturating_add((self.settled / TRIAL_PART).max(1)).min(self.max);
        if self.ceiling.1 > 0 { higher.min(self.ceiling.0 - 1).max(self.settled) } else { higher }
    }

    fn lower(&self) -> u32 {
        (self.settled - (self.settled / TRIAL_PART).max(1).min(self.settled)).max(self.min)
    }

    /// How much longer than the shortest the last round trip was.
    fn stretch(&self) -> f64 {
        if self.shortest_ns > 0.0 && self.shortest_ns.is_finite() {
            self.round_trip_ns / self.shortest_ns
        } else {
            1.0
        }
    }

    /// Another window; the calls of the one `before` are answered first, and not measured.
    fn go(&mut self, limit: u32, phase: Phase, before: u32) {
        self.limit = limit.clamp(self.min, self.max);
        self.phase = phase;
        self.settle(before.max(self.limit));
    }

    /// The next epoch is measured after so many answers.
    fn settle(&mut self, answers: u32) {
        (self.answers, self.places) = (0, 0);
        (self.settling, self.due) = (true, answers.max(1));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A server that answers `rate(window)` calls a second, exactly. Returns the window after so many answers.
    fn after(law: &mut Concurrency, now: &mut u64, answers: u32, rate: impl Fn(u32) -> f64) -> u32 {
        for _ in 0..answers {
            *now += (1e9 / rate(law.limit())) as u64;
            let window = law.limit();
            law.answered(Instant::from_ns(*now), Instant::from_ns(*now), window);
        }
        law.limit()
    }

    /// Eight workers of 10 ms, 1 ms away.
    fn eight_workers(window: u32) -> f64 {
        (f64::from(window) / 0.011).min(800.0)
    }

    #[test]
    fn it_stands_at_the_knee() {
        let (mut law, mut now) = (Concurrency::new(1, 256), 0);
        after(&mut law, &mut now, 20_000, eight_workers);
        assert!((8..=12).contains(&law.settled), "settled at {}", law.settled);
    }

    /// It was forgotten once, and the round trips of a full queue were taken for the server's own.
    #[test]
    fn a_drain_that_is_broken_off_forgets_no_round_trip() {
        let mut law = Concurrency::new(1, 256);
        (law.settled, law.shortest_ns, law.round_trip_ns) = (100, 5e6, 5e7);
        law.drain(Instant::from_ns(1), true, true);
        assert!(matches!(law.phase, Phase::Drain { .. }) && law.shortest_ns.is_infinite());
        law.restart();
        assert_eq!(law.shortest_ns, 5e6);
    }

    #[test]
    fn where_every_place_pays_it_takes_all() {
        let (mut law, mut now) = (Concurrency::new(1, 256), 0);
        let window = after(&mut law, &mut now, 20_000, |window| f64::from(window) * 100.0);
        assert!(window >= 200 || law.settled == 256, "{window} of {}", law.settled);
    }

    #[test]
    fn a_server_that_becomes_slower_and_faster_again_is_followed() {
        let (mut law, mut now) = (Concurrency::new(1, 1024), 0);
        let workers = |n: f64| move |window: u32| f64::from(window).min(n) * 100.0;
        after(&mut law, &mut now, 50_000, workers(100.0));
        assert!((90..=130).contains(&law.settled), "100 workers: {}", law.settled);
        after(&mut law, &mut now, 50_000, workers(10.0));
        assert!((9..=15).contains(&law.settled), "10 workers: {}", law.settled);
        after(&mut law, &mut now, 400_000, workers(100.0));
        assert!((85..=130).contains(&law.settled), "100 workers again: {}", law.settled);
    }

    #[test]
    fn a_window_that_is_not_used_proves_nothing() {
        let (mut law, mut now) = (Concurrency::new(1, 256), 0);
        after(&mut law, &mut now, 20_000, eight_workers);
        let before = law.settled;
        for _ in 0..20_000 {
            now += 1_000_000;
            law.answered(Instant::from_ns(now), Instant::from_ns(now), 2);
        }
        assert_eq!(law.settled, before);
    }

    /// Time in which nothing was in flight is not the server's.
    #[test]
    fn idle_time_is_not_counted() {
        let (mut law, mut now) = (Concurrency::new(1, 64), 0);
        for _ in 0..30_000 {
            // All places are filled at once, answered one after the other in 1 ms each; then nothing for 50 ms.
            let window = law.limit();
            law.begun(Instant::from_ns(now));
            for left in (1..=window).rev() {
                now += 1_000_000 / u64::from(window);
                law.answered(Instant::from_ns(now), Instant::from_ns(now), left);
            }
            now += 50_000_000;
        }
        assert!(law.shortest_ns < 2_000_000.0, "{}", law.shortest_ns);
    }

    #[test]
    fn pushback_cuts_once_in_a_round_trip_and_makes_a_ceiling() {
        let (mut law, mut now) = (Concurrency::new(1, 256), 0);
        after(&mut law, &mut now, 20_000, |window| f64::from(window) * 100.0);
        let before = law.limit();
        let refused = Pushback::Refused { wait: None };
        let changed = law.pushed_back(Instant::from_ns(now), refused);
        assert_eq!(changed, Some(Change::Pushed { pause: Duration::ZERO }));
        assert_eq!(law.limit(), before * 7 / 8);
        assert_eq!(law.pushed_back(Instant::from_ns(now + 1_000_000), refused), None, "the same round trip");
        after(&mut law, &mut now, 8_000, |window| f64::from(window) * 100.0);
        assert!(law.limit() < before && law.limit() > before * 7 / 8, "{} of {before}", law.limit());
    }

    /// Each of them cut it once more: twenty refusals of one burst took a window of 64 to 1, with a ceiling of 2.
    #[test]
    fn a_burst_of_refusals_that_say_how_long_cuts_once() {
        let (mut law, mut now) = (Concurrency::new(1, 256), 0);
        after(&mut law, &mut now, 20_000, |window| f64::from(window) * 100.0);
        let before = law.limit();
        let refused = |seconds| Pushback::Refused { wait: Some(Duration::from_secs(seconds)) };
        let pause = Duration::from_secs(1);
        assert_eq!(law.pushed_back(Instant::from_ns(now), refused(1)), Some(Change::Pushed { pause }));
        for n in 1..64 {
            let told = law.pushed_back(Instant::from_ns(now + n), refused(1));
            assert_eq!(told, Some(Change::Paused { pause }));
        }
        assert_eq!(law.limit(), before * 7 / 8);
        let longer = law.pushed_back(Instant::from_ns(now + 64), refused(3));
        assert_eq!(longer, Some(Change::Paused { pause: pause * 3 }), "the longest is what counts");
        let during = now + 2_500_000_000;
        assert_eq!(law.pushed_back(Instant::from_ns(during), Pushback::Refused { wait: None }), None);
        assert_eq!(law.limit(), before * 7 / 8);
    }

    /// It was 64 epochs of 49 answers: nearly an hour for calls of a second, one at a time.
    #[test]
    fn a_ceiling_at_the_bottom_ends_after_some_hundred_round_trips() {
        let (mut law, mut now) = (Concurrency::new(1, 256), 0);
        let idle = |window: u32| f64::from(window);
        law.pushed_back(Instant::from_ns(now), Pushback::Lost);
        assert_eq!(law.limit(), 1);
        after(&mut law, &mut now, 500, idle);
        assert!(law.settled > 1, "after 500 calls of a second, one at a time");
    }

    #[test]
    fn the_first_time_out_of_all_says_nothing_of_the_server() {
        let mut law = Concurrency::new(1, 256);
        assert_eq!(law.pushed_back(Instant::from_ns(0), Pushback::TimedOut), None);
        assert!(matches!(law.phase, Phase::Rise { .. }));
        assert!(law.pushed_back(Instant::from_ns(0), Pushback::TimedOut).is_some(), "a second one does");
    }

    /// Of a window that is answered by one array, or by as many sockets in one turn, half seemed to be in use, and it was never raised.
    #[test]
    fn a_window_that_is_answered_all_together_was_all_in_use() {
        let (mut law, mut now) = (Concurrency::new(8, 256), 0);
        for _ in 0..200 {
            now += 10_000_000;
            let window = law.limit();
            law.begun(Instant::from_ns(now));
            now += 10_000_000;
            for left in (1..=window).rev() {
                // Each on a socket of its own, and read a little later than the one before.
                let read_at = Instant::from_ns(now + u64::from(window - left));
                law.answered(read_at, Instant::from_ns(now), left);
            }
        }
        assert_eq!(law.settled, 256, "each place pays");
    }

    #[test]
    fn a_lone_time_out_among_many_answers_says_nothing_of_the_server() {
        let (mut law, mut now) = (Concurrency::new(1, 256), 0);
        after(&mut law, &mut now, 20_000, eight_workers);
        for _ in 0..2 {
            assert_eq!(law.pushed_back(Instant::from_ns(now), Pushback::TimedOut), None);
        }
        after(&mut law, &mut now, 15, eight_workers);
        assert!(
            law.pushed_back(Instant::from_ns(now), Pushback::TimedOut).is_some(),
            "three of some twenty do"
        );
    }

    /// The ratio was that of the present epoch, which may be a few answers old: one time-out of ten counted, each under the ceiling of
    /// the one before, and in the end the window stood at 1.
    #[test]
    fn one_call_in_five_hundred_that_hangs_does_not_close_the_window() {
        let (mut law, mut now) = (Concurrency::new(1, 256), 0);
        let until_64 = |window: u32| f64::from(window.min(64)) * 100.0;
        for _ in 0..800 {
            after(&mut law, &mut now, 499, until_64);
            law.pushed_back(Instant::from_ns(now), Pushback::TimedOut);
        }
        assert!(law.settled >= 48, "{}", law.settled);
    }

    /// A call sent before may be refused while a look at the server's own time has two in flight: seven eighths of two were one, with a
    /// ceiling of two.
    #[test]
    fn a_refusal_during_a_look_cuts_the_window_and_not_the_look() {
        let (mut law, mut now) = (Concurrency::new(1, 256), 0);
        while !matches!(law.phase, Phase::Drain { .. }) || law.settled < 16 {
            // Each call more makes all a little longer, so the shortest round trip grows old.
            after(&mut law, &mut now, 1, |window| 25_600.0 * f64::from(window) / f64::from(window + 64));
            assert!(now < 600_000_000_000, "it never looked");
        }
        let before = law.settled;
        law.pushed_back(Instant::from_ns(now), Pushback::Refused { wait: None });
        assert_eq!((law.settled, law.ceiling.0), (before * 7 / 8, before));
    }

    #[test]
    fn refusals_at_the_bottom_bring_pauses_that_grow_and_end() {
        let mut law = Concurrency::new(1, 256);
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            now += 2_000_000_000;
            match law.pushed_back(Instant::from_ns(now), Pushback::Refused { wait: None }) {
                Some(Change::Pushed { pause }) => pauses.push(pause),
                other => panic!("{other:?}"),
            }
        }
        assert!(pauses.is_sorted() && pauses[0] < pauses[5] && pauses[11] == PAUSE_UNTOLD_MAX, "{pauses:?}");
        now += 2_000_000_000;
        let wait = Some(Duration::from_secs(3600));
        let told = law.pushed_back(Instant::from_ns(now), Pushback::Refused { wait });
        assert_eq!(told, Some(Change::Pushed { pause: PAUSE_MAX }), "what the server says, to a point");
        after(&mut law, &mut now, 200, eight_workers);
        assert_eq!(law.pause, Duration::ZERO);
    }

    proptest! {
        /// Whatever happens in whatever order, the window stays in its bounds and the law does not panic.
        #[test]
        fn any_story_keeps_the_window_in_bounds(
            min in 1u32..20,
            more in 0u32..500,
            steps in proptest::collection::vec((0u8..8, 0u64..20_000_000), 0..2000),
        ) {
            let mut law = Concurrency::new(min, min + more);
            let (mut now, mut in_flight) = (0u64, 0u32);
            for (step, wait) in steps {
                now += wait;
                let at = Instant::from_ns(now);
                match step {
                    0..=2 => {
                        while in_flight < law.limit() {
                            if in_flight == 0 { law.begun(at); }
                            in_flight += 1;
                        }
                    }
                    3..=5 => {
                        for _ in 0..in_flight.min(1 + (wait % 64) as u32) {
                            law.answered(at, at, in_flight);
                            in_flight -= 1;
                        }
                    }
                    6 => {
                        let wait = (wait % 3 == 0).then(|| Duration::from_nanos(wait * 1000));
                        law.pushed_back(at, if wait.is_some() || now % 2 == 0 {
                            Pushback::Refused { wait }
                        } else { Pushback::TimedOut });
                    }
                    _ => {
                        law.pushed_back(at, Pushback::Lost);
                        law.restart();
                        in_flight = 0;
                    }
                }
                prop_assert!((min..=min + more).contains(&law.limit()));
                prop_assert!((min..=min + more).contains(&law.settled));
                prop_assert!(law.due > 0);
            }
        }
    }
}
