//! All blocks of one size: how many may exist, which are free, and the way home from any thread.

use std::mem;
use std::sync::Arc;

use super::{Block, HEADROOM, Line};
use crate::sync::ArrayQueue;
use crate::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// Size and number of the blocks of one tier. In a [`Config`](crate::Config) each tier has larger blocks than the one
/// before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierConfig {
    /// Usable bytes of one block, 1 to 1 GiB; [`HEADROOM`] bytes come on top.
    pub size: usize,
    /// How many blocks may exist, 1 to 2^28.
    pub count: usize,
}

impl TierConfig {
    /// The most memory that this tier can take, in bytes: what the allocator hands out for a block, times the count.
    /// Saturates at `u64::MAX`.
    pub fn memory(self) -> u64 {
        allocated(self.size.saturating_add(HEADROOM)).saturating_mul(self.count as u64)
    }
}

/// What an allocator takes for `bytes`: a header, and whole pages for what it maps on its own.
fn allocated(bytes: usize) -> u64 {
    const HEADER: usize = 16;
    const PAGE: usize = 4096;
    /// From here on glibc maps an allocation on its own.
    const MAPPED: usize = 128 << 10;
    let bytes = bytes.saturating_add(HEADER);
    let unit = if bytes >= MAPPED { PAGE } else { 16 };
    bytes.checked_next_multiple_of(unit).unwrap_or(usize::MAX) as u64
}

/// The shared home of one tier's blocks. Blocks are made on first need, up to the count, and kept forever.
#[derive(Debug)]
pub struct Tier {
    config: TierConfig,
    index: usize,
    made: AtomicU32,
    in_use: AtomicU32,
    high_water: AtomicU32,
    kept: AtomicU32,
    free: ArrayQueue<Box<[u8]>>,
    line: Arc<Line>,
}

impl Tier {
    /// A tier whose returning blocks are announced to `line`. `index` is its place in its pool, smallest first.
    pub fn new(config: TierConfig, index: usize, line: Arc<Line>) -> Arc<Self> {
        Arc::new(Self {
            config,
            index,
            made: AtomicU32::new(0),
            in_use: AtomicU32::new(0),
            high_water: AtomicU32::new(0),
            kept: AtomicU32::new(0),
            // A tier of no blocks is refused by the configuration; the queue can't hold zero.
            free: ArrayQueue::new(config.count.max(1)),
            line,
        })
    }

    /// Takes a block, making it if fewer than the count exist. `None` when all are in use. Any thread.
    pub fn lease(self: &Arc<Self>) -> Option<Block> {
        let bytes = self.free.pop().or_else(|| self.make())?;
        self.count_lent();
        Some(Block::new(bytes, Arc::clone(self)))
    }

    /// Books a free block as one in use.
    pub(super) fn count_lent(&self) {
        let in_use = self.in_use.fetch_add(1, Relaxed) + 1;
        if in_use > self.high_water.load(Relaxed) {
            self.high_water.fetch_max(in_use, Relaxed);
        }
    }

    fn make(&self) -> Option<Box<[u8]>> {
        let count = self.config.count as u32;
        self.made.fetch_update(Relaxed, Relaxed, |made| (made < count).then_some(made + 1)).ok()?;
        Some(vec![0; self.config.size + HEADROOM].into_boxed_slice())
    }

    /// Books a block out of use.
    pub(super) fn came_back(&self, kept: bool) {
        self.in_use.fetch_sub(1, Relaxed);
        if kept {
            // A thread that sees this sees the line above: see `all_home`.
            self.kept.fetch_sub(1, Release);
        }
    }

    /// The way home, from a block's `Drop`, on any thread: its memory goes to the shared list, and those that
    /// stand in line are told.
    pub(super) fn put_free(&self, bytes: Box<[u8]>) {
        let full = self.free.push(bytes);
        debug_assert!(full.is_ok(), "more blocks came home than were made");
        mem::drop(full);
        self.line.block_came_home();
    }

    /// Counts a block as held by a message of the user's.
    pub(super) fn count_kept(&self) {
        self.kept.fetch_add(1, Relaxed);
    }

    /// Usable bytes of a block, without the headroom.
    pub fn size(&self) -> usize {
        self.config.size
    }

    /// Bytes a block really holds: its size and the headroom.
    pub fn capacity(&self) -> usize {
        self.config.size + HEADROOM
    }

    /// Its place in its pool.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many blocks may exist.
    pub fn count(&self) -> usize {
        self.config.count
    }

    /// Blocks that a lease would find or make. Exact only if no other thread leases (as in the inbound pool).
    pub fn available(&self) -> usize {
        self.free.len() + self.config.count.saturating_sub(self.made.load(Relaxed) as usize)
    }

    /// Blocks that exist.
    #[cfg(feature = "sim")]
    pub(crate) fn made(&self) -> usize {
        self.made.load(Relaxed) as usize
    }

    /// Blocks in use now.
    pub fn in_use(&self) -> usize {
        self.in_use.load(Relaxed) as usize
    }

    /// The most blocks that were ever in use at once.
    pub fn high_water(&self) -> usize {
        self.high_water.load(Relaxed) as usize
    }

    /// Blocks that messages of the user's hold.
    pub fn kept(&self) -> usize {
        self.kept.load(Acquire) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_can_be_counted_is_the_most_that_can() {
        let memory = |size, count| TierConfig { size, count }.memory();
        assert_eq!(memory(4096, 2), 2 * (4096 + HEADROOM as u64 + 16));
        let all = [memory(usize::MAX, 1), memory(usize::MAX - HEADROOM - 16, 2), memory(1 << 20, usize::MAX)];
        assert_eq!(all, [u64::MAX; 3]);
    }
}
