//! How much one read asks for: a whole slice, a part of the window where that keeps both sides at work, or little while short answers come
//! in beside a long one.
//!
//! With a single line its [`Overlap`] says whether it is read in parts; several lines overlap with each other anyway. A long frame is not.
//!
//! A line is flooded when a read brought all that was asked for; that is known until the poll is looked at. If the poll then tells of another
//! line that is not itself inside a long frame, the next reads inside long frames are short ones.
//!
//! Unit: bytes. Cost: a compare for a read. Owner: the shard's thread. Always: short reads come to an end by themselves. Proof: the tests
//! below; `just perf --sections big-reply` shows what it is for. ADR 0023.

use crate::{
    base::{
        limits::{CHUNK_BYTES, CROWDED_READ_BYTES, CROWDED_READS, READ_SLICE_BYTES},
        time::Instant,
    },
    policy::overlap::{Load, Overlap},
};

/// What is known of the reads since the last look at the poll, and of those to come.
#[derive(Debug, Default)]
pub(super) struct Slices {
    /// The line of which a read brought all that was asked for: a long answer is coming in, or a great many short ones.
    flooded: Option<u32>,
    /// Reads inside long frames that are to be short yet.
    short_reads: u32,
    /// If there is one line.
    overlap: Option<Overlap>,
}

impl Slices {
    pub(super) fn new(lines: usize) -> Self {
        Self { overlap: (lines == 1).then(Overlap::default), ..Self::default() }
    }

    /// What to ask of a line with so many unread bytes.
    #[inline]
    pub(super) fn asked(&self, unread: impl FnOnce() -> usize) -> usize {
        let part = self.overlap.as_ref().map_or(READ_SLICE_BYTES, Overlap::asked);
        if self.short_reads == 0 && part == READ_SLICE_BYTES || unread() < CHUNK_BYTES {
            part
        } else if self.short_reads > 0 {
            CROWDED_READ_BYTES
        } else {
            READ_SLICE_BYTES
        }
    }

    /// A read of this line asked for so much, and brought so much, which nobody has looked at yet.
    #[inline]
    pub(super) fn has_read(
        &mut self,
        now: Instant,
        line: u32,
        asked: usize,
        bytes: usize,
        load: impl FnOnce() -> Load,
    ) {
        if let Some(overlap) = &mut self.overlap {
            overlap.has_read(now, bytes, load);
        }
        if asked < READ_SLICE_BYTES {
            self.short_reads = self.short_reads.saturating_sub(1);
        }
        if bytes == asked {
            self.flooded = Some(line);
        }
    }

    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.is_some()
    }

    /// Is the flood to be interrupted after each short read?
    pub(super) fn is_crowded(&self) -> bool {
        self.is_flooded() && self.short_reads > 0
    }

    /// The poll is looked at: the flood so far, for [`Self::heard`].
    pub(super) fn take_flood(&mut self) -> Option<u32> {
        self.flooded.take()
    }

    /// The poll told that this line has something to be read, beside the flood.
    pub(super) fn heard(&mut self, line: u32, flood: Option<u32>, unread: impl Fn(u32) -> usize) {
        let is_beside = |flood| line != flood && unread(flood) >= CHUNK_BYTES && unread(line) < CHUNK_BYTES;
        if flood.is_some_and(is_beside) {
            self.short_reads = CROWDED_READS;
        }
    }

    /// Reads are whole slices again.
    pub(super) fn reset(&mut self) {
        (self.flooded, self.short_reads) = (None, 0);
        if let Some(overlap) = &mut self.overlap {
            overlap.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: usize = 10 << 20;
    const NOW: Instant = Instant::NEVER;

    /// As a shard does it: a read of a flooded line, a look at the poll that tells of another one, and what is asked of each then.
    fn asked_beside(flooded: usize, other: usize) -> [usize; 2] {
        let mut slices = Slices::default();
        slices.has_read(NOW, 3, READ_SLICE_BYTES, READ_SLICE_BYTES, Load::default);
        assert!(slices.is_flooded() && !slices.is_crowded());
        let flood = slices.take_flood();
        slices.heard(5, flood, |line| if line == 3 { flooded } else { other });
        assert!(!slices.is_flooded());
        [slices.asked(|| flooded), slices.asked(|| other)]
    }

    #[test]
    fn a_long_frame_beside_short_ones_is_read_in_short_reads_and_they_in_whole_ones() {
        assert_eq!(asked_beside(LONG, 0), [CROWDED_READ_BYTES, READ_SLICE_BYTES]);
    }

    /// Two long replies once slowed each other down by half, with nobody to gain by it.
    #[test]
    fn long_frames_beside_each_other_and_short_ones_are_read_in_whole_slices() {
        assert_eq!(asked_beside(LONG, LONG), [READ_SLICE_BYTES; 2]);
        assert_eq!(asked_beside(0, 0), [READ_SLICE_BYTES; 2]);
    }

    /// A server that closes its input is read a few more times, which once were parts of 512 bytes.
    #[test]
    fn what_is_reset_is_read_in_whole_slices() {
        let mut slices = Slices::new(1);
        let (mut now, mut load) = (0, Load { in_flight: 64, ..Load::default() });
        while slices.asked(|| 0) == READ_SLICE_BYTES {
            let whole = 64 * 100;
            (load.bytes_in, load.answered, now) = (load.bytes_in + whole, load.answered + 64, now + 50_000);
            slices.has_read(Instant::from_ns(now), 0, READ_SLICE_BYTES, whole as usize, || load);
        }
        assert_eq!(slices.asked(|| LONG), READ_SLICE_BYTES, "a long frame is not read in parts");
        slices.reset();
        assert_eq!(slices.asked(|| 0), READ_SLICE_BYTES);
        assert!(slices.overlap.is_some() && Slices::new(2).overlap.is_none());
    }

    #[test]
    fn short_reads_come_to_an_end() {
        let mut slices = Slices::default();
        slices.heard(5, Some(3), |line| if line == 3 { LONG } else { 0 });
        for _ in 0..CROWDED_READS {
            let asked = slices.asked(|| LONG);
            assert_eq!(asked, CROWDED_READ_BYTES);
            slices.has_read(NOW, 3, asked, asked, Load::default);
            // Of itself the flooded line is no sign.
            let flood = slices.take_flood();
            slices.heard(3, flood, |_| LONG);
        }
        assert_eq!(slices.asked(|| LONG), READ_SLICE_BYTES);
        slices.heard(5, Some(3), |line| if line == 3 { LONG } else { 0 });
        slices.reset();
        assert_eq!(slices.asked(|| LONG), READ_SLICE_BYTES);
    }
}
