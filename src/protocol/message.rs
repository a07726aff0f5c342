//! One message: lent for a call, or owned and moved to another thread.

use std::fmt;
use std::net::SocketAddr;

use crate::buffer::{Block, Inbound, SetAside};
use crate::id::ConnectionId;
use crate::protocol::Protocol;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The connection.
    pub connection: ConnectionId,
    /// The peer's address.
    pub address: SocketAddr,
}

/// One complete message of a peer.
///
/// It is lent to [`MessageProcessor::process`](crate::MessageProcessor::process) for the length of the call;
/// [`into_owned`](Self::into_owned) makes it the user's, to be kept or sent to another thread.
pub struct Message<'a, P: Protocol> {
    layout: P::Layout,
    bytes: Bytes<'a>,
}

/// Where the bytes of a message lie, and who sent them.
// With a tag of its own: a tag encoded in the fields takes longer to read, and each message reads it.
#[repr(u8)]
enum Bytes<'a> {
    /// In memory that others use too; a copy goes into a spare.
    Shared { peer: &'a Peer, bytes: &'a [u8], spares: &'a mut SetAside },
    /// Alone in the block of its connection, which can be moved.
    Whole { peer: &'a Peer, inbound: &'a mut Inbound },
    /// In a block of its own.
    Owned { peer: Peer, block: Block },
}

impl<'a, P: Protocol> Message<'a, P> {
    /// A message that shares its memory. A spare that can hold `bytes` has to be in `spares`.
    #[inline]
    pub(crate) fn shared(peer: &'a Peer, layout: P::Layout, bytes: &'a [u8], spares: &'a mut SetAside) -> Self {
        Self { layout, bytes: Bytes::Shared { peer, bytes, spares } }
    }

    /// A message that is all that `inbound` holds.
    pub(crate) fn whole(peer: &'a Peer, layout: P::Layout, inbound: &'a mut Inbound) -> Self {
        Self { layout, bytes: Bytes::Whole { peer, inbound } }
    }

    /// The peer that sent it.
    #[inline]
    pub fn peer(&self) -> &Peer {
        match &self.bytes {
            Bytes::Shared { peer, .. } | Bytes::Whole { peer, .. } => peer,
            Bytes::Owned { peer, .. } => peer,
        }
    }

    /// Where its parts lie in [`bytes`](Self::bytes).
    #[inline]
    pub fn layout(&self) -> &P::Layout {
        &self.layout
    }

    /// Its bytes, the framing included.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Shared { bytes, .. } => bytes,
            Bytes::Whole { inbound, .. } => inbound.live(),
            Bytes::Owned { block, .. } => block.filled(),
        }
    }

    /// Makes the message the user's own, to keep it or to send it to another thread. If the message is alone in its
    /// block, the block moves with it; otherwise the message is copied. This cannot fail. However short the message is,
    /// it holds a whole block, of the smallest tier that fits (4 KiB), until it is dropped, on any thread. While all
    /// blocks are held, the server takes no more messages, and its log says so: if you need something of a message for
    /// long, keep that part and not the message.
    pub fn into_owned(self) -> Message<'static, P> {
        let peer = *self.peer();
        let mut block = match self.bytes {
            Bytes::Shared { bytes, spares, .. } => spares.copy(bytes),
            Bytes::Whole { inbound, .. } => inbound.release().expect("a whole message lies in its connection's block"),
            Bytes::Owned { block, .. } => block,
        };
        block.keep_for_user();
        Message { layout: self.layout, bytes: Bytes::Owned { peer, block } }
    }
}

impl<P: Protocol> fmt::Debug for Message<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("peer", self.peer()).field("bytes", &self.bytes().len()).finish_non_exhaustive()
    }
}
