//! Many records in one pooled block.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::buffer::{Block, HEADROOM, Line, Tier, TierConfig};
use crate::wake::WakeFlag;

/// Bytes of a record's end in its entry.
const END: usize = size_of::<u32>();

/// Blocks for batches: made on first need, up to a count, and kept.
///
/// A pool of the user's own. What is slow to be worked off uses up these blocks and none of the server's, so that it
/// closes the user's gate and nobody else's.
#[derive(Debug, Clone)]
pub struct BatchPool<const TAG: usize> {
    tier: Arc<Tier>,
}

impl<const TAG: usize> BatchPool<TAG> {
    /// A pool of `count` blocks of `size` bytes each. Nothing is allocated yet.
    pub fn new(size: usize, count: usize) -> Self {
        // Nobody waits in line here: whoever finds no block asks again when a batch was worked off.
        let line = Line::new(Arc::new(WakeFlag::never_asleep()));
        Self { tier: Tier::new(TierConfig { size, count }, 0, line) }
    }

    /// An empty batch; `None` while all blocks are in use. Any thread.
    pub fn take(&self) -> Option<Batch<TAG>> {
        let block = self.tier.lease()?;
        let bounds = block.capacity();
        Some(Batch { block, records: 0, entries_at: bounds })
    }

    /// How many blocks may exist.
    pub fn count(&self) -> usize {
        self.tier.count()
    }

    /// Blocks in use now.
    pub fn in_use(&self) -> usize {
        self.tier.in_use()
    }

    /// The most blocks that were ever in use at once.
    pub fn high_water(&self) -> usize {
        self.tier.high_water()
    }

    /// The most memory that `count` blocks of `size` bytes take, for the memory ceiling.
    pub fn memory(size: usize, count: usize) -> u64 {
        TierConfig { size, count }.memory()
    }
}

/// A block with many records: their bytes one behind the other from its front, an entry for each from its back.
///
/// So a record costs its bytes, `TAG` bytes that say what it is (whose, since when: the user's to encode), and four more;
/// no allocation of its own. The bytes of all records lie together and leave in one write. A batch is an owned value: it
/// moves to another thread, and its block goes home when it is dropped there.
///
/// ```
/// use sluicegate::flow::BatchPool;
///
/// let pool = BatchPool::<1>::new(4096, 2);
/// let mut batch = pool.take().expect("none is in use");
/// assert!(batch.push(&[b"first", b"\n"], [7]));
/// assert!(batch.push(&[b"second\n"], [8]));
/// assert_eq!(batch.bytes(), b"first\nsecond\n");
/// assert_eq!((batch.record(1), batch.tag(1)), (b"second\n".as_slice(), [8]));
/// ```
pub struct Batch<const TAG: usize> {
    block: Block,
    records: usize,
    /// Where the newest entry begins; all older ones are behind it.
    entries_at: usize,
}

impl<const TAG: usize> Batch<TAG> {
    const ENTRY: usize = {
        assert!(END + TAG <= HEADROOM, "an entry fits the headroom of a block");
        END + TAG
    };

    /// Appends a record that consists of these pieces. False, and nothing is changed, if there is no room for it. An empty
    /// batch has room for a record as long as its pool's `size`.
    #[inline]
    pub fn push(&mut self, pieces: &[&[u8]], tag: [u8; TAG]) -> bool {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let start = self.block.len();
        let Some(end) = start.checked_add(length) else { return false };
        if end + Self::ENTRY > self.entries_at || u32::try_from(end).is_err() {
            return false;
        }
        self.entries_at -= Self::ENTRY;
        self.records += 1;
        let at = self.entries_at - start;
        let (bytes, behind) = self.block.room_mut().split_at_mut(at);
        let mut to = bytes;
        for piece in pieces {
            let (here, rest) = to.split_at_mut(piece.len());
            match (piece, here) {
                // The end of a line: a byte is not worth a call.
                ([byte], [place]) => *place = *byte,
                (piece, here) => here.copy_from_slice(piece),
            }
            to = rest;
        }
        let entry = &mut behind[..Self::ENTRY];
        entry[..END].copy_from_slice(&(end as u32).to_le_bytes());
        entry[END..].copy_from_slice(&tag);
        self.block.fill(length);
        true
    }

    /// True if a record of `length` bytes finds room.
    #[inline]
    pub fn has_room(&self, length: usize) -> bool {
        self.block.len().saturating_add(length).saturating_add(Self::ENTRY) <= self.entries_at
    }

    /// How many records it has.
    #[inline]
    pub fn len(&self) -> usize {
        self.records
    }

    /// True if it has no record.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The bytes of all records, one behind the other.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.block.filled()
    }

    /// Where a record lies in [`bytes`](Self::bytes).
    ///
    /// # Panics
    /// When there are not so many.
    #[inline]
    pub fn range(&self, record: usize) -> Range<usize> {
        let start = if record == 0 { 0 } else { self.end(record - 1) };
        start..self.end(record)
    }

    /// The bytes of a record.
    ///
    /// # Panics
    /// When there are not so many.
    #[inline]
    pub fn record(&self, record: usize) -> &[u8] {
        &self.bytes()[self.range(record)]
    }

    /// The tag of a record.
    ///
    /// # Panics
    /// When there are not so many.
    #[inline]
    pub fn tag(&self, record: usize) -> [u8; TAG] {
        let mut tag = [0; TAG];
        tag.copy_from_slice(&self.entry(record)[END..]);
        tag
    }

    /// Where the records from `first` on lie in [`bytes`](Self::bytes), with their tags, in order. Costs less than to ask for
    /// each.
    #[inline]
    pub fn records(&self, first: usize) -> impl Iterator<Item = (Range<usize>, &[u8; TAG])> {
        let first = first.min(self.records);
        let mut start = if first == 0 { 0 } else { self.end(first - 1) };
        let entries = &self.block.behind()[self.entries_at - self.block.len()..];
        entries.rchunks_exact(Self::ENTRY).skip(first).take(self.records - first).filter_map(move |entry| {
            let (end, tag) = entry.split_first_chunk::<END>()?;
            let end = u32::from_le_bytes(*end) as usize;
            Some((std::mem::replace(&mut start, end)..end, tag.first_chunk::<TAG>()?))
        })
    }

    #[inline]
    fn end(&self, record: usize) -> usize {
        let mut end = [0; END];
        end.copy_from_slice(&self.entry(record)[..END]);
        u32::from_le_bytes(end) as usize
    }

    #[inline]
    fn entry(&self, record: usize) -> &[u8] {
        assert!(record < self.records, "record {record} of a batch of {}", self.records);
        let at = self.block.capacity() - (record + 1) * Self::ENTRY - self.block.len();
        &self.block.behind()[at..at + Self::ENTRY]
    }
}

impl<const TAG: usize> fmt::Debug for Batch<TAG> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} records, {} bytes)", self.records, self.block.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_record_fits_an_empty_batch() {
        let pool = BatchPool::<24>::new(1000, 1);
        let mut batch = pool.take().expect("none is in use");
        assert!(batch.has_room(1000) && batch.push(&[&[1; 1000]], [9; 24]));
        assert_eq!((batch.len(), batch.record(0), batch.tag(0)), (1, [1; 1000].as_slice(), [9; 24]));
    }

    #[test]
    fn records_and_entries_meet_in_the_middle() {
        let pool = BatchPool::<4>::new(100, 1);
        let mut batch = pool.take().expect("none is in use");
        let mut pushed = 0u32;
        while batch.has_room(2) {
            assert!(batch.push(&[&pushed.to_be_bytes()[2..], b""], pushed.to_le_bytes()));
            pushed += 1;
        }
        assert!(!batch.push(&[b"12"], [0; 4]) && batch.len() == pushed as usize);
        assert_eq!(pushed as usize, (100 + HEADROOM) / (2 + 8));
        for record in 0..pushed {
            let bytes = &record.to_be_bytes()[2..];
            assert_eq!(batch.record(record as usize), bytes);
            assert_eq!(batch.tag(record as usize), record.to_le_bytes());
        }
        assert_eq!(batch.range(3), 6..8);
        for first in 0..=pushed as usize + 1 {
            let listed: Vec<_> = batch.records(first).map(|(range, tag)| (range, *tag)).collect();
            let asked: Vec<_> = (first..batch.len()).map(|record| (batch.range(record), batch.tag(record))).collect();
            assert_eq!(listed, asked);
        }
    }

    #[test]
    fn empty_records_are_records() {
        let pool = BatchPool::<1>::new(10, 1);
        let mut batch = pool.take().expect("none is in use");
        assert!(batch.is_empty());
        assert!(batch.push(&[], [1]) && batch.push(&[b"", b""], [2]));
        assert_eq!((batch.len(), batch.bytes(), batch.range(1)), (2, b"".as_slice(), 0..0));
        assert_eq!((batch.tag(0), batch.tag(1)), ([1], [2]));
    }

    #[test]
    fn a_pool_is_bounded_and_blocks_come_home() {
        let pool = BatchPool::<1>::new(10, 2);
        let held = [pool.take(), pool.take()];
        assert!(held.iter().all(Option::is_some) && pool.take().is_none());
        assert_eq!((pool.in_use(), pool.count()), (2, 2));
        drop(held);
        assert!(pool.take().is_some_and(|batch| batch.is_empty()));
        assert_eq!((pool.in_use(), pool.high_water()), (0, 2));
    }
}
