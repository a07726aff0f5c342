//! The processor's writing desk: what a reply works with, and what became of it.

use std::io::{ErrorKind, Write};
use std::time::Instant;

use super::{Owed, Reply, WriteProxy};
use crate::buffer::Outbound;
use crate::encode_error::EncodeError;
use crate::id::ConnectionId;
use crate::protocol::{After, Protocol};

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

    /// Begins the answer to one message: if something goes wrong from here on, only this answer is rolled back.
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

/// What [`MessageProcessor::process`](crate::MessageProcessor::process) made of a message.
// With a tag of its own: a tag encoded in the fields takes longer to read, and each message reads it.
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
