//! What lies in the outbox: settled replies and unasked messages, on their way to the processor.

use crate::buffer::Segment;
use crate::encode_error::EncodeError;
use crate::id::ConnectionId;
use crate::protocol::After;

/// Bytes that were encoded on some thread for one connection.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) segments: Vec<Segment>,
    pub(crate) bytes: usize,
    pub(crate) after: After,
}

impl Encoded {
    /// The same message once more; its blocks are lent to both.
    pub(crate) fn lend(&mut self) -> Self {
        let segments = self.segments.iter_mut().map(Segment::lend).collect();
        Self { segments, ..*self }
    }
}

/// What became of a deferred reply.
#[derive(Debug)]
pub(crate) enum Verdict {
    Answered(Encoded),
    /// Dropped without an answer, by a panic or not.
    Unanswered {
        panicked: bool,
    },
    /// The answer could not be encoded, or found no room.
    Failed(EncodeError),
}

/// A deferred reply that was settled, on its way to the processor.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) connection: ConnectionId,
    pub(crate) ticket: u32,
    pub(crate) verdict: Verdict,
}

/// An unasked message on its way to the processor.
#[derive(Debug)]
pub(crate) struct Unasked {
    pub(crate) connection: ConnectionId,
    pub(crate) encoded: Encoded,
}
