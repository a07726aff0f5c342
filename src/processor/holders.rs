//! Who holds the inbound blocks of one tier, and how much each received of late.

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
