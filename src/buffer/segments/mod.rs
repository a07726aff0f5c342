//! What is still to be delivered to peers that do not read: all connections' outbound queues in one counted table.

mod lent;

use std::io::IoSlice;
use std::sync::Arc;

use super::lease::RESERVE;
use super::{Block, Pool, TIERS};

/// Below this length, bytes are cheaper to copy than to carry as a segment of their own.
pub const COPY_BELOW: usize = 4096;

/// One piece of outbound bytes.
#[derive(Debug)]
pub enum Segment {
    /// Copied bytes in a block, from `start` on.
    Block {
        /// Holds the bytes.
        block: Block,
        /// How many of them were delivered.
        start: usize,
    },
    /// The same, in a block that many peers are given at once: it goes home when the last of them has let go of it.
    Lent {
        /// Holds the bytes.
        block: Arc<Block>,
        /// How many of them were delivered to this peer.
        start: usize,
    },
    /// What is left of bytes that live for ever.
    Static(&'static [u8]),
    /// Bytes that are shared with others.
    Shared {
        /// The bytes.
        bytes: Arc<[u8]>,
        /// How many of them were delivered.
        start: usize,
    },
}

impl Segment {
    /// The bytes that are still to be delivered.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Block { block, start } => &block.filled()[*start..],
            Self::Lent { block, start } => &block.filled()[*start..],
            Self::Static(bytes) => bytes,
            Self::Shared { bytes, start } => &bytes[*start..],
        }
    }

    /// How many bytes are still to be delivered.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// True when all was delivered.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts the first `count` bytes as delivered.
    pub fn advance(&mut self, count: usize) {
        match self {
            Self::Block { start, .. } | Self::Lent { start, .. } | Self::Shared { start, .. } => *start += count,
            Self::Static(bytes) => *bytes = &bytes[count..],
        }
    }
}

const NONE: u32 = u32::MAX;
/// How many pieces a reserve may be cut into, at most.
const PIECES: usize = 16;

/// What one connection has been sent and its peer has not taken: a list in [`Segments`].
#[derive(Debug, Clone, Copy)]
pub struct Undelivered {
    head: u32,
    tail: u32,
    bytes: usize,
}

impl Default for Undelivered {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, bytes: 0 }
    }
}

impl Undelivered {
    /// Undelivered bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when all was delivered.
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }
}

/// The outbound segments of all connections. Their number has a bound, so that they are a row of the memory ceiling.
#[derive(Debug)]
pub struct Segments {
    nodes: Vec<Node>,
    free: u32,
    in_use: usize,
    max: usize,
}

#[derive(Debug)]
struct Node {
    segment: Option<Segment>,
    next: u32,
}

impl Segments {
    /// Room for `max` segments. Memory that was never needed is never touched.
    pub fn new(max: usize) -> Self {
        Self { nodes: Vec::with_capacity(max), free: NONE, in_use: 0, max }
    }

    /// Bytes that `max` segments take, for the memory ceiling.
    pub fn memory(max: usize) -> u64 {
        (max * size_of::<Node>()) as u64
    }

    /// Bytes that are reserved for segments now.
    #[cfg(feature = "sim")]
    pub(crate) fn reserved(&self) -> u64 {
        (self.nodes.capacity() * size_of::<Node>()) as u64
    }

    /// Blocks that lie in all queues, by tier; the reserves behind those of the pool.
    #[cfg(feature = "sim")]
    pub(crate) fn blocks(&self) -> [usize; TIERS + 1] {
        let mut blocks = [0; TIERS + 1];
        for node in &self.nodes {
            if let Some(Segment::Block { block, .. }) = &node.segment {
                blocks[block.tier()] += 1;
            }
        }
        self.lent_blocks().for_each(|block| blocks[block.tier()] += 1);
        blocks
    }

    /// How many more segments fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.max - self.in_use
    }

    /// Puts `segment` behind `queue`. A little piece is copied into the last block of the queue when it fits there, so
    /// that many small answers do not hold a block each. A segment that found no place comes back as the error.
    pub fn push(&mut self, queue: &mut Undelivered, segment: Segment) -> Result<(), Segment> {
        let length = segment.len();
        if length == 0 {
            return Ok(());
        }
        if !self.coalesce(queue, &segment) {
            let node = self.allocate(segment)?;
            match queue.tail {
                NONE => queue.head = node,
                tail => self.nodes[tail as usize].next = node,
            }
            queue.tail = node;
        }
        queue.bytes += length;
        Ok(())
    }

    fn coalesce(&mut self, queue: &Undelivered, segment: &Segment) -> bool {
        let bytes = segment.bytes();
        if !self.has_room_behind(queue, bytes.len()) {
            return false;
        }
        match &mut self.nodes[queue.tail as usize].segment {
            Some(Segment::Block { block, .. }) => block.push(bytes) == bytes.len(),
            _ => false,
        }
    }

    /// True if a piece of this length is to be copied behind the last one of `queue`.
    fn has_room_behind(&self, queue: &Undelivered, length: usize) -> bool {
        if queue.tail == NONE || length > COPY_BELOW {
            return false;
        }
        let last = &self.nodes[queue.tail as usize].segment;
        matches!(last, Some(Segment::Block { block, .. }) if block.room() >= length)
    }

    fn allocate(&mut self, segment: Segment) -> Result<u32, Segment> {
        let node = Node { segment: Some(segment), next: NONE };
        let index = match self.free {
            NONE if self.nodes.len() < self.max => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
            NONE => return node.segment.map_or(Ok(NONE), Err),
            free => {
                self.free = self.nodes[free as usize].next;
                self.nodes[free as usize] = node;
                free
            }
        };
        self.in_use += 1;
        Ok(index)
    }

    /// Fills `slices` with `most` undelivered bytes, or all, from the front of `queue`; returns how many slices that
    /// were.
    pub fn gather<'a>(&'a self, queue: &Undelivered, most: usize, slices: &mut [IoSlice<'a>]) -> usize {
        let mut node = queue.head;
        let (mut count, mut left) = (0, most);
        while node != NONE && left > 0 && count < slices.len() {
            let Node { segment, next } = &self.nodes[node as usize];
            if let Some(segment) = segment {
                let bytes = segment.bytes();
                let bytes = &bytes[..bytes.len().min(left)];
                slices[count] = IoSlice::new(bytes);
                left -= bytes.len();
                count += 1;
            }
            node = *next;
        }
        count
    }

    /// Counts `count` bytes at the front of `queue` as delivered; what is used up goes to `done`.
    pub fn advance(&mut self, queue: &mut Undelivered, mut count: usize, mut done: impl FnMut(Segment)) {
        queue.bytes -= count;
        while queue.head != NONE {
            let Some(segment) = &mut self.nodes[queue.head as usize].segment else { return };
            let step = segment.len().min(count);
            segment.advance(step);
            count -= step;
            if !segment.is_empty() {
                return;
            }
            self.pop(queue).into_iter().for_each(&mut done);
        }
    }

    /// Drops everything in `queue`; returns how many bytes that were.
    pub fn clear(&mut self, queue: &mut Undelivered) -> usize {
        let dropped = queue.bytes;
        while self.pop(queue).is_some() {}
        queue.bytes = 0;
        dropped
    }

    /// Moves what lies in a reserve into blocks of the pool, in pieces if need be. True while a reserve is still in
    /// `queue`.
    pub fn repay(&mut self, queue: &mut Undelivered, pool: &mut Pool) -> bool {
        while let Some(node) = self.reserve_in(queue) {
            if !self.repay_piece(queue, node, pool) {
                return true;
            }
        }
        false
    }

    /// True if [`repay`](Self::repay) would find a block.
    pub fn could_repay(&self, queue: &Undelivered, pool: &Pool) -> bool {
        let reserve = self.reserve_in(queue).and_then(|node| self.nodes[node as usize].segment.as_ref());
        reserve.is_some_and(|segment| self.tier_for_piece(segment.len(), pool).is_some())
    }

    /// Moves the front of the reserve in `node` into a block that takes its place; what is left of it goes behind.
    fn repay_piece(&mut self, queue: &mut Undelivered, node: u32, pool: &mut Pool) -> bool {
        let Some(Segment::Block { block: reserve, start }) = &self.nodes[node as usize].segment else { return false };
        let left = &reserve.filled()[*start..];
        let Some(mut block) = self.tier_for_piece(left.len(), pool).and_then(|tier| pool.lease(tier)) else {
            return false;
        };
        block.truncate(0);
        let moved = block.push(left);
        let piece = Segment::Block { block, start: 0 };
        let Some(mut rest) = self.nodes[node as usize].segment.replace(piece) else { return false };
        rest.advance(moved);
        if !rest.is_empty() {
            self.insert_behind(queue, node, rest);
        }
        // Otherwise the reserve comes home by its `Drop`.
        true
    }

    /// The tier of a block for the next piece of `left` bytes: the smallest that holds all of it, or else the largest
    /// one that cuts it into few.
    fn tier_for_piece(&self, left: usize, pool: &Pool) -> Option<usize> {
        let tiers = pool.shared().tiers();
        let fitting = pool.shared().tier_for(left).unwrap_or(TIERS);
        let few = |tier: &usize| left.div_ceil(tiers[*tier].capacity()) <= PIECES && self.room() > 2 * PIECES;
        let smaller = (0..fitting).rev().filter(few);
        (fitting..TIERS).chain(smaller).find(|tier| pool.available(*tier) > 0)
    }

    fn insert_behind(&mut self, queue: &mut Undelivered, node: u32, segment: Segment) {
        let behind = self.allocate(segment);
        debug_assert!(behind.is_ok(), "a piece is cut off only if there is room for it");
        let Ok(behind) = behind else { return };
        self.nodes[behind as usize].next = std::mem::replace(&mut self.nodes[node as usize].next, behind);
        if queue.tail == node {
            queue.tail = behind;
        }
    }

    /// True if a block would come home if `queue` were dropped: one lies in it that is lent to no other.
    pub fn frees_block(&self, queue: &Undelivered) -> bool {
        let frees = |segment: &Segment| match segment {
            Segment::Block { .. } => true,
            Segment::Lent { block, .. } => Arc::strong_count(block) == 1,
            Segment::Static(_) | Segment::Shared { .. } => false,
        };
        self.find(queue, frees).is_some()
    }

    /// True if a block lies in `queue`, its own or one that is lent to others as well, and not only bytes that are
    /// carried as they are.
    pub fn holds_block(&self, queue: &Undelivered) -> bool {
        self.find(queue, |segment| matches!(segment, Segment::Block { .. } | Segment::Lent { .. })).is_some()
    }

    /// The first node of `queue` that holds a reserve: the processor's, or the workers'.
    fn reserve_in(&self, queue: &Undelivered) -> Option<u32> {
        self.find(queue, |segment| matches!(segment, Segment::Block { block, .. } if block.tier() == RESERVE))
    }

    /// The first node of `queue` that holds such a segment.
    fn find(&self, queue: &Undelivered, is_it: impl Fn(&Segment) -> bool) -> Option<u32> {
        let mut node = queue.head;
        while node != NONE {
            let Node { segment, next } = &self.nodes[node as usize];
            if segment.as_ref().is_some_and(&is_it) {
                return Some(node);
            }
            node = *next;
        }
        None
    }

    /// Takes the front segment off the list; its bytes stay counted.
    fn pop(&mut self, queue: &mut Undelivered) -> Option<Segment> {
        if queue.head == NONE {
            return None;
        }
        let index = queue.head;
        let node = &mut self.nodes[index as usize];
        let segment = node.segment.take();
        queue.head = node.next;
        node.next = self.free;
        self.free = index;
        self.in_use -= 1;
        if queue.head == NONE {
            queue.tail = NONE;
        }
        segment
    }
}

#[cfg(test)]
mod tests {
    use super::super::lease::reserve;
    use super::super::{HEADROOM, Line, SharedPool, Tier, TierConfig};
    use super::*;
    use crate::wake::WakeFlag;

    fn bytes_of(segments: &Segments, queue: &Undelivered) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let count = segments.gather(queue, usize::MAX, &mut slices);
        slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    /// A queue of a few bytes, then a reserve with `length` of them, then a few more; and what they are.
    fn queue_with_reserve(segments: &mut Segments, reserve: &Arc<Tier>, length: usize) -> (Undelivered, Vec<u8>) {
        let mut queue = Undelivered::default();
        let pattern: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let mut block = reserve.lease().expect("the reserve is whole");
        assert_eq!(block.push(&pattern), length);
        let reserved = Segment::Block { block, start: 0 };
        for segment in [Segment::Static(b"before"), reserved, Segment::Static(b"behind")] {
            segments.push(&mut queue, segment).expect("there is room");
        }
        (queue, [b"before".as_slice(), &pattern, b"behind"].concat())
    }

    fn pool(tiers: [(usize, usize); TIERS], line: &Arc<Line>) -> Pool {
        let tiers = tiers.map(|(size, count)| TierConfig { size, count });
        Pool::new(SharedPool::new(tiers, Arc::clone(line)), [0; TIERS])
    }

    #[test]
    fn no_more_is_gathered_than_was_asked_for() {
        let line = Line::new(Arc::new(WakeFlag::never_asleep()));
        let reserve = reserve(100, &line);
        let mut segments = Segments::new(3);
        let (mut queue, bytes) = queue_with_reserve(&mut segments, &reserve, 100);
        for (most, count) in [(1, 1), (6, 1), (7, 2), (100, 2), (1000, 2)] {
            let mut slices = [IoSlice::new(&[]); 64];
            assert_eq!(segments.gather(&queue, most, &mut slices), count, "of {most} bytes");
            let gathered = slices[..count].iter().flat_map(|slice| slice.iter().copied());
            assert!(gathered.eq(bytes.iter().copied().take(most)), "{most} bytes");
        }
        segments.clear(&mut queue);
    }

    #[test]
    fn a_reserve_is_repaid_in_pieces_when_no_block_holds_all_of_it() {
        let line = Line::new(Arc::new(WakeFlag::never_asleep()));
        let reserve = reserve(10_000, &line);
        let mut pool = pool([(100, 0), (2000, 3), (10_000, 0)], &line);
        let mut segments = Segments::new(64);
        let (mut queue, bytes) = queue_with_reserve(&mut segments, &reserve, 10_000);
        let taken: Vec<_> = (0..2).filter_map(|_| pool.lease(1)).collect();

        assert!(segments.could_repay(&queue, &pool));
        assert!(segments.repay(&mut queue, &mut pool), "one block is not enough");
        assert!(!segments.could_repay(&queue, &pool) && reserve.in_use() == 1);
        assert_eq!(bytes_of(&segments, &queue), bytes, "in the middle of it");
        // What the first block took has left, and the others came home.
        segments.advance(&mut queue, 6 + 2000 + HEADROOM, drop);
        drop(taken);
        segments.repay(&mut queue, &mut pool);
        assert_eq!(bytes_of(&segments, &queue), bytes[6 + 2000 + HEADROOM..]);
        segments.advance(&mut queue, 2 * (2000 + HEADROOM), drop);
        assert!(!segments.repay(&mut queue, &mut pool), "the rest finds its place");
        assert_eq!(reserve.in_use(), 0);
        assert_eq!(bytes_of(&segments, &queue), bytes[6 + 3 * (2000 + HEADROOM)..]);
        assert_eq!(queue.bytes(), bytes.len() - 6 - 3 * (2000 + HEADROOM));
        segments.push(&mut queue, Segment::Static(&[b'z'; 5000])).expect("there is room");
        assert!(bytes_of(&segments, &queue).ends_with(&[b'z'; 5000]), "the end of the list is still its end");
    }

    #[test]
    fn a_reserve_is_not_cut_into_many_pieces() {
        let line = Line::new(Arc::new(WakeFlag::never_asleep()));
        let reserve = reserve(20_000, &line);
        let mut pool = pool([(100, 100), (2000, 0), (10_000, 0)], &line);
        let mut segments = Segments::new(64);
        let (mut queue, bytes) = queue_with_reserve(&mut segments, &reserve, 20_000);
        assert!(!segments.could_repay(&queue, &pool) && segments.repay(&mut queue, &mut pool));
        assert_eq!(bytes_of(&segments, &queue), bytes);
    }
}
