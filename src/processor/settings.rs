//! What can be turned in the cycle.

use crate::connection::Timeouts;

/// How much one connection may do before the others have their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Messages.
    pub messages: usize,
    /// Bytes read from its socket.
    pub bytes: usize,
}

impl Default for Turn {
    fn default() -> Self {
        Self { messages: 64, bytes: 256 << 10 }
    }
}

/// Where output stops input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// With so many undelivered bytes a connection is not decoded. At most one answer comes on top.
    pub high: usize,
    /// With no more than this it is decoded again.
    pub low: usize,
}

impl Default for Watermarks {
    fn default() -> Self {
        Self { high: 256 << 10, low: 64 << 10 }
    }
}

/// Everything the processor was told at start.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) connections_max: usize,
    pub(crate) turn: Turn,
    pub(crate) watermarks: Watermarks,
    pub(crate) timeouts: Timeouts,
    /// Bytes of the block that small requests are read into and decoded in.
    pub(crate) scratch: usize,
    /// Replies that may be owed to one connection at once, where order does not matter.
    pub(crate) owed_max: usize,
    /// Replies that may be owed at once, over all connections.
    pub(crate) owed_total_max: usize,
    /// Copied bytes of one answer.
    pub(crate) reply_max: usize,
    /// Undelivered segments, over all connections.
    pub(crate) segments_max: usize,
}
