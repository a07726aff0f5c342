//! Where the parts of a request lie in its bytes.

use std::ops::Range;

use super::exchange::Exchange;
use super::search::VERSION_LEN;

/// Where the parts of a request lie in its bytes. It consists of positions only, so it stays valid when the bytes move.
///
/// The parts follow each other: request line, fields, body, trailers. Fields are not listed; the head was validated, so
/// walking it again is a search for line ends, and a list would be many times this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// More than zero only if empty lines preceded the request.
    pub(super) start: u32,
    pub(super) target_end: u32,
    pub(super) head_end: u32,
    pub(super) body_end: u32,
    pub(super) trailers_end: u32,
    pub(super) method_len: u32,
    pub(super) exchange: Exchange,
}

impl Layout {
    /// How many bytes at the front of the message its parts lie in. Chunk framing that was already read may follow, up
    /// to the `consumed` of [`Decode::Complete`](crate::Decode::Complete); it need not be copied.
    #[must_use]
    pub fn live_len(&self) -> usize {
        self.trailers_end as usize
    }

    pub(super) fn shifted(self, by: usize) -> Self {
        let by = by as u32;
        Self {
            start: self.start + by,
            target_end: self.target_end + by,
            head_end: self.head_end + by,
            body_end: self.body_end + by,
            trailers_end: self.trailers_end + by,
            ..self
        }
    }

    pub(super) fn method(&self) -> Range<usize> {
        self.start as usize..(self.start + self.method_len) as usize
    }

    pub(super) fn target(&self) -> Range<usize> {
        self.method().end + 1..self.target_end as usize
    }

    pub(super) fn head(&self) -> Range<usize> {
        self.start as usize..self.head_end as usize
    }

    /// The field lines, without the empty line.
    pub(super) fn fields(&self) -> Range<usize> {
        self.target_end as usize + VERSION_LEN..self.head_end as usize - 2
    }

    pub(super) fn body(&self) -> Range<usize> {
        self.head_end as usize..self.body_end as usize
    }

    pub(super) fn trailers(&self) -> Range<usize> {
        self.body_end as usize..self.trailers_end as usize
    }
}
