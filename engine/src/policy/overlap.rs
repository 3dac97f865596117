//! Does it pay to read in parts, so that both sides of a wire work at once?
//!
//! Whoever takes all answers that have come, and only then sends the next calls, has the server wait meanwhile, and then waits for it. A
//! quarter of what is in flight at a time keeps both at work. With a window of 64 or 256 calls and a core for either side that
//! is up to twice the rate; where the two share a core it is nothing but more system calls, and half
//! the rate. Nothing tells one from the other but trying, so that is what this does:
//!
//! - **rest**: all is read as it was settled. Each 64 windows it is looked at what is in flight, which says how long a part is.
//!   Few calls, and those of which a quarter is about a whole slice, are never read in parts; nor is anything while answers are kept so long
//!   that each read takes new memory, which would hold a part where it held a window;
//! - **trials**: six of 32 windows each, whole, parts, parts, whole, whole, parts, so that a drift favours neither. Parts are taken up if they
//!   were faster by 15 % in each of the three pairs, and kept while they are faster by 5 % on the whole. What was settled twice in a row
//!   rests twice as long, up to two hundred times as long as the trials take.
//!
//! A trial during which the window empties or grows, or nothing comes for a quarter of the time, says nothing, and is broken off.
//!
//! Units: bytes, nanoseconds. Cost of a read: a subtraction and a compare, outside the trials. Owner: one shard with one line, on one thread; time is an
//! argument. Always: `PART_BYTES_MIN <= asked <= READ_SLICE_BYTES`. Proof: `any_story_asks_within_bounds` and the stories, below. ADR 0025.

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
    phase: Phase,
    /// Bytes until something is to be done.
    left: u64,
    /// When it was last looked at.
    before: Load,
    /// Calls and bytes in flight then, and how long a part is.
    calls: u32,
    window: u64,
    part: usize,
    /// Looks until the trials, and how many there were before the last ones.
    looks_left: u32,
    looks: u32,
}

#[derive(Debug)]
enum Phase {
    Rest,
    /// The number of the trial; how long those before took, in nanoseconds.
    Trial {
        number: usize,
        /// When it began: once what belongs to the one before is through.
        since: Option<Instant>,
        last: Instant,
        /// The longest time between two reads.
        gap: u64,
        took: [u64; TRIALS],
    },
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
const LOOKS_IN_PARTS_MAX: u32 = 128;

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
            phase: Phase::Rest,
            left: LOOK_BYTES_MIN,
            before: Load::default(),
            calls: 0,
            window: 0,
            part: READ_SLICE_BYTES,
            looks_left: 1,
            looks: LOOKS_MIN,
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
        if self.left == 0 || !matches!(self.phase, Phase::Rest) {
            self.step(now, load());
        }
    }

    fn step(&mut self, now: Instant, load: Load) {
        let is_over = self.left == 0;
        match &mut self.phase {
            Phase::Rest => self.look(now, load),
            // Nobody keeps the window full, or it is another one by now.
            Phase::Trial { .. } if !(self.calls / 4..=2 * self.calls).contains(&load.in_flight) => {
                self.break_off();
            }
            Phase::Trial { number, since, last, gap, took } => {
                *gap = (*gap).max(nanoseconds(*last, now));
                *last = now;
                if !is_over {
                    return;
                }
                let Some(begun) = *since else {
                    (*since, *gap) = (Some(now), 0);
                    self.left = TRIAL_WINDOWS * self.window;
                    return;
                };
                let all = nanoseconds(begun, now).max(1);
                if *gap > all / 4 {
                    self.break_off();
                    return;
                }
                took[*number] = all;
                (*number, *since) = (*number + 1, None);
                match IN_PARTS.get(*number) {
                    Some(is_in_parts) => {
                        self.asked = if *is_in_parts { self.part } else { READ_SLICE_BYTES };
                        self.left = SETTLING_WINDOWS * self.window;
                    }
                    None => {
                        let took = *took;
                        self.settle(took);
                    }
                }
            }
        }
    }

    /// The trials come to nothing; whole reads are never bad.
    fn break_off(&mut self) {
        (self.is_in_parts, self.looks) = (false, LOOKS_MIN);
        self.rest();
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
            (self.is_in_parts, self.looks, self.looks_left) = (false, LOOKS_MIN, 1);
            self.asked = READ_SLICE_BYTES;
            self.left = LOOK_WINDOWS.saturating_mul(self.window).clamp(LOOK_BYTES_MIN, LOOK_BYTES_MAX);
            return;
        }
        self.part = part;
        self.looks_left = self.looks_left.saturating_sub(1);
        if self.looks_left == 0 {
            self.phase = Phase::Trial { number: 0, since: None, last: now, gap: 0, took: [0; TRIALS] };
            self.asked = READ_SLICE_BYTES;
            self.left = SETTLING_WINDOWS * self.window;
        } else {
            self.asked = if self.is_in_parts { self.part } else { READ_SLICE_BYTES };
            self.left = LOOK_WINDOWS * self.window;
        }
    }

    /// The trials are over.
    fn settle(&mut self, took: [u64; TRIALS]) {
        let pairs =
            [0, 2, 4].map(|n| if IN_PARTS[n] { (took[n + 1], took[n]) } else { (took[n], took[n + 1]) });
        let is_faster = if self.is_in_parts {
            let [whole, parts] = pairs.iter().fold([0; 2], |sum, pair| [sum[0] + pair.0, sum[1] + pair.1]);
            whole > parts + parts / 20
        } else {
            pairs.iter().all(|(whole, parts)| *whole > parts + parts * 3 / 20)
        };
        let max = if is_faster { LOOKS_IN_PARTS_MAX } else { LOOKS_MAX };
        self.looks = if is_faster == self.is_in_parts { (2 * self.looks).min(max) } else { LOOKS_MIN };
        self.is_in_parts = is_faster;
        self.rest();
    }

    fn rest(&mut self) {
        self.phase = Phase::Rest;
        self.looks_left = self.looks;
        self.asked = if self.is_in_parts { self.part } else { READ_SLICE_BYTES };
        self.left = (LOOK_WINDOWS * self.window).max(LOOK_BYTES_MIN);
    }
}

fn nanoseconds(from: Instant, to: Instant) -> u64 {
    to.ns().saturating_sub(from.ns())
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
        /// Windows that were read in parts, and all.
        windows: [u64; 2],
    }

    const ANSWER_BYTES: u64 = 180;

    impl Story {
        fn new(in_flight: u32) -> Self {
            let load = Load { in_flight, ..Load::default() };
            Self { overlap: Overlap::default(), now: 1, load, windows: [0; 2] }
        }

        fn go(&mut self, windows: u64, mut took_ns: impl FnMut(bool) -> u64) {
            for _ in 0..windows {
                let mut rest = u64::from(self.load.in_flight) * ANSWER_BYTES;
                let is_in_parts = (self.overlap.asked() as u64) < rest.min(READ_SLICE_BYTES as u64);
                self.windows[0] += u64::from(is_in_parts);
                self.windows[1] += 1;
                self.now += took_ns(is_in_parts);
                while rest > 0 {
                    let bytes = rest.min(self.overlap.asked() as u64);
                    rest -= bytes;
                    self.load.bytes_in += bytes;
                    let load = self.load;
                    self.overlap.has_read(Instant::from_ns(self.now), bytes as usize, || load);
                }
                self.load.answered += u64::from(self.load.in_flight);
            }
        }

        /// Of a hundred windows.
        fn in_parts(&mut self) -> u64 {
            let [parts, all] = std::mem::take(&mut self.windows);
            100 * parts / all
        }
    }

    #[test]
    fn with_a_core_each_it_reads_in_parts_soon_and_stays_with_it() {
        for in_flight in [64, 256] {
            let mut story = Story::new(in_flight);
            story.go(400, |is_in_parts| if is_in_parts { 30_000 } else { 60_000 });
            story.in_parts();
            story.go(100_000, |is_in_parts| if is_in_parts { 30_000 } else { 60_000 });
            assert!(story.in_parts() >= 97, "trials take little");
            // The server moves to our core.
            story.go(20_000, |is_in_parts| if is_in_parts { 30_000 } else { 15_000 });
            story.in_parts();
            story.go(100_000, |is_in_parts| if is_in_parts { 30_000 } else { 15_000 });
            assert!(story.in_parts() <= 1);
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
        assert!(story.in_parts() <= 2);
    }

    #[test]
    fn few_calls_and_long_answers_are_read_whole() {
        for in_flight in [1, 16, 31, 1024] {
            let mut story = Story::new(in_flight);
            story.go(10_000, |is_in_parts| if is_in_parts { 30_000 } else { 60_000 });
            assert_eq!(story.in_parts(), 0, "{in_flight}");
        }
    }

    /// A window that empties during a trial once could look like a slow way of reading.
    #[test]
    fn a_thin_load_is_not_judged() {
        let pauses: [fn(&mut Story); 3] = [
            |story| {
                story.load.in_flight = 1;
                story.go(1, |_| 60_000);
            },
            // An adaptive window grows.
            |story| {
                story.load.in_flight = 200;
                story.go(1, |_| 60_000);
            },
            // Nobody calls for a while.
            |story| story.now += 10_000_000,
        ];
        for pause in pauses {
            let mut story = Story::new(64);
            for _ in 0..2_000 {
                story.load.in_flight = 64;
                story.go(30, |is_in_parts| if is_in_parts { 30_000 } else { 60_000 });
                pause(&mut story);
                assert!(!story.overlap.is_in_parts);
            }
        }
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
        let gains = |is_in_parts| if is_in_parts { 30_000 } else { 60_000 };
        story.go(1_000, gains);
        assert!(story.overlap.is_in_parts);
        for _ in 0..1_000 {
            story.load.chunks_made += 1;
            story.go(1, gains);
        }
        story.in_parts();
        story.go(1, |_| 30_000);
        assert!(!story.overlap.is_in_parts);
    }

    #[test]
    fn after_long_answers_it_looks_again_soon() {
        let mut story = Story::new(1024);
        story.load.bytes_in = 10 << 30;
        story.load.answered = 1;
        story.go(1, |_| 60_000);
        story.overlap.has_read(Instant::from_ns(story.now), 10 << 20, || story.load);
        story.load.in_flight = 64;
        story.go(10_000, |is_in_parts| if is_in_parts { 30_000 } else { 60_000 });
        assert!(story.overlap.is_in_parts);
    }

    proptest! {
        #[test]
        fn any_story_asks_within_bounds(
            steps in proptest::collection::vec((0usize..200_000, 0u32..2_000, 0u64..3, 0u64..1_000_000), 0..2_000),
        ) {
            let (mut overlap, mut load, mut now) = (Overlap::default(), Load::default(), 0);
            for (bytes, in_flight, answered, ns) in steps {
                load.in_flight = in_flight;
                load.bytes_in += bytes as u64;
                load.answered += answered * (bytes as u64 / 100);
                now += ns;
                overlap.has_read(Instant::from_ns(now), bytes, || load);
                prop_assert!((PART_BYTES_MIN..=READ_SLICE_BYTES).contains(&overlap.asked()));
            }
        }
    }
}
