//! Many records in one pooled block.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::buffer::{Block, HEADROOM, Line, Tier, TierConfig};
use crate::wake::WakeFlag;

/// Bytes that precede the user's in the head of a run: how many records it has, and where their bytes end.
const COUNTS: usize = 2 * size_of::<u32>();
/// The largest block: with its headroom, every position in it still fits a `u32`.
const SIZE_MAX: usize = u32::MAX as usize - HEADROOM;

/// Blocks for batches: made on first need, up to a count, and kept.
///
/// The pool belongs to the user. Records that are processed slowly use up these blocks and none of the server's, so
/// they close the user's gate and nothing else.
///
/// `HEAD` and `TAG` are the bytes of a run's head and of a record's tag (see [`Batch`]). `TAG` is at least 1, and 8 +
/// `HEAD` + `TAG` at most [`HEADROOM`](crate::HEADROOM); with other numbers [`Batch::append`] does not compile.
#[derive(Debug, Clone)]
pub struct BatchPool<const HEAD: usize, const TAG: usize> {
    tier: Arc<Tier>,
}

impl<const HEAD: usize, const TAG: usize> BatchPool<HEAD, TAG> {
    /// A pool of `count` blocks of `size` bytes each. Blocks are allocated when they are first needed; the list of free
    /// ones is allocated now. A `size` of more than 4 GiB is lowered to that.
    pub fn new(size: usize, count: usize) -> Self {
        let size = size.min(SIZE_MAX);
        // No thread waits in line here: one that finds no block asks again once a batch has been processed.
        let line = Line::new(Arc::new(WakeFlag::never_asleep()));
        Self { tier: Tier::new(TierConfig { size, count }, 0, line) }
    }

    /// An empty batch; `None` while all blocks are in use. May be called on any thread.
    pub fn take(&self) -> Option<Batch<HEAD, TAG>> {
        let block = self.tier.lease()?;
        let bounds = block.capacity();
        Some(Batch { block, records: 0, run_at: bounds, tags_at: bounds })
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

    /// The most memory that `count` blocks of `size` bytes take, for the memory ceiling. A `size` of more than 4 GiB is
    /// lowered as by [`new`](Self::new).
    pub fn memory(size: usize, count: usize) -> u64 {
        TierConfig { size: size.min(SIZE_MAX), count }.memory()
    }
}

/// A block with many records: their bytes follow each other from the front, and the data about them grows from the
/// back.
///
/// Records that came together are a run. Data about all of them (sender, time of arrival) is stored once, in `HEAD`
/// bytes, and data about each (its length, a checksum) in `TAG` bytes for each record; the user encodes both. So a
/// record costs its bytes and its tag, a run costs eight bytes and its head, and nothing needs an allocation of its
/// own. The bytes of all records lie together and leave in one write. A batch is an owned value: it moves to another
/// thread, and its block goes home when it is dropped there.
///
/// ```
/// use sluicegate::flow::BatchPool;
///
/// let pool = BatchPool::<1, 1>::new(4096, 2);
/// let mut batch = pool.take().expect("none is in use");
/// batch.append([7], |run| {
///     assert!(run.push(&[b"first", b"\n"], [6]));
///     assert!(run.push(&[b"second\n"], [7]));
/// });
/// assert_eq!((batch.bytes(), batch.len()), (b"first\nsecond\n".as_slice(), 2));
/// let run = batch.runs(Default::default()).next().expect("there is one");
/// assert_eq!((run.head, run.bytes.clone()), (&[7], 0..13));
/// assert!(run.tags(0).eq([&[6], &[7]]));
/// ```
pub struct Batch<const HEAD: usize, const TAG: usize> {
    block: Block,
    records: usize,
    /// Where the head of the newest run begins; past the end of the block as long as there is none.
    run_at: usize,
    /// Where the newest tag begins; all older ones are behind it.
    tags_at: usize,
}

/// A place between two runs of a batch; the default is before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunPlace {
    bytes: usize,
    /// From the block's end.
    entries: usize,
}

/// Records of a batch that came together.
#[derive(Debug, Clone)]
pub struct BatchRun<'b, const HEAD: usize, const TAG: usize> {
    /// The data about all of them.
    pub head: &'b [u8; HEAD],
    /// Where they lie in [`Batch::bytes`].
    pub bytes: Range<usize>,
    /// The place before it.
    pub place: RunPlace,
    tags: &'b [u8],
}

/// Appends records to a run: see [`Batch::append`].
#[derive(Debug)]
pub struct RunAppender<'b, const TAG: usize> {
    /// The free bytes: records are added at their front, tags at their back.
    free: &'b mut [u8],
    records: usize,
    bytes: usize,
}

impl<const TAG: usize> RunAppender<'_, TAG> {
    /// Appends a record that consists of these pieces. False, and nothing is changed, if there is no room for it.
    #[inline]
    pub fn push(&mut self, pieces: &[&[u8]], tag: [u8; TAG]) -> bool {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.free.len() < TAG || self.free.len() - TAG < length {
            return false;
        }
        let (mut to, free) = std::mem::take(&mut self.free).split_at_mut(length);
        for piece in pieces {
            let (here, rest) = to.split_at_mut(piece.len());
            match (piece, here) {
                // A single byte, such as the end of a line, is not worth a call.
                ([byte], [place]) => *place = *byte,
                (piece, here) => here.copy_from_slice(piece),
            }
            to = rest;
        }
        if let Some((free, place)) = free.split_last_chunk_mut() {
            *place = tag;
            self.free = free;
        }
        self.bytes += length;
        self.records += 1;
        true
    }

    /// How many records it has appended.
    #[inline]
    pub fn records(&self) -> usize {
        self.records
    }

    /// How many bytes they have.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<const HEAD: usize, const TAG: usize> Batch<HEAD, TAG> {
    /// Bytes that a run takes besides its records and their tags.
    pub const RUN: usize = {
        assert!(TAG > 0 && COUNTS + HEAD + TAG <= HEADROOM, "a run of one fits the headroom of a block");
        COUNTS + HEAD
    };

    /// Appends the records that `write` pushes: to the newest run if that has the same `head`, otherwise as a new run.
    /// An empty batch has room for a record as long as its pool's `size`.
    #[inline]
    pub fn append<R>(&mut self, head: [u8; HEAD], write: impl FnOnce(&mut RunAppender<'_, TAG>) -> R) -> R {
        let goes_on = self.records > 0 && self.head() == head;
        let (start, end) = (self.block.len(), self.tags_at);
        let tags_end = if goes_on { end } else { end.saturating_sub(Self::RUN).max(start) };
        let free = &mut self.block.room_mut()[..tags_end - start];
        let mut run = RunAppender { free, records: 0, bytes: 0 };
        let done = write(&mut run);
        let (records, bytes) = (run.records, run.bytes);
        if records > 0 {
            self.block.fill(bytes);
            self.tags_at = tags_end - records * TAG;
            self.records += records;
            self.note_run(head, goes_on, tags_end, records);
        }
        done
    }

    fn note_run(&mut self, head: [u8; HEAD], goes_on: bool, tags_end: usize, records: usize) {
        let before = if goes_on { self.counts(self.run_at).0 } else { 0 };
        if !goes_on {
            self.run_at = tags_end;
        }
        let counts = [(before + records) as u32, self.block.len() as u32];
        let at = self.run_at - self.block.len();
        let entry = &mut self.block.room_mut()[at..at + Self::RUN];
        entry[..4].copy_from_slice(&counts[0].to_le_bytes());
        entry[4..COUNTS].copy_from_slice(&counts[1].to_le_bytes());
        entry[COUNTS..].copy_from_slice(&head);
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

    /// The bytes of all records, one after the other.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.block.filled()
    }

    /// The runs behind `place`, in order.
    pub fn runs(&self, place: RunPlace) -> impl Iterator<Item = BatchRun<'_, HEAD, TAG>> {
        let mut place = place;
        std::iter::from_fn(move || {
            let at = self.block.capacity().checked_sub(place.entries + Self::RUN)?;
            if at < self.tags_at {
                return None;
            }
            let (count, end) = self.counts(at);
            let entry = self.behind(at..at + Self::RUN);
            let run = BatchRun {
                head: entry.last_chunk()?,
                bytes: place.bytes..end,
                place,
                tags: self.behind(at - count * TAG..at),
            };
            place = run.end();
            Some(run)
        })
    }

    /// The user's part of the head of the newest run.
    fn head(&self) -> &[u8] {
        self.behind(self.run_at + COUNTS..self.run_at + Self::RUN)
    }

    /// Records of the run whose head is at `at`, and where its bytes end.
    fn counts(&self, at: usize) -> (usize, usize) {
        let number = |at: usize| {
            let mut number = [0; 4];
            number.copy_from_slice(self.behind(at..at + 4));
            u32::from_le_bytes(number) as usize
        };
        (number(at), number(at + 4))
    }

    /// A part of the block, by its place in it.
    fn behind(&self, range: Range<usize>) -> &[u8] {
        let filled = self.block.len();
        &self.block.behind()[range.start - filled..range.end - filled]
    }
}

impl<'b, const HEAD: usize, const TAG: usize> BatchRun<'b, HEAD, TAG> {
    /// How many records it has, at least one.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(&self) -> usize {
        self.tags.len() / TAG
    }

    /// The tags of its records from `first` on, in order.
    #[inline]
    pub fn tags(&self, first: usize) -> impl ExactSizeIterator<Item = &'b [u8; TAG]> + Clone + use<'b, HEAD, TAG> {
        let (_, chunks) = self.tags.as_rchunks::<TAG>();
        chunks.iter().rev().skip(first)
    }

    /// The place behind it.
    #[inline]
    pub fn end(&self) -> RunPlace {
        RunPlace { bytes: self.bytes.end, entries: self.place.entries + Batch::<HEAD, TAG>::RUN + self.tags.len() }
    }
}

impl<const HEAD: usize, const TAG: usize> fmt::Debug for Batch<HEAD, TAG> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} records, {} bytes)", self.records, self.block.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All records of a batch: bytes, head of the run, tag. The bytes of a tag say how long its record is.
    fn listed<const HEAD: usize>(batch: &Batch<HEAD, 4>, from: RunPlace) -> Vec<(Vec<u8>, [u8; HEAD], [u8; 4])> {
        let mut found = Vec::new();
        for run in batch.runs(from) {
            let mut at = run.bytes.start;
            for tag in run.tags(0) {
                let length = u32::from_le_bytes(*tag) as usize;
                found.push((batch.bytes()[at..at + length].to_vec(), *run.head, *tag));
                at += length;
            }
            assert_eq!((at, run.tags(0).len()), (run.bytes.end, run.len()));
        }
        found
    }

    #[test]
    fn the_longest_record_fits_an_empty_batch() {
        let pool = BatchPool::<24, 24>::new(1000, 1);
        let mut batch = pool.take().expect("none is in use");
        assert!(batch.append([8; 24], |run| run.push(&[&[1; 1000]], [9; 24])));
        let run = batch.runs(RunPlace::default()).next().expect("one");
        assert_eq!((batch.len(), batch.bytes(), run.head, run.len()), (1, [1; 1000].as_slice(), &[8; 24], 1));
        assert!(run.tags(0).eq([&[9; 24]]) && run.tags(1).len() == 0);
    }

    #[test]
    fn records_and_tags_meet_in_the_middle() {
        let pool = BatchPool::<3, 4>::new(100, 1);
        let mut batch = pool.take().expect("none is in use");
        let mut expected = Vec::new();
        // Runs of one, two, three and so on, each record two bytes longer than the one before in its run.
        for number in 0u8.. {
            let head = [number; 3];
            let pushed = batch.append(head, |run| {
                let fits = |length: &u8| {
                    run.push(&[&vec![number; usize::from(*length) * 2]], u32::to_le_bytes(u32::from(*length) * 2))
                };
                (0..=number).take_while(fits).count()
            });
            expected.extend(
                (0..pushed as u8).map(|length| (vec![number; usize::from(length) * 2], head, [length * 2, 0, 0, 0])),
            );
            if pushed <= usize::from(number) {
                break;
            }
        }
        assert_eq!(listed(&batch, RunPlace::default()), expected);
        assert_eq!(batch.len(), expected.len());
        let used: usize = expected.iter().map(|(bytes, _, _)| bytes.len() + 4).sum();
        let runs = batch.runs(RunPlace::default()).count();
        assert!(used + runs * 11 + 100 > 100 + HEADROOM, "{used} bytes and {runs} heads");
        assert!(!batch.append([200; 3], |run| run.push(&[&[0; 100]], [0; 4])), "there is no room");
        assert_eq!(listed(&batch, RunPlace::default()), expected, "and nothing is changed");
    }

    #[test]
    fn the_same_head_goes_on_with_its_run_and_another_begins_one() {
        let pool = BatchPool::<1, 4>::new(1000, 1);
        let mut batch = pool.take().expect("none is in use");
        let two = u32::to_le_bytes(2);
        for head in [1, 1, 2, 1] {
            assert!(batch.append([head], |run| run.push(&[b"a", b"\n"], two)));
            batch.append([9], |run| assert_eq!((run.records(), run.bytes()), (0, 0), "nothing is no run"));
        }
        let runs: Vec<_> =
            batch.runs(RunPlace::default()).map(|run| (run.head[0], run.len(), run.bytes.clone())).collect();
        assert_eq!(runs, [(1, 2, 0..4), (2, 1, 4..6), (1, 1, 6..8)]);
        let places: Vec<_> = batch.runs(RunPlace::default()).map(|run| (run.place, run.end())).collect();
        for (number, (place, end)) in places.iter().enumerate() {
            assert_eq!(batch.runs(*place).count(), 3 - number);
            assert_eq!(batch.runs(*end).count(), 2 - number);
        }
        assert_eq!(listed(&batch, places[1].0)[0], (b"a\n".to_vec(), [2], two));
    }

    #[test]
    fn empty_records_are_records() {
        let pool = BatchPool::<0, 4>::new(10, 1);
        let mut batch = pool.take().expect("none is in use");
        assert!(batch.is_empty());
        batch.append([], |run| {
            assert!(run.push(&[], [0; 4]) && run.push(&[b"", b""], [0; 4]));
            assert_eq!((run.records(), run.bytes()), (2, 0));
        });
        assert_eq!((batch.len(), batch.bytes(), batch.is_empty()), (2, b"".as_slice(), false));
        assert_eq!(listed(&batch, RunPlace::default()), [(vec![], [], [0; 4]), (vec![], [], [0; 4])]);
    }

    #[test]
    fn the_memory_of_a_pool_is_that_of_the_blocks_it_would_have() {
        let memory = BatchPool::<1, 1>::memory;
        assert_eq!(memory(usize::MAX, 1), memory(SIZE_MAX, 1));
        assert_eq!(memory(usize::MAX, usize::MAX), u64::MAX);
    }

    #[test]
    fn a_pool_is_bounded_and_blocks_come_home() {
        let pool = BatchPool::<1, 1>::new(10, 2);
        let held = [pool.take(), pool.take()];
        assert!(held.iter().all(Option::is_some) && pool.take().is_none());
        assert_eq!((pool.in_use(), pool.count()), (2, 2));
        drop(held);
        assert!(pool.take().is_some_and(|batch| batch.is_empty()));
        assert_eq!((pool.in_use(), pool.high_water()), (0, 2));
    }
}
