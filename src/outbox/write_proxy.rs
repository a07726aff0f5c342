//! The way out without a request, from any thread, and the end.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::{Charge, Encoded, Outbox, Outboxes, Unasked};
use crate::encode_error::EncodeError;
use crate::id::ConnectionId;
use crate::protocol::{Encode, Protocol};
use crate::reason::DropReason;

/// Why [`WriteProxy::send`] did not take a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The peer takes its messages too slowly: [`Watermarks::high`](crate::Watermarks::high) bytes or more are
    /// undelivered. Try again later, drop the message, or [close](WriteProxy::close) or [abort](WriteProxy::abort) the
    /// connection: the caller decides.
    PeerTooSlow,
    /// No room now, for any connection: all outbound blocks are in use, or
    /// [`Config::unasked_max`](crate::Config::unasked_max) messages wait for the connection's processor. Try again
    /// later, or drop the message.
    OutboxFull,
    /// The message can't be encoded; trying again is of no use.
    Encode(EncodeError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerTooSlow => f.write_str("the peer takes its messages too slowly"),
            Self::OutboxFull => f.write_str("the outbox is full: try again later, or drop the message"),
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SendError {}

/// Writes to any connection of the server, whichever processor has it, without a request and from any thread, and never
/// waits.
pub struct WriteProxy<P: Protocol> {
    outboxes: Outboxes,
    /// That of the processor which was given this proxy; of the first, if it was given to nobody.
    home: Arc<Outbox>,
    protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> WriteProxy<P> {
    pub(crate) fn new(outboxes: Outboxes, home: Arc<Outbox>) -> Self {
        Self { outboxes, home, protocol: PhantomData }
    }

    /// The outbox of the processor that this proxy was given to.
    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.home
    }

    /// The outbox of a connection that takes messages. Counts a message to another one.
    pub(super) fn outbox_of(&self, connection: ConnectionId) -> Option<&Outbox> {
        let Some(outbox) = self.outboxes.of(connection) else {
            // An id of another server, which has more processors.
            self.home.metrics.count_stale(0);
            return None;
        };
        if !outbox.takes(connection) {
            outbox.metrics.count_stale(0);
            return None;
        }
        Some(outbox)
    }

    /// How many processors the server has.
    pub(super) fn processors(&self) -> usize {
        self.outboxes.iter().len()
    }

    /// Sends `item` to `connection`. `Ok` means taken: it is delivered unless the connection breaks, is past its final
    /// answer, or is closed at once (idle, stalled, evicted, [aborted](Self::abort), at the end of the grace). If the
    /// connection ends in good order (its peer half-closes, the server shuts down, or it is asked to close), everything
    /// that was sent before its processor noticed that is delivered first; if it is refused, what its processor had not
    /// taken by then is dropped. A connection that has ended or was asked to close takes everything and delivers
    /// nothing, and so does an id that was never used; [`closed`](crate::MessageProcessor::closed) says when one ends.
    ///
    /// Until the processor has written it, a message holds a block of the outbound pool, however short it is, unless it
    /// consists of static and shared bodies of 4 KiB or more alone (a [`LengthPrefixed`](crate::LengthPrefixed) message
    /// has a prefix, so it always holds one). For the same message to many connections there is
    /// [`broadcast`](Self::broadcast), which needs one block for all.
    ///
    /// A message has at most [`Config::reply_max`](crate::Config::reply_max) copied bytes and four pieces
    /// ([`EncodeError::TooManyPieces`]).
    ///
    /// # Errors
    /// Nothing was taken. [`SendError::PeerTooSlow`] and [`SendError::OutboxFull`] when there is no room now,
    /// [`SendError::Encode`] when `item` can't be encoded.
    pub fn send<T>(&self, connection: ConnectionId, item: T) -> Result<(), SendError>
    where
        P: Encode<T>,
        P::Exchange: Default,
    {
        // Nothing is encoded for one that takes nothing any more: there might be no room.
        let Some(outbox) = self.outbox_of(connection) else { return Ok(()) };
        let encoded = encode::<P, T>(outbox, item).map_err(|error| could_not(outbox, error))?;
        let charge = outbox.charge(connection, encoded.bytes);
        leave(outbox, connection, encoded, charge)
    }

    /// Closes `connection`, from any thread: what was sent to it before, and the replies that it is still owed, are
    /// delivered first. If such a reply does not come, its peer is told so as usual (HTTP: 500 or 503). Nothing that it
    /// sends is decoded any more, once its processor has noticed, and nothing that is sent to it through a proxy after
    /// this call is delivered. Its reason is [`CloseReason::User`](crate::CloseReason::User), unless it was ending
    /// already. Always succeeds: a connection that has ended stays as it is. (An id that was kept while the processor
    /// had sixteen million other connections may be taken for one of theirs.)
    ///
    /// [`closed`](crate::MessageProcessor::closed) comes later: once the peer has taken everything and closed its side
    /// too. [`Timeouts::reply`](crate::Timeouts::reply), [`write_stall`](crate::Timeouts::write_stall), which counts
    /// from the last byte taken, and [`linger`](crate::Timeouts::linger) bound these waits; [`abort`](Self::abort) ends
    /// them. Called within
    /// [`process`](crate::MessageProcessor::process), it takes effect when the turns of the cycle are over: more
    /// messages of the connection may be handled until then, and their replies are delivered.
    /// [`Reply::close`](crate::Reply::close) acts at once.
    ///
    /// Costs its processor a look at each of its connections, once for all that were asked to close since the last
    /// look.
    pub fn close(&self, connection: ConnectionId) {
        if let Some(outbox) = self.outboxes.of(connection) {
            outbox.ask_to_close(connection);
        }
    }

    /// Sends `item` to `connection` as its last message, and [closes](Self::close) it. The message is taken even if the
    /// peer takes its messages too slowly: it leaves behind those that wait for it. What other threads send at the same
    /// moment may come behind it, and so do deferred replies that the connection is still owed. A connection that has
    /// ended or was asked to close before gets nothing.
    ///
    /// # Errors
    /// The connection is closed all the same, without this message: there was no room
    /// ([`OutboxFull`](SendError::OutboxFull)), or it can't be encoded ([`Encode`](SendError::Encode)).
    pub fn close_with<T>(&self, connection: ConnectionId, item: T) -> Result<(), SendError>
    where
        P: Encode<T>,
        P::Exchange: Default,
    {
        let Some(outbox) = self.outbox_of(connection) else { return Ok(()) };
        let left = match encode::<P, T>(outbox, item) {
            Ok(encoded) => {
                let charge = outbox.charge_last(connection, encoded.bytes);
                leave(outbox, connection, encoded, charge)
            }
            Err(error) => Err(could_not(outbox, error)),
        };
        outbox.ask_to_close(connection);
        left
    }

    /// Closes `connection` at once, from any thread, also if it is ending already: what was sent to it and has not left
    /// is dropped, and so is what has arrived from it and was not handled. For a peer that must go even if it takes
    /// nothing; the others are better served by [`close`](Self::close). Its reason is
    /// [`CloseReason::User`](crate::CloseReason::User), unless it was already ending for another reason. The reasons
    /// that promise complete delivery are replaced if anything was cut short.
    ///
    /// [`closed`](crate::MessageProcessor::closed) is called soon after, when the turns of the cycle are over. Replies
    /// that the connection was owed reach nobody. Its cost is that of `close`, and what is said there of an old id goes
    /// for it as well.
    pub fn abort(&self, connection: ConnectionId) {
        if let Some(outbox) = self.outboxes.of(connection) {
            outbox.ask_to_abort(connection);
        }
    }

    /// Says that the message processor may be ready again, or each of them where there are several: connections that
    /// were paused because [`ready`](crate::MessageProcessor::ready) said no ask once more. Costs one atomic load for
    /// each processor while no connection waits.
    pub fn resume(&self) {
        self.outboxes.iter().for_each(|outbox| outbox.resume());
    }

    /// Asks the processor that this proxy was given to for a cycle: [`cycle_end`](crate::MessageProcessor::cycle_end)
    /// runs soon, and takes what another thread has left for it. Leave it first, then call this. Costs two atomic
    /// accesses while the processor is awake.
    pub fn wake(&self) {
        self.home.call();
    }

    /// Bytes for `connection` that this machine's kernel has not taken yet; none once it has ended. Exact on the thread
    /// of the connection's processor, except that answers of the running turn and deferred replies that the processor
    /// has not taken yet are not included. At zero, the next message waits behind nothing in the server; if only your
    /// newest message matters, send it then. The peer may still have received nothing: the kernel has a
    /// send buffer of its own.
    pub fn undelivered(&self, connection: ConnectionId) -> u64 {
        self.outboxes.of(connection).map_or(0, |outbox| outbox.undelivered_of(connection))
    }

    /// As [`resume`](Self::resume), said to the one processor that this proxy was given to.
    pub(crate) fn resume_home(&self) {
        self.home.resume();
    }
}

/// Encodes a message for a connection of the outbox's processor, without waiting for room.
pub(super) fn encode<P, T>(outbox: &Outbox, item: T) -> Result<Encoded, EncodeError>
where
    P: Encode<T>,
    P::Exchange: Default,
{
    Encoded::of::<P, T>(outbox.outbound_at_once(), P::Exchange::default(), item)
}

/// Leaves a message for the processor, if it could be charged to its connection.
pub(super) fn leave(
    outbox: &Outbox,
    connection: ConnectionId,
    encoded: Encoded,
    charge: Charge,
) -> Result<(), SendError> {
    let bytes = encoded.bytes;
    match charge {
        Charge::Taken => {}
        Charge::Full => return Err(not_taken(outbox, SendError::PeerTooSlow)),
        Charge::Gone => {
            outbox.metrics.count_stale(bytes);
            return Ok(());
        }
    }
    if outbox.unasked.push(Unasked { connection, encoded }).is_err() {
        outbox.discharge(connection, bytes);
        return Err(not_taken(outbox, SendError::OutboxFull));
    }
    outbox.wake.wake();
    Ok(())
}

/// Why a message was not encoded.
fn could_not(outbox: &Outbox, error: EncodeError) -> SendError {
    match error {
        EncodeError::NoRoom { .. } => not_taken(outbox, SendError::OutboxFull),
        error => SendError::Encode(error),
    }
}

/// Counts a message that was not taken for want of room.
pub(super) fn not_taken(outbox: &Outbox, error: SendError) -> SendError {
    let reason = if error == SendError::PeerTooSlow { DropReason::PeerTooSlow } else { DropReason::OutboxFull };
    outbox.metrics.messages_dropped[reason as usize].add_shared(1);
    error
}

impl<P: Protocol> Clone for WriteProxy<P> {
    fn clone(&self) -> Self {
        Self::new(self.outboxes.clone(), Arc::clone(&self.home))
    }
}

impl<P: Protocol> fmt::Debug for WriteProxy<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteProxy").finish_non_exhaustive()
    }
}
