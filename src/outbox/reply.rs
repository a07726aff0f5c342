//! Answers that are given at once: on the processor thread, while the message is at hand.

use std::io::Write;
use std::sync::Arc;

use super::desk::{AtOnce, Desk, Outcome};
use super::socket::write;
use super::{Deferred, WriteProxy};
use crate::buffer::Outbound;
use crate::id::ConnectionId;
use crate::protocol::{After, Encode, Protocol};

/// The answer to one message, still to be given. Use one of: [`send`](Self::send) now, [`defer`](Self::defer) for
/// later, [`none`](Self::none), [`close`](Self::close).
///
/// Dropped unused, it refuses the connection (HTTP: 500): a message that was handed over is never silently forgotten.
#[must_use = "a reply that is dropped unused refuses the connection"]
pub struct Reply<'a, P: Protocol> {
    pub(super) connection: ConnectionId,
    pub(super) exchange: P::Exchange,
    pub(super) desk: &'a mut Desk<P>,
    pub(super) socket: Option<&'a mut (dyn Write + Send)>,
}

impl<P: Protocol> Reply<'_, P> {
    /// Answers now. All answers of one turn leave together; a large one leaves at once, with those before it, and only
    /// the part that the socket does not take is copied.
    ///
    /// An item that cannot be encoded (a payload over the protocol's maximum, copied bytes over `reply_max`) is rolled
    /// back, the connection is refused, and the log names both numbers.
    #[inline]
    pub fn send<T>(self, item: T)
    where
        P: Encode<T>,
    {
        let out = &mut self.desk.out;
        if let Some(socket) = self.socket
            && let Some((after, tail)) = P::encode_head(self.exchange, &item, out)
        {
            self.desk.outcome = write_through(after, tail, out, socket);
            return;
        }
        let written = P::encode(self.exchange, item, out);
        let sent = |(after, bytes)| Outcome::Sent { after, bytes, at_once: None };
        let outcome = written.and_then(|after| Ok(sent((after, out.finish()?))));
        self.desk.outcome = outcome.unwrap_or_else(|error| Outcome::Failed { error, rolled_back: out.roll_back() });
    }

    /// Answers later, from any thread. If order matters ([`Protocol::IN_ORDER`]), the connection's next message waits
    /// for the answer. If it does not, the answer comes behind those of the turn, even if it is given at once.
    pub fn defer(self) -> Deferred<P> {
        let ticket = self.desk.owed.issue(self.desk.now);
        self.desk.outcome = Outcome::Deferred { ticket };
        Deferred::new(Arc::clone(self.desk.proxy.outbox()), self.connection, self.exchange, ticket)
    }

    /// Does not answer. If order matters ([`Protocol::IN_ORDER`]), this closes the connection, because the peer would
    /// take the next answer for the missing one. For a message that its peer wants no answer to, such a protocol sends
    /// an item that is encoded as nothing.
    pub fn none(self) {
        self.desk.outcome = if P::IN_ORDER { Outcome::Close } else { Outcome::None };
    }

    /// Closes the connection without an answer, once everything that it is already owed has been delivered.
    pub fn close(self) {
        self.desk.outcome = Outcome::Close;
    }

    /// Writes without a request, to this connection or another, whichever processor has it.
    pub fn proxy(&self) -> &WriteProxy<P> {
        &self.desk.proxy
    }

    /// The connection that waits for the answer.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// What the protocol remembers about the request.
    pub fn exchange(&self) -> P::Exchange {
        self.exchange
    }
}

/// Ends an answer with bytes that lie elsewhere. Once the first byte has left, nothing can fail any more: there is
/// already room for the bytes that the socket does not take.
#[inline(never)]
fn write_through(after: After, tail: &[u8], out: &mut Outbound, socket: &mut (dyn Write + Send)) -> Outcome {
    let mut broken = None;
    let written = out.put_through(tail, |slices| match write(socket, slices) {
        Ok(wrote) => wrote.bytes,
        Err(kind) => {
            broken = Some(kind);
            0
        }
    });
    match written {
        Ok((bytes, delivered)) => Outcome::Sent { after, bytes, at_once: Some(AtOnce { delivered, broken }) },
        Err(error) => Outcome::Failed { error, rolled_back: out.roll_back() },
    }
}
