//! Which connection takes the next call: the one with fewer calls in flight of two that are drawn at random.
//!
//! Two choices keep the longest line near the average where one choice would not (M. Mitzenmacher, "The Power of Two Choices in
//! Randomized Load Balancing", 1996), and a connection that has become slow is passed by, since its calls pile up. Orphans count as
//! calls in flight. With a single connection there is nothing to draw, and nothing is drawn.
//!
//! A connection that fails its calls at once never has many in flight and would draw all of them (a *black hole*); that is looked after
//! in [`adapting`](super::adapting).
//!
//! The extra connections of an overflow, which have the highest numbers, are no part of that: they take calls only when no other has room, the
//! lowest of them first, so that as many as are not needed have none and can be closed.
//!
//! Cost: one random number and two looks; a connection without room is taken off the list when it is met, and put on it again when it
//! has room; of extra ones, the logarithm of their number. Owner: one exchange. Always: a connection that has room is listed, once. Proof: the
//! tests below; `tests/simulation/capacity`.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Connections that had room when they were listed.
#[derive(Debug)]
pub(super) struct Roster {
    listed: Vec<u32>,
    /// The extra ones, of numbers from here on.
    extra_from: u32,
    extra: BinaryHeap<Reverse<u32>>,
    rng: fastrand::Rng,
}

/// What a roster needs to know of the connections.
pub(super) trait Lines {
    /// Its calls in flight, orphans included; `None` if it has no room.
    fn load(&self, connection: u32) -> Option<u32>;
    /// It is no longer listed.
    fn strike(&mut self, connection: u32);
}

impl Roster {
    /// For so many connections, and extra ones after them.
    pub(super) fn new(connections: u32, seed: u64) -> Self {
        Self {
            listed: Vec::with_capacity(connections as usize),
            extra_from: connections,
            extra: BinaryHeap::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Lists a connection that was not listed.
    #[inline]
    pub(super) fn add(&mut self, connection: u32) {
        if connection < self.extra_from {
            self.listed.push(connection);
        } else {
            self.extra.push(Reverse(connection));
        }
    }

    /// Is there a choice?
    #[inline]
    pub(super) fn has_several(&self) -> bool {
        self.listed.len() > 1
    }

    /// A connection with room, if there is one.
    #[inline]
    pub(super) fn pick(&mut self, lines: &mut impl Lines) -> Option<u32> {
        loop {
            if self.listed.len() < 2 {
                let Some(&only) = self.listed.first() else {
                    return if self.extra.is_empty() { None } else { self.pick_extra(lines) };
                };
                if lines.load(only).is_some() {
                    return Some(only);
                }
                self.remove(0, lines);
            } else if let Some(connection) = self.pick_of_two(lines) {
                return Some(connection);
            }
        }
    }

    /// One draw; `None` if it met a connection without room, which is off the list now.
    fn pick_of_two(&mut self, lines: &mut impl Lines) -> Option<u32> {
        let drawn = self.rng.u64(..);
        let of = |half: u32, n: usize| ((u64::from(half) * n as u64) >> 32) as usize;
        let one = of(drawn as u32, self.listed.len());
        let other = of((drawn >> 32) as u32, self.listed.len() - 1);
        // Drawn without replacement.
        let other = other + usize::from(other >= one);
        let (first, second) = (self.listed[one], self.listed[other]);
        match (lines.load(first), lines.load(second)) {
            (Some(here), Some(there)) => Some(if here <= there { first } else { second }),
            (here, there) => {
                // The one further back goes first, so that the place of the other stays.
                let mut gone = [(one, here.is_none()), (other, there.is_none())];
                gone.sort_unstable_by(|a, b| b.cmp(a));
                for (place, is_gone) in gone {
                    if is_gone {
                        self.remove(place, lines);
                    }
                }
                None
            }
        }
    }

    /// The lowest of the extra connections that has room.
    #[cold]
    fn pick_extra(&mut self, lines: &mut impl Lines) -> Option<u32> {
        while let Some(&Reverse(lowest)) = self.extra.peek() {
            if lines.load(lowest).is_some() {
                return Some(lowest);
            }
            self.extra.pop();
            lines.strike(lowest);
        }
        None
    }

    fn remove(&mut self, place: usize, lines: &mut impl Lines) {
        lines.strike(self.listed.swap_remove(place));
    }

    /// All that are listed; some may have no room any more.
    pub(super) fn iter(&self) -> impl Iterator<Item = &u32> {
        self.listed.iter().chain(self.extra.iter().map(|Reverse(extra)| extra))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Connections as plain numbers: calls in flight, and the most there may be.
    struct Plain {
        in_flight: Vec<u32>,
        most: Vec<u32>,
        listed: Vec<bool>,
    }

    impl Lines for Plain {
        fn load(&self, connection: u32) -> Option<u32> {
            let at = connection as usize;
            (self.in_flight[at] < self.most[at]).then(|| self.in_flight[at])
        }

        fn strike(&mut self, connection: u32) {
            assert!(std::mem::take(&mut self.listed[connection as usize]), "struck off twice");
        }
    }

    impl Plain {
        fn list(&mut self, roster: &mut Roster, connection: u32) {
            if !self.listed[connection as usize] && self.load(connection).is_some() {
                self.listed[connection as usize] = true;
                roster.add(connection);
            }
        }
    }

    proptest! {
        /// A pick has room, and there is a pick exactly if some connection has room; never the fuller of any pair would have it when
        /// there are just two; and an extra one only if no other has room, and none below it.
        #[test]
        fn agrees_with_looking_at_all(
            most in proptest::collection::vec(0u32..4, 1..12),
            steps in proptest::collection::vec((0u8..3, 0usize..12), 0..300),
            extra in 0usize..12,
            seed: u64,
        ) {
            let n = most.len();
            let lasting = n - extra.min(n - 1);
            let mut plain = Plain { in_flight: vec![0; n], listed: vec![false; n], most };
            let mut roster = Roster::new(lasting as u32, seed);
            (0..n as u32).for_each(|at| plain.list(&mut roster, at));
            for (step, at) in steps {
                let at = at % n;
                match step {
                    0 => {
                        let any = (0..n as u32).any(|at| plain.load(at).is_some());
                        let picked = roster.pick(&mut plain);
                        prop_assert_eq!(picked.is_some(), any);
                        if let Some(picked) = picked {
                            let load = plain.load(picked);
                            prop_assert!(load.is_some());
                            if picked as usize >= lasting {
                                prop_assert!((0..picked).all(|at| plain.load(at).is_none()), "{picked} before its turn");
                            }
                            if lasting == 2 && picked < 2 {
                                let least = (0..2).filter_map(|at| plain.load(at)).min();
                                prop_assert_eq!(load, least);
                            }
                            plain.in_flight[picked as usize] += 1;
                        }
                    }
                    1 if plain.in_flight[at] > 0 => {
                        plain.in_flight[at] -= 1;
                        plain.list(&mut roster, at as u32);
                    }
                    _ => {
                        plain.most[at] = (plain.most[at] + step as u32) % 4;
                        plain.list(&mut roster, at as u32);
                    }
                }
                let mut listed: Vec<u32> = roster.iter().copied().collect();
                listed.sort_unstable();
                let expected: Vec<u32> = (0..n as u32).filter(|at| plain.listed[*at as usize]).collect();
                prop_assert_eq!(&listed, &expected, "each once");
                for at in 0..n as u32 {
                    prop_assert!(plain.load(at).is_none() || listed.contains(&at), "room that is not listed");
                }
            }
        }
    }

    /// Balls into bins: with two choices the fullest of 100 has few more than the average, with one it has many.
    #[test]
    fn two_choices_are_even() {
        let n = 100;
        let mut plain = Plain { in_flight: vec![0; n], most: vec![u32::MAX; n], listed: vec![true; n] };
        let mut roster = Roster::new(n as u32, 7);
        (0..n as u32).for_each(|at| roster.add(at));
        for _ in 0..100 * n {
            let picked = roster.pick(&mut plain).unwrap();
            plain.in_flight[picked as usize] += 1;
        }
        let (least, most) = (plain.in_flight.iter().min().unwrap(), plain.in_flight.iter().max().unwrap());
        assert!(most - least <= 8, "{least} to {most}");
    }
}
