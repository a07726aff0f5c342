//! Where the parts of a request lie in its bytes.

use std::fmt;
use std::ops::Range;

use super::exchange::Exchange;
use super::search::VERSION_LEN;

/// The bit of `line` from which on it says where the request starts.
const START: u32 = 32;
/// The same for the length of the method.
const METHOD_LEN: u32 = 40;
/// The same for the exchange.
const EXCHANGE: u32 = 48;
/// The bit of `ends` from which on it says where the body ends.
const BODY_END: u32 = 32;

/// Where the parts of a request lie in its bytes. It consists of positions only, so it stays valid when the bytes move.
///
/// The parts follow each other: request line, fields, body, trailers. Fields are not listed; the head was validated, so
/// walking it again is a search for line ends, and a list would be many times this size.
// Whole words, with several positions in one. A layout is copied on its way, in pieces of one or two words: if it were
// written in smaller pieces, the CPU would wait until all of them are in its cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// From the lowest bit: where the target ends (32 bits), where the request starts, which is more than zero only if
    /// empty lines preceded it (8), the length of the method (8), and the exchange (8).
    line: u64,
    /// Where the head ends, and where the body ends.
    ends: u64,
    trailers_end: u64,
}

impl Layout {
    /// That of no request.
    pub(super) const NONE: Self = Self { line: 0, ends: 0, trailers_end: 0 };

    /// That of a request without a body.
    #[inline]
    pub(super) fn of_head(method_len: u8, target_end: u32, head_end: u32, exchange: Exchange) -> Self {
        let [method_len, exchange] = [method_len, exchange.bits()].map(u64::from);
        let line = u64::from(target_end) | method_len << METHOD_LEN | exchange << EXCHANGE;
        Self { line, ends: u64::from(head_end), trailers_end: 0 }.with_body_end(head_end)
    }

    /// The same, with a body that ends there, and without trailers.
    #[inline]
    pub(super) fn with_body_end(self, body_end: u32) -> Self {
        let body_end = u64::from(body_end);
        Self { ends: u64::from(self.head_end()) | body_end << BODY_END, trailers_end: body_end, ..self }
    }

    /// The same, with trailers that end there.
    pub(super) fn with_trailers_end(self, trailers_end: u32) -> Self {
        Self { trailers_end: u64::from(trailers_end), ..self }
    }

    /// True if nothing of the request is missing; it has no trailers.
    #[inline]
    pub(super) fn is_all_in(&self, bytes: &[u8]) -> bool {
        self.body_end() as usize <= bytes.len()
    }

    #[inline]
    pub(super) fn start(&self) -> u32 {
        u32::from((self.line >> START) as u8)
    }

    #[inline]
    fn method_len(&self) -> u32 {
        u32::from((self.line >> METHOD_LEN) as u8)
    }

    #[inline]
    pub(super) fn exchange(&self) -> Exchange {
        Exchange::from_bits((self.line >> EXCHANGE) as u8)
    }

    #[inline]
    fn target_end(&self) -> u32 {
        self.line as u32
    }

    #[inline]
    pub(super) fn head_end(&self) -> u32 {
        self.ends as u32
    }

    #[inline]
    pub(super) fn body_end(&self) -> u32 {
        (self.ends >> BODY_END) as u32
    }

    /// How many bytes at the front of the message its parts lie in. Chunk framing that was already read may follow, up
    /// to the `consumed` of [`Decode::Complete`](crate::Decode::Complete); it need not be copied.
    #[must_use]
    pub fn live_len(&self) -> usize {
        self.trailers_end as usize
    }

    /// The same, behind so many bytes of empty lines. No position leaves its part of the word: the limits see to that.
    pub(super) fn shifted(self, by: usize) -> Self {
        let by = by as u64;
        Self {
            line: self.line + (by | by << START),
            ends: self.ends + (by | by << BODY_END),
            trailers_end: self.trailers_end + by,
        }
    }

    pub(super) fn kept(self) -> KeptLayout {
        KeptLayout {
            line: self.line.to_ne_bytes(),
            ends: self.ends.to_ne_bytes(),
            trailers_end: (self.trailers_end as u32).to_ne_bytes(),
        }
    }

    pub(super) fn method(&self) -> Range<usize> {
        self.start() as usize..(self.start() + self.method_len()) as usize
    }

    pub(super) fn target(&self) -> Range<usize> {
        self.method().end + 1..self.target_end() as usize
    }

    pub(super) fn head(&self) -> Range<usize> {
        self.start() as usize..self.head_end() as usize
    }

    /// The field lines, without the empty line.
    pub(super) fn fields(&self) -> Range<usize> {
        self.target_end() as usize + VERSION_LEN..self.head_end() as usize - 2
    }

    pub(super) fn body(&self) -> Range<usize> {
        self.head_end() as usize..self.body_end() as usize
    }

    pub(super) fn trailers(&self) -> Range<usize> {
        self.body_end() as usize..self.trailers_end as usize
    }
}

/// A layout that is kept, in less memory: a connection has room for one, also while it is idle.
#[derive(Clone, Copy)]
pub(super) struct KeptLayout {
    line: [u8; 8],
    ends: [u8; 8],
    trailers_end: [u8; 4],
}

impl KeptLayout {
    pub(super) fn get(self) -> Layout {
        Layout {
            line: u64::from_ne_bytes(self.line),
            ends: u64::from_ne_bytes(self.ends),
            trailers_end: u64::from(u32::from_ne_bytes(self.trailers_end)),
        }
    }
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layout")
            .field("method", &self.method())
            .field("target", &self.target())
            .field("fields", &self.fields())
            .field("body", &self.body())
            .field("trailers", &self.trailers())
            .field("exchange", &self.exchange())
            .finish()
    }
}

impl fmt::Debug for KeptLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchanges() -> [Exchange; 3] {
        let all = Exchange::USUAL.with_head(true).with_connect(true).with_version10(true);
        [Exchange::UNKNOWN, Exchange::USUAL, all]
    }

    /// The positions of all parts, moved by so much.
    fn parts(layout: Layout, by: usize) -> [Range<usize>; 6] {
        let all = [layout.method(), layout.target(), layout.head(), layout.fields(), layout.body(), layout.trailers()];
        all.map(|part| part.start + by..part.end + by)
    }

    #[test]
    fn each_part_is_where_it_was_told_to_be() {
        let layout = Layout::of_head(3, 10, 40, Exchange::USUAL);
        assert_eq!(parts(layout, 0), [0..3, 4..10, 0..40, 21..38, 40..40, 40..40]);
        let layout = layout.with_body_end(50);
        assert_eq!((parts(layout, 0)[4..].to_vec(), layout.live_len()), (vec![40..50, 50..50], 50));
        let layout = layout.with_trailers_end(60);
        assert_eq!(parts(layout, 0), [0..3, 4..10, 0..40, 21..38, 40..50, 50..60]);
        assert_eq!((layout.live_len(), layout.start(), layout.exchange()), (60, 0, Exchange::USUAL));
    }

    #[test]
    fn the_largest_are_moved_and_kept_like_the_small() {
        const PART: u32 = 1 << 30;
        for exchange in exchanges() {
            let small = Layout::of_head(1, 3, 17, exchange);
            let large = Layout::of_head(32, PART - 12, PART, exchange).with_body_end(2 * PART);
            for layout in [small, large, large.with_trailers_end(3 * PART)] {
                let moved = layout.shifted(8);
                assert_eq!((parts(moved, 0), moved.exchange()), (parts(layout, 8), exchange));
                assert_eq!((moved.start(), moved.live_len()), (8, layout.live_len() + 8));
                assert_eq!([layout.kept().get(), moved.kept().get()], [layout, moved]);
            }
        }
    }
}
