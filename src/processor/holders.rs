//! Who holds inbound blocks, how much each received of late, and who gives one up when nobody else does.

use super::blocks::SMALL;
use super::{Processor, Selector};
use crate::connection::{CloseReason, Connection, HolderAt};
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;
use crate::reason::{DropReason, PauseReason};

/// The holders of one tier's blocks. Their number is bounded by the number of blocks.
#[derive(Debug, Default)]
pub(super) struct Holders {
    entries: Vec<Holder>,
}

/// A connection with an unfinished message. Bytes are counted by the second, for this second and the one before.
#[derive(Debug, Clone, Copy)]
struct Holder {
    slot: u32,
    second: u32,
    current: u32,
    before: u32,
}

impl Holder {
    fn receive(&mut self, bytes: usize, second: u32) {
        if self.second != second {
            self.before = if self.second.wrapping_add(1) == second { self.current } else { 0 };
            self.current = 0;
            self.second = second;
        }
        self.current = self.current.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Bytes received in this second and the one before.
    fn of_late(&self, second: u32) -> u32 {
        match second.wrapping_sub(self.second) {
            0 => self.current.saturating_add(self.before),
            1 => self.current,
            _ => 0,
        }
    }
}

impl Holders {
    /// How many there are.
    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds a holder; returns its index.
    pub(super) fn add(&mut self, slot: u32, bytes: usize, second: u32) -> u32 {
        let mut holder = Holder { slot, second, current: 0, before: 0 };
        holder.receive(bytes, second);
        self.entries.push(holder);
        self.entries.len() as u32 - 1
    }

    /// Takes a holder out; returns the slot of the one that took its index, if one did.
    pub(super) fn remove(&mut self, index: u32) -> Option<u32> {
        self.entries.swap_remove(index as usize);
        self.entries.get(index as usize).map(|moved| moved.slot)
    }

    /// Counts bytes that a holder received.
    pub(super) fn receive(&mut self, index: u32, bytes: usize, second: u32) {
        self.entries[index as usize].receive(bytes, second);
    }

    /// The slot that received least of late among those that may be evicted; of several, the one quiet for longest.
    pub(super) fn least(&self, second: u32, mut may_evict: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut least: Option<(u32, u32, u32)> = None;
        for holder in &self.entries {
            let rank = (holder.of_late(second), holder.second, holder.slot);
            let lower = least.is_none_or(|least| (rank.0, rank.1) < (least.0, least.1));
            if lower && may_evict(holder.slot) {
                least = Some(rank);
            }
        }
        least.map(|(_, _, slot)| slot)
    }
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    fn second_of_now(&self) -> u32 {
        self.second as u32
    }

    /// The connection has a block now.
    pub(super) fn note_holder(&mut self, slot: u32, bytes: usize) {
        let second = self.second_of_now();
        let Some(connection) = self.table.at_mut(slot) else { return };
        let Some(tier) = connection.inbound.tier() else { return };
        let index = self.holders[tier].add(slot, bytes, second);
        connection.holder = Some(HolderAt { tier: tier as u8, index });
    }

    /// The connection received bytes into its block.
    pub(super) fn note_received(&mut self, slot: u32, bytes: usize) {
        let second = self.second_of_now();
        if let Some(at) = self.table.at(slot).and_then(|connection| connection.holder) {
            self.holders[at.tier as usize].receive(at.index, bytes, second);
        }
    }

    /// The connection has no block any more.
    pub(super) fn forget_holder(&mut self, slot: u32) {
        let Some(at) = self.table.at_mut(slot).and_then(|connection| connection.holder.take()) else { return };
        if let Some(moved) = self.holders[at.tier as usize].remove(at.index)
            && let Some(connection) = self.table.at_mut(moved)
        {
            connection.holder = Some(at);
        }
    }

    /// Evicts the holder that received least of late; false if there is none that may be evicted.
    pub(super) fn evict_least(&mut self, tier: usize, for_slot: u32) -> bool {
        let (second, table) = (self.second_of_now(), &self.table);
        let may_evict = |slot: u32| slot != for_slot && table.at(slot).is_some_and(|found| is_evictable(tier, found));
        let victim = self.holders[tier].least(second, may_evict);
        let Some(slot) = victim else { return false };
        let bytes = self.table.at(slot).map_or(0, |connection| connection.inbound.buffered());
        self.links.metrics.evictions[tier].add(1);
        self.release_inbound(slot, DropReason::Incomplete);
        self.refuse(slot, CloseReason::EvictedInbound { bytes }, self.overloaded());
        true
    }
}

/// A connection that waits for the server is not evicted for it: neither one that is held up, nor one that may run again and
/// has not had its turn. One that waits in line for a larger block still gives a small one up: otherwise whoever claims large
/// messages could hold all small blocks, and those are never waited for.
fn is_evictable<K, P>(tier: usize, connection: &Connection<K, P>) -> bool {
    let (mut paused, undecoded) = (connection.paused, connection.flags.undecoded);
    let has_its_turn_soon = undecoded && paused.is_empty();
    if tier == SMALL && !undecoded {
        paused.clear(PauseReason::NoBlocks);
    }
    !has_its_turn_soon && !paused.by_server()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_who_received_least_in_the_last_seconds() {
        let mut holders = Holders::default();
        let fast = holders.add(1, 10_000, 100);
        let _dribbles = holders.add(2, 5, 100);
        let _silent = holders.add(3, 50_000, 90);
        assert_eq!(holders.least(100, |_| true), Some(3), "what came ten seconds ago counts no more");
        assert_eq!(holders.least(100, |slot| slot != 3), Some(2));
        holders.receive(fast, 1, 101);
        assert_eq!(holders.least(101, |slot| slot != 3), Some(2), "the second before counts");
        assert_eq!(holders.remove(fast), Some(3), "the last takes the free index");
        assert_eq!(holders.least(101, |_| false), None);
    }
}
