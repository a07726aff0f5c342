//! Blocks that many peers are given at once, and how one that takes it slowly gets a copy of its own.
//!
//! A message to many lies in one block for all of them. Peers that take it at once let go of it in the same cycle. One
//! whose socket is full would keep a whole block for a few bytes, and one more with each message. So what it has not
//! taken moves into blocks of its own, where little pieces lie together: it pays for itself, as without the sharing.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use super::{COPY_BELOW, Segment, Segments, Undelivered};
use crate::buffer::{Block, Pool, SMALL, TIERS};

impl Segment {
    /// A second handle to the same bytes. A block is lent to both from then on.
    pub fn lend(&mut self) -> Self {
        let (kept, lent) = mem::replace(self, Self::Static(&[])).twice();
        *self = kept;
        lent
    }

    /// True for a lent piece that is cheaper to copy than to keep.
    pub fn is_little(&self) -> bool {
        matches!(self, Self::Lent { .. }) && self.len() <= COPY_BELOW
    }

    fn twice(self) -> (Self, Self) {
        let lent =
            |block: Arc<Block>, start| (Self::Lent { block: Arc::clone(&block), start }, Self::Lent { block, start });
        match self {
            Self::Block { block, start } => lent(Arc::new(block), start),
            Self::Lent { block, start } => lent(block, start),
            Self::Static(bytes) => (Self::Static(bytes), Self::Static(bytes)),
            Self::Shared { bytes, start } => {
                (Self::Shared { bytes: Arc::clone(&bytes), start }, Self::Shared { bytes, start })
            }
        }
    }
}

impl Segments {
    /// As [`push`](Self::push), but little pieces that are lent are copied into blocks of the queue's own, as far as
    /// `pool` has some: this one, and those at the end of the queue for which it had none before.
    pub fn push_own(&mut self, queue: &mut Undelivered, segment: Segment, pool: &mut Pool) -> Result<(), Segment> {
        if self.ends_lent(queue) {
            self.make_own(queue, pool);
        }
        let segment = self.own(queue, segment, pool);
        self.push(queue, segment)
    }

    /// Copies the little pieces that are lent to `queue` into blocks of its own, as far as `pool` has some.
    pub fn make_own(&mut self, queue: &mut Undelivered, pool: &mut Pool) {
        let is_lent = |segment: &Segment| matches!(segment, Segment::Lent { .. });
        if self.find(queue, is_lent).is_none() || tiers_for_copies(pool).is_empty() {
            return;
        }
        let mut lent = mem::take(queue);
        while let Some(segment) = self.pop(&mut lent) {
            let segment = self.own(queue, segment, pool);
            let pushed = self.push(queue, segment);
            debug_assert!(pushed.is_ok(), "it has just left its place");
        }
    }

    fn own(&self, queue: &Undelivered, segment: Segment, pool: &mut Pool) -> Segment {
        // Where it fits behind the last piece, `push` copies it.
        if !segment.is_little() || self.has_room_behind(queue, segment.len()) {
            return segment;
        }
        let fitting = pool.shared().tier_for(segment.len()).unwrap_or(TIERS);
        let mut tiers = tiers_for_copies(pool).filter(|tier| *tier >= fitting);
        let Some(mut own) = tiers.find_map(|tier| pool.lease(tier)) else { return segment };
        own.push(segment.bytes());
        Segment::Block { block: own, start: 0 }
    }

    /// True if there is a little piece at the end of `queue` that is lent to it.
    fn ends_lent(&self, queue: &Undelivered) -> bool {
        let last = self.nodes.get(queue.tail as usize).and_then(|node| node.segment.as_ref());
        last.is_some_and(Segment::is_little)
    }

    /// The blocks that are lent to any queue, each once.
    #[cfg(feature = "sim")]
    pub(super) fn lent_blocks(&self) -> impl Iterator<Item = &Arc<Block>> {
        let lent = self.nodes.iter().filter_map(|node| match &node.segment {
            Some(Segment::Lent { block, .. }) => Some((Arc::as_ptr(block), block)),
            _ => None,
        });
        lent.collect::<std::collections::HashMap<_, _>>().into_values()
    }
}

/// The tiers whose blocks a slow peer may be given for its copies: none if encoders stand in line for them. A larger
/// block rather than none: it holds what comes next as well, and its peer can be given up for it.
fn tiers_for_copies(pool: &Pool) -> Range<usize> {
    if pool.shared().line().has_encoders() { SMALL..SMALL } else { SMALL..TIERS }
}
