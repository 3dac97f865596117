//! simd-json, with memory that a thread keeps for it. The only file that names it.
//!
//! simd-json unescapes strings where they stand, and reads beyond the end with its vectors: it needs a copy of the bytes, with some
//! room behind. So each thread that reads has a place for one, and for the index and the tape that are made of it; in the steady
//! state reading allocates for the value alone. A caller's thread keeps a bounded part of that, a decode worker
//! more: there are few of them, and long answers are what they get.
//!
//! Unit: bytes. Cost: a copy of the answer, and its tape. Owner: the thread. Always: what a thread keeps is within its bound, as far
//! as simd-json lets it be seen; a type that reads another answer while it is read finds the place empty and makes one of its own.
//! Proof: the tests below; `decode/naive.rs` is the twin.

use std::{cell::Cell, mem};

use serde::de::DeserializeOwned;
use simd_json::{Buffers, INPUT_PADDING, Node, Tape, fill_tape_padded};

use crate::base::limits::{DECODE_CALLER_BYTES_KEPT, DECODE_DEPTH_MAX, DECODE_WORKER_BYTES_KEPT};

struct Scratch {
    /// The answer, to be spoiled.
    text: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            buffers: Buffers::with_max_depth(0, DECODE_DEPTH_MAX),
            tape: Tape(Vec::new()),
        }
    }
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
    static BYTES_KEPT: Cell<usize> = const { Cell::new(DECODE_CALLER_BYTES_KEPT) };
}

/// This thread does nothing but read: what it needs for that stays with it.
pub(super) fn keep_warm() {
    BYTES_KEPT.set(DECODE_WORKER_BYTES_KEPT);
}

/// Reads a value; the bytes stay as they are. An error does not say where it was.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, simd_json::Error> {
    // While a thread ends, its place may be gone already.
    let mut scratch = SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default();
    let Scratch { text, buffers, tape } = &mut *scratch;
    text.clear();
    text.reserve(bytes.len() + INPUT_PADDING);
    text.extend_from_slice(bytes);
    text.resize(bytes.len() + INPUT_PADDING, b' ');
    let mut filling = mem::replace(tape, Tape(Vec::new())).reset();
    let filled = fill_tape_padded(text, bytes.len(), buffers, &mut filling);
    let mut deserializer = simd_json::Deserializer::from_tape(filling);
    let read = filled.and_then(|()| T::deserialize(&mut deserializer));
    *tape = deserializer.into_tape().reset();
    if scratch.bytes() <= BYTES_KEPT.try_with(Cell::get).unwrap_or_default() {
        let _ = SCRATCH.try_with(|place| place.set(Some(scratch)));
    }
    read
}

impl Scratch {
    /// What it holds, as far as can be seen: the strings' buffer is as long as the text, and the index has a twin in the capacity
    /// that it was given room for.
    fn bytes(&self) -> usize {
        let index = self.buffers.structural_indexes().len().max(self.text.capacity() / 8);
        2 * self.text.capacity() + index * size_of::<u32>() + self.tape.0.capacity() * size_of::<Node<'_>>()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use serde::{Deserialize, Deserializer};
    use serde_json::Value;

    use super::*;

    fn kept() -> usize {
        let scratch = SCRATCH.take();
        let bytes = scratch.as_ref().map_or(0, |scratch| scratch.bytes());
        SCRATCH.set(scratch);
        bytes
    }

    fn text(bytes: usize) -> Vec<u8> {
        format!("\"{}\"", "x".repeat(bytes)).into_bytes()
    }

    #[test]
    fn a_thread_keeps_little_and_a_worker_more_and_both_give_back_what_is_beyond() {
        let caller = || {
            read::<String>(&text(1_000)).unwrap();
            let warm = kept();
            assert!((1_000..DECODE_CALLER_BYTES_KEPT).contains(&warm), "{warm}");
            read::<String>(&text(900)).unwrap();
            assert_eq!(kept(), warm, "used again");
            // Rows of structured content as long as what is read on the caller's thread at most.
            let rows =
                r#"{"id":7,"name":"user 7","score":7.25,"active":true,"tags":["a","bc"],"next":null},"#;
            let rows = format!("[{}0]", rows.repeat((64 << 10) / rows.len()));
            read::<Value>(rows.as_bytes()).unwrap();
            assert!((2 * rows.len()..DECODE_CALLER_BYTES_KEPT).contains(&kept()), "{}", kept());
            read::<String>(&text(1 << 20)).unwrap();
            assert_eq!(kept(), 0);
        };
        thread::spawn(caller).join().unwrap();
        let worker = || {
            keep_warm();
            read::<String>(&text(1 << 20)).unwrap();
            let warm = kept();
            assert!((1 << 21..DECODE_WORKER_BYTES_KEPT).contains(&warm), "{warm}");
            // A tape is many times as long as what it is made of.
            read::<Value>(format!("[{}0]", "0,".repeat(1 << 19)).as_bytes()).unwrap();
            assert_eq!(kept(), 0);
        };
        thread::spawn(worker).join().unwrap();
    }

    #[test]
    fn a_type_may_read_another_answer_while_it_is_read() {
        struct Nested(Value);

        impl<'de> Deserialize<'de> for Nested {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                read(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
            }
        }

        let nested: Vec<Nested> = read(br#"["{\"a\":1}","[2]"]"#).unwrap();
        assert_eq!(nested[0].0, serde_json::json!({"a": 1}));
        assert_eq!(nested[1].0, serde_json::json!([2]));
    }

    #[test]
    fn the_bytes_stay_as_they_are_and_a_failure_spoils_nothing_for_the_next() {
        let bytes = br#"["a\nb", "\u00e9"]"#.to_vec();
        for _ in 0..3 {
            assert_eq!(read::<Vec<String>>(&bytes).unwrap(), ["a\nb", "\u{e9}"]);
            assert!(read::<Value>(br#"["a", tru]"#).is_err());
            assert!(read::<Value>(b"\"\xff\"").is_err());
            assert!(read::<u8>(b"256").is_err());
        }
    }
}
