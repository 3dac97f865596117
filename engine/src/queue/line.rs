//! A line: first in, first out, between two threads, behind a lock. Who pushed the last entry may take it back.
//!
//! The claims and batches of a bulk job pass in such lines, one for up to 128 calls or for a whole turn; and it keeps its memory,
//! so that a job in its stride allocates nothing. (A lock-free queue of segments stood here before: it allocates one for every 31
//! entries, which the test `tests/allocations` counts.)
//!
//! Cost: an uncontended lock for each entry pushed or popped. Owner: shared. Always: as many entries as its users' own bounds
//! admit. Proof: the models of bulk jobs in `models`; `a_line_in_its_stride_keeps_its_memory`, below.

use std::collections::VecDeque;

use crate::base::sync::Mutex;

/// See the module.
#[derive(Debug)]
pub(crate) struct Line<T>(Mutex<VecDeque<T>>);

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }
}

impl<T> Line<T> {
    pub(crate) fn push(&self, entry: T) {
        self.0.lock().push_back(entry);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.lock().pop_front()
    }

    /// The entry that was pushed last, if nobody has popped it and this holds of it.
    pub(crate) fn take_back_if(&self, holds: impl FnOnce(&mut T) -> bool) -> Option<T> {
        self.0.lock().pop_back_if(holds)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

#[cfg(all(test, not(any(volley_loom, volley_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_line_in_its_stride_keeps_its_memory() {
        let line = Line::default();
        (0..4).for_each(|n| line.push(n));
        let capacity = line.0.lock().capacity();
        for n in 4..1000 {
            line.push(n);
            assert_eq!(line.pop(), Some(n - 4));
        }
        assert!(line.0.lock().capacity() <= 2 * capacity && !line.is_empty());
    }
}
