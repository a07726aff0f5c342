//! One message to many connections: encoded once, and one copy for all.

use super::write_proxy::{encode, leave, not_taken};
use super::{Encoded, Outbox, SendError, WriteProxy};
use crate::encode_error::EncodeError;
use crate::id::ConnectionId;
use crate::protocol::{Encode, Protocol};

/// The message as the connections of one processor are given it: in blocks of that processor's pool.
enum Encoding {
    NotNeededYet,
    Done(Encoded),
    /// All outbound blocks are in use.
    NoRoom,
}

impl<P: Protocol> WriteProxy<P> {
    /// Sends `item` to all `connections`, as [`send`](Self::send) would, and returns those that did not take it, and
    /// why: [`PeerTooSlow`](SendError::PeerTooSlow) or [`OutboxFull`](SendError::OutboxFull). The caller decides
    /// whether these miss the message, are sent it again, or are [closed](Self::close).
    ///
    /// The item is cloned and encoded once for each processor, and what is copied lies in memory once for all of its
    /// connections. A peer whose socket is full is given a copy of its own of what it has not taken, up to 4 KiB a
    /// message, so that it does not keep a whole block for each. Each connection still needs a place in the queue until
    /// its processor has looked there ([`Config::unasked_max`](crate::Config::unasked_max)): if there are more
    /// connections than that, the rest may get `OutboxFull`; on the processor's own thread they always do, because it
    /// cannot empty the queue meanwhile.
    ///
    /// ```
    /// # use sluicegate::{ConnectionId, EncodeError, LengthPrefixed, SendError, WriteProxy};
    /// /// Whoever is too slow for the room has to leave it.
    /// fn say(proxy: &WriteProxy<LengthPrefixed>, room: &[ConnectionId], text: &str) -> Result<(), EncodeError> {
    ///     for (connection, why) in proxy.broadcast(room.iter().copied(), text)? {
    ///         match why {
    ///             SendError::PeerTooSlow => proxy.close(connection),
    ///             other => log::warn!("{connection} has missed {text:?}: {other}"),
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The item can't be encoded. Nobody was sent anything, if the encoder treats the same item alike each time.
    pub fn broadcast<T>(
        &self,
        connections: impl IntoIterator<Item = ConnectionId>,
        item: T,
    ) -> Result<Vec<(ConnectionId, SendError)>, EncodeError>
    where
        P: Encode<T>,
        P::Exchange: Default,
        T: Clone,
    {
        let mut encodings: Vec<Encoding> = (0..self.processors()).map(|_| Encoding::NotNeededYet).collect();
        let mut refused = Vec::new();
        for connection in connections {
            let Some(outbox) = self.outbox_of(connection) else { continue };
            let encoding = &mut encodings[usize::from(connection.processor())];
            if matches!(encoding, Encoding::NotNeededYet) {
                *encoding = Encoding::of::<P, T>(outbox, item.clone())?;
            }
            let left = match encoding {
                Encoding::Done(encoded) => {
                    let charge = outbox.charge(connection, encoded.bytes);
                    leave(outbox, connection, encoded.lend(), charge)
                }
                _ => Err(not_taken(outbox, SendError::OutboxFull)),
            };
            if let Err(why) = left {
                refused.push((connection, why));
            }
        }
        Ok(refused)
    }
}

impl Encoding {
    fn of<P, T>(outbox: &Outbox, item: T) -> Result<Self, EncodeError>
    where
        P: Encode<T>,
        P::Exchange: Default,
    {
        match encode::<P, T>(outbox, item) {
            Ok(encoded) => Ok(Self::Done(encoded)),
            Err(EncodeError::NoRoom { .. }) => Ok(Self::NoRoom),
            Err(error) => Err(error),
        }
    }
}
