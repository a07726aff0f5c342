//! What is still to be delivered to peers who do not read: all connections' outbound queues in one counted table.

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
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Block { block, start } => &block.filled()[*start..],
            Self::Static(bytes) => bytes,
            Self::Shared { bytes, start } => &bytes[*start..],
        }
    }

    /// How many bytes are still to be delivered.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// True when all was delivered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts the first `count` bytes as delivered.
    pub fn advance(&mut self, count: usize) {
        match self {
            Self::Block { start, .. } | Self::Shared { start, .. } => *start += count,
            Self::Static(bytes) => *bytes = &bytes[count..],
        }
    }
}

const NONE: u32 = u32::MAX;

/// One connection's outbound queue: a list in [`Segments`].
#[derive(Debug, Clone, Copy)]
pub struct Queue {
    head: u32,
    tail: u32,
    bytes: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, bytes: 0 }
    }
}

impl Queue {
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
        blocks
    }

    /// How many more segments fit.
    pub fn room(&self) -> usize {
        self.max - self.in_use
    }

    /// Puts `segment` behind `queue`. A little piece is copied into the last block of the queue when it fits there, so
    /// that many small answers do not hold a block each. A segment that found no place comes back as the error.
    pub fn push(&mut self, queue: &mut Queue, segment: Segment) -> Result<(), Segment> {
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

    fn coalesce(&mut self, queue: &Queue, segment: &Segment) -> bool {
        let bytes = segment.bytes();
        if queue.tail == NONE || bytes.len() > COPY_BELOW {
            return false;
        }
        match &mut self.nodes[queue.tail as usize].segment {
            Some(Segment::Block { block, .. }) if block.room() >= bytes.len() => block.push(bytes) == bytes.len(),
            _ => false,
        }
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

    /// Fills `slices` with the undelivered bytes from the front of `queue`; returns how many slices that were.
    pub fn gather<'a>(&'a self, queue: &Queue, slices: &mut [IoSlice<'a>]) -> usize {
        let mut node = queue.head;
        let mut count = 0;
        while node != NONE && count < slices.len() {
            let Node { segment, next } = &self.nodes[node as usize];
            if let Some(segment) = segment {
                slices[count] = IoSlice::new(segment.bytes());
                count += 1;
            }
            node = *next;
        }
        count
    }

    /// Counts `count` bytes at the front of `queue` as delivered; what is used up goes to `done`.
    pub fn advance(&mut self, queue: &mut Queue, mut count: usize, mut done: impl FnMut(Segment)) {
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
    pub fn clear(&mut self, queue: &mut Queue) -> usize {
        let dropped = queue.bytes;
        while self.pop(queue).is_some() {}
        queue.bytes = 0;
        dropped
    }

    /// Moves what lies in a reserve into a block of the pool. True while a reserve is still in `queue`.
    pub fn repay(&mut self, queue: &Queue, pool: &mut Pool) -> bool {
        while let Some(node) = self.reserve_in(queue) {
            let Some(Segment::Block { block, start }) = &mut self.nodes[node as usize].segment else { return true };
            if !replace_reserve(block, start, pool) {
                return true;
            }
        }
        false
    }

    /// True if [`repay`](Self::repay) would find a block.
    pub fn could_repay(&self, queue: &Queue, pool: &Pool) -> bool {
        let reserve = self.reserve_in(queue).and_then(|node| self.nodes[node as usize].segment.as_ref());
        let smallest = reserve.and_then(|segment| pool.shared().tier_for(segment.len()));
        smallest.is_some_and(|smallest| (smallest..TIERS).any(|tier| pool.available(tier) > 0))
    }

    /// The first node of `queue` that holds a reserve: the processor's, or the workers'.
    fn reserve_in(&self, queue: &Queue) -> Option<u32> {
        let mut node = queue.head;
        while node != NONE {
            let Node { segment, next } = &self.nodes[node as usize];
            if matches!(segment, Some(Segment::Block { block, .. }) if block.tier() == RESERVE) {
                return Some(node);
            }
            node = *next;
        }
        None
    }

    /// Takes the front segment off the list; its bytes stay counted.
    fn pop(&mut self, queue: &mut Queue) -> Option<Segment> {
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

/// Copies what is left in a reserve into the smallest block that holds it; false if none is free.
fn replace_reserve(block: &mut Block, start: &mut usize, pool: &mut Pool) -> bool {
    let left = &block.filled()[*start..];
    let Some(smallest) = pool.shared().tier_for(left.len()) else { return false };
    let Some(mut other) = (smallest..TIERS).find_map(|tier| pool.lease(tier)) else { return false };
    other.truncate(0);
    other.push(left);
    // The reserve comes home by its `Drop`.
    *block = other;
    *start = 0;
    true
}
