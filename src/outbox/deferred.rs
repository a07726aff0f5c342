//! Answers that are given later, from any thread.

use std::fmt;
use std::sync::Arc;

use super::{Encoded, Outbox, Settled, Unanswered};
use crate::buffer::Outbound;
use crate::encode_error::EncodeError;
use crate::id::ConnectionId;
use crate::panics;
use crate::protocol::{Encode, Protocol};

/// A reply that is owed: it may wait, and move to another thread, until the answer is known.
///
/// It is settled exactly once: by [`send`](Self::send) or [`try_send`](Self::try_send), or as unanswered when it is
/// dropped (HTTP: 500). If its connection has closed meanwhile, the answer is discarded, even if a new connection has
/// the same slot.
#[must_use = "a deferred reply that is dropped unsent refuses the connection"]
pub struct Deferred<P: Protocol> {
    outbox: Arc<Outbox>,
    connection: ConnectionId,
    exchange: P::Exchange,
    ticket: u32,
    /// Settled by `send`; `Drop` has nothing left to do.
    settled: bool,
}

impl<P: Protocol> Deferred<P> {
    pub(super) fn new(outbox: Arc<Outbox>, connection: ConnectionId, exchange: P::Exchange, ticket: u32) -> Self {
        Self { outbox, connection, exchange, ticket, settled: false }
    }

    /// Answers. Encodes on the calling thread, and waits there for room while every outbound block is in use: so don't
    /// hold a lock that the message processor takes, because only its thread makes room. On the processor thread of any
    /// server it never waits: if there is no room, the connection closes and the log says so. To answer many there, in
    /// [`cycle_end`](crate::MessageProcessor::cycle_end), use [`try_send`](Self::try_send).
    pub fn send<T>(mut self, item: T)
    where
        P: Encode<T>,
    {
        let answer = self.encode(item, self.outbox.outbound_of_reply());
        self.settle(answer.map_err(Unanswered::Failed));
    }

    /// Answers if there is room for the answer now; never waits, on any thread.
    ///
    /// An answer takes an outbound block of its own, however short it is, until the processor of its connection has
    /// delivered it. So one cycle has room for about as many answers as there are blocks. Try the others again in that
    /// processor's next cycle, which comes at once if something was sent, and otherwise when a peer takes the bytes
    /// that fill a block; other threads have to find their own time to try again. The item is consumed even if there
    /// was no room, and has to be made again.
    ///
    /// `Ok` means that the reply is settled: sent, or, if the item can't be encoded or never fits the blocks that there
    /// are, refused as by [`send`](Self::send).
    ///
    /// # Errors
    /// There is no outbound block for the answer now. The error is the reply itself, which is still owed.
    pub fn try_send<T>(mut self, item: T) -> Result<(), Self>
    where
        P: Encode<T>,
    {
        match self.encode(item, self.outbox.outbound_at_once()) {
            Err(EncodeError::NoRoom { .. }) => Err(self),
            answer => {
                self.settle(answer.map_err(Unanswered::Failed));
                Ok(())
            }
        }
    }

    fn encode<T>(&self, item: T, out: Outbound) -> Result<Encoded, EncodeError>
    where
        P: Encode<T>,
    {
        // The server may have begun to shut down since the reply was deferred.
        let exchange = if self.outbox.answers_are_final() { P::closing(self.exchange) } else { self.exchange };
        // A panic unwinds through here, and `Drop` settles the reply as unanswered.
        Encoded::of::<P, T>(out, exchange, item)
    }

    /// The connection that waits for the answer. It may have closed meanwhile.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    fn settle(&mut self, answer: Result<Encoded, Unanswered>) {
        self.settled = true;
        self.outbox.settle(Settled { connection: self.connection, ticket: self.ticket, answer });
    }
}

impl<P: Protocol> Drop for Deferred<P> {
    fn drop(&mut self) {
        if !self.settled {
            self.settle(Err(Unanswered::unused(panics::is_unwinding())));
        }
    }
}

impl<P: Protocol> fmt::Debug for Deferred<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("connection", &self.connection).finish_non_exhaustive()
    }
}
