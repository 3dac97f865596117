//! Bytes that wait to be written, and how many of all bytes have been.
//!
//! Positions are offsets in the whole stream since the connection opened. A request remembers where its first byte
//! stands; whether that byte has left is then one comparison ([`Outbox::has_left`]), and that is the difference between
//! `Fate::NotSent` and `Fate::Unknown`.
//!
//! Units: bytes. Always: `left <= bytes.len()`, and `base + left` is what the kernel has taken. Owner: one connection.

use crate::base::limits::{OUTBOX_BYTES_HIGH, OUTBOX_BYTES_KEPT, OUTBOX_BYTES_SPARE_MAX, OUTBOX_LULLS_MAX};

/// A rest of the output that is moved to the front as soon as as much has left; some 10 us.
const OUTBOX_TAIL_BYTES_MOVED: usize = 4 * OUTBOX_BYTES_KEPT;

/// The output of one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// How much of `bytes` the kernel has taken.
    left: usize,
    /// The stream offset of `bytes[0]`.
    base: u64,
    /// Times in a row that it has been emptied without having held much.
    lulls: u8,
}

impl Outbox {
    /// Where the next byte will stand.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Has the byte at `offset` been taken by the kernel?
    #[inline]
    pub(crate) fn has_left(&self, offset: u64) -> bool {
        offset < self.base + self.left as u64
    }

    /// What is still to be written.
    #[inline]
    pub(crate) fn waiting(&self) -> &[u8] {
        &self.bytes[self.left..]
    }

    /// For appending.
    #[inline]
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Gives its memory away, if nothing waits in it and it is of a usual size.
    pub(crate) fn take_spare(&mut self) -> Option<Vec<u8>> {
        let is_spare = self.bytes.is_empty() && (1..=OUTBOX_BYTES_SPARE_MAX).contains(&self.bytes.capacity());
        is_spare.then(|| std::mem::take(&mut self.bytes))
    }

    /// Takes memory, if it has none, from those who gave theirs away.
    #[inline]
    pub(crate) fn borrow(&mut self, spares: &mut Vec<Vec<u8>>) {
        if self.bytes.capacity() == 0
            && let Some(spare) = spares.pop()
        {
            debug_assert!(spare.is_empty());
            self.bytes = spare;
        }
    }

    /// Bytes from `offset` on, `len` of them, if they are still here.
    pub(crate) fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.base)?).ok()?;
        self.bytes.get(start..start + len)
    }

    /// The kernel took `bytes` more.
    pub(crate) fn written(&mut self, bytes: usize) {
        self.left += bytes;
        debug_assert!(self.left <= self.bytes.len());
        if self.left == self.bytes.len() {
            let held = self.bytes.len();
            self.base += self.left as u64;
            self.left = 0;
            self.bytes.clear();
            if self.bytes.capacity() > OUTBOX_BYTES_KEPT {
                self.lulls = if held > OUTBOX_BYTES_KEPT { 0 } else { self.lulls + 1 };
                if self.lulls >= OUTBOX_LULLS_MAX || self.bytes.capacity() > OUTBOX_BYTES_HIGH {
                    self.bytes.shrink_to(OUTBOX_BYTES_KEPT);
                    self.lulls = 0;
                }
            }
        } else if self.is_tail_cheap() {
            self.bytes.copy_within(self.left.., 0);
            self.bytes.truncate(self.bytes.len() - self.left);
            self.base += self.left as u64;
            self.left = 0;
        }
    }

    /// Is the rest to be moved to the front? It is no longer than what was written since the last move, so that moves cost at most
    /// as much as the writing; and it is either short, or a small part of what lies here: a request of 10 MiB is not
    /// moved to and fro while the other connections wait.
    fn is_tail_cheap(&self) -> bool {
        let tail = self.bytes.len() - self.left;
        self.left >= OUTBOX_BYTES_KEPT
            && tail <= self.left
            && (tail <= OUTBOX_TAIL_BYTES_MOVED || 4 * tail <= self.left)
    }

    /// The connection is gone; offsets start afresh.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A full window of 1,024 calls is 350 KiB; a Unix socket takes 200 of them. Each burst once grew the outbox anew.
    #[test]
    fn bursts_grow_it_once_and_a_lull_gives_the_memory_back() {
        let mut outbox = Outbox::default();
        let fill_and_empty = |outbox: &mut Outbox, bytes: usize| {
            outbox.bytes().extend(std::iter::repeat_n(7, bytes));
            outbox.written(bytes);
            outbox.bytes.capacity()
        };
        let grown = fill_and_empty(&mut outbox, 350 << 10);
        for _ in 0..10 {
            for _ in 0..OUTBOX_LULLS_MAX - 1 {
                assert_eq!(fill_and_empty(&mut outbox, 100), grown);
            }
            assert_eq!(fill_and_empty(&mut outbox, 350 << 10), grown);
        }
        for _ in 0..OUTBOX_LULLS_MAX {
            fill_and_empty(&mut outbox, 100);
        }
        assert!(outbox.bytes.capacity() <= OUTBOX_BYTES_KEPT);
        assert!(fill_and_empty(&mut outbox, 10 << 20) <= OUTBOX_BYTES_KEPT, "what is huge goes at once");
    }

    /// Writing 10 MiB in slices once moved the rest, megabytes of it, several times.
    #[test]
    fn the_rest_of_a_long_request_is_not_moved_while_it_is_long() {
        let mut outbox = Outbox::default();
        outbox.bytes().resize(10 << 20, 7);
        let mut moved = 0;
        while !outbox.waiting().is_empty() {
            let (base, waiting) = (outbox.base, outbox.waiting().len());
            outbox.written(waiting.min(64 << 10));
            let was_moved = outbox.base != base && !outbox.waiting().is_empty();
            moved += if was_moved { outbox.waiting().len() } else { 0 };
        }
        assert!(moved <= 3 << 20, "{moved} bytes moved");
    }

    /// Little, as calls are, or a great deal.
    fn append() -> impl Strategy<Value = usize> {
        prop_oneof![0usize..2_000, 0usize..300_000]
    }

    proptest! {
        /// However writes and appends interleave, the bytes come out in order and offsets stay true; also where the memory goes to others in
        /// between.
        #[test]
        fn agrees_with_one_long_vector(steps in proptest::collection::vec((append(), 0usize..300_000), 1..40)) {
            let mut outbox = Outbox::default();
            let (mut all, mut out) = (Vec::new(), Vec::new());
            let written: Vec<u8> = (0..300_253).map(|at| (at % 253) as u8).collect();
            let mut spares = Vec::new();
            for (append, write) in steps {
                outbox.borrow(&mut spares);
                prop_assert!(spares.is_empty(), "what was given away is taken back");
                let start = outbox.end();
                prop_assert_eq!(start, all.len() as u64);
                let appended = &written[start as usize % 253..][..append];
                outbox.bytes().extend_from_slice(appended);
                all.extend_from_slice(appended);
                let n = write.min(outbox.waiting().len());
                out.extend_from_slice(&outbox.waiting()[..n]);
                outbox.written(n);
                let capacity = outbox.bytes.capacity();
                spares.extend(outbox.take_spare());
                let is_small = (1..=OUTBOX_BYTES_SPARE_MAX).contains(&capacity);
                prop_assert_eq!(spares.len(), usize::from(outbox.waiting().is_empty() && is_small));
                prop_assert_eq!(outbox.has_left(start), out.len() as u64 > start);
                if append > 0 && !outbox.has_left(start) {
                    prop_assert_eq!(outbox.slice(start, append), Some(&all[start as usize..]));
                }
            }
            prop_assert_eq!(&out[..], &all[..out.len()]);
        }
    }
}
