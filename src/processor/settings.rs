//! The settings of the cycle.

use crate::admission::Admission;
use crate::buffer::ANSWER_SEGMENTS;
use crate::connection::Timeouts;

/// How much one connection may do before the others have their turn. A connection that uses up its turn continues after
/// those that do not. Both numbers are at least 1. A turn also ends after a large answer (32 KiB or more, with the
/// default sizes), and once it has written [`Watermarks::high`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Messages handled in one turn.
    pub messages: usize,
    /// Bytes read per turn; also bytes of queued output written per turn. A connection's first turn in a cycle is
    /// capped at 64 KiB of each; if it has more to do, it continues after the others with this full budget.
    pub bytes: usize,
}

impl Default for Turn {
    fn default() -> Self {
        Self { messages: 64, bytes: 256 << 10 }
    }
}

/// At how many undelivered bytes a connection's input stops, and at how many it goes on; `low` has to be below `high`.
///
/// If little of the outbound pool is free, less counts: beyond its last quarter, a connection gets an eighth of what is
/// free as its `high` and a quarter of that as its `low`, where these are less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// With this many undelivered bytes a connection is no longer decoded. The replies that it is owed by then come on
    /// top: one answer or, if order does not matter, up to [`Config::owed_max`](crate::Config::owed_max) deferred ones.
    pub high: usize,
    /// Once there are no more than this, the connection is decoded again.
    pub low: usize,
}

impl Default for Watermarks {
    fn default() -> Self {
        Self { high: 256 << 10, low: 64 << 10 }
    }
}

/// All settings of one processor.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The number of this processor, from 0.
    pub(crate) number: u16,
    /// Its name in the log.
    pub(crate) name: String,
    /// The most connections of this processor.
    pub(crate) connections_each: usize,
    pub(crate) turn: Turn,
    pub(crate) watermarks: Watermarks,
    pub(crate) timeouts: Timeouts,
    pub(crate) admission: Admission,
    /// Bytes of the block that small requests are read into and decoded in.
    pub(crate) scratch: usize,
    /// Replies that may be owed to one connection at once, if order does not matter.
    pub(crate) owed_max: usize,
    /// Replies that may be owed at once, over all connections.
    pub(crate) owed_total_max: usize,
    /// Copied bytes of one answer.
    pub(crate) reply_max: usize,
    /// Undelivered segments, over all connections.
    pub(crate) segments_max: usize,
}

impl Settings {
    /// The least `segments_max` with which any peer is served: messages are handed over only while more segments are
    /// free than one answer may have.
    pub(crate) const SEGMENTS_LEAST: usize = ANSWER_SEGMENTS + 1;
}
