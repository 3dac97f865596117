//! From an answer to its request: what is in flight or waiting in one shard.
//!
//! A dense table indexed by slot. A row is live while its key is not [`Key::NONE`]; an id from the wire finds its row by
//! the slot bits and matches if the whole key is equal and the row lives on the connection the answer came from. So a
//! stale generation matches nothing, and a server can only ever confuse its own calls. Deadlines stand in a column of
//! their own, which is swept when the nearest one is due; so do the connections, once more, for the end of one: ten thousand that end
//! at once each look for theirs among all calls.
//!
//! Rows that were never live take no memory.
//!
//! Cost: one cache line for a call, one compare to match. Memory: 64 + 8 + 4 bytes a slot. Owner: one shard.
//! Proof: `agrees_with_a_hash_map`, below.

use std::time::Duration;

use super::event::{Owner, OwnerKind, Patience};
use crate::{
    base::time::Instant,
    slab::key::{Key, KeyLayout},
};

/// The connection of a call that has none yet.
pub(crate) const NO_CONNECTION: u32 = u32::MAX;

/// How many rows are made at a time: a page of the system's.
const ROWS_AT_ONCE: usize = 64;

/// The lane of a call that is on none.
pub(crate) const NO_LANE: u32 = u32::MAX;

/// Is a call one that stands until somebody ends it, and has the server said so?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It is a plain call.
    No,
    /// It has the time-out of a plain call until the server acknowledges it.
    Asked,
    Acknowledged,
}

/// One call that has not ended: one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) owner: Owner,
    /// Index of the connection it is on, or [`NO_CONNECTION`] while it waits for one. Changed by [`Correlation::place`].
    pub(crate) connection: u32,
    /// Length of its frame on the wire.
    pub(crate) len: u32,
    /// Offset of its first byte in the connection's stream.
    pub(crate) start: u64,
    /// Over HTTP: the lane that carries it, or [`NO_LANE`].
    pub(crate) lane: u32,
    /// Times it was taken back because the server refused it unexecuted.
    pub(crate) tries: u8,
    /// Times a server refused its stream over HTTP/2 without looking at it.
    pub(crate) refusals: u8,
    /// Time-out, renewed by progress; in nanoseconds, of which 584 years are as good as for ever.
    pub(crate) timeout_ns: u64,
    /// The end whatever the progress.
    pub(crate) limit: Instant,
    pub(crate) progress: bool,
    pub(crate) standing: Standing,
}

const _: () = assert!(size_of::<Row>() == 64, "docs/architecture.md counts with 64 bytes a row");

const EMPTY: Row = Row {
    key: Key::NONE,
    owner: Owner { tag: 0, kind: OwnerKind::Drawn },
    connection: NO_CONNECTION,
    len: 0,
    start: 0,
    lane: NO_LANE,
    tries: 0,
    refusals: 0,
    timeout_ns: 0,
    limit: Instant::NEVER,
    progress: false,
    standing: Standing::No,
};

impl Row {
    /// A call that is on no connection yet, and its deadline.
    #[inline]
    pub(crate) fn waiting(now: Instant, key: Key, owner: Owner, patience: &Patience) -> (Self, Instant) {
        let timeout_ns = u64::try_from(patience.timeout.as_nanos()).unwrap_or(u64::MAX);
        let limit = now.after(patience.at_most);
        let standing = if patience.standing { Standing::Asked } else { Standing::No };
        let row = Self { key, owner, timeout_ns, limit, progress: patience.progress, standing, ..EMPTY };
        (row, now.after_ns(timeout_ns).min(limit))
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_nanos(self.timeout_ns)
    }
}

/// What its owner has to be told by of a call that has been taken out of the table. Not the whole row: it was moved three times on its way,
/// in pieces that did not fit the stores before them, and that was a twentieth of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    pub(crate) key: Key,
    pub(crate) owner: Owner,
    pub(crate) connection: u32,
    pub(crate) standing: Standing,
}

/// All calls of one shard that have not ended.
#[derive(Debug)]
pub(crate) struct Correlation {
    layout: KeyLayout,
    rows: Vec<Row>,
    deadlines: Vec<Instant>,
    /// The same as in the rows that are live, and [`NO_CONNECTION`] in the others.
    connections: Vec<u32>,
    /// No live deadline is earlier than this.
    nearest: Instant,
    live: usize,
}

impl Correlation {
    pub(crate) fn new(layout: KeyLayout, slots: u32) -> Self {
        let slots = slots as usize;
        Self {
            layout,
            // Memory that is not written to is the system's still.
            rows: Vec::with_capacity(slots),
            deadlines: vec![Instant::NEVER; slots],
            connections: vec![NO_CONNECTION; slots],
            nearest: Instant::NEVER,
            live: 0,
        }
    }

    /// Enters a call, whose key [`Self::reach`] has seen.
    #[inline]
    pub(crate) fn insert(&mut self, row: Row, deadline: Instant) {
        let slot = self.layout.slot(row.key) as usize;
        debug_assert_eq!(self.rows[slot].key, Key::NONE, "two calls in one slot");
        self.rows[slot] = row;
        self.deadlines[slot] = deadline;
        self.connections[slot] = row.connection;
        self.nearest = self.nearest.min(deadline);
        self.live += 1;
    }

    /// There is a row for this key from now on. (Not looked after by `insert`, in the middle of what a call costs.)
    #[inline]
    pub(crate) fn reach(&mut self, key: Key) {
        let slot = self.layout.slot(key) as usize;
        if slot >= self.rows.len() {
            self.lengthen(slot);
        }
    }

    #[cold]
    fn lengthen(&mut self, slot: usize) {
        let rows = (slot + 1).next_multiple_of(ROWS_AT_ONCE).min(self.rows.capacity()).max(slot + 1);
        self.rows.resize(rows, EMPTY);
    }

    /// The live call with this id that is on this connection.
    #[inline]
    pub(crate) fn find(&self, key: Key, connection: u32) -> Option<&Row> {
        self.get(key).filter(|row| row.connection == connection)
    }

    /// The live call with this key, wherever it is.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&Row> {
        // A row's key is never NONE when it equals `key`, which came from the wire or from a slab.
        self.rows.get(self.layout.slot(key) as usize).filter(|row| row.key == key)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Row> {
        self.rows.get_mut(self.layout.slot(key) as usize).filter(|row| row.key == key)
    }

    /// Moves a live call onto a connection, or with [`NO_CONNECTION`] off its own.
    #[inline]
    pub(crate) fn place(&mut self, key: Key, connection: u32) -> Option<&mut Row> {
        let slot = self.layout.slot(key) as usize;
        let row = self.rows.get_mut(slot).filter(|row| row.key == key)?;
        row.connection = connection;
        self.connections[slot] = connection;
        Some(row)
    }

    /// Ends a call; its row is free. The row must be live.
    #[inline]
    pub(crate) fn remove(&mut self, key: Key) -> Gone {
        let slot = self.layout.slot(key) as usize;
        debug_assert_eq!(self.rows[slot].key, key);
        self.free(slot)
    }

    /// Ends the live call with this id that is on this connection: [`Self::find`] and [`Self::remove`] with one look.
    #[inline]
    pub(crate) fn take(&mut self, key: Key, connection: u32) -> Option<Gone> {
        let slot = self.layout.slot(key) as usize;
        let is_it = self.rows.get(slot).is_some_and(|row| row.key == key && row.connection == connection);
        is_it.then(|| self.free(slot))
    }

    #[inline]
    fn free(&mut self, slot: usize) -> Gone {
        self.live -= 1;
        self.deadlines[slot] = Instant::NEVER;
        self.connections[slot] = NO_CONNECTION;
        let row = &mut self.rows[slot];
        let key = std::mem::replace(&mut row.key, Key::NONE);
        Gone { key, owner: row.owner, connection: row.connection, standing: row.standing }
    }

    /// Progress was made: the time-out starts again, within the limit.
    pub(crate) fn renew(&mut self, key: Key, connection: u32, now: Instant) -> bool {
        let Some(row) = self.find(key, connection) else { return false };
        let deadline = now.after(row.timeout()).min(row.limit);
        let renewed = row.progress;
        if renewed {
            self.deadlines[self.layout.slot(key) as usize] = deadline;
            // Earlier than before if the limit has passed already.
            self.nearest = self.nearest.min(deadline);
        }
        renewed
    }

    /// The server has acknowledged a standing call: from now on it has no deadline.
    pub(crate) fn acknowledge(&mut self, key: Key) {
        let slot = self.layout.slot(key) as usize;
        if let Some(row) = self.get_mut(key) {
            row.standing = Standing::Acknowledged;
            self.deadlines[slot] = Instant::NEVER;
        }
    }

    /// The time before which nothing can expire.
    #[inline]
    pub(crate) fn nearest(&self) -> Instant {
        self.nearest
    }

    /// Collects the keys whose deadline has passed, and finds the nearest deadline anew.
    pub(crate) fn expired(&mut self, now: Instant, into: &mut Vec<Key>) {
        let mut nearest = Instant::NEVER;
        for (slot, &deadline) in self.deadlines.iter().enumerate() {
            if deadline <= now {
                into.push(self.rows[slot].key);
            } else {
                nearest = nearest.min(deadline);
            }
        }
        self.nearest = nearest;
    }

    /// Collects the keys of the `calls` calls on `connection`, in the order in which they were queued. Looks no further when it has them all.
    pub(crate) fn on_connection(&self, connection: u32, calls: usize, into: &mut Vec<Key>) {
        debug_assert_ne!(connection, NO_CONNECTION);
        debug_assert_eq!(
            self.rows.iter().filter(|row| row.key != Key::NONE && row.connection == connection).count(),
            calls,
            "a window counts the calls on its connection"
        );
        let first = into.len();
        let here = self.connections.iter().enumerate().filter(|(_, at)| **at == connection);
        into.extend(here.take(calls).map(|(slot, _)| self.rows[slot].key));
        into[first..].sort_unstable_by_key(|key| self.rows[self.layout.slot(*key) as usize].start);
    }

    /// Collects all live keys.
    pub(crate) fn all(&self, into: &mut Vec<Key>) {
        into.extend(self.rows.iter().map(|row| row.key).filter(|key| *key != Key::NONE));
    }

    /// Calls that have not ended.
    pub(crate) fn live(&self) -> usize {
        self.live
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::slab::magazine::Magazine;

    fn row(key: Key, connection: u32) -> Row {
        Row { key, connection, timeout_ns: 50, limit: Instant::from_ns(500), progress: true, ..EMPTY }
    }

    proptest! {
        #[test]
        fn agrees_with_a_hash_map(steps in proptest::collection::vec((0u8..5, any::<u16>()), 0..300)) {
            let layout = KeyLayout::new(4, 0, 1);
            let mut keys = Magazine::alone(layout, 1, 8);
            let mut table = Correlation::new(layout, 16);
            let mut model: HashMap<Key, (u32, u64)> = HashMap::new();
            let mut dead: Vec<Key> = Vec::new();
            let mut now = 0u64;
            for (step, n) in steps {
                let pick = |model: &HashMap<Key, (u32, u64)>| {
                    let mut keys: Vec<Key> = model.keys().copied().collect();
                    keys.sort();
                    (!keys.is_empty()).then(|| keys[n as usize % keys.len()])
                };
                match step {
                    0 => if let Some(key) = keys.take() {
                        let (connection, deadline) = (u32::from(n % 3), now + 1 + u64::from(n % 100));
                        table.reach(key);
                        table.insert(row(key, connection), Instant::from_ns(deadline));
                        model.insert(key, (connection, deadline));
                    },
                    1 => if let Some(key) = pick(&model) {
                        table.remove(key);
                        model.remove(&key);
                        keys.give_back(key);
                        dead.push(key);
                    },
                    2 => if let Some(key) = pick(&model) {
                        let entry = model.get_mut(&key).unwrap();
                        prop_assert!(table.renew(key, entry.0, Instant::from_ns(now)));
                        entry.1 = (now + 50).min(500);
                    },
                    3 => now += u64::from(n % 40),
                    _ => {
                        let mut expired = Vec::new();
                        table.expired(Instant::from_ns(now), &mut expired);
                        expired.sort();
                        let mut due: Vec<Key> = model.iter().filter(|(_, v)| v.1 <= now).map(|(k, _)| *k).collect();
                        due.sort();
                        prop_assert_eq!(&expired, &due);
                        for key in expired {
                            table.remove(key);
                            model.remove(&key);
                            keys.give_back(key);
                            dead.push(key);
                        }
                    }
                }
                prop_assert_eq!(table.live(), model.len());
                prop_assert!(model.values().all(|v| table.nearest().ns() <= v.1));
                for (key, (connection, _)) in &model {
                    prop_assert!(table.find(*key, *connection).is_some());
                    prop_assert!(table.find(*key, connection + 1).is_none());
                }
                prop_assert!(dead.iter().all(|key| table.get(*key).is_none()));
            }
        }
    }
}
