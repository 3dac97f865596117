//! How many lanes of a pool are what: kept up to date with each change, so that asking whether a call finds a lane looks at no lane.
//!
//! With 1,024 calls in flight a pool has more than a thousand lanes of half a KiB each; a walk over them for each call cost more than
//! the call itself.
//!
//! Unit: lanes. Cost: a few instructions a change; finding a free lane looks at one word for 64 lanes. Owner: one pool.
//! Always: it says what a walk over all lanes would say. Proof: `agrees_with_a_walk` in `pool.rs`, and a debug assertion each time
//! it is asked.

use super::lane::{Lane, Load, Socket};

/// The counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// Lanes that calls occupy, answered or not.
    calls: usize,
    /// Lanes whose sockets are being opened.
    dialling: usize,
    /// Lanes that wait for a socket which others will share.
    waiting: usize,
    /// Lanes with neither a socket nor a load.
    free: usize,
    /// The same, a bit for each lane.
    free_bits: Vec<u64>,
}

impl Census {
    /// Counts by a walk.
    pub(crate) fn of(lanes: &[Lane]) -> Self {
        let mut census = Self { free_bits: vec![0; lanes.len().div_ceil(64)], ..Self::default() };
        for (at, lane) in lanes.iter().enumerate() {
            census.enter(at, lane);
        }
        census
    }

    /// A lane is about to change.
    #[inline]
    pub(crate) fn leave(&mut self, at: usize, lane: &Lane) {
        self.calls -= usize::from(is_call(lane));
        self.dialling -= usize::from(lane.socket == Socket::Dialling);
        self.waiting -= usize::from(lane.waits());
        if lane.is_free() {
            self.free -= 1;
            self.free_bits[at / 64] &= !(1 << (at % 64));
        }
    }

    /// A lane has changed.
    #[inline]
    pub(crate) fn enter(&mut self, at: usize, lane: &Lane) {
        self.calls += usize::from(is_call(lane));
        self.dialling += usize::from(lane.socket == Socket::Dialling);
        self.waiting += usize::from(lane.waits());
        if lane.is_free() {
            self.free += 1;
            self.free_bits[at / 64] |= 1 << (at % 64);
        }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    pub(crate) fn dialling(&self) -> usize {
        self.dialling
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn free(&self) -> usize {
        self.free
    }

    /// The free lane with the lowest number.
    pub(crate) fn first_free(&self) -> Option<u32> {
        let word = self.free_bits.iter().position(|word| *word != 0)?;
        Some(word as u32 * 64 + self.free_bits[word].trailing_zeros())
    }
}

fn is_call(lane: &Lane) -> bool {
    matches!(lane.load, Load::Call(_) | Load::Array | Load::Resumed(_) | Load::Orphan(_) | Load::Answered)
}
