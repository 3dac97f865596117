//! Things with names that go stale: a table whose places are used again under new names.
//!
//! Cost: O(1) for everything. What always holds: a key finds what it was given for, or nothing.

/// A table of things; `K` keeps the keys of different tables apart.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

/// Names one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SlotKey {
    index: u32,
    generation: u32,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Takes a place for something that is put there later.
    pub(super) fn reserve(&mut self) -> SlotKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 things at a time")
        });
        SlotKey { index, generation: self.slots[index as usize].0 }
    }

    pub(super) fn insert(&mut self, thing: T) -> SlotKey {
        let key = self.reserve();
        self.put(key, thing);
        key
    }

    /// Puts something in its place, or back there.
    pub(super) fn put(&mut self, key: SlotKey, thing: T) {
        let slot = &mut self.slots[key.index as usize];
        debug_assert_eq!(slot.0, key.generation, "the place belongs to another");
        slot.1 = Some(thing);
    }

    /// Lends the thing itself; its place stays its own.
    pub(super) fn take(&mut self, key: SlotKey) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.0 == key.generation { slot.1.take() } else { None }
    }

    /// Gives a place up, with whatever is still there.
    pub(super) fn remove(&mut self, key: SlotKey) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.0 == key.generation)?;
        slot.0 = slot.0.wrapping_add(1);
        self.free.push(key.index);
        slot.1.take()
    }

    pub(super) fn get(&self, key: SlotKey) -> Option<&T> {
        self.slots.get(key.index as usize).filter(|slot| slot.0 == key.generation)?.1.as_ref()
    }

    pub(super) fn get_mut(&mut self, key: SlotKey) -> Option<&mut T> {
        self.slots.get_mut(key.index as usize).filter(|slot| slot.0 == key.generation)?.1.as_mut()
    }

    /// Places that are taken.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The keys of all things that are in their places.
    pub(super) fn keys(&self) -> impl Iterator<Item = SlotKey> {
        self.slots
            .iter()
            .zip(0..)
            .filter(|(slot, _)| slot.1.is_some())
            .map(|(slot, index)| SlotKey { index, generation: slot.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slots = Slots::new();
        let old = slots.insert("old");
        assert_eq!(slots.remove(old), Some("old"));
        let new = slots.insert("new");
        assert_eq!((slots.get(old), slots.get(new), slots.len()), (None, Some(&"new"), 1));
        assert_eq!(slots.take(new), Some("new"));
        assert_eq!(slots.remove(old), None);
        slots.put(new, "back");
        assert_eq!(slots.keys().collect::<Vec<_>>(), [new]);
    }
}
