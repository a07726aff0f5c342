//! The other side of [`Outbound`]: an answer is begun, ended or taken back, and what was written is delivered.

use std::io::IoSlice;
use std::mem;

use super::{Answer, Outbound};
use crate::buffer::Pool;
use crate::buffer::segments::Segment;
use crate::encode_error::EncodeError;

/// Slices of one vectored write.
pub(crate) const SLICES: usize = 64;

impl Outbound {
    /// Begins an answer.
    #[inline]
    pub(crate) fn begin(&mut self) {
        // The block that stayed is the answer's own if nothing is before it.
        let (first_segment, first_byte) = (self.staged_segments(), self.bytes);
        self.answer = Answer { first_segment, first_byte, ..Answer::default() };
    }

    /// Ends the answer; returns its length, or why it does not fit. After an error, [`roll_back`](Self::roll_back).
    #[inline]
    pub(crate) fn finish(&mut self) -> Result<usize, EncodeError> {
        match self.answer.failure {
            None => Ok(self.bytes - self.answer.first_byte),
            Some(_) => self.failed(),
        }
    }

    #[cold]
    fn failed(&mut self) -> Result<usize, EncodeError> {
        self.answer.failure.take().map_or(Ok(0), Err)
    }

    /// Ends the answer with `tail`, which lies elsewhere, and has `write` try to send all that there is. Only what that
    /// does not take is copied, into room that was found before it: an answer of which a byte has left cannot fail.
    ///
    /// Returns the length of the answer and how many bytes have left, of it and those before; or, before anything has,
    /// why it does not fit. After an error, [`roll_back`](Self::roll_back).
    pub(crate) fn put_through(
        &mut self,
        tail: &[u8],
        write: impl FnOnce(&[IoSlice<'_>]) -> usize,
    ) -> Result<(usize, usize), EncodeError> {
        let first = self.find_room(tail.len());
        let staged = self.finish().map(|_| self.bytes)?;
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.gather(&mut slices[..SLICES - 1]);
        slices[count] = IoSlice::new(tail);
        // Never more, by the bounds of a turn and of an answer; were it so, the tail would not be next.
        let delivered = if count == self.segments.len() { write(&slices[..=count]) } else { 0 };

        let mut rest = &tail[delivered.saturating_sub(staged)..];
        for segment in &mut self.segments[first..] {
            if let Segment::Block { block, .. } = segment {
                rest = &rest[block.push(rest)..];
            }
        }
        debug_assert!(rest.is_empty(), "there was room for all of it");
        self.bytes += tail.len();
        let length = self.bytes - self.answer.first_byte;
        self.bytes -= delivered;
        self.advance(delivered.min(staged));
        self.answer = Answer { used_reserve: self.answer.used_reserve, ..Answer::default() };
        Ok((length, delivered))
    }

    /// Makes sure that `more` bytes of the answer fit; returns the segment from which on they do.
    fn find_room(&mut self, more: usize) -> usize {
        let copied = self.answer.copied + more;
        if copied > self.reply_max && self.answer.failure.is_none() {
            self.fail(EncodeError::ReplyTooLong { wanted: copied, limit: self.reply_max });
        }
        let first = self.segments.len().saturating_sub(1);
        let mut missing = more.saturating_sub(self.tail().map_or(0, |block| block.room()));
        while missing > 0 && self.answer.failure.is_none() && self.grow(missing) {
            missing = missing.saturating_sub(self.tail().map_or(0, |block| block.room()));
        }
        first
    }

    /// Lets the first `count` bytes go, and blocks in which there is nothing.
    fn advance(&mut self, mut count: usize) {
        let mut at = 0;
        while let Some(segment) = self.segments.get_mut(at) {
            let step = segment.len().min(count);
            segment.advance(step);
            count -= step;
            if segment.is_empty() {
                let done = self.segments.remove(at);
                self.recycle(done);
            } else {
                at += 1
            }
        }
    }

    /// Takes the answer back; returns how many bytes of it were written.
    pub(crate) fn roll_back(&mut self) -> usize {
        let dropped = self.bytes - self.answer.first_byte;
        let mut in_tail = dropped;
        let may_keep = self.answer.first_segment == 0;
        for segment in self.segments.drain(self.answer.first_segment..) {
            in_tail -= segment.len();
            self.source.recycle(segment, may_keep);
        }
        // What no segment of its own held lies behind earlier answers.
        if let Some(block) = self.tail() {
            block.truncate(block.len() - in_tail);
        }
        self.bytes = self.answer.first_byte;
        self.answer.failure = None;
        dropped
    }

    /// All that is to be delivered, if it lies in one piece, as it usually does.
    #[inline]
    pub(crate) fn one_piece(&self) -> Option<&[u8]> {
        match self.segments.as_slice() {
            [one] => Some(one.bytes()),
            _ => None,
        }
    }

    /// Fills `slices` with what is to be delivered; returns how many slices that were.
    pub(crate) fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pairs = slices.iter_mut().zip(&self.segments);
        pairs.map(|(slice, segment)| *slice = IoSlice::new(segment.bytes())).count()
    }

    /// Empties it: everything has left. If that was one small block, as it usually is, the next answer begins in it,
    /// where it is: then there is a segment, and nothing in it.
    #[inline]
    pub(crate) fn all_delivered(&mut self) {
        self.bytes = 0;
        self.answer = Answer::default();
        match self.segments.as_mut_slice() {
            [Segment::Block { block, start: 0 }] if self.source.keeps(block) => block.truncate(0),
            _ => self.recycle_all(),
        }
    }

    #[inline(never)]
    fn recycle_all(&mut self) {
        while let Some(segment) = self.segments.pop() {
            self.recycle(segment);
        }
    }

    /// Empties it: the first `delivered` bytes have left, what is behind them goes to `rest`, segment by segment.
    pub(crate) fn take_undelivered(&mut self, delivered: usize, mut rest: impl FnMut(Segment)) {
        let mut left = delivered;
        for mut segment in self.segments.drain(..) {
            let step = segment.len().min(left);
            left -= step;
            segment.advance(step);
            if segment.is_empty() { self.source.recycle(segment, true) } else { rest(segment) }
        }
        self.bytes = 0;
        self.answer = Answer::default();
    }

    /// How many segments wait to be delivered. The one in which the next answer begins may be there without waiting.
    #[inline]
    pub(crate) fn staged_segments(&self) -> usize {
        if self.bytes == 0 { 0 } else { self.segments.len() }
    }

    /// Takes the finished answer to another thread.
    pub(crate) fn into_segments(mut self) -> Vec<Segment> {
        mem::take(&mut self.segments)
    }

    /// The processor's end of the outbound pool; `None` on other threads.
    #[inline]
    pub(crate) fn pool(&self) -> Option<&Pool> {
        self.source.pool()
    }

    /// The same, to take blocks from.
    #[inline]
    pub(crate) fn pool_mut(&mut self) -> Option<&mut Pool> {
        self.source.pool_mut()
    }

    /// True if a small block is kept for the next answer. Between turns: what is in here then is no more than that.
    #[cfg(feature = "sim")]
    pub(crate) fn is_warm(&self) -> bool {
        self.source.is_warm() || !self.segments.is_empty()
    }

    /// Brings a delivered segment home the short way. The next answer begins in a block that is here already, or in
    /// this.
    pub(crate) fn recycle(&mut self, segment: Segment) {
        self.source.recycle(segment, self.segments.is_empty());
    }

    /// True if the answer that was ended is, in part, in the reserve.
    #[inline]
    pub(crate) fn used_reserve(&self) -> bool {
        self.answer.used_reserve
    }

    /// True while the reserve behind it is whole: any answer up to `reply_max` finds its place.
    #[inline]
    pub(crate) fn reserve_whole(&self) -> bool {
        self.source.reserve_whole()
    }
}
