//! Keys: slot, shard and generation in one integer of at most 53 bits, which is the request id on the wire.
//!
//! ```text
//! bit 52                                                0
//!     | generation            | shard bits | slot bits |
//! ```
//!
//! The generation stands on top, so that the ids of a young engine are short. It starts at 1; the id 0 is never used.
//! A key is never reused: releasing a slot moves on to its next generation, and a slot whose generations are used up
//! is retired. So a reply that names an old generation identifies itself as late, and no table of tombstones is
//! needed (MCP up to 2025-11-25 forbids id reuse within a session; later revisions allow it once answered).
//!
//! **How long that lasts.** All keys together are 2^53 = 9.0e15. A year of 10 M calls/s is 3.2e14, a twenty-eighth of
//! them. A stack of free slots spends the generations of few slots first: with 16 bits of slot (37 of generation) a
//! single slot used alone at 1 M calls/s is retired after 38 hours, and then the next takes over; all 65,536 of them last
//! 285 years. With the maximum of 20 slot bits and 8 shard bits, 25 bits of generation are left: 2^45 keys a shard,
//! 41 days at 10 M calls/s on that one shard. When the last slot is retired the shard takes no more calls and says so
//! (`ErrorKind::Exhausted`); a new engine starts afresh.

use crate::base::limits::{SLOTS_MAX, WIRE_ID_MAX};

/// The id of one request: unique in its engine, never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Key(u64);

impl Key {
    /// No request.
    pub(crate) const NONE: Self = Self(0);

    /// Reads an id from the wire; `None` if no key can look like that.
    pub(crate) fn from_wire(id: u64) -> Option<Self> {
        (id != 0 && id <= WIRE_ID_MAX).then_some(Self(id))
    }

    pub(crate) const fn wire(self) -> u64 {
        self.0
    }

    /// What [`Self::wire`] gave.
    pub(super) const fn of_slot(wire: u64) -> Self {
        Self(wire)
    }
}

/// How the bits of a key are shared out in one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyLayout {
    slot_bits: u32,
    shard_bits: u32,
    shard: u64,
}

impl KeyLayout {
    /// The generation of a slot's first key.
    pub(crate) const FIRST_GENERATION: u64 = 1;

    /// The layout of `shard` among `shards`, with room for `2^slot_bits` slots.
    pub(crate) fn new(slot_bits: u32, shard: usize, shards: usize) -> Self {
        assert!(shard < shards, "shard {shard} of {shards}");
        assert!(1 << slot_bits <= SLOTS_MAX, "{slot_bits} bits of slot, at most {}", SLOTS_MAX.ilog2());
        Self { slot_bits, shard_bits: shards.next_power_of_two().ilog2(), shard: shard as u64 }
    }

    /// The layout with the fewest slot bits that hold `slots`: short ids are copied, sent and parsed faster.
    pub(crate) fn for_slots(slots: u32, shard: usize, shards: usize) -> Self {
        Self::new(slots.max(2).next_power_of_two().ilog2(), shard, shards)
    }

    pub(crate) fn slots(self) -> u32 {
        1 << self.slot_bits
    }

    pub(crate) fn generation_max(self) -> u64 {
        WIRE_ID_MAX >> (self.slot_bits + self.shard_bits)
    }

    #[inline]
    pub(crate) fn key(self, generation: u64, slot: u32) -> Key {
        debug_assert!(generation <= self.generation_max() && slot < self.slots());
        Key((generation << (self.slot_bits + self.shard_bits))
            | (self.shard << self.slot_bits)
            | u64::from(slot))
    }

    #[inline]
    pub(crate) fn slot(self, key: Key) -> u32 {
        (key.0 & ((1 << self.slot_bits) - 1)) as u32
    }

    #[cfg(test)]
    pub(crate) fn generation(self, key: Key) -> u64 {
        key.0 >> (self.slot_bits + self.shard_bits)
    }

    /// Was this key made by this shard?
    #[cfg(test)]
    pub(crate) fn owns(self, key: Key) -> bool {
        (key.0 >> self.slot_bits) & ((1 << self.shard_bits) - 1) == self.shard
    }

    /// The same slot's next key, or `None` when its generations are used up.
    #[inline]
    pub(crate) fn next(self, key: Key) -> Option<Key> {
        let next = key.0 + (1 << (self.slot_bits + self.shard_bits));
        (next <= WIRE_ID_MAX).then_some(Key(next))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_come_back(slot_bits in 1u32..=20, shards in 1usize..=256, shard in 0usize..256, seed: u64) {
            let shard = shard % shards;
            let layout = KeyLayout::new(slot_bits, shard, shards);
            let slot = (seed % u64::from(layout.slots())) as u32;
            let generation = 1 + (seed >> 20) % layout.generation_max();
            let key = layout.key(generation, slot);
            prop_assert!(key.wire() <= WIRE_ID_MAX && key.wire() != 0);
            prop_assert_eq!(layout.slot(key), slot);
            prop_assert_eq!(layout.generation(key), generation);
            prop_assert!(layout.owns(key));
            prop_assert_eq!(Key::from_wire(key.wire()), Some(key));
            for other in 0..shards {
                prop_assert_eq!(KeyLayout::new(slot_bits, other, shards).owns(key), other == shard);
            }
            match layout.next(key) {
                Some(next) => prop_assert_eq!(layout.generation(next), generation + 1),
                None => prop_assert_eq!(generation, layout.generation_max()),
            }
        }
    }

    #[test]
    fn young_ids_are_short() {
        assert!(KeyLayout::for_slots(1024, 0, 1).key(1, 0).wire() < 10_000);
    }
}
