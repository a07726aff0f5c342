//! Where an encoder gets its blocks from, whether it may wait for them, and what its last resort is.

use std::sync::Arc;

use super::segments::Segment;
use super::{Block, Line, Pool, SMALL, SharedPool, TIERS, Tier, TierConfig};
use crate::wake::WakeFlag;

/// The index of a reserve's tier: behind those of the pool.
pub(crate) const RESERVE: usize = TIERS;

/// Makes a reserve: one block that holds any answer, outside of the pool.
pub(crate) fn reserve(reply_max: usize, line: &Arc<Line>) -> Arc<Tier> {
    Tier::new(TierConfig { size: reply_max, count: 1 }, RESERVE, Arc::clone(line))
}

/// A source of blocks for one [`Outbound`](super::Outbound).
pub(super) struct Source {
    from: From,
}

enum From {
    /// The processor thread: its end of the pool, then its reserve. It never waits, because only it frees blocks.
    Own { pool: Pool, reserve: Arc<Tier>, warm: Option<Block> },
    /// Another thread: the shared pool, then a place in the line.
    Shared { pool: Arc<SharedPool>, reserve: Option<Arc<Tier>>, standing: bool },
}

impl Source {
    pub(super) fn own(pool: Pool, reserve: Arc<Tier>) -> Self {
        Self { from: From::Own { pool, reserve, warm: None } }
    }

    pub(super) fn shared(pool: Arc<SharedPool>, reserve: Option<Arc<Tier>>) -> Self {
        Self { from: From::Shared { pool, reserve, standing: false } }
    }

    /// A source with blocks of its own, outside of any server.
    pub(super) fn detached(bytes: usize) -> Self {
        let line = Line::new(Arc::new(WakeFlag::never_asleep()));
        let tier = |size: usize| TierConfig { size, count: bytes.div_ceil(size) + 1 };
        Self::shared(SharedPool::new([tier(4 << 10), tier(128 << 10), tier(1 << 20)], line), None)
    }

    /// A block for `wanted` bytes, of which the answer may take `segments_left` at most.
    pub(super) fn lease(&mut self, wanted: usize, segments_left: usize) -> Option<Block> {
        match &mut self.from {
            From::Own { pool, reserve, warm } => {
                if let Some(block) = warm.take_if(|block| block.capacity() >= wanted) {
                    return Some(block);
                }
                pool.lease_for(wanted, segments_left).or_else(|| reserve.lease())
            }
            From::Shared { pool, reserve, standing } => {
                let take = || pool.tiers_for(wanted, segments_left).find_map(|tier| pool.tiers()[tier].lease());
                let line = pool.line();
                // A thread that is not in the line must not take a block away from those that are.
                if !*standing
                    && !line.has_encoders()
                    && let Some(block) = take()
                {
                    return Some(block);
                }
                let reserve = reserve.as_ref()?;
                if !*standing {
                    line.stand();
                    *standing = true;
                }
                line.wait_for(|| take().or_else(|| reserve.lease()))
            }
        }
    }

    /// True if blocks for `wanted` bytes, of which the answer may take `segments_left` at most, can be found at all:
    /// now, or when others have given theirs back.
    pub(super) fn could_hold(&self, wanted: usize, segments_left: usize) -> bool {
        match &self.from {
            From::Shared { pool, reserve: None, .. } => wanted <= most_in(pool, segments_left),
            // Its reserve holds whatever an answer may have.
            From::Own { .. } | From::Shared { .. } => true,
        }
    }

    /// True if `block` is at least as large as the one that an untouched pool would give to an answer that asks so.
    pub(super) fn is_first_choice(&self, block: &Block, wanted: usize, segments_left: usize) -> bool {
        let pool = self.shared_pool();
        let first = pool.tiers_for(wanted, segments_left).find(|tier| pool.tiers()[*tier].count() > 0);
        first.is_none_or(|first| block.capacity() >= pool.tiers()[first].capacity())
    }

    /// True if `block` may stay where the next answer begins: it is small, and no other is kept for that.
    #[inline]
    pub(super) fn keeps(&self, block: &Block) -> bool {
        matches!(&self.from, From::Own { warm: None, .. }) && block.tier() == SMALL
    }

    /// Brings a segment's block home. The processor keeps one small block at hand, in which the next answer begins:
    /// this one, if it `may_keep` one.
    pub(super) fn recycle(&mut self, segment: Segment, may_keep: bool) {
        let Segment::Block { mut block, .. } = segment else { return };
        if let From::Own { pool, warm, .. } = &mut self.from {
            match warm {
                None if may_keep && block.tier() == SMALL => {
                    block.truncate(0);
                    *warm = Some(block);
                }
                _ => pool.put(block),
            }
        }
    }

    #[inline]
    pub(super) fn pool(&self) -> Option<&Pool> {
        match &self.from {
            From::Own { pool, .. } => Some(pool),
            From::Shared { .. } => None,
        }
    }

    #[inline]
    pub(super) fn pool_mut(&mut self) -> Option<&mut Pool> {
        match &mut self.from {
            From::Own { pool, .. } => Some(pool),
            From::Shared { .. } => None,
        }
    }

    pub(super) fn shared_pool(&self) -> &SharedPool {
        match &self.from {
            From::Own { pool, .. } => pool.shared(),
            From::Shared { pool, .. } => pool,
        }
    }

    /// True if the processor keeps a small block at hand.
    #[cfg(feature = "sim")]
    pub(super) fn is_warm(&self) -> bool {
        matches!(&self.from, From::Own { warm: Some(_), .. })
    }

    #[inline]
    pub(super) fn reserve_whole(&self) -> bool {
        match &self.from {
            From::Own { reserve, .. } => reserve.in_use() == 0,
            From::Shared { reserve, .. } => reserve.as_ref().is_some_and(|reserve| reserve.in_use() == 0),
        }
    }
}

impl Drop for Source {
    /// The answer is finished, given up, or its encoder panicked: the next in line follows.
    fn drop(&mut self) {
        if let From::Shared { pool, standing: true, .. } = &self.from {
            pool.line().leave();
        }
    }
}

/// How many bytes `blocks` blocks of the pool hold at most: the largest of those that there are.
pub(super) fn most_in(pool: &SharedPool, blocks: usize) -> usize {
    let mut left = blocks;
    let largest_first = pool.tiers().iter().rev();
    largest_first.fold(0, |bytes: usize, tier| {
        let taken = left.min(tier.count());
        left -= taken;
        bytes.saturating_add(taken.saturating_mul(tier.capacity()))
    })
}

/// What the largest blocks of a pool hold.
pub(super) fn largest(pool: &SharedPool) -> usize {
    pool.tiers()[TIERS - 1].capacity()
}
