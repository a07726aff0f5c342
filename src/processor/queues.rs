//! Queues of connections whose turn comes next.

use std::collections::VecDeque;

/// Whose turn comes next, to read and to write.
#[derive(Debug)]
pub(super) struct Queues {
    /// Connections with something to read or decode.
    pub(super) read: SlotQueue,
    /// Connections that have used up their turn and have more to read.
    pub(super) read_on: SlotQueue,
    /// Connections with output to deliver, or an end to be taken further.
    pub(super) write: SlotQueue,
    /// Connections with more output, whose peers take it as fast as it is written.
    pub(super) write_on: SlotQueue,
}

impl Queues {
    const COUNT: usize = 4;

    /// Queues for the slots below `max`.
    pub(super) fn new(max: usize) -> Self {
        let queue = || SlotQueue::new(max);
        Self { read: queue(), read_on: queue(), write: queue(), write_on: queue() }
    }

    /// Bytes that all of them take for the slots below `max`, for the memory ceiling.
    pub(super) fn memory(max: usize) -> usize {
        Self::COUNT * SlotQueue::memory(max)
    }

    pub(super) fn all(&self) -> [&SlotQueue; Self::COUNT] {
        let Self { read, read_on, write, write_on } = self;
        [read, read_on, write, write_on]
    }

    /// True if no connection has work left.
    pub(super) fn are_empty(&self) -> bool {
        self.all().into_iter().all(SlotQueue::is_empty)
    }
}

/// Slots in order of their turns, each at most once.
///
/// The queue knows slots, not connections: if a connection ends while its slot is queued, the entry stays, and then
/// counts for the next connection in that slot.
/// So the queue is never longer than the connection table, whatever comes and goes; code that opens a connection
/// removes an old place if it would give the newcomer a turn too many.
#[derive(Debug)]
pub(super) struct SlotQueue {
    queue: VecDeque<u32>,
    /// A bit for each slot that is in the queue.
    queued: Vec<u64>,
}

impl SlotQueue {
    fn new(max: usize) -> Self {
        Self { queue: VecDeque::with_capacity(max), queued: vec![0; max.div_ceil(64)] }
    }

    fn memory(max: usize) -> usize {
        max * size_of::<u32>() + max.div_ceil(64) * size_of::<u64>()
    }

    /// Bytes that are reserved for it now.
    #[cfg(feature = "sim")]
    pub(super) fn reserved(&self) -> usize {
        self.queue.capacity() * size_of::<u32>() + self.queued.capacity() * size_of::<u64>()
    }

    /// Appends `slot`, unless it is already in the queue.
    #[inline]
    pub(super) fn push(&mut self, slot: u32) {
        if !self.contains(slot) {
            self.queued[slot as usize / 64] |= 1 << (slot % 64);
            self.queue.push_back(slot);
        }
    }

    /// Takes out the first slot.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<u32> {
        let slot = self.queue.pop_front()?;
        self.queued[slot as usize / 64] &= !(1 << (slot % 64));
        Some(slot)
    }

    /// Takes `slot` out, wherever its place is. Searches the queue only if the slot is in it.
    pub(super) fn remove(&mut self, slot: u32) {
        if self.contains(slot) {
            self.queued[slot as usize / 64] &= !(1 << (slot % 64));
            self.queue.retain(|queued| *queued != slot);
        }
    }

    /// True if `slot` is in the queue.
    #[inline]
    pub(super) fn contains(&self, slot: u32) -> bool {
        self.queued[slot as usize / 64] & (1 << (slot % 64)) != 0
    }

    /// How many slots are in the queue.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_one_place_whoever_is_in_it() {
        let mut queue = SlotQueue::new(100);
        for slot in [99, 0, 64, 99, 0] {
            queue.push(slot);
        }
        assert_eq!(queue.len(), 3);
        assert_eq!([queue.pop(), queue.pop()], [Some(99), Some(0)]);
        queue.push(99);
        assert!(queue.contains(99) && !queue.contains(0));
        queue.push(1);
        queue.remove(99);
        queue.remove(0);
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(64), Some(1), None]);
        assert!(!queue.contains(99) && queue.is_empty());
    }
}
