//! All connections of one processor, by slot.

use crate::id::ConnectionId;

/// The connection table. Slots are used again, last in first out; ids are not, so that a late answer reaches no other
/// connection.
#[derive(Debug)]
pub(crate) struct Table<C> {
    slots: Vec<Option<C>>,
    free: Vec<u32>,
    generation: u64,
    processor: u16,
}

impl<C> Table<C> {
    /// Room for `max` connections. Memory that was never needed is never touched.
    pub(crate) fn new(processor: u16, max: usize) -> Self {
        Self { slots: Vec::with_capacity(max), free: Vec::with_capacity(max), generation: 0, processor }
    }

    /// Bytes that `max` connections take, for the memory ceiling.
    pub(crate) fn memory(max: usize) -> u64 {
        (max * (size_of::<Option<C>>() + size_of::<u32>())) as u64
    }

    /// Bytes that are reserved for connections now.
    #[cfg(feature = "sim")]
    pub(crate) fn reserved(&self) -> u64 {
        (self.slots.capacity() * size_of::<Option<C>>() + self.free.capacity() * size_of::<u32>()) as u64
    }

    /// Inserts the connection that `make` makes from its new id; returns the slot.
    pub(crate) fn insert(&mut self, make: impl FnOnce(ConnectionId) -> C) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.generation += 1;
        self.slots[slot as usize] = Some(make(ConnectionId::new(self.processor, slot, self.generation)));
        slot
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<C> {
        let removed = self.slots.get_mut(slot as usize)?.take();
        if removed.is_some() {
            self.free.push(slot);
        }
        removed
    }

    /// The connection in `slot`, if there is one.
    pub(crate) fn at(&self, slot: u32) -> Option<&C> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The connection in `slot`, if there is one.
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut C> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// All slots that were ever used.
    pub(crate) fn slots(&self) -> std::ops::Range<u32> {
        0..self.slots.len() as u32
    }

    /// All connections.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &C> {
        self.slots.iter().flatten()
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True when no connection is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_and_an_id_is_not() {
        let mut table = Table::new(0, 4);
        let slot = table.insert(|id| id);
        let first = table.remove(slot);
        assert!(table.is_empty() && table.remove(slot).is_none());
        let again = table.insert(|id| id);
        assert_eq!(again, slot);
        assert_ne!(table.at(again).copied(), first);
    }
}
