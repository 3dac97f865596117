//! Received bytes: chunks that are filled by one owner and then read by many.
//!
//! A [`ReceiveBuffer`] is filled at the end and consumed at the front; frames are ranges in it. While nobody else holds
//! the chunk it is reused in place. Whoever wants to keep a frame clones the chunk's reference ([`Frame`]); the buffer
//! notices on its next fill and moves its unread tail, at most one partial frame, to another chunk. So splitting
//! copies nothing, and in the steady state nothing is allocated.
//!
//! Units: bytes. Owner: one connection, on one thread; frames may go anywhere.
//! Always: `start <= end <= chunk.len()`. Proof: `agrees_with_one_growing_vector`, below.

use std::{collections::VecDeque, fmt, ops::Deref, sync::Arc};

use super::limits::{
    CHUNK_BYTES, CHUNK_BYTES_KEPT, CHUNK_GROWTH, CHUNK_GROWTH_BYTES_MAX, CHUNKS_KEPT_MAX, READ_SLICE_BYTES,
};

/// A block of initialised bytes, written while unique and read-only while shared.
#[derive(Debug, Default)]
pub(crate) struct Chunk(Vec<u8>);

impl Chunk {
    /// Puts a copy of `bytes` into a chunk that is kept for that: into the same memory, unless somebody still reads there.
    pub(crate) fn refill(kept: &mut Option<Arc<Self>>, bytes: &[u8]) {
        match kept.as_mut().and_then(Arc::get_mut) {
            Some(Self(own)) => {
                own.clear();
                own.extend_from_slice(bytes);
            }
            None => *kept = Some(Arc::new(Self(bytes.to_vec()))),
        }
    }

    /// An empty one that is kept to have copies put together in it: the same memory, or as much where somebody still reads there; less
    /// where there is too much of it, and with room for so many bytes at least.
    pub(crate) fn renew(kept: &mut Arc<Self>, room: usize) {
        match Arc::get_mut(kept) {
            Some(Self(own)) if own.capacity() <= CHUNK_BYTES => {
                own.clear();
                own.reserve(room);
            }
            _ => *kept = Arc::new(Self(Vec::with_capacity(kept.0.len().clamp(room, CHUNK_BYTES)))),
        }
    }

    /// An empty one with room for as much as stands in this one, within reason: whoever fills one after another need not grow each
    /// anew.
    pub(crate) fn like(other: &Self) -> Arc<Self> {
        Arc::new(Self(Vec::with_capacity(other.0.len().min(CHUNK_BYTES))))
    }

    /// Puts a copy of `bytes` behind the others, and says where. Nobody reads there yet.
    pub(crate) fn append(kept: &mut Arc<Self>, bytes: &[u8]) -> usize {
        debug_assert!(Arc::get_mut(kept).is_some(), "frames are taken when all are there");
        let Some(Self(own)) = Arc::get_mut(kept) else {
            *kept = Arc::new(Self(bytes.to_vec()));
            return 0;
        };
        own.extend_from_slice(bytes);
        own.len() - bytes.len()
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// All of it.
    pub(crate) fn frame(kept: &Arc<Self>) -> Frame {
        Frame::new(Arc::clone(kept), 0, kept.0.len())
    }
}

/// Bytes of one message, kept alive by the chunk they were received in.
///
/// Cloning is a reference count. A frame kept for long keeps its whole chunk (64 KiB, or the size of the frame when
/// that is larger); [`Frame::detach`] copies it out.
#[derive(Clone)]
pub struct Frame {
    chunk: Arc<Chunk>,
    start: u32,
    len: u32,
}

impl Frame {
    pub(crate) fn new(chunk: Arc<Chunk>, start: usize, len: usize) -> Self {
        debug_assert!(start + len <= chunk.0.len());
        // limits.rs holds chunks below 2^31 bytes.
        Self { chunk, start: start as u32, len: len as u32 }
    }

    /// A frame with a chunk of its own.
    pub(crate) fn from_vec(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Self::new(Arc::new(Chunk(bytes)), 0, len)
    }

    pub(crate) fn as_frame_ref(&self) -> FrameRef<'_> {
        FrameRef { chunk: &self.chunk, start: self.start as usize, len: self.len as usize }
    }

    /// The same bytes in memory of their own, so that the chunk is free.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self::from_vec(self.to_vec())
    }

    /// The frame as [`bytes::Bytes`], without copying.
    pub fn into_bytes(self) -> bytes::Bytes {
        bytes::Bytes::from_owner(self)
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.chunk.0[self.start as usize..][..self.len as usize]
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes: {:?})", self.len, String::from_utf8_lossy(&self[..self.len().min(120)]))
    }
}

/// A frame where it was found: in a chunk that its buffer still owns.
#[derive(Clone, Copy)]
pub(crate) struct FrameRef<'a> {
    pub(crate) chunk: &'a Arc<Chunk>,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl FrameRef<'_> {
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.chunk.0[self.start..self.start + self.len]
    }

    pub(crate) fn keep(&self) -> Frame {
        Frame::new(Arc::clone(self.chunk), self.start, self.len)
    }
}

/// Chunks that wait for their next use, of the standard size and one long one; one pool for each shard.
#[derive(Debug, Default)]
pub(crate) struct ChunkPool {
    kept: VecDeque<Arc<Chunk>>,
    /// The last long one. Memory that is touched for the first time costs more than what is then written into it.
    long: Option<Arc<Chunk>>,
    long_is_new: bool,
    /// Chunks made because none was free; grows without end only if frames are kept without end.
    pub(crate) made: u64,
}

impl ChunkPool {
    /// A chunk that nobody else holds.
    pub(crate) fn take(&mut self) -> Arc<Chunk> {
        // The one that came back last is in the cache. If somebody reads there still: chunks come back in the order in which they were
        // filled, so the front is the one longest out of use.
        if let Some(mut chunk) = self.kept.pop_back() {
            if Arc::get_mut(&mut chunk).is_some() {
                return chunk;
            }
            self.kept.push_back(chunk);
        }
        // Looking at a few more is cheap; looking at all would be a scan on every read under a slow consumer.
        for _ in 0..self.kept.len().min(4) {
            let Some(mut chunk) = self.kept.pop_front() else { break };
            if Arc::get_mut(&mut chunk).is_some() {
                return chunk;
            }
            self.kept.push_back(chunk);
        }
        self.made += 1;
        Arc::new(Chunk(vec![0; CHUNK_BYTES]))
    }

    /// The long chunk, if it has room for so many bytes and nobody else holds it.
    fn take_long(&mut self, bytes: usize) -> Option<Arc<Chunk>> {
        let fits =
            |chunk: &mut Arc<Chunk>| Arc::get_mut(chunk).is_some_and(|chunk| chunk.0.capacity() >= bytes);
        self.long.take_if(fits)
    }

    /// Takes a chunk back, shared or not, unless there are enough.
    pub(crate) fn put(&mut self, chunk: Arc<Chunk>) {
        let len = chunk.0.len();
        if len <= CHUNK_BYTES {
            if self.kept.len() < CHUNKS_KEPT_MAX {
                self.kept.push_back(chunk);
            }
        } else if self.long.as_ref().is_none_or(|long| long.0.len() <= len) {
            self.long = Some(chunk);
            self.long_is_new = true;
        }
    }

    /// A long chunk has come since the last time: it is to be let go in a while.
    pub(crate) fn has_new_long(&mut self) -> bool {
        std::mem::take(&mut self.long_is_new)
    }

    /// Gives the memory of the long chunk back.
    pub(crate) fn let_long_go(&mut self) {
        self.long = None;
    }
}

/// The unread bytes of one connection.
#[derive(Debug, Default)]
pub(crate) struct ReceiveBuffer {
    chunk: Option<Arc<Chunk>>,
    start: usize,
    end: usize,
}

impl ReceiveBuffer {
    /// Room for the next read: one slice.
    pub(crate) fn space(&mut self, pool: &mut ChunkPool) -> &mut [u8] {
        let unread = self.end - self.start;
        let needed = unread + READ_SLICE_BYTES;
        let mut chunk = self.chunk.take().unwrap_or_else(|| pool.take());
        // Somebody keeps a frame of it, and it may not be written any more; or it has become very long for a frame that has gone.
        let is_unfit =
            Arc::get_mut(&mut chunk).is_none() || chunk.0.len() > CHUNK_BYTES_KEPT && needed <= CHUNK_BYTES;
        let other = match needed > CHUNK_BYTES && (is_unfit || needed > chunk.0.capacity()) {
            true => pool.take_long(needed),
            false => None,
        };
        if let Some(mut other) = other.or_else(|| is_unfit.then(|| pool.take())) {
            let Chunk(bytes) = Arc::get_mut(&mut other).expect("the pool gives unique chunks");
            bytes.resize(bytes.len().max(unread), 0);
            bytes[..unread].copy_from_slice(&chunk.0[self.start..self.end]);
            (self.start, self.end) = (0, unread);
            pool.put(std::mem::replace(&mut chunk, other));
        }
        let Chunk(bytes) = Arc::get_mut(self.chunk.insert(chunk)).expect("unique by now");
        // Once for a frame at most: behind the move it stands at the front, and the chunk grows instead.
        if self.end + READ_SLICE_BYTES > bytes.len() && self.start > 0 {
            bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, unread);
        }
        let len = self.end + READ_SLICE_BYTES;
        if len > bytes.len() {
            if len > bytes.capacity() {
                // A long frame. Each move to a larger place holds up all connections of the shard, so there are few of them; what is
                // not touched is no memory yet.
                let more = ((CHUNK_GROWTH - 1) * bytes.len()).min(CHUNK_GROWTH_BYTES_MAX);
                bytes.reserve_exact(more.max(len - bytes.len()));
            }
            // What is touched is what the next read may fill: zeroing 8 MiB at once would take milliseconds.
            bytes.resize(len, 0);
        }
        &mut bytes[self.end..len]
    }

    /// Tells how much of [`Self::space`] was filled.
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
        self.invariants();
    }

    /// Bytes received and not yet consumed.
    pub(crate) fn unread(&self) -> &[u8] {
        self.chunk.as_ref().map_or(&[], |chunk| &chunk.0[self.start..self.end])
    }

    /// The chunk and the offset of the first unread byte in it, for making frames.
    pub(crate) fn origin(&self) -> Option<(&Arc<Chunk>, usize)> {
        self.chunk.as_ref().map(|chunk| (chunk, self.start))
    }

    /// Drops `bytes` from the front.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.invariants();
    }

    /// Appends a copy of `bytes`.
    pub(crate) fn extend(&mut self, mut bytes: &[u8], pool: &mut ChunkPool) {
        while !bytes.is_empty() {
            let space = self.space(pool);
            let n = bytes.len().min(space.len());
            space[..n].copy_from_slice(&bytes[..n]);
            self.filled(n);
            bytes = &bytes[n..];
        }
    }

    /// Gives the chunk back when nothing is unread, so that an idle connection holds none.
    pub(crate) fn rest(&mut self, pool: &mut ChunkPool) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if let Some(chunk) = self.chunk.take() {
                pool.put(chunk);
            }
        }
    }

    /// Forgets everything: the connection is gone.
    pub(crate) fn clear(&mut self, pool: &mut ChunkPool) {
        self.start = self.end;
        self.rest(pool);
    }

    fn invariants(&self) {
        debug_assert!(self.start <= self.end);
        debug_assert!(self.end <= self.chunk.as_ref().map_or(0, |chunk| chunk.0.len()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Fill(usize),
        Consume(usize),
        Keep(usize),
        DropKept,
        Rest,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..200_000).prop_map(Step::Fill),
            (0usize..100_000).prop_map(Step::Consume),
            (0usize..1000).prop_map(Step::Keep),
            Just(Step::DropKept),
            Just(Step::Rest),
        ]
    }

    proptest! {
        /// Whatever is filled, kept and consumed in whatever order, the unread bytes are those of a plain vector,
        /// and a kept frame never changes.
        #[test]
        fn agrees_with_one_growing_vector(steps in proptest::collection::vec(step(), 0..60)) {
            let mut pool = ChunkPool::default();
            let mut buffer = ReceiveBuffer::default();
            let mut model: Vec<u8> = Vec::new();
            let mut kept: Vec<(Frame, Vec<u8>)> = Vec::new();
            let mut next = 0u32;
            for step in steps {
                match step {
                    Step::Fill(wish) => {
                        let space = buffer.space(&mut pool);
                        prop_assert!(space.len() >= READ_SLICE_BYTES);
                        let n = wish.min(space.len());
                        for byte in &mut space[..n] {
                            *byte = (next % 251) as u8;
                            model.push(*byte);
                            next += 1;
                        }
                        buffer.filled(n);
                    }
                    Step::Consume(wish) => {
                        let n = wish.min(model.len());
                        buffer.consume(n);
                        model.drain(..n);
                    }
                    Step::Keep(wish) => {
                        let n = wish.min(model.len());
                        if let Some((chunk, at)) = buffer.origin() {
                            kept.push((Frame::new(Arc::clone(chunk), at, n), model[..n].to_vec()));
                        }
                    }
                    Step::DropKept => kept.clear(),
                    Step::Rest => buffer.rest(&mut pool),
                }
                prop_assert_eq!(buffer.unread(), &model[..]);
                for (frame, bytes) in &kept {
                    prop_assert_eq!(&frame[..], &bytes[..]);
                }
            }
        }
    }

    /// It once doubled the chunk and zeroed all of it: at 8 MiB that was milliseconds in one turn, for all connections.
    #[test]
    fn a_long_frame_touches_in_one_read_what_that_read_may_fill() {
        let mut pool = ChunkPool::default();
        let mut buffer = ReceiveBuffer::default();
        let mut touched = CHUNK_BYTES;
        while buffer.unread().len() < 10 << 20 {
            let n = buffer.space(&mut pool).len();
            buffer.filled(n);
            let len = buffer.chunk.as_ref().map_or(0, |chunk| chunk.0.len());
            assert!(len <= touched + READ_SLICE_BYTES, "from {touched} to {len}");
            touched = len;
        }
    }

    /// The next long frame finds the memory of the last one; short ones do not stay in it, and nobody's frame is written over.
    #[test]
    fn a_long_chunk_is_used_again_by_the_next_long_frame_only() {
        let mut pool = ChunkPool::default();
        let mut buffer = ReceiveBuffer::default();
        let fill = |buffer: &mut ReceiveBuffer, pool: &mut ChunkPool, bytes: usize| {
            let end = buffer.unread().len() + bytes;
            while buffer.unread().len() < end {
                let more = end - buffer.unread().len();
                let n = buffer.space(pool).len().min(more);
                buffer.filled(n);
            }
        };
        let place = |buffer: &ReceiveBuffer| buffer.chunk.as_ref().map(|chunk| chunk.0.as_ptr());
        fill(&mut buffer, &mut pool, 2 << 20);
        let (long, frame) =
            (place(&buffer), buffer.origin().map(|(chunk, at)| Frame::new(Arc::clone(chunk), at, 9)));
        assert!(!pool.has_new_long());
        buffer.consume((2 << 20) - 100);
        fill(&mut buffer, &mut pool, 100);
        assert_ne!(place(&buffer), long, "a short frame has a chunk of the usual length");
        assert!(pool.has_new_long() && !pool.has_new_long());
        fill(&mut buffer, &mut pool, 2 << 20);
        assert_ne!(place(&buffer), long, "somebody keeps a frame of it");
        drop(frame);
        // The longer one is kept.
        let second = place(&buffer);
        buffer.consume(buffer.unread().len());
        buffer.rest(&mut pool);
        fill(&mut buffer, &mut pool, 200_000);
        assert_eq!(place(&buffer), second);
        buffer.clear(&mut pool);
        pool.let_long_go();
        assert!(pool.long.is_none() && pool.kept.iter().all(|chunk| chunk.0.len() == CHUNK_BYTES));
    }

    #[test]
    fn a_drained_buffer_holds_no_chunk_and_makes_no_second_one() {
        let mut pool = ChunkPool::default();
        let mut buffer = ReceiveBuffer::default();
        for _ in 0..1000 {
            buffer.space(&mut pool);
            buffer.filled(100);
            buffer.consume(100);
            buffer.rest(&mut pool);
        }
        assert_eq!(pool.made, 1);
        assert!(buffer.chunk.is_none());
    }
}
