//! The way out that is taken later, from any thread.

use std::fmt;
use std::sync::Arc;

use super::{Encoded, Outbox, Settled, Verdict};
use crate::id::ConnectionId;
use crate::protocol::{Encode, Protocol};

/// A reply that is owed: it may wait, and move to another thread, until the answer is known.
///
/// It settles exactly once: by [`send`](Self::send), or unanswered when it is dropped (HTTP: 500). If its connection
/// has closed meanwhile, the answer reaches nobody, also if the place was taken by a new connection.
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

    /// Answers. Encodes on the calling thread, and waits there for room while every outbound block is in use; on a
    /// processor's thread, of any server, it never waits: without room the connection closes, and the log says so.
    pub fn send<T>(mut self, item: T)
    where
        P: Encode<T>,
    {
        let mut out = self.outbox.outbound_of_reply();
        out.begin();
        // The server may have begun to go down since the reply was deferred.
        let exchange = if self.outbox.answers_are_last() { P::last(self.exchange) } else { self.exchange };
        // A panic in `encode` unwinds through here: `out` returns its blocks, and `Drop` settles unanswered.
        let written = P::encode(exchange, item, &mut out);
        let verdict = match written.and_then(|after| Ok((after, out.finish()?))) {
            Ok((after, bytes)) => Verdict::Answered(Encoded { segments: out.into_segments(), bytes, after }),
            Err(error) => Verdict::Failed(error),
        };
        self.settle(verdict);
    }

    /// The connection that waits for the answer. It may have closed meanwhile.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    fn settle(&mut self, verdict: Verdict) {
        self.settled = true;
        self.outbox.settle(Settled { connection: self.connection, ticket: self.ticket, verdict });
    }
}

impl<P: Protocol> Drop for Deferred<P> {
    fn drop(&mut self) {
        if !self.settled {
            self.settle(Verdict::Unanswered);
        }
    }
}

impl<P: Protocol> fmt::Debug for Deferred<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("connection", &self.connection).finish_non_exhaustive()
    }
}
