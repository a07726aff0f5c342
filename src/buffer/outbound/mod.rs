//! Where encoders write: a chain of segments, with room found as it is needed and taken back when an answer fails.

mod delivery;
#[cfg(test)]
mod tests;

use std::io;
use std::mem;
use std::sync::Arc;

use super::lease::{RESERVE, Source, largest, most_in};
use super::segments::{COPY_BELOW, Segment};
use super::{Block, MEDIUM, Pool, SharedPool, Tier};
use crate::clock::{DATE_LINE, DateText, WallClock};
use crate::encode_error::EncodeError;

pub(crate) use delivery::SLICES;

/// How many segments one answer may have on the processor thread.
pub(crate) const ANSWER_SEGMENTS: usize = 16;
/// How many segments an answer may have that waits in a queue between threads: it has its place there in advance.
pub(crate) const QUEUED_SEGMENTS: usize = 4;

/// From a quarter of a medium block on, usually 32 KiB, bytes are cheaper to write from where they lie than to gather:
/// for 16 KiB no difference could be measured.
const LARGE_DIVISOR: usize = 4;

/// The writing end of a connection, as an [`Encode`](crate::Encode) sees it.
///
/// Copied bytes go into pooled blocks, chained as needed; static and shared bytes are carried as they are when that is
/// worth it. Writing never fails on the spot: the first piece that finds no room is remembered, everything after it is
/// ignored, and the whole answer is rolled back at its end. An encoder needs no error handling for it.
pub struct Outbound {
    segments: Vec<Segment>,
    bytes: usize,
    answer: Answer,
    source: Source,
    reply_max: usize,
    segments_max: usize,
    large: usize,
    clock: Arc<WallClock>,
    date: DateText,
}

/// The answer that is being written: where it began, and how it goes.
#[derive(Debug, Default)]
struct Answer {
    first_segment: usize,
    first_byte: usize,
    copied: usize,
    announced: usize,
    /// One of its blocks is smaller than an untouched pool would have given.
    made_do: bool,
    /// One of its blocks is the reserve.
    used_reserve: bool,
    failure: Option<EncodeError>,
}

/// Room left by [`Outbound::reserve_prefix`]; fill it with [`Outbound::patch`].
#[must_use = "the prefix is zero until it is patched"]
#[derive(Debug)]
pub struct Prefix<const N: usize> {
    segment: usize,
    at: usize,
}

/// Room in one piece behind what was written.
pub(crate) struct Room<'o> {
    memory: &'o mut [u8],
    filled: &'o mut usize,
    copied: &'o mut usize,
    bytes: &'o mut usize,
}

impl<'o> Room<'o> {
    #[inline]
    fn in_last_of(segments: &'o mut [Segment], answer: &'o mut Answer, bytes: &'o mut usize) -> Option<Self> {
        let (memory, filled) = last_block(segments)?.room_and_len();
        Some(Self { memory, filled, copied: &mut answer.copied, bytes })
    }

    /// The bytes to be written to; at least as many as were asked for.
    #[inline]
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        self.memory
    }

    /// Says that the first `count` of them were written.
    #[inline]
    pub(crate) fn fill(self, count: usize) {
        debug_assert!(count <= self.memory.len(), "no more is written than there is room");
        *self.filled += count;
        *self.copied += count;
        *self.bytes += count;
    }
}

impl Outbound {
    /// The processor's own: all answers of a turn are gathered in it. Never waits; `reserve` is its last resort.
    pub(crate) fn of_processor(pool: Pool, reserve: Arc<Tier>, reply_max: usize, clock: Arc<WallClock>) -> Self {
        Self::new(Source::own(pool, reserve), reply_max, ANSWER_SEGMENTS, clock)
    }

    /// For one answer that is written on another thread. With a `reserve` it waits in line for room; without, it fails
    /// at once.
    pub(crate) fn of_worker(
        pool: Arc<SharedPool>,
        reserve: Option<Arc<Tier>>,
        reply_max: usize,
        clock: Arc<WallClock>,
    ) -> Self {
        Self::new(Source::shared(pool, reserve), reply_max, QUEUED_SEGMENTS, clock)
    }

    /// An outbound with room of its own, outside of any server: to try an [`Encode`](crate::Encode) in a test. An
    /// answer may copy 16 MiB; what does not fit is ignored. Its clock stands at `Sun, 06 Nov 1994 08:49:37 GMT`.
    ///
    /// ```
    /// use sluicegate::Outbound;
    /// let mut out = Outbound::detached();
    /// out.put(b"hello");
    /// assert_eq!(out.to_vec(), b"hello");
    /// ```
    pub fn detached() -> Self {
        const REPLY_MAX: usize = 16 << 20;
        Self::new(Source::detached(REPLY_MAX), REPLY_MAX, usize::MAX, Arc::new(WallClock::at(784_111_777)))
    }

    fn new(source: Source, reply_max: usize, segments_max: usize, clock: Arc<WallClock>) -> Self {
        let (segments, date, answer) = (Vec::new(), DateText::default(), Answer::default());
        let large = source.shared_pool().tiers()[MEDIUM].size() / LARGE_DIVISOR;
        Self { segments, bytes: 0, answer, source, reply_max, segments_max, large, clock, date }
    }

    /// Bytes written and not yet delivered or taken.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// True when nothing was written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// All bytes written so far, copied together.
    pub fn to_vec(&self) -> Vec<u8> {
        self.segments.iter().flat_map(|segment| segment.bytes().iter().copied()).collect()
    }

    /// True if this many bytes at the end of an answer are worth being written from where they lie
    /// ([`Encode::encode_head`](crate::Encode::encode_head)).
    #[inline]
    pub fn is_large(&self, bytes: usize) -> bool {
        bytes >= self.large
    }

    /// Says that about `bytes` more copied bytes follow in this answer, so that one block is chosen for all of them. A
    /// hint: more or fewer may follow.
    #[inline]
    pub fn announce(&mut self, bytes: usize) {
        self.answer.announced = self.answer.copied.saturating_add(bytes);
    }

    /// Copies `bytes` behind what was written. An answer with more copied bytes than
    /// [`Config::reply_max`](crate::Config::reply_max) fails as a whole.
    pub fn put(&mut self, mut bytes: &[u8]) {
        if self.answer.failure.is_some() {
            return;
        }
        if self.answer.copied + bytes.len() > self.reply_max {
            let (wanted, limit) = (self.answer.copied + bytes.len(), self.reply_max);
            return self.fail(EncodeError::ReplyTooLong { wanted, limit });
        }
        loop {
            let count = self.tail().map_or(0, |block| block.push(bytes));
            self.answer.copied += count;
            self.bytes += count;
            bytes = &bytes[count..];
            if bytes.is_empty() || !self.grow(bytes.len()) {
                return;
            }
        }
    }

    /// Room for `len` bytes in one piece, to be written in place. `None` if the answer cannot have that:
    /// [`put`](Self::put) finds room in several pieces, or says what is wrong.
    #[inline]
    pub(crate) fn room_for(&mut self, len: usize) -> Option<Room<'_>> {
        if !self.ensure_room(len) {
            return None;
        }
        let Self { segments, answer, bytes, .. } = self;
        Room::in_last_of(segments, answer, bytes)
    }

    /// The same, and the `Date` line to be copied there: from where it lies, because a line that passes through the
    /// stack is written there with narrow stores and read with wide loads, and the CPU waits for that.
    #[inline]
    pub(crate) fn room_and_date_line(&mut self, len: usize) -> Option<(Room<'_>, &[u8; DATE_LINE])> {
        if !self.ensure_room(len) {
            return None;
        }
        let Self { segments, answer, bytes, date, clock, .. } = self;
        Some((Room::in_last_of(segments, answer, bytes)?, date.line_of(clock.unix_seconds())))
    }

    /// True if the last block has room for `len` bytes.
    #[inline]
    fn ensure_room(&mut self, len: usize) -> bool {
        if self.answer.failure.is_some() || self.answer.copied + len > self.reply_max {
            return false;
        }
        let has_room = |out: &mut Self| out.tail().is_some_and(|block| block.room() >= len);
        has_room(self) || self.grow(len) && has_room(self)
    }

    /// Appends bytes that live for ever. Long ones, from 4 KiB on, are not copied, and have no limit.
    pub fn put_static(&mut self, bytes: &'static [u8]) {
        if self.carries(bytes.len()) { self.carry(Segment::Static(bytes)) } else { self.put(bytes) }
    }

    /// Appends bytes that others share. Long ones, from 4 KiB on, are not copied, and have no limit. An answer has few
    /// pieces: 16 if [`Reply`](crate::Reply) sends it, 4 if [`Deferred`](crate::Deferred) or
    /// [`WriteProxy`](crate::WriteProxy) does, on any thread; copied bytes between two shared ones are a piece, too.
    /// What would be one more is copied.
    ///
    /// The memory ceiling does not count them: they stay in memory until the slowest of their receivers has them, also
    /// if the program has given them up.
    pub fn put_shared(&mut self, bytes: Arc<[u8]>) {
        if self.carries(bytes.len()) { self.carry(Segment::Shared { bytes, start: 0 }) } else { self.put(&bytes) }
    }

    /// The `Date` of now as IMF-fixdate (RFC 9110 section 5.6.7), formatted anew only when the second changes. In what
    /// [`WriteProxy::send`](crate::WriteProxy::send) encodes it may be older, if no reply is owed: as old as the time
    /// that the processor has slept.
    pub fn date(&mut self) -> [u8; 29] {
        self.date.of(self.clock.unix_seconds())
    }

    /// The second that [`date`](Self::date) says, since 1970.
    #[inline]
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.clock.unix_seconds()
    }

    /// The same as a whole line: `Date: `, the text, and the line's end.
    pub(crate) fn date_line(&mut self) -> [u8; DATE_LINE] {
        *self.date.line_of(self.clock.unix_seconds())
    }

    /// Leaves `N` bytes for a prefix that is known only once the rest was written. Up to [`HEADROOM`](crate::HEADROOM)
    /// bytes always lie in one piece. A longer prefix may not, and is then left as zeros.
    pub fn reserve_prefix<const N: usize>(&mut self) -> Prefix<N> {
        // The prefix has to lie in one piece: start a new block if the last one has too little room.
        let together = self.tail().is_some_and(|block| block.room() >= N);
        if self.answer.failure.is_none() && !together {
            self.grow(N);
        }
        let at = self.tail().map_or(0, |block| block.len());
        let segment = self.segments.len().saturating_sub(1);
        self.put(&[0; N]);
        Prefix { segment, at }
    }

    /// Fills in a prefix of this answer. Does nothing if the answer has failed already.
    pub fn patch<const N: usize>(&mut self, prefix: Prefix<N>, bytes: [u8; N]) {
        if self.answer.failure.is_some() {
            return;
        }
        if let Some(Segment::Block { block, .. }) = self.segments.get_mut(prefix.segment)
            && let Some(place) = block.filled_mut().get_mut(prefix.at..prefix.at + N)
        {
            place.copy_from_slice(&bytes);
        }
    }

    #[inline]
    fn tail(&mut self) -> Option<&mut Block> {
        last_block(&mut self.segments)
    }

    #[inline]
    fn answer_segments(&self) -> usize {
        self.segments.len() - self.answer.first_segment
    }

    /// True if `length` bytes are worth a segment of their own and the answer may have one more behind them.
    fn carries(&self, length: usize) -> bool {
        length >= COPY_BELOW && self.answer_segments() + 1 < self.segments_max
    }

    fn carry(&mut self, segment: Segment) {
        if self.answer.failure.is_none() {
            self.bytes += segment.len();
            self.segments.push(segment);
        }
    }

    /// Finds a block for `more` bytes. An answer whose length is unknown takes a larger block each time.
    fn grow(&mut self, more: usize) -> bool {
        let rest = match self.answer.announced.saturating_sub(self.answer.copied) {
            0 => more.max(self.answer.copied).min(self.reply_max - self.answer.copied),
            announced => announced.max(more),
        };
        let placed = match self.segments_max.saturating_sub(self.answer_segments()) {
            0 => self.exchange_tail(more, rest),
            left => {
                // What is only announced must never make bytes fail that would fit without it, even if the blocks that
                // could hold it are already part of this answer.
                let wanted = if self.source.could_hold(rest, left) { rest } else { more };
                let block = self.lease(wanted, left).or_else(|| self.lease_less(more, wanted, left));
                block.map(|block| self.segments.push(Segment::Block { block, start: 0 })).ok_or((more, left))
            }
        };
        if let Err((more, left)) = placed {
            self.fail(self.lacks_room(more, left));
        }
        self.answer.failure.is_none()
    }

    fn lease(&mut self, wanted: usize, left: usize) -> Option<Block> {
        let block = self.source.lease(wanted, left)?;
        self.answer.made_do |= !self.source.is_first_choice(&block, wanted, left);
        self.answer.used_reserve |= block.tier() == RESERVE;
        Some(block)
    }

    /// A block for `more` bytes, if there was none for the `wanted` ones.
    #[cold]
    fn lease_less(&mut self, more: usize, wanted: usize, left: usize) -> Option<Block> {
        let block = if more < wanted { self.source.lease(more, left) } else { None }?;
        self.answer.made_do = true;
        self.answer.used_reserve |= block.tier() == RESERVE;
        Some(block)
    }

    /// Why there are no `left` blocks for `more` bytes: they are in use, or there are none that large.
    #[cold]
    fn lacks_room(&self, more: usize, left: usize) -> EncodeError {
        let pool = self.source.shared_pool();
        // It got its first choice every time, so it would fail here again, however many blocks come home.
        if !self.answer.made_do && !self.source.could_hold(more, left) {
            return EncodeError::TooManyPieces { wanted: more, limit: most_in(pool, left) };
        }
        // What it has already does not come back before it has ended: all of it together has to fit.
        let own = self.segments[self.answer.first_segment..].iter();
        let blocks = left + own.filter(|segment| matches!(segment, Segment::Block { .. })).count();
        if self.source.could_hold(self.answer.copied + more, blocks) {
            EncodeError::NoRoom { wanted: more }
        } else {
            let limit = most_in(pool, blocks).saturating_sub(self.answer.copied);
            EncodeError::TooManyPieces { wanted: more, limit }
        }
    }

    /// Exchanges the last block of an answer that has all its segments for one that also holds `more` bytes, or `rest`
    /// if there is such a block: nobody has a place for one segment more. The reserve holds whatever an answer may
    /// have.
    #[cold]
    fn exchange_tail(&mut self, more: usize, rest: usize) -> Result<(), (usize, usize)> {
        let largest = largest(self.source.shared_pool()).min(self.reply_max);
        let capacity = self.tail().map_or(0, |block| block.capacity());
        let least = (capacity + more).min(self.reply_max);
        let mut block = self.lease((capacity + rest).min(largest).max(least), 1).ok_or((least, 1))?;
        let Some(tail) = self.tail() else { return Err((more, 0)) };
        block.push(tail.filled());
        let full = Segment::Block { block: mem::replace(tail, block), start: 0 };
        self.source.recycle(full, false);
        Ok(())
    }

    fn fail(&mut self, failure: EncodeError) {
        self.answer.failure = Some(failure);
    }
}

impl io::Write for Outbound {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("bytes", &self.bytes).field("segments", &self.segments.len()).finish()
    }
}

/// The block that the last segment is, if it is one.
#[inline]
fn last_block(segments: &mut [Segment]) -> Option<&mut Block> {
    match segments.last_mut() {
        Some(Segment::Block { block, .. }) => Some(block),
        _ => None,
    }
}
