//! The three tiers of one direction, as the processor thread sees them.

use std::array;
use std::sync::Arc;

use super::{Block, Line, Tier, TierConfig};

/// How many tiers a pool has: small, medium, large.
pub const TIERS: usize = 3;
/// The tier of small blocks. Inbound, nobody waits for one as long as a partial message holds one: that is evicted.
pub(crate) const SMALL: usize = 0;
/// The tier of medium blocks.
pub(crate) const MEDIUM: usize = 1;
/// The tier of large blocks.
pub(crate) const LARGE: usize = 2;

/// How many bytes the blocks of every tier hold beyond the tier's size: room for the framing around a payload that
/// fills its tier.
pub const HEADROOM: usize = 512;

/// The shared part of a pool: any thread may lease from it.
#[derive(Debug)]
pub struct SharedPool {
    tiers: [Arc<Tier>; TIERS],
    line: Arc<Line>,
}

impl SharedPool {
    /// A pool of three tiers, smallest first.
    pub fn new(tiers: [TierConfig; TIERS], line: Arc<Line>) -> Arc<Self> {
        let mut index = 0;
        let tiers = tiers.map(|config| {
            let tier = Tier::new(config, index, Arc::clone(&line));
            index += 1;
            tier
        });
        Arc::new(Self { tiers, line })
    }

    /// The tiers, smallest first.
    pub fn tiers(&self) -> &[Arc<Tier>; TIERS] {
        &self.tiers
    }

    /// The line of those that wait for a block of this pool.
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// The smallest tier whose blocks hold `bytes`, if any does.
    #[inline]
    pub fn tier_for(&self, bytes: usize) -> Option<usize> {
        self.tiers.iter().position(|tier| tier.capacity() >= bytes)
    }

    /// The tiers from which a block for `wanted` bytes may come, the best first: those that hold them, smallest first;
    /// then smaller ones, as long as there may be that many segments.
    pub(super) fn tiers_for(&self, wanted: usize, segments_left: usize) -> impl Iterator<Item = usize> + use<> {
        let fitting = self.tier_for(wanted).unwrap_or(TIERS - 1);
        let affordable =
            array::from_fn::<_, TIERS, _>(|tier| wanted.div_ceil(self.tiers[tier].capacity()) <= segments_left);
        (fitting..TIERS).chain((0..fitting).rev()).filter(move |tier| affordable[*tier])
    }

    /// LAW home: true when every block is free, except those that messages of the user's hold.
    pub fn all_home(&self) -> bool {
        // A message that is dropped in between first counts its block as no longer in use, and then as no longer kept:
        // reading in that order would show a block in use that nobody keeps.
        self.tiers.iter().all(|tier| {
            let kept = tier.kept();
            tier.in_use() <= kept
        })
    }

    /// Bytes of all blocks together.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.tiers.iter().map(|tier| tier.count() * tier.size()).sum()
    }

    /// Bytes that could still be leased, roughly: other threads lease too.
    #[inline]
    pub fn free_bytes(&self) -> usize {
        self.tiers.iter().map(|tier| (tier.count() - tier.in_use().min(tier.count())) * tier.size()).sum()
    }
}

/// The processor's end of a pool: the shared tiers, and in front of each a short list of free blocks of its own, last
/// in first out, so that the next lease finds its memory in the cache.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<SharedPool>,
    own: [Vec<Block>; TIERS],
    own_max: [usize; TIERS],
}

impl Pool {
    /// The processor's end of `shared`. At most `own_max` free blocks a tier are held back from the other threads.
    pub fn new(shared: Arc<SharedPool>, own_max: [usize; TIERS]) -> Self {
        let own_max = array::from_fn(|tier: usize| own_max[tier].min(shared.tiers[tier].count()));
        Self { own: own_max.map(Vec::with_capacity), own_max, shared }
    }

    /// Takes a block of that tier, or `None` when all are in use. Never of another tier.
    pub fn lease(&mut self, tier: usize) -> Option<Block> {
        match self.own[tier].pop() {
            Some(block) => Some(block.lent_again()),
            None => self.shared.tiers[tier].lease(),
        }
    }

    /// Takes a block for `wanted` bytes: of the smallest tier that holds them and has one; else of a smaller one, as
    /// long as the message may be cut into `segments_left` pieces.
    pub(super) fn lease_for(&mut self, wanted: usize, segments_left: usize) -> Option<Block> {
        let mut tiers = self.shared.tiers_for(wanted, segments_left);
        tiers.find_map(|tier| self.lease(tier))
    }

    /// Brings a block of this pool home the short way.
    pub fn put(&mut self, block: Block) {
        let tier = block.tier();
        // A reserve belongs to no pool: `Drop` knows its way.
        if tier < TIERS && self.own[tier].len() < self.own_max[tier] && !self.shared.line.has_encoders() {
            self.own[tier].push(block.at_rest());
        }
        // Otherwise `Drop` brings it home, which also tells those that wait.
    }

    /// Gives the held-back blocks to all threads, because another one waits for a block.
    pub fn release_own(&mut self) {
        self.own.iter_mut().for_each(Vec::clear);
    }

    /// How many leases of that tier would succeed now. Exact if no other thread leases; others only bring more home.
    #[inline]
    pub fn available(&self, tier: usize) -> usize {
        self.own[tier].len() + self.shared.tiers[tier].available()
    }

    /// The part that all threads share.
    pub fn shared(&self) -> &Arc<SharedPool> {
        &self.shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wake::WakeFlag;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    fn tiny(wake: WakeFlag) -> Pool {
        let tiers =
            [TierConfig { size: 16, count: 2 }, TierConfig { size: 64, count: 1 }, TierConfig { size: 256, count: 1 }];
        Pool::new(SharedPool::new(tiers, Line::new(Arc::new(wake))), [1, 1, 1])
    }

    #[test]
    fn a_tier_lends_up_to_its_count_and_again_what_came_home() {
        let mut pool = tiny(WakeFlag::never_asleep());
        let (first, second) = (pool.lease(0), pool.lease(0));
        assert!(first.is_some() && second.is_some());
        assert!(pool.lease(0).is_none() && pool.available(0) == 0);
        drop(first);
        assert!(pool.available(0) == 1 && pool.lease(0).is_some());
        assert_eq!(pool.shared().tiers()[0].high_water(), 2);
        second.into_iter().for_each(|block| pool.put(block));
        assert_eq!(pool.shared().tiers()[0].in_use(), 0);
    }

    #[test]
    fn the_processors_own_list_is_last_in_first_out_and_bounded() {
        let mut pool = tiny(WakeFlag::never_asleep());
        let mut blocks: Vec<_> = (0..2).filter_map(|_| pool.lease(0)).collect();
        blocks[1].push(b"warm");
        blocks.reverse();
        blocks.into_iter().for_each(|block| pool.put(block));
        assert_eq!(pool.own[0].len(), 1);
        let mut block = pool.lease(0).expect("one was put back");
        block.fill(4);
        assert_eq!(block.filled(), b"warm");
    }

    #[test]
    fn what_the_processor_held_back_is_for_everyone_when_somebody_waits() {
        let mut pool = tiny(WakeFlag::never_asleep());
        let blocks: Vec<_> = (0..2).filter_map(|_| pool.lease(0)).collect();
        blocks.into_iter().for_each(|block| pool.put(block));
        assert_eq!((pool.shared().tiers()[0].available(), pool.available(0)), (1, 2));
        pool.release_own();
        assert_eq!((pool.shared().tiers()[0].available(), pool.available(0)), (2, 2));
    }

    #[test]
    fn a_drop_wakes_the_processor_only_if_it_asked() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let wake = WakeFlag::new(move || {
            counted.fetch_add(1, SeqCst);
        });
        wake.fall_asleep();
        let mut pool = tiny(wake);
        drop(pool.lease(1));
        assert_eq!(calls.load(SeqCst), 0, "nobody stood in line");
        let block = pool.lease(1);
        pool.shared().line().tell_processor();
        drop(block);
        assert_eq!(calls.load(SeqCst), 1);
    }
}
