//! The bounds of the outbox, and what they cost.

use super::gauge::Gauge;
use super::owed::Owed;
use super::{HeldBack, Settled, Unasked};
use crate::buffer::{QUEUED_SEGMENTS, Segment};

/// The bounds of the outbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutboxLimits {
    /// Connections in the processor's table.
    pub(crate) connections_each: usize,
    /// Deferred replies that may be owed at once, over all connections of the processor. Each has its place in the
    /// queue in advance.
    pub(crate) owed_total_max: usize,
    /// Unasked messages that may wait for the processor.
    pub(crate) unasked_max: usize,
    /// Copied bytes of one answer.
    pub(crate) reply_max: usize,
    /// With this many undelivered bytes a connection takes no more unasked messages.
    pub(crate) outbound_high: usize,
}

impl OutboxLimits {
    /// Bytes that the queues take when full, for the memory ceiling.
    pub(crate) fn memory(&self) -> u64 {
        let segments = QUEUED_SEGMENTS * size_of::<Segment>() + 16;
        let settled = self.owed_total_max * (size_of::<Settled>() + 8 + segments);
        let unasked = self.unasked_max * (size_of::<Unasked>() + 8 + segments);
        let held_back = size_of::<HeldBack>() + 8 + segments;
        (settled + unasked + held_back + self.connections_each * size_of::<Gauge>()) as u64
            + Owed::memory(self.owed_total_max)
    }
}
