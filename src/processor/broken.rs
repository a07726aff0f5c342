//! Sockets that fail: nothing can be sent from then on, but bytes that have arrived are still read if that is of use.
//!
//! A reset destroys the bytes that were on their way to the peer. Bytes from the peer lie in the kernel and in the
//! connection's block, and can still be read: Linux hands them out before it reports the broken connection. If messages
//! stand for themselves, they are handed over: a sender that leaves without having taken its answers loses only the
//! answers, not the messages that it sent. If each message waits for its answer ([`IN_ORDER`](Protocol::IN_ORDER)),
//! nobody would receive the answers to messages that were sent ahead, so those are not begun.

use std::io;

use super::{Processor, Selector};
use crate::connection::CloseReason;
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// The selector has reported that the socket is broken, and the socket says why. It is asked at once, because a
    /// paused connection is neither read nor written.
    pub(super) fn socket_broke(&mut self, slot: u32) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        let kind = match self.selector.take_error(&mut connection.socket) {
            Ok(Some(error)) | Err(error) => error.kind(),
            Ok(None) => io::ErrorKind::Other,
        };
        self.way_out_broke(slot, kind);
    }

    /// Nothing can be written any more. The connection is read from the end of this cycle on, and not at once: it may
    /// be having its turn just now, and each connection has one in a cycle.
    #[cold]
    pub(super) fn way_out_broke(&mut self, slot: u32, kind: io::ErrorKind) {
        self.drop_output(slot, kind);
        self.queues.write.push(slot);
    }

    /// Drops the output that waits for the peer, each time that nothing turns out to be writable any more. The
    /// connection ends once the bytes that have arrived were read.
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

    /// The output that waited for a connection's peer is gone. If that was because its way out has broken, the
    /// connection is read until its end, whether or not the selector reports one.
    pub(super) fn read_on_if_broken(&mut self, slot: u32) {
        let Some(connection) = self.table.at_mut(slot).filter(|connection| connection.flags.broken.is_some()) else {
            return;
        };
        (connection.flags.readable, connection.flags.read_closed) = (true, true);
        self.enqueue_read(slot);
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
