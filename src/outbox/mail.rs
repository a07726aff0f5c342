//! What lies in the outbox: settled replies and unasked messages, on their way to the processor.

use super::Unanswered;
use crate::buffer::{Outbound, Segment};
use crate::encode_error::EncodeError;
use crate::id::ConnectionId;
use crate::protocol::{After, Encode};

/// Bytes that were encoded on some thread for one connection.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) segments: Vec<Segment>,
    pub(crate) bytes: usize,
    pub(crate) after: After,
}

impl Encoded {
    /// Encodes `item` into `out`, which is new. If that panics, `out` brings its blocks home.
    pub(super) fn of<P: Encode<T>, T>(mut out: Outbound, exchange: P::Exchange, item: T) -> Result<Self, EncodeError> {
        out.begin();
        let after = P::encode(exchange, item, &mut out)?;
        let bytes = out.finish()?;
        Ok(Self { segments: out.into_segments(), bytes, after })
    }

    /// The same message once more; its blocks are lent to both.
    pub(crate) fn lend(&mut self) -> Self {
        let segments = self.segments.iter_mut().map(Segment::lend).collect();
        Self { segments, ..*self }
    }
}

/// A deferred reply that was settled, on its way to the processor.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) connection: ConnectionId,
    pub(crate) ticket: u32,
    pub(crate) answer: Result<Encoded, Unanswered>,
}

impl Settled {
    /// True if the answer is the final one of its connection.
    pub(crate) fn is_final(&self) -> bool {
        self.answer.as_ref().is_ok_and(|encoded| encoded.after == After::Close)
    }
}

/// A settled reply that waits for messages that were sent before it. It comes before all others.
#[derive(Debug)]
pub(crate) struct HeldBack {
    pub(crate) settled: Settled,
    /// How many unasked messages the processor will have taken once it has those.
    pub(crate) messages_before: u64,
}

/// An unasked message on its way to the processor.
#[derive(Debug)]
pub(crate) struct Unasked {
    pub(crate) connection: ConnectionId,
    pub(crate) encoded: Encoded,
}
