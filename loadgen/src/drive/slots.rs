//! The calls in flight of one worker, in a table that is allocated once.
//!
//! A call's tag is its slot in the low half and the slot's generation in the high half, so an
//! outcome finds its call without a hash, and an outcome that was delivered twice does not find
//! a later call in the same slot. Unit: calls. Cost: a push or a pop. Owner: one worker.
//! Proof: `agrees_with_a_map`.

/// A call in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// When the window allowed it, on the shard's clock.
    pub(super) start_ns: u64,
    /// Its number, the `{i}` of its arguments.
    pub(super) number: u64,
}

/// The table. Invariant: each slot is either in `free` or open, never both.
pub(super) struct Slots {
    slots: Box<[Slot]>,
    /// Last in, first out: the slot used last is still in the cache.
    free: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Slot {
    open: Open,
    /// Counts the uses; odd while the slot is open.
    generation: u32,
}

impl Slots {
    /// A table for at most `capacity` calls.
    pub(super) fn new(capacity: u32) -> Self {
        let vacant = Slot { open: Open { start_ns: 0, number: 0 }, generation: 0 };
        Self { slots: vec![vacant; capacity as usize].into(), free: (0..capacity).rev().collect() }
    }

    /// How many calls may be opened.
    pub(super) fn room(&self) -> usize {
        self.free.len()
    }

    /// How many calls are open.
    pub(super) fn open_len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Opens a call and returns its tag, or `None` while the table is full.
    pub(super) fn open(&mut self, open: Open) -> Option<u64> {
        let index = self.free.pop()?;
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.open = open;
        Some(u64::from(slot.generation) << 32 | u64::from(index))
    }

    /// Closes the call of this tag, or `None` if no such call is open.
    pub(super) fn close(&mut self, tag: u64) -> Option<Open> {
        let (index, generation) = (tag as u32, (tag >> 32) as u32);
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation != generation || generation.is_multiple_of(2) {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(slot.open)
    }

    /// Closes all open calls and returns how many there were.
    pub(super) fn close_all(&mut self) -> u64 {
        let mut closed = 0;
        for index in 0..self.slots.len() {
            let tag = u64::from(self.slots[index].generation) << 32 | index as u64;
            closed += u64::from(self.close(tag).is_some());
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_outcome_delivered_twice_finds_nothing() {
        let mut slots = Slots::new(1);
        let first = slots.open(Open { start_ns: 1, number: 1 }).unwrap();
        assert!(slots.close(first).is_some());
        let second = slots.open(Open { start_ns: 2, number: 2 }).unwrap();
        assert_eq!(slots.close(first), None, "same slot, other call");
        assert_eq!(slots.close(second), Some(Open { start_ns: 2, number: 2 }));
        assert_eq!(slots.close(second), None);
        assert_eq!(slots.close(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..300)) {
            let mut slots = Slots::new(5);
            let mut model: HashMap<u64, Open> = HashMap::new();
            let mut ever = vec![];
            for (number, (opening, pick)) in steps.into_iter().enumerate() {
                if opening || ever.is_empty() {
                    let open = Open { start_ns: 7, number: number as u64 };
                    let tag = slots.open(open);
                    prop_assert_eq!(tag.is_some(), model.len() < 5);
                    if let Some(tag) = tag {
                        prop_assert!(model.insert(tag, open).is_none());
                        ever.push(tag);
                    }
                } else {
                    let tag = ever[pick.index(ever.len())];
                    prop_assert_eq!(slots.close(tag), model.remove(&tag));
                }
                prop_assert_eq!(slots.open_len(), model.len());
                prop_assert_eq!(slots.room(), 5 - model.len());
            }
            prop_assert_eq!(slots.close_all(), model.len() as u64);
            prop_assert_eq!(slots.open_len(), 0);
        }
    }
}
