//! Connections that hold inbound blocks, how much each has received recently, and which of them gives up its block.

use std::time::{Duration, Instant};

use super::shortage::Shortage;
use super::{Processor, Selector};
use crate::buffer::SMALL;
use crate::connection::{CloseReason, Connection, HolderAt};
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;
use crate::reason::PauseReason;

/// The holders of one tier's blocks. Their number is bounded by the number of blocks, the spare included, so there is a
/// place for each from the start.
#[derive(Debug)]
pub(crate) struct Holders {
    entries: Vec<Holder>,
}

/// A connection with an unfinished message. Its bytes are counted for each quarter of the famine time: for the present
/// quarter and the three before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder {
    slot: u32,
    quarter: u32,
    /// The quarter in which it got this block.
    since: u32,
    /// The newest first.
    received: [u32; QUARTERS],
}

/// Together they are no longer than `famine`, so bytes that came before a wait of that length began no longer count.
const QUARTERS: usize = 4;
/// A holder that got its block in this quarter or the one before keeps it, unless it is a small one: the bytes that its
/// peer could not send before may need a round trip.
const TENURE: u32 = 2;
/// A holder is fast if, at its recent rate, it would fill its block within so many famine times.
const SOON: usize = 12;
/// The shortest quarter, in case the famine time is next to nothing.
const QUARTER_LEAST: Duration = Duration::from_millis(1);

/// Numbers the quarters of the famine time.
#[derive(Debug)]
pub(super) struct Quarters {
    number: u32,
    ends: Instant,
    micros: u64,
}

impl Quarters {
    pub(super) fn new(now: Instant, famine: Duration) -> Self {
        let micros = (famine / QUARTERS as u32).max(QUARTER_LEAST).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        Self { number: 0, ends: now + Duration::from_micros(micros), micros }
    }

    /// The number of the quarter in which `now` is. Called for each read, so it divides only once a quarter.
    #[inline]
    fn at(&mut self, now: Instant) -> u32 {
        if now >= self.ends {
            self.pass(now);
        }
        self.number
    }

    /// The length of a quarter.
    pub(super) fn length(&self) -> Duration {
        Duration::from_micros(self.micros)
    }

    /// The next quarter begins where this one ends, however late that is noticed; otherwise all together would be
    /// longer.
    fn pass(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.ends).as_micros() as u64 / self.micros + 1;
        self.number = self.number.wrapping_add(passed as u32);
        self.ends += Duration::from_micros(passed * self.micros);
    }
}

impl Holder {
    fn new(slot: u32, bytes: usize, quarter: u32) -> Self {
        let mut holder = Self { slot, quarter, since: quarter, received: [0; QUARTERS] };
        holder.receive(bytes, quarter);
        holder
    }

    fn receive(&mut self, bytes: usize, quarter: u32) {
        let passed = (quarter.wrapping_sub(self.quarter) as usize).min(QUARTERS);
        if passed > 0 {
            self.received.rotate_right(passed);
            self.received[..passed].fill(0);
            self.quarter = quarter;
        }
        self.received[0] = self.received[0].saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// True if it has had its block only for a moment.
    fn is_new(&self, quarter: u32) -> bool {
        quarter.wrapping_sub(self.since) < TENURE
    }

    /// True if its block of `capacity` bytes will soon be full, or its message whole. How much is missing according to
    /// the peer does not count, because a peer could always claim little. This does not hold forever, because not
    /// everything that is received stays in the block.
    fn is_fast(&self, quarter: u32, capacity: usize) -> bool {
        let had_time = quarter.wrapping_sub(self.since) as usize > (SOON + 1) * QUARTERS;
        !had_time && capacity <= (self.of_late(quarter) as usize).saturating_mul(SOON)
    }

    /// Bytes received in this quarter and the three before.
    fn of_late(&self, quarter: u32) -> u32 {
        let passed = (quarter.wrapping_sub(self.quarter) as usize).min(QUARTERS);
        self.received[..QUARTERS - passed].iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

impl Holders {
    /// Bytes that a block's holder takes, for the memory ceiling.
    pub(crate) const PER_BLOCK: usize = size_of::<Holder>();

    /// Holders of `blocks` blocks. Memory that was never needed is never touched.
    pub(super) fn new(blocks: usize) -> Self {
        Self { entries: Vec::with_capacity(blocks) }
    }

    /// Bytes that are reserved for them now.
    #[cfg(feature = "sim")]
    pub(super) fn reserved(&self) -> usize {
        self.entries.capacity() * Self::PER_BLOCK
    }

    /// Adds a holder; returns its index.
    pub(super) fn add(&mut self, holder: Holder) -> u32 {
        self.entries.push(holder);
        self.entries.len() as u32 - 1
    }

    /// Takes a holder out, and with it the slot of the one that took its index, if one did.
    pub(super) fn remove(&mut self, index: u32) -> (Holder, Option<u32>) {
        let holder = self.entries.swap_remove(index as usize);
        (holder, self.entries.get(index as usize).map(|moved| moved.slot))
    }

    /// Counts bytes that a holder has received.
    pub(super) fn receive(&mut self, index: u32, bytes: usize, quarter: u32) {
        self.entries[index as usize].receive(bytes, quarter);
    }

    /// The holder that has recently received the fewest bytes, among those that may be evicted; of several, the one
    /// that has been quiet for longest.
    fn least(&self, quarter: u32, may_evict: impl Fn(&Holder) -> bool) -> Option<Holder> {
        let mut least: Option<(u32, u32, Holder)> = None;
        for holder in &self.entries {
            let (received, last) = (holder.of_late(quarter), holder.quarter);
            let lower = least.is_none_or(|least| (received, last) < (least.0, least.1));
            if lower && may_evict(holder) {
                least = Some((received, last, *holder));
            }
        }
        least.map(|(_, _, holder)| holder)
    }
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// The connection has a block now.
    pub(super) fn note_holder(&mut self, slot: u32, bytes: usize) {
        let quarter = self.quarters.at(self.now);
        self.add_holder(Holder::new(slot, bytes, quarter));
    }

    /// The connection has a larger block now. The bytes that it received before keep their age; otherwise peers that
    /// stall would pass for peers that send.
    pub(super) fn note_promoted(&mut self, slot: u32) {
        let quarter = self.quarters.at(self.now);
        if let Some(mut holder) = self.forget_holder(slot) {
            // Among holders that have received nothing recently, those that have had their time go first.
            holder.receive(0, quarter);
            self.add_holder(Holder { since: quarter, ..holder });
        }
    }

    fn add_holder(&mut self, holder: Holder) {
        let Some(connection) = self.table.at_mut(holder.slot) else { return };
        let Some(tier) = connection.inbound.tier() else { return };
        let index = self.holders[tier].add(holder);
        connection.holder = Some(HolderAt::new(tier, index));
    }

    /// The connection received bytes into its block.
    pub(super) fn note_received(&mut self, slot: u32, bytes: usize) {
        let quarter = self.quarters.at(self.now);
        if let Some(at) = self.table.at(slot).and_then(|connection| connection.holder) {
            self.holders[at.tier()].receive(at.index(), bytes, quarter);
        }
    }

    /// The connection has no block any more, or not that one. Returns what it received, if it had one.
    pub(super) fn forget_holder(&mut self, slot: u32) -> Option<Holder> {
        let at = self.table.at_mut(slot).and_then(|connection| connection.holder.take())?;
        let (holder, moved) = self.holders[at.tier()].remove(at.index());
        if let Some(connection) = moved.and_then(|moved| self.table.at_mut(moved)) {
            connection.holder = Some(at);
        }
        Some(holder)
    }

    /// Evicts the holder that has recently received the fewest bytes; false if it may not be evicted, or there is none.
    ///
    /// Holders of medium and large blocks that will soon be done are passed over. If the holder has only just got its
    /// block, its bytes may still be on the way: then none is evicted, because those that have received more must not
    /// pay for it.
    pub(super) fn evict_least(&mut self, for_slot: u32, tier: usize) -> bool {
        let (quarter, table) = (self.quarters.at(self.now), &self.table);
        let is_spared = |holder: &Holder, connection: &Connection<S::Socket, P>| {
            tier != SMALL && holder.is_fast(quarter, connection.inbound.capacity())
        };
        let may_evict = |holder: &Holder| {
            holder.slot != for_slot
                && !self.queues.write_on.contains(holder.slot)
                && table.at(holder.slot).is_some_and(|found| is_evictable(tier, found) && !is_spared(holder, found))
        };
        let least = self.holders[tier].least(quarter, may_evict);
        let victim = least.filter(|holder| tier == SMALL || !holder.is_new(quarter)).map(|holder| holder.slot);
        let Some(slot) = victim else { return false };
        let bytes = self.table.at(slot).map_or(0, |connection| connection.inbound.buffered());
        self.links.metrics.evictions[tier].add(1);
        self.refuse(slot, CloseReason::EvictedInbound { bytes });
        self.tell_of_shortage(Shortage::Inbound(tier));
        true
    }
}

/// A connection is not evicted while it waits for the server, whether it is held up, or may run again and has not had
/// its turn. One that waits in line for a larger block still gives up a small one: otherwise peers that claim large
/// messages could hold all small blocks, for which no connection ever waits.
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
    fn the_least_is_who_received_least_in_the_last_four_quarters() {
        let mut holders = Holders::new(3);
        let least = |holders: &Holders, quarter, but: u32| {
            holders.least(quarter, |holder| holder.slot != but).map(|holder| holder.slot)
        };
        let fast = holders.add(Holder::new(1, 10_000, 100));
        holders.add(Holder::new(2, 5, 100));
        holders.add(Holder::new(3, 50_000, 96));
        assert_eq!(least(&holders, 100, 0), Some(3), "what came four quarters ago counts no more");
        assert_eq!(least(&holders, 100, 3), Some(2));
        holders.receive(fast, 1, 101);
        assert_eq!(least(&holders, 103, 3), Some(2), "the three quarters before count");
        holders.receive(fast, 1, 104);
        assert_eq!(least(&holders, 104, 3), Some(2), "and none before those");
        assert_eq!(least(&holders, 108, 3), Some(2), "of two that are quiet, who was so first");
        assert_eq!(holders.remove(fast).1, Some(3), "the last takes the free index");
        assert!(holders.least(101, |_| false).is_none());
    }

    #[test]
    fn a_holder_is_fast_for_what_it_has_received_and_not_forever() {
        let mut holder = Holder::new(1, 100, 0);
        assert!(holder.is_fast(0, 100 * SOON) && !holder.is_fast(0, 100 * SOON + 1));
        assert!(holder.is_fast(3, 100 * SOON) && !holder.is_fast(4, 1), "what came long ago counts no more");
        let last = ((SOON + 1) * QUARTERS) as u32;
        holder.receive(100, last);
        assert!(holder.is_fast(last, 100 * SOON));
        holder.receive(1_000_000, last + 1);
        assert!(!holder.is_fast(last + 1, 1), "it has had its time");
    }

    #[test]
    fn four_quarters_are_no_longer_than_the_famine_time_and_not_much_shorter() {
        let start = Instant::now();
        for famine in [4, 200, 1000, 10_000, 3_600_000].map(Duration::from_millis) {
            let mut quarters = Quarters::new(start, famine);
            let mut holder = Holder::new(0, 7, quarters.at(start + famine / 8));
            assert_eq!(holder.of_late(quarters.at(start + famine - famine / 1000)), 7, "it came not long ago");
            assert_eq!(holder.of_late(quarters.at(start + famine)), 0);
            // Also after a long time without a call: a quarter begins when it is due, and not at the next call.
            let later = start + famine * 9 / 8;
            holder.receive(7, quarters.at(later));
            assert_eq!(holder.of_late(quarters.at(later + famine * 3 / 4)), 7);
            assert_eq!(holder.of_late(quarters.at(later + famine * 7 / 8)), 0);
        }
        let mut least = Quarters::new(start, Duration::from_nanos(1));
        assert_eq!((least.at(start), least.at(start + QUARTER_LEAST)), (0, 1));
        let years = Duration::from_secs(100 * 365 * 86_400);
        let passed = least.at(start + years);
        assert_eq!(passed, years.as_millis() as u32, "numbers begin anew");
        assert_eq!(least.at(start + years + QUARTER_LEAST), passed.wrapping_add(1));
    }
}
