//! Blocks that are set aside, so that code that needs one cannot fail.

use super::{Block, Pool, SMALL, TIERS};

/// One block of each tier, set aside: while it is at hand, code that needs one cannot fail. The processor has two of
/// these sets: the spares, for [`Message::into_owned`](crate::Message::into_owned), and the blocks for the unfinished
/// rest of a read.
#[derive(Debug, Default)]
pub struct SetAside {
    blocks: [Option<Block>; TIERS],
}

impl SetAside {
    /// Makes sure that the block of `tier` is there; false if none is free.
    #[inline]
    pub fn refill(&mut self, tier: usize, pool: &mut Pool) -> bool {
        if self.blocks[tier].is_none() {
            self.blocks[tier] = pool.lease(tier);
        }
        self.blocks[tier].is_some()
    }

    /// True if the block of `tier` is there.
    #[inline]
    pub fn has(&self, tier: usize) -> bool {
        self.blocks[tier].is_some()
    }

    /// True if the block of the smallest tier is there and holds `bytes`.
    #[inline]
    pub fn smallest_holds(&self, bytes: usize) -> bool {
        self.blocks[SMALL].as_ref().is_some_and(|block| block.capacity() >= bytes)
    }

    /// Takes the block of `tier`.
    pub fn take(&mut self, tier: usize) -> Option<Block> {
        self.blocks[tier].take()
    }

    /// Sets `block` aside if that of its tier is missing; returns it otherwise.
    pub fn accept(&mut self, block: Block) -> Option<Block> {
        let place = &mut self.blocks[block.tier()];
        match place {
            None => {
                *place = Some(block);
                None
            }
            Some(_) => Some(block),
        }
    }

    /// Copies `bytes` into the block that was set aside for them.
    ///
    /// # Panics
    /// If no block that can hold `bytes` is there: the processor lends no message without its spare.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Block {
        let fits = |block: &Block| block.capacity() >= bytes.len();
        let place = self.blocks.iter_mut().find(|place| place.as_ref().is_some_and(fits));
        let mut block = place.and_then(Option::take).expect("a shared message is lent only with its spare at hand");
        block.truncate(0);
        block.push(bytes);
        block
    }
}
