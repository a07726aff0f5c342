//! The limits of one request.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The limits of one request. A request that exceeds one is refused with the status named there, and the connection
/// closes.
///
/// [`Http1::with_limits`](super::Http1::with_limits) lowers limits that are too large to be counted: numbers of bytes
/// to 1 GiB, `fields_max` to [`FIELDS_MAX`](Limits::FIELDS_MAX), `target_max` to `head_max`.
///
/// ```
/// use sluicegate::http1::{Http1, Limits};
///
/// let http = Http1::with_limits(Limits { body_max: 64 * 1024, ..Limits::default() });
/// # let _ = http;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the head, from the request line to the empty line, and of the trailer section together. 64 KiB; 431.
    pub head_max: u32,
    /// Fields in the head and the trailer section together. 100, at most [`FIELDS_MAX`](Limits::FIELDS_MAX); 431.
    pub fields_max: u32,
    /// Bytes of the request target. 8 KiB; 414. (RFC 9112 section 3 asks for 8,000 in a request line at least.)
    pub target_max: u32,
    /// Bytes of the body. 960 KiB: with the largest head it fills a block of 1 MiB. 413.
    pub body_max: u32,
    /// Bytes of chunk framing (sizes, extensions, line ends) in one message, beyond as many as its data has so far: so
    /// chunks may be small, but a body of one-byte chunks, or of extensions, is not read for long. 16 KiB; 400.
    pub chunk_framing_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_max: 64 * 1024,
            fields_max: 100,
            target_max: 8 * 1024,
            body_max: 960 * 1024,
            chunk_framing_max: 16 * 1024,
        }
    }
}

impl Limits {
    /// The most fields that can be allowed: the parser's table of them lies on the stack.
    pub const FIELDS_MAX: u32 = 256;

    /// Positions inside a message are 32 bits wide; a quarter of that for each part keeps every sum inside.
    const PART_MAX: u32 = 1 << 30;

    /// The same limits, none of them beyond what the decoder can count.
    pub(super) fn clamped(self) -> Self {
        let head_max = self.head_max.min(Self::PART_MAX);
        Self {
            head_max,
            fields_max: self.fields_max.min(Self::FIELDS_MAX),
            target_max: self.target_max.min(head_max),
            body_max: self.body_max.min(Self::PART_MAX),
            chunk_framing_max: self.chunk_framing_max.min(Self::PART_MAX),
        }
    }
}

/// Stands for the limits of one protocol value and of its clones: two that have the same number have the same limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LimitsNumber(u32);

impl LimitsNumber {
    /// No limits have this number.
    pub(super) const NONE: Self = Self(0);
    /// That of the default limits.
    pub(super) const DEFAULT: Self = Self(1);
    /// What is left when all numbers were given away. Many limits may have this one.
    pub(super) const SHARED: Self = Self(u32::MAX);

    /// A number that no limits had before.
    pub(super) fn next() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(LimitsNumber::DEFAULT.0);
        let before = LAST.fetch_update(Relaxed, Relaxed, |last| last.checked_add(1));
        before.map_or(Self::SHARED, |last| Self(last + 1))
    }
}
