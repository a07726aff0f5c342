//! The way out that is taken now: on the processor thread, while the message is at hand.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::time::Instant;

use super::socket::write;
use super::{Deferred, Owed, WriteProxy};
use crate::buffer::Outbound;
use crate::encode_error::EncodeError;
use crate::id::ConnectionId;
use crate::protocol::{After, Encode, Protocol};

/// What [`MessageProcessor::process`](crate::MessageProcessor::process) made of a message.
// With a tag of its own: to read one out of the fields takes longer, and each message asks for it.
#[derive(Debug)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// Nothing yet; after the call: the reply was dropped unused.
    Pending,
    Sent {
        after: After,
        bytes: usize,
        at_once: Option<AtOnce>,
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

/// What became of an answer that did not wait for those of the same turn.
#[derive(Debug)]
pub(crate) struct AtOnce {
    /// How many bytes have left already, of this answer and those before it.
    pub(crate) delivered: usize,
    /// The socket turned out to be broken.
    pub(crate) broken: Option<ErrorKind>,
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

    /// Begins the answer to one message: whatever goes wrong from here on, no more than that is rolled back.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.outcome = Outcome::Pending;
        self.out.begin();
    }

    /// A reply for the message that was [begun](Self::begin). What becomes of it is in `outcome` afterwards. `socket`:
    /// where a large answer may go at once, because nothing else waits to go there before what is on this desk.
    pub(crate) fn reply<'a>(
        &'a mut self,
        connection: ConnectionId,
        exchange: P::Exchange,
        socket: Option<&'a mut (dyn Write + Send)>,
    ) -> Reply<'a, P> {
        Reply { connection, exchange, desk: self, socket }
    }
}

/// The answer to one message, still to be given. Use one of: [`send`](Self::send) now, [`defer`](Self::defer) for
/// later, [`none`](Self::none), [`close`](Self::close).
///
/// Dropped unused, it refuses the connection (HTTP: 500): a message that was handed over is never silently forgotten.
#[must_use = "a reply that is dropped unused refuses the connection"]
pub struct Reply<'a, P: Protocol> {
    connection: ConnectionId,
    exchange: P::Exchange,
    desk: &'a mut Desk<P>,
    socket: Option<&'a mut (dyn Write + Send)>,
}

impl<P: Protocol> Reply<'_, P> {
    /// Answers now. All answers of one turn leave together; a large one leaves at once, with those before it, and is
    /// copied only as far as the socket does not take it.
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

    /// The way to write without a request, to this connection or another, whichever processor has it.
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

/// Ends an answer with bytes that lie elsewhere. From the first byte that leaves, nothing can fail any more: what the
/// socket does not take has its place already.
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
