//! The settings of the cycle.

use std::time::Duration;

use crate::buffer::ANSWER_SEGMENTS;
use crate::connection::Timeouts;

/// How much one connection may do before the others have their turn. A connection that uses up its turn goes on behind
/// those that do not. Both numbers are at least 1. A turn also ends behind a large answer (32 KiB or more, with the
/// default sizes), and when it has written [`Watermarks::high`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Messages handled in one turn.
    pub messages: usize,
    /// Bytes read in one turn, or written of answers that have waited. The first turn has at most 64 KiB of each; a
    /// connection with more to do continues after the others, with up to this many.
    pub bytes: usize,
}

impl Default for Turn {
    fn default() -> Self {
        Self { messages: 64, bytes: 256 << 10 }
    }
}

/// Where undelivered output stops input, in bytes; `low` has to be below `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// With this many undelivered bytes a connection is not decoded. What it is owed then comes on top: one answer, or,
    /// where order does not matter, up to [`Config::owed_max`](crate::Config::owed_max) that were deferred.
    pub high: usize,
    /// With no more than this it is decoded again.
    pub low: usize,
}

impl Default for Watermarks {
    fn default() -> Self {
        Self { high: 256 << 10, low: 64 << 10 }
    }
}

/// Which newcomers are refused. None by default: at `connections_max` they wait in the kernel's backlog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Admission {
    /// Connections of one IP address at once, over all processors; one more is refused. Zero: no limit. All clients
    /// behind one proxy or translated address count together. Those that were refused do not count.
    pub per_address_max: usize,
    /// Connections, over all processors, from which on newcomers are refused at once (HTTP: 503) instead of served.
    /// Those that were refused do not count. Zero: none is refused; at `connections_max` they wait in the backlog.
    pub refuse_above: usize,
    /// How long a refusal for want of room tells its peer to wait (HTTP: `Retry-After`). `None`: it does not say.
    pub retry_after: Option<Duration>,
}

/// Everything the processor was told at start.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The number of this processor, from 0.
    pub(crate) number: u16,
    /// How the log calls it.
    pub(crate) name: String,
    /// Connections of this processor.
    pub(crate) connections_each: usize,
    pub(crate) turn: Turn,
    pub(crate) watermarks: Watermarks,
    pub(crate) timeouts: Timeouts,
    pub(crate) admission: Admission,
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

impl Settings {
    /// The least `segments_max` with which anybody is served: messages are handed over while more than those of one
    /// answer are free.
    pub(crate) const SEGMENTS_LEAST: usize = ANSWER_SEGMENTS + 1;
}
