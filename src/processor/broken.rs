//! Sockets that fail: the way out is lost at once, and what has arrived is still read where that is of use.
//!
//! A reset destroys what was on its way to the peer. What has come from the peer lies in the kernel and in the
//! connection's block, and is there to be read: Linux hands it out before it says that the connection is no more. Where
//! messages stand for themselves it is handed over: a sender that goes without having taken its answers loses them, and
//! not what it has sent. Where each message waits for its answer ([`IN_ORDER`](Protocol::IN_ORDER)), nobody would hear
//! the answers to those that were sent ahead, so they are not begun.

use std::io;

use super::{Processor, Selector};
use crate::connection::CloseReason;
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// The selector has said that the socket is broken, and the socket says why. It is asked at once, because a paused
    /// connection is neither read nor written.
    pub(super) fn socket_broke(&mut self, slot: u32) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        let kind = match self.selector.take_error(&mut connection.socket) {
            Ok(Some(error)) | Err(error) => error.kind(),
            Ok(None) => io::ErrorKind::Other,
        };
        self.way_out_broke(slot, kind);
    }

    /// Nothing can be written any more. The connection is read from the end of this cycle on, and not from here: it may
    /// be its turn just now, and each has one in a cycle.
    #[cold]
    pub(super) fn way_out_broke(&mut self, slot: u32, kind: io::ErrorKind) {
        self.drop_output(slot, kind);
        self.to_write.push(slot);
    }

    /// What waits for the peer is dropped, each time that it is found out that nothing can be written any more. The
    /// connection ends when what has arrived was read.
    #[cold]
    pub(super) fn drop_output(&mut self, slot: u32, kind: io::ErrorKind) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        if P::IN_ORDER || connection.ending.is_some() {
            return self.socket_failed(slot, kind);
        }
        connection.flags.broken.get_or_insert(kind);
        let dropped = self.segments.clear(&mut connection.undelivered);
        self.links.metrics.count_undelivered(dropped);
        self.links.outbox.count_off(slot, dropped);
    }

    /// What waited for the peer of a connection is gone. If that was because its way out has broken, it is read until
    /// its end, whether or not the selector says that there is one.
    pub(super) fn read_on_if_broken(&mut self, slot: u32) {
        let Some(connection) = self.table.at_mut(slot).filter(|connection| connection.flags.broken.is_some()) else {
            return;
        };
        (connection.flags.readable, connection.flags.read_closed) = (true, true);
        self.enqueue_run(slot);
    }

    /// A read found nothing: if nothing can be written either, this is the end.
    pub(super) fn look_if_broken(&mut self, slot: u32) {
        if let Some(kind) = self.table.at(slot).and_then(|connection| connection.flags.broken) {
            self.way_in_broke(slot, kind);
        }
    }

    /// A read failed: nothing more comes.
    pub(super) fn way_in_broke(&mut self, slot: u32, kind: io::ErrorKind) {
        match self.table.at(slot).map_or(0, |connection| connection.inbound.buffered()) {
            0 => self.socket_failed(slot, kind),
            bytes => self.close_now(slot, CloseReason::PeerIncomplete { bytes }),
        }
    }

    /// LAW one peer: a socket's error is the end of that connection, and of nothing else.
    pub(super) fn socket_failed(&mut self, slot: u32, kind: io::ErrorKind) {
        self.close_now(slot, CloseReason::Socket(kind));
    }
}
