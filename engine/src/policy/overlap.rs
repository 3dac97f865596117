//! Does it pay to read in parts, so that both sides of a wire work at once?
//!
//! Whoever takes all answers that have come, and only then sends the next calls, has the server wait meanwhile, and then waits for it. A
//! quarter of what is in flight at a time keeps both at work. With a window of 64 or 256 calls and a core for either side that
//! is up to twice the rate; where the two share a core it is nothing but more system calls, and half
//! the rate. Nothing tells one from the other but trying, so that is what this does:
//!
//! - **rest**: all is read as it was settled. Each 64 windows it is looked at what is in flight, which says how long a part is.
//!   Few calls, and those of which a quarter is about a whole slice, are read whole; so is everything while answers are kept so long
//!   that each read takes new memory, which would hold a part where it held a window. After four such looks in a row nothing is settled any more;
//! - **trials**: six of 32 windows each, whole, parts, parts, whole, whole, parts, so that a drift favours neither. The longest pause in each is left
//!   out. Parts are taken up if they were faster by 15 % in each of the three pairs, and kept while they are faster by 5 % on the whole. Each time that
//!   the same is found the rest is twice as long, up to 160 times as long as the trials (80 in parts), in windows.
//!
//! A trial with fewer calls in flight on average than half of those at its begin, or many more, says nothing; then all six come to nothing, and after
//! three times in a row reads are whole.
//!
//! Unit: bytes. Cost of a read: a subtraction and a compare, outside the trials. Owner: one shard with one line, on one thread; time is an
//! argument. Always: `PART_BYTES_MIN <= asked <= READ_SLICE_BYTES`. Proof: `any_story_asks_within_bounds` and the stories, below. ADR 0025.

use std::time::Duration;

use crate::base::{limits::READ_SLICE_BYTES, time::Instant};

/// How the line is doing: calls in flight that will be answered, and counters of its whole life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    pub(crate) in_flight: u32,
    pub(crate) bytes_in: u64,
    pub(crate) answered: u64,
    /// Pieces of memory for reading into, made because those before were still in use.
    pub(crate) chunks_made: u64,
}

/// The law of one line.
#[derive(Debug)]
pub(crate) struct Overlap {
    /// What a read asks for now, trials included.
    asked: usize,
    is_in_parts: bool,
    trial: Option<Trial>,
    /// Bytes until something is to be done.
    left: u64,
    /// When it was last looked at.
    before: Load,
    /// Calls and bytes in flight then, and how long a part is.
    calls: u32,
    window: u64,
    part: usize,
    /// Looks until the trials, and how many there are between the last ones and those.
    looks_left: u32,
    looks: u32,
    /// Looks in a row, and trials in a row, that came to nothing.
    look_misses: u32,
    trial_misses: u32,
}

#[derive(Clone, Debug, Default)]
struct Trial {
    number: usize,
    /// When it began: once what belongs to the one before is through.
    since: Option<Instant>,
    last: Instant,
    /// The longest time between two reads.
    pause: Duration,
    /// Reads, and the calls that were in flight, added up.
    reads: u64,
    places: u64,
    /// How long those before took without their longest pause.
    took: [Duration; TRIALS],
}

const TRIALS: usize = 6;
const IN_PARTS: [bool; TRIALS] = [false, true, true, false, false, true];

const TRIAL_WINDOWS: u64 = 32;
const SETTLING_WINDOWS: u64 = 2;
const LOOK_WINDOWS: u64 = 64;

/// Until the first look, and between looks at what cannot be read in parts.
const LOOK_BYTES_MIN: u64 = 64 * 1024;

/// Between looks at any: those of the largest window that is read in parts.
const LOOK_BYTES_MAX: u64 = LOOK_WINDOWS * PARTS_OF_A_WINDOW * PART_BYTES_MAX as u64;

/// More than so many since the last look: answers are being kept.
const CHUNKS_MADE_MAX: u64 = 8;

const LOOKS_MIN: u32 = 8;
const LOOKS_MAX: u32 = 512;

/// Parts cost more where they do not pay, and are doubted sooner.
const LOOKS_IN_PARTS_MAX: u32 = 256;

const LOOK_MISSES_MAX: u32 = 4;
const TRIAL_MISSES_MAX: u32 = 3;

const PARTS_OF_A_WINDOW: u64 = 4;
const PART_BYTES_MIN: usize = 512;
const PART_BYTES_MAX: usize = READ_SLICE_BYTES * 3 / 4;

/// With fewer a part is a call or two.
const CALLS_MIN: u32 = 32;

impl Default for Overlap {
    fn default() -> Self {
        Self {
            asked: READ_SLICE_BYTES,
            is_in_parts: false,
            trial: None,
            left: LOOK_BYTES_MIN,
            before: Load::default(),
            calls: 0,
            window: 0,
            part: READ_SLICE_BYTES,
            looks_left: 1,
            looks: LOOKS_MIN,
            look_misses: 0,
            trial_misses: 0,
        }
    }
}

impl Overlap {
    /// How much the next read asks for.
    #[inline]
    pub(crate) fn asked(&self) -> usize {
        self.asked
    }

    /// A read brought so much, before what it brought has been looked at.
    #[inline]
    pub(crate) fn has_read(&mut self, now: Instant, bytes: usize, load: impl FnOnce() -> Load) {
        self.left = self.left.saturating_sub(bytes as u64);
        if self.left == 0 || self.trial.is_some() {
            self.step(now, load());
        }
    }

    /// Nothing is settled any more.
    pub(crate) fn forget(&mut self) {
        *self = Self { before: self.before, ..Self::default() };
    }

    fn step(&mut self, now: Instant, load: Load) {
        let is_over = self.left == 0;
        let Some(trial) = &mut self.trial else {
            self.look(now, load);
            return;
        };
        trial.pause = trial.pause.max(now.since(trial.last));
        trial.last = now;
        (trial.reads, trial.places) = (trial.reads + 1, trial.places + u64::from(load.in_flight));
        if !is_over {
            return;
        }
        let Some(since) = trial.since else {
            (trial.since, trial.pause, trial.reads, trial.places) = (Some(now), Duration::ZERO, 0, 0);
            self.left = TRIAL_WINDOWS * self.window;
            return;
        };
        // What is meant is a caller who does not keep the window full, or an adaptive window on its way.
        let (calls, in_flight) = (u64::from(self.calls), trial.places / trial.reads.max(1));
        if !(calls / 2..=calls * 3 / 2).contains(&in_flight) {
            self.trial_misses += 1;
            if self.is_in_parts && self.trial_misses >= TRIAL_MISSES_MAX {
                (self.is_in_parts, self.looks) = (false, LOOKS_MIN / 2);
            }
            self.rest_longer(load);
            return;
        }
        trial.took[trial.number] = now.since(since).saturating_sub(trial.pause);
        trial.number += 1;
        trial.since = None;
        if let Some(is_in_parts) = IN_PARTS.get(trial.number) {
            self.asked = if *is_in_parts { self.part } else { READ_SLICE_BYTES };
            self.left = SETTLING_WINDOWS * self.window;
        } else {
            let took = trial.took;
            self.settle(took, load);
        }
    }

    /// What is in flight?
    fn look(&mut self, now: Instant, load: Load) {
        let answered = load.answered - self.before.answered;
        if answered == 0 {
            // A long one is coming in, of which nothing is known yet.
            self.left = LOOK_BYTES_MIN;
            return;
        }
        let answer_bytes = (load.bytes_in - self.before.bytes_in) / answered;
        let keeps = load.chunks_made - self.before.chunks_made > CHUNKS_MADE_MAX;
        (self.before, self.calls) = (load, load.in_flight);
        self.window = answer_bytes.saturating_mul(load.in_flight.into());
        let part = usize::try_from(self.window / PARTS_OF_A_WINDOW).unwrap_or(usize::MAX);
        if load.in_flight < CALLS_MIN || keeps || !(PART_BYTES_MIN..=PART_BYTES_MAX).contains(&part) {
            self.look_misses = self.look_misses.saturating_add(1);
            if self.look_misses >= LOOK_MISSES_MAX {
                (self.is_in_parts, self.looks, self.trial_misses) = (false, LOOKS_MIN, 0);
                self.looks_left = self.looks_left.min(LOOKS_MIN);
            }
            self.asked = READ_SLICE_BYTES;
            self.left = LOOK_WINDOWS.saturating_mul(self.window).clamp(LOOK_BYTES_MIN, LOOK_BYTES_MAX);
            return;
        }
        (self.part, self.look_misses) = (part, 0);
        self.looks_left = self.looks_left.saturating_sub(1);
        if self.looks_left == 0 {
            self.trial = Some(Trial { last: now, ..Trial::default() });
            self.asked = READ_SLICE_BYTES;
            self.left = SETTLING_WINDOWS * self.window;
        } else {
            self.rest();
        }
    }

    /// The trials are over.
    fn settle(&mut self, took: [Duration; TRIALS], load: Load) {
        let pairs =
            [0, 2, 4].map(|n| if IN_PARTS[n] { (took[n + 1], took[n]) } else { (took[n], took[n + 1]) });
        let is_faster = if self.is_in_parts {
            let [whole, parts] =
                pairs.iter().fold([Duration::ZERO; 2], |sum, pair| [sum[0] + pair.0, sum[1] + pair.1]);
            whole > parts + parts / 20
        } else {
            pairs.iter().all(|(whole, parts)| *whole > *parts + *parts * 3 / 20)
        };
        if is_faster != self.is_in_parts {
            self.looks = LOOKS_MIN / 2;
        }
        (self.is_in_parts, self.trial_misses) = (is_faster, 0);
        self.rest_longer(load);
    }

    /// Twice as long as before.
    fn rest_longer(&mut self, load: Load) {
        let max = if self.is_in_parts { LOOKS_IN_PARTS_MAX } else { LOOKS_MAX };
        self.looks = (2 * self.looks).min(max);
        (self.trial, self.before, self.looks_left) = (None, load, self.looks);
        self.rest();
    }

    /// As it was settled, until the next look.
    fn rest(&mut self) {
        self.asked = if self.is_in_parts { self.part } else { READ_SLICE_BYTES };
        self.left = LOOK_WINDOWS * self.window;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A server and a client with windows of so many calls; what a window takes, read in so many parts, is told.
    struct Story {
        overlap: Overlap,
        now: u64,
        load: Load,
        answer_bytes: u64,
        /// Time that passed while windows were read in parts, and all.
        ns: [u64; 2],
    }

    impl Story {
        fn new(in_flight: u32) -> Self {
            let load = Load { in_flight, ..Load::default() };
            Self { overlap: Overlap::default(), now: 1, load, answer_bytes: 180, ns: [0; 2] }
        }

        fn go(&mut self, windows: u64, mut took_ns: impl FnMut(bool) -> u64) {
            for _ in 0..windows {
                let mut rest = u64::from(self.load.in_flight) * self.answer_bytes;
                let is_in_parts = (self.overlap.asked() as u64) < rest.min(READ_SLICE_BYTES as u64);
                let ns = took_ns(is_in_parts);
                self.ns[0] += ns * u64::from(is_in_parts);
                self.ns[1] += ns;
                self.now += ns;
                while rest > 0 {
                    let bytes = rest.min(self.overlap.asked() as u64);
                    let load = self.load;
                    self.overlap.has_read(Instant::from_ns(self.now), bytes as usize, || load);
                    assert!((PART_BYTES_MIN..=READ_SLICE_BYTES).contains(&self.overlap.asked()));
                    rest -= bytes;
                    self.load.bytes_in += bytes;
                }
                self.load.answered += u64::from(self.load.in_flight);
            }
        }

        /// Of a thousandth of the time.
        fn in_parts(&mut self) -> u64 {
            let [parts, all] = std::mem::take(&mut self.ns);
            1_000 * parts / all
        }
    }

    #[test]
    fn with_a_core_each_it_reads_in_parts_soon_and_stays_with_it() {
        for in_flight in [64, 256] {
            let mut story = Story::new(in_flight);
            story.go(400, GAINS);
            story.in_parts();
            story.go(100_000, GAINS);
            assert!(story.in_parts() >= 975, "trials take little");
            // The server moves to our core.
            story.go(40_000, |is_in_parts| if is_in_parts { 30_000 } else { 15_000 });
            story.in_parts();
            story.go(100_000, |is_in_parts| if is_in_parts { 30_000 } else { 15_000 });
            assert!(story.in_parts() <= 12);
        }
    }

    #[test]
    fn where_it_makes_no_difference_reads_are_whole_whatever_the_noise() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut story = Story::new(64);
        // Single windows differ by a factor of two, and a twentieth for longer.
        let mut drift = 0;
        story.go(300_000, |_| {
            drift = if rng.u32(..1000) == 0 { rng.u64(..3_000) } else { drift };
            40_000 + drift + rng.u64(..40_000)
        });
        assert!(story.in_parts() <= 12);
    }

    #[test]
    fn few_calls_and_long_answers_are_read_whole() {
        for in_flight in [1, 16, 31, 1024] {
            let mut story = Story::new(in_flight);
            story.go(10_000, GAINS);
            assert_eq!(story.in_parts(), 0, "{in_flight}");
        }
    }

    const GAINS: fn(bool) -> u64 = |is_in_parts| if is_in_parts { 30_000 } else { 60_000 };

    /// A burst now and then, and few calls in between: what the few take is as good as nothing.
    #[test]
    fn windows_that_are_not_kept_full_are_not_judged() {
        let mut story = Story::new(64);
        for _ in 0..20_000 {
            story.load.in_flight = 64;
            story.go(1, GAINS);
            story.load.in_flight = 8;
            story.go(9, |_| 1_000);
            assert!(!story.overlap.is_in_parts);
        }
    }

    #[test]
    fn what_cannot_be_judged_for_long_is_not_in_parts_for_ever() {
        let mut story = Story::new(64);
        story.go(1_000, GAINS);
        assert!(story.overlap.is_in_parts);
        // Each look finds enough, and no trial what it began with.
        for _ in 0..20_000 {
            story.load.in_flight = 200;
            story.go(1, GAINS);
            story.load.in_flight = 40;
            story.go(5, |_| 1_000);
        }
        assert!(!story.overlap.is_in_parts);
    }

    /// Somebody else has the processor for ten milliseconds once in each trial of whole reads.
    #[test]
    fn one_long_pause_in_a_trial_is_nobodys() {
        let (mut story, mut paused) = (Story::new(64), None);
        for _ in 0..100_000 {
            story.go(1, |_| 40_000);
            let trial = story.overlap.trial.as_ref().filter(|trial| !IN_PARTS[trial.number]);
            let number = trial.and_then(|trial| trial.since.map(|_| trial.number));
            if number.is_some() && number != paused {
                story.now += 10_000_000;
            }
            paused = number;
            assert!(!story.overlap.is_in_parts);
        }
    }

    /// As many calls as are just read in parts, a few more and a few less: each look begins anew what the one before ended.
    #[test]
    fn a_load_about_the_least_is_not_tried_all_the_time() {
        let mut story = Story::new(64);
        for n in 0..200_000 {
            story.load.in_flight = if n / 64 % 2 == 0 { 24 } else { 40 };
            story.go(1, |is_in_parts| if is_in_parts { 60_000 } else { 30_000 });
        }
        assert!(story.in_parts() <= 20);
    }

    /// One read in thirteen is kept, so that some memory is new at each look, and never much.
    #[test]
    fn some_answers_that_are_kept_are_no_reason_to_try_all_the_time() {
        let mut story = Story::new(64);
        for n in 0..200_000 {
            story.load.chunks_made += u64::from(n % 13 == 0);
            story.go(1, |is_in_parts| if is_in_parts { 60_000 } else { 30_000 });
        }
        assert!(story.in_parts() <= 20);
    }

    /// A rate that rises all the while, as of a server that warms up, once looked like a gain of whatever came second.
    #[test]
    fn a_drift_is_no_gain() {
        for percent in [80_u64, 99, 101, 125] {
            let mut story = Story::new(64);
            let mut window_ns = 1_000_000_000;
            for _ in 0..100 {
                story.go(34, |_| window_ns);
                window_ns = (window_ns * percent / 100).clamp(20_000, 4_000_000_000);
                assert!(!story.overlap.is_in_parts, "{percent} %");
            }
        }
    }

    #[test]
    fn answers_that_are_kept_are_not_read_in_parts() {
        let mut story = Story::new(64);
        story.go(1_000, GAINS);
        assert!(story.overlap.is_in_parts);
        for _ in 0..1_000 {
            story.load.chunks_made += 1;
            story.go(1, GAINS);
        }
        assert!(!story.overlap.is_in_parts && story.overlap.asked() == READ_SLICE_BYTES);
        story.go(2_000, GAINS);
        assert!(story.overlap.is_in_parts, "they are not kept any more");
        story.overlap.forget();
        assert_eq!(story.overlap.asked(), READ_SLICE_BYTES);
    }

    #[test]
    fn after_long_answers_it_looks_again_soon() {
        let mut story = Story::new(1024);
        story.load.bytes_in = 10 << 30;
        story.load.answered = 1;
        story.go(1, |_| 60_000);
        story.overlap.has_read(Instant::from_ns(story.now), 10 << 20, || story.load);
        story.load.in_flight = 64;
        story.go(10_000, GAINS);
        assert!(story.overlap.is_in_parts);
    }

    proptest! {
        /// [`Story::go`] looks after each read.
        #[test]
        fn any_story_asks_within_bounds(
            pieces in proptest::collection::vec(
                (1u32..400, 8u64..400, 1u64..1_500, 0u64..100_000, 0u64..100_000, 0u64..20, any::<bool>()),
                1..12,
            ),
        ) {
            let mut story = Story::new(1);
            for (in_flight, answer_bytes, windows, whole, parts, chunks, forgets) in pieces {
                (story.load.in_flight, story.answer_bytes) = (in_flight, answer_bytes);
                story.load.chunks_made += chunks;
                if forgets {
                    story.overlap.forget();
                }
                story.go(windows, |is_in_parts| if is_in_parts { parts } else { whole });
            }
        }
    }
}
