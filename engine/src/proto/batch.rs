//! Calls put together into one JSON-RPC array: whether that may be, how many go into one, and how it is written.
//!
//! An array is a second layer, above the coalescing that every stream has anyway: it is used only where the revision has it
//! ([`Revision`] knows), where the settings want it, and where a probe showed that this very server answers it. Everywhere
//! else the same calls go one by one, and their callers see no difference.
//!
//! Units: calls and bytes of the array's text. Cost: one copy of each call. No socket, no clock. Owner: one exchange.
//! Always: a text of one call is that call and no array; a text is never longer than the bound unless one call alone is.
//! Proof: the property tests below. Follows: JSON-RPC 2.0, section 6; MCP 2025-03-26, "Batching".

use std::time::Duration;

use super::{
    message::encode::{self, Tail},
    revision::Revision,
};
use crate::{base::time::Instant, slab::key::Key};

/// When calls are sent together as one JSON-RPC array. Only a server of revision 2025-03-26, or one that was declared to speak
/// plain JSON-RPC, is ever sent one, and only after it has answered a probe; everywhere else calls go one by one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[non_exhaustive]
pub enum Arrays {
    /// Never: batches go as single requests, pipelined.
    Never,
    /// Calls of one [`Batch`](crate::Batch), which the caller has put together: whoever asks for a batch gets one where there are
    /// any, and nobody's latency comes to depend on another's call.
    #[default]
    Explicit,
    /// Also whatever else waits in the same turn: single calls, and calls of bulk jobs. An array is answered no earlier than its
    /// slowest call where the server answers with an array, so this is for calls that are alike.
    Auto,
}

/// The settings about arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArrayRules {
    pub(crate) arrays: Arrays,
    /// Calls in one array.
    pub(crate) calls_max: u32,
    /// Bytes of one array, unless one call alone is longer.
    pub(crate) bytes_max: usize,
    /// How long a server may take to answer the array of the probe.
    pub(crate) probe_timeout: Duration,
}

impl ArrayRules {
    /// Do calls go together that somebody has (`explicit`) or has not put together?
    #[inline]
    pub(crate) fn want(&self, explicit: bool) -> bool {
        match self.arrays {
            Arrays::Never => false,
            Arrays::Explicit => explicit,
            Arrays::Auto => true,
        }
    }
}

/// What is known of one server: how many calls it takes in one array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ArrayVerdict(u32);

impl ArrayVerdict {
    /// It has not been asked.
    pub(crate) const UNKNOWN: Self = Self(0);
    /// It takes none.
    pub(crate) const NONE: Self = Self(1);
    /// It takes arrays, of as many calls as one likes.
    pub(crate) const ANY: Self = Self(u32::MAX);

    /// As [`Self::number`] gave it.
    pub(crate) fn of(number: u32) -> Self {
        Self(number)
    }

    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// Calls that may go in one array; `None` while nobody knows.
    pub(crate) fn calls_max(self) -> Option<u32> {
        (self != Self::UNKNOWN).then_some(self.0)
    }

    /// An array of so many calls came to nothing, although the server had answered smaller ones: half as many may do. Each time
    /// it is half of what failed, so a server that takes none after all has refused six arrays of a hundred.
    pub(crate) fn after_failure(self, calls: u32) -> Self {
        if self == Self::UNKNOWN {
            // It has been forgotten meanwhile, and is asked for anew.
            return self;
        }
        Self((calls / 2).clamp(Self::NONE.0, self.0.max(Self::NONE.0)))
    }
}

/// May arrays be sent to a peer of this revision?
pub(crate) fn has_arrays(revision: Option<Revision>) -> bool {
    revision.is_some_and(|revision| revision.facts().arrays)
}

/// Counts what goes into one array.
#[derive(Debug)]
pub(crate) struct Fit {
    calls: u32,
    bytes: usize,
    calls_max: u32,
    bytes_max: usize,
}

impl Fit {
    pub(crate) fn new(calls_max: u32, bytes_max: usize) -> Self {
        Self { calls: 0, bytes: 0, calls_max, bytes_max }
    }

    /// Takes one more call, of a body of so many bytes, if it fits. The first always does.
    pub(crate) fn takes(&mut self, body_bytes: usize) -> bool {
        let bytes = self.bytes + body_bytes + ELEMENT_BYTES;
        let fits = self.calls == 0 || self.calls < self.calls_max && bytes + BRACKETS_BYTES <= self.bytes_max;
        if fits {
            (self.calls, self.bytes) = (self.calls + 1, bytes);
        }
        fits
    }
}

/// What an element takes besides its body, at most: the head with an id of 16 digits, the end with a progress token, a comma.
/// (Where there are arrays, nothing else of `_meta` is the engine's.)
const ELEMENT_BYTES: usize = 96;
const BRACKETS_BYTES: usize = 2;

/// One call of an array: where its own text stands in that of the array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Element {
    pub(crate) key: Key,
    pub(crate) start: u32,
    pub(crate) len: u32,
}

/// An array being written.
pub(crate) struct Assembly<'a> {
    out: &'a mut Vec<u8>,
    elements: &'a mut Vec<Element>,
}

impl<'a> Assembly<'a> {
    /// Both are cleared.
    pub(crate) fn begin(out: &'a mut Vec<u8>, elements: &'a mut Vec<Element>) -> Self {
        out.clear();
        elements.clear();
        out.push(b'[');
        Self { out, elements }
    }

    /// Writes one call; `body` writes what `encode` calls a body.
    pub(crate) fn add(&mut self, key: Key, tail: &Tail, progress: bool, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len() as u32;
        encode::request(self.out, key, tail, progress, body);
        // The line feed that ends a message becomes the comma before the next.
        let end = self.out.len() - 1;
        self.out[end] = b',';
        self.elements.push(Element { key, start, len: end as u32 - start });
    }

    /// The text is whole: an array, or the one call there is by itself. Without a call there is no text.
    pub(crate) fn finish(self) {
        self.out.pop();
        match &mut self.elements[..] {
            [] => self.out.clear(),
            [only] => {
                self.out.remove(0);
                only.start = 0;
            }
            _ => self.out.push(b']'),
        }
    }
}

/// What an exchange knows of arrays besides the verdict, which is in the memory.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    pub(crate) probe: Option<Probe>,
    /// Probes that ended with their connection.
    pub(crate) lost: u32,
    /// The elements of the array that is being written; kept for its memory.
    pub(crate) elements: Vec<Element>,
}

/// The array of two pings that is out.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) connection: u32,
    pub(crate) epoch: u32,
    /// Over HTTP: its lane.
    pub(crate) lane: Option<u32>,
    pub(crate) keys: [Key; 2],
    pub(crate) until: Instant,
}

impl Gathering {
    /// When the probe is given up.
    pub(crate) fn deadline(&self) -> Instant {
        self.probe.as_ref().map_or(Instant::NEVER, |probe| probe.until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::Value;

    use super::*;

    /// Bodies of calls as `model::tool` writes them, some with members of `_meta`, some without any argument.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(br#""method":"ping","params":{"#.to_vec()),
            ".{0,60}".prop_map(|text| {
                let text = Value::from(text);
                format!(r#""method":"tools/call","params":{{"name":"echo","arguments":{{"a":{text}}}"#)
                    .into_bytes()
            }),
            ".{0,20}".prop_map(|text| {
                let text = Value::from(text);
                format!(r#""method":"m","params":{{"_meta":{{"t":{text},"#).into_bytes()
            }),
        ]
    }

    fn written(calls: &[(Vec<u8>, bool)]) -> (Vec<u8>, Vec<Element>) {
        let tail = Tail::new(Revision::PLAIN, "{}", "{}");
        let (mut out, mut elements) = (b"of before".to_vec(), Vec::new());
        let mut assembly = Assembly::begin(&mut out, &mut elements);
        for (n, (body, progress)) in calls.iter().enumerate() {
            let key = Key::from_wire((1 << 52) + n as u64).unwrap();
            assembly.add(key, &tail, *progress, |out| out.extend_from_slice(body));
        }
        assembly.finish();
        (out, elements)
    }

    proptest! {
        /// Whatever the calls: one line that a parser reads as these calls in this order, each where its element says.
        #[test]
        fn an_array_is_its_calls_in_order(calls in vec((body(), any::<bool>()), 0..8)) {
            let (out, elements) = written(&calls);
            prop_assert_eq!(elements.len(), calls.len());
            prop_assert!(!out.contains(&b'\n'));
            let alone: Vec<Value> = calls.iter().enumerate().map(|(n, call)| {
                let (mut text, _) = written(std::slice::from_ref(call));
                let mut message: Value = serde_json::from_slice(&text).expect("a call by itself");
                message["id"] = Value::from((1u64 << 52) + n as u64);
                if call.1 {
                    message["params"]["_meta"]["progressToken"] = message["id"].clone();
                }
                text.clear();
                message
            }).collect();
            let parsed: Vec<Value> = match calls.len() {
                0 => { prop_assert!(out.is_empty()); Vec::new() }
                1 => vec![serde_json::from_slice(&out).unwrap()],
                _ => serde_json::from_slice(&out).unwrap(),
            };
            prop_assert_eq!(&parsed, &alone);
            for (element, message) in elements.iter().zip(&alone) {
                let text = &out[element.start as usize..][..element.len as usize];
                prop_assert_eq!(&serde_json::from_slice::<Value>(text).unwrap(), message);
                prop_assert_eq!(message["id"].as_u64().unwrap(), element.key.wire());
            }
        }

        /// What fits is as much as fits, and the text stays within the bound unless it is one call.
        #[test]
        fn a_fit_is_the_longest_that_keeps_the_bounds(
            calls in vec((body(), any::<bool>()), 1..12),
            calls_max in 1u32..12,
            bytes_max in 1usize..2_000,
        ) {
            let mut fit = Fit::new(calls_max, bytes_max);
            let taken = calls.iter().take_while(|(body, _)| fit.takes(body.len())).count();
            prop_assert_eq!(fit.calls as usize, taken);
            let naive = (1..=calls.len())
                .take_while(|n| {
                    let bytes: usize = calls[..*n].iter().map(|(body, _)| body.len() + ELEMENT_BYTES).sum();
                    *n == 1 || *n <= calls_max as usize && bytes + BRACKETS_BYTES <= bytes_max
                })
                .count();
            prop_assert_eq!(taken, naive);
            let (text, _) = written(&calls[..taken]);
            prop_assert!(taken == 1 || text.len() <= bytes_max, "{} of {bytes_max}", text.len());
        }

        /// However arrays fail, the bound only sinks, and it ends at none.
        #[test]
        fn failures_halve_the_bound_down_to_none(calls in vec(1u32..300, 0..20)) {
            let mut verdict = ArrayVerdict::ANY;
            for failed in calls {
                let failed = failed.min(verdict.calls_max().unwrap());
                let next = verdict.after_failure(failed);
                prop_assert!(next.number() <= verdict.number() && next != ArrayVerdict::UNKNOWN);
                prop_assert!(next.number() == 1 || next.number() == failed / 2);
                verdict = next;
            }
        }
    }

    #[test]
    fn a_server_that_refuses_them_all_has_refused_six_of_a_hundred() {
        let (mut verdict, mut refused) = (ArrayVerdict::ANY, 0);
        while let Some(calls) = verdict.calls_max().filter(|calls| *calls > 1) {
            verdict = verdict.after_failure(calls.min(100));
            refused += 1;
        }
        assert_eq!((verdict, refused), (ArrayVerdict::NONE, 6));
    }

    #[test]
    fn only_where_the_revision_has_them() {
        assert!(!has_arrays(None));
        let with: Vec<_> = Revision::all().filter(|revision| has_arrays(Some(*revision))).collect();
        assert_eq!(with, [Revision::PLAIN]);
    }
}
