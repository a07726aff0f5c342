//! The way out that nobody asked for, from any thread.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::{Encoded, Outbox, Unasked};
use crate::encode_error::EncodeError;
use crate::id::ConnectionId;
use crate::protocol::{Encode, Protocol};
use crate::reason::DropReason;

/// Why [`WriteProxy::send`] did not take a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// No room now: the peer takes its messages too slowly, all outbound blocks are in use, or too many messages wait
    /// for the processor. Try again later, or drop it: which of the two is the caller's to say.
    OutboxFull,
    /// The message can't be encoded; trying again is of no use.
    Encode(EncodeError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutboxFull => f.write_str("the outbox is full"),
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SendError {}

/// Writes to any connection, unasked and from any thread, and never waits.
pub struct WriteProxy<P: Protocol> {
    outbox: Arc<Outbox>,
    protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> WriteProxy<P> {
    pub(crate) fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox, protocol: PhantomData }
    }

    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Sends `item` to `connection`. `Ok` means taken: it is delivered unless the connection ends first. A connection
    /// that has ended already takes everything and delivers nothing;
    /// [`closed`](crate::MessageProcessor::closed) tells when.
    ///
    /// # Errors
    /// [`SendError::OutboxFull`] when there is no room; nothing was taken.
    pub fn send<T>(&self, connection: ConnectionId, item: T) -> Result<(), SendError>
    where
        P: Encode<T>,
        P::Exchange: Default,
    {
        let mut out = self.outbox.outbound_of_unasked();
        out.begin();
        let written = P::encode(P::Exchange::default(), item, &mut out);
        let (after, bytes) = match written.and_then(|after| Ok((after, out.finish()?))) {
            Ok(written) => written,
            Err(EncodeError::NoRoom { .. }) => return Err(self.full()),
            Err(error) => return Err(SendError::Encode(error)),
        };
        let slot = connection.slot();
        if !self.outbox.charge(slot, bytes) {
            return Err(self.full());
        }
        let encoded = Encoded { segments: out.into_segments(), bytes, after };
        if self.outbox.unasked.push(Unasked { connection, encoded }).is_err() {
            self.outbox.unqueued(slot, bytes);
            return Err(self.full());
        }
        self.outbox.wake.wake();
        Ok(())
    }

    /// Says that the processor may be ready again: connections that were paused because
    /// [`ready`](crate::MessageProcessor::ready) said no ask once more. Costs one atomic load while nobody waits.
    pub fn resume(&self) {
        self.outbox.resume();
    }

    /// Asks for a cycle: [`cycle_end`](crate::MessageProcessor::cycle_end) runs soon, and takes what another thread has
    /// left for it. Leave it first, then call this. Costs two atomic accesses while the processor is awake.
    pub fn wake(&self) {
        self.outbox.call();
    }

    /// Bytes that were sent to `connection` and that its peer's kernel has not taken yet. Exact on the processor thread.
    /// With zero, what is sent next does not wait behind anything: who has only the newest to tell sends then.
    pub fn undelivered(&self, connection: ConnectionId) -> u64 {
        self.outbox.undelivered(connection.slot())
    }

    fn full(&self) -> SendError {
        self.outbox.metrics.messages_dropped[DropReason::OutboxFull as usize].add_shared(1);
        SendError::OutboxFull
    }
}

impl<P: Protocol> Clone for WriteProxy<P> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.outbox))
    }
}

impl<P: Protocol> fmt::Debug for WriteProxy<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteProxy").finish_non_exhaustive()
    }
}
