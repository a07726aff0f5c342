//! The way out that is taken now: on the processor thread, while the message is at hand.

use std::sync::Arc;
use std::time::Instant;

use super::{Deferred, Owed, WriteProxy};
use crate::buffer::Outbound;
use crate::encode_error::EncodeError;
use crate::id::ConnectionId;
use crate::protocol::{After, Encode, Protocol};

/// What [`MessageProcessor::process`](crate::MessageProcessor::process) made of a message.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing yet; after the call: the reply was dropped unused.
    Pending,
    Sent {
        after: After,
        bytes: usize,
    },
    Deferred {
        ticket: u32,
    },
    None,
    Close,
    Failed {
        error: EncodeError,
        rolled_back: usize,
    },
}

/// The processor's writing desk: what a reply needs, the same for all connections.
pub(crate) struct Desk<P: Protocol> {
    pub(crate) out: Outbound,
    pub(crate) owed: Owed,
    pub(crate) outcome: Outcome,
    pub(crate) proxy: WriteProxy<P>,
    pub(crate) now: Instant,
}

impl<P: Protocol> Desk<P> {
    pub(crate) fn new(out: Outbound, owed: Owed, proxy: WriteProxy<P>, now: Instant) -> Self {
        Self { out, owed, outcome: Outcome::Pending, proxy, now }
    }

    /// A reply for one message. What becomes of it is in `outcome` afterwards.
    pub(crate) fn reply(&mut self, connection: ConnectionId, exchange: P::Exchange) -> Reply<'_, P> {
        self.outcome = Outcome::Pending;
        self.out.begin();
        Reply { connection, exchange, desk: self }
    }
}

/// The answer to one message, still to be given. Say one of: [`send`](Self::send) now, [`defer`](Self::defer) for
/// later, [`none`](Self::none), [`close`](Self::close).
///
/// Dropped unused, it refuses the connection: a message that was accepted is never silently forgotten (HTTP: 500).
#[must_use = "a reply that is dropped unused refuses the connection"]
pub struct Reply<'a, P: Protocol> {
    connection: ConnectionId,
    exchange: P::Exchange,
    desk: &'a mut Desk<P>,
}

impl<P: Protocol> Reply<'_, P> {
    /// Answers now. All answers of one turn leave together.
    ///
    /// An item that cannot be encoded (a payload over the protocol's maximum, copied bytes over `reply_max`) is rolled
    /// back, the connection is refused, and the log names both numbers.
    pub fn send<T>(self, item: T)
    where
        P: Encode<T>,
    {
        let out = &mut self.desk.out;
        let written = P::encode(self.exchange, item, out);
        let outcome = written.and_then(|after| Ok(Outcome::Sent { after, bytes: out.finish()? }));
        self.desk.outcome = outcome.unwrap_or_else(|error| Outcome::Failed { error, rolled_back: out.roll_back() });
    }

    /// Answers later, from any thread. Where order matters ([`Protocol::IN_ORDER`]) the connection's next message waits
    /// for it.
    pub fn defer(self) -> Deferred<P> {
        let ticket = self.desk.owed.issue(self.desk.now);
        self.desk.outcome = Outcome::Deferred { ticket };
        Deferred::new(Arc::clone(self.desk.proxy.outbox()), self.connection, self.exchange, ticket)
    }

    /// Does not answer. Where order matters ([`Protocol::IN_ORDER`]) a missing answer would be taken for the next one,
    /// so there it closes the connection.
    pub fn none(self) {
        self.desk.outcome = if P::IN_ORDER { Outcome::Close } else { Outcome::None };
    }

    /// Closes the connection without an answer, once what it is owed already was delivered.
    pub fn close(self) {
        self.desk.outcome = Outcome::Close;
    }

    /// The way to write unasked, to this connection or another, whichever processor has it.
    pub fn proxy(&self) -> &WriteProxy<P> {
        &self.desk.proxy
    }

    /// The connection that waits for the answer.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// What the protocol remembers of the request.
    pub fn exchange(&self) -> P::Exchange {
        self.exchange
    }
}
