//! `write_to_sockets`: deliver, and watch for room only after a socket has pushed back.
//!
//! The answers of a turn leave in one vectored write at its end. Bytes that a socket does not take move to the
//! connection's queue, and only then does the connection get a write interest, which it loses once the queue is empty.

use std::io::{self, IoSlice, Write};

use super::turn::{Budget, CONTINUED_BYTES};
use super::{Processor, Selector};
use crate::buffer::{Outbound, SLICES};
use crate::message_processor::MessageProcessor;
use crate::outbox::{Wrote, write};
use crate::protocol::Protocol;
use crate::reason::PauseReason;

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Delivers what waits in the queues of connections whose sockets have room or to which something was added, and
    /// takes ends further; then delivers more to some of the connections that have taken what they were given in an
    /// earlier cycle.
    pub(super) fn write_to_sockets(&mut self) {
        let (first, writing_on) = (Budget::first(self.settings.turn).bytes, self.queues.write_on.len());
        // Messages that the user has sent to a connection in this cycle come before an end that began in it.
        self.take_answers();
        for _ in 0..self.queues.write.len() {
            let Some(slot) = self.queues.write.pop() else { break };
            self.advance_ending(slot);
            self.deliver(slot, first);
            self.watch(slot);
            self.rearm(slot);
        }
        let written = self.links.metrics.bytes_out.value();
        for _ in 0..writing_on {
            let Some(slot) = self.queues.write_on.pop() else { break };
            if self.table.at(slot).is_some_and(|connection| !connection.undelivered.is_empty()) {
                self.deliver(slot, self.settings.turn.bytes);
                self.rearm(slot);
            }
            if self.links.metrics.bytes_out.value() - written >= CONTINUED_BYTES {
                break;
            }
        }
    }

    /// Puts the connection into the queue for writing. LAW one peer: a connection that has its place behind the others
    /// does not come before them because its peer has sent something, or is sent more.
    pub(super) fn enqueue_write(&mut self, slot: u32) {
        let has_output = self.table.at(slot).is_some_and(|connection| !connection.undelivered.is_empty());
        if has_output && !self.queues.write_on.contains(slot) {
            self.queues.write.push(slot);
        }
    }

    /// Sends the answers of this turn; bytes that the socket does not take wait in the connection's queue.
    // Inlined, like everything between it and the socket; see `read`.
    #[inline(always)]
    pub(super) fn flush(&mut self, slot: u32) {
        if self.desk.out.is_empty() {
            return;
        }
        let staged = self.desk.out.len();
        let delivered = self.write_staged(slot);
        self.links.metrics.count_delivered(delivered);
        if delivered == staged { self.desk.out.all_delivered() } else { self.queue_staged(slot, delivered) }
    }

    /// Writes directly if the queue is empty; otherwise the queue's order comes first.
    #[inline(always)]
    fn write_staged(&mut self, slot: u32) -> usize {
        let Self { table, desk, .. } = self;
        let Some(connection) = table.at_mut(slot).filter(|connection| connection.undelivered.is_empty()) else {
            return 0;
        };
        let wrote = match desk.out.one_piece() {
            Some(bytes) => write(&mut connection.socket, &[IoSlice::new(bytes)]),
            None => write_pieces(&mut connection.socket, &desk.out),
        };
        match wrote {
            Ok(wrote) => wrote.bytes,
            Err(kind) => {
                self.way_out_broke(slot, kind);
                0
            }
        }
    }

    /// The socket did not take all: the rest goes to the connection's queue, and waits there.
    fn queue_staged(&mut self, slot: u32, delivered: usize) {
        self.links.outbox.count_queued(slot, self.desk.out.len() - delivered);
        self.keep_undelivered(slot, delivered);
        self.wait_for_socket(slot);
    }

    fn keep_undelivered(&mut self, slot: u32, delivered: usize) {
        let Self { table, desk, segments, answer_room, links, .. } = self;
        let mut lost = 0;
        let mut connection = table.at_mut(slot).filter(|connection| connection.flags.broken.is_none());
        desk.out.take_undelivered(delivered, |segment| {
            let bytes = segment.len();
            answer_room.note_reserve(slot, &segment);
            let queued = match &mut connection {
                Some(connection) => segments.push(&mut connection.undelivered, segment).is_ok(),
                None => false,
            };
            lost += if queued { 0 } else { bytes };
        });
        if lost > 0 {
            // The connection or its way out ended in between, and everything that it was to be given is lost.
            links.metrics.count_undelivered(lost);
            links.outbox.count_off(slot, lost);
        }
    }

    /// The socket pushed back: asks to be told of room, and holds up the connection's input if too much output already
    /// waits.
    fn wait_for_socket(&mut self, slot: u32) {
        let Some(connection) = self.table.at_mut(slot).filter(|connection| !connection.undelivered.is_empty()) else {
            return;
        };
        connection.deadlines.output_waits(self.now);
        self.watch(slot);
        let Some(connection) = self.table.at_mut(slot) else { return };
        if !connection.flags.write_interest {
            let queue = &mut connection.undelivered;
            if let Some(pool) = self.desk.out.pool_mut() {
                self.segments.make_own(queue, pool);
            }
            connection.flags.write_interest = true;
            if let Err(error) = self.selector.set_write(&mut connection.socket, slot, true) {
                return self.socket_failed(slot, error.kind());
            }
        }
        self.enforce_high_watermark(slot);
    }

    /// Writes the connection's queue until it is empty or the socket pushes back. LAW one peer: even if the peer takes
    /// it as fast as it is written, the others come first after `most` bytes.
    fn deliver(&mut self, slot: u32, most: usize) {
        let mut left = most;
        loop {
            let Some(connection) = self.table.at_mut(slot) else { return };
            if connection.undelivered.is_empty() {
                return self.delivered_all(slot);
            }
            if left == 0 {
                return self.queues.write_on.push(slot);
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.segments.gather(&connection.undelivered, left, &mut slices);
            let wrote = match write(&mut connection.socket, &slices[..count]) {
                Ok(wrote) => wrote,
                Err(kind) => {
                    self.drop_output(slot, kind);
                    continue;
                }
            };
            self.count_delivered(slot, wrote.bytes);
            if wrote.full {
                return self.wait_for_socket(slot);
            }
            left -= wrote.bytes;
        }
    }

    /// The peer has taken `bytes` of what waited for it.
    fn count_delivered(&mut self, slot: u32, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let Self { table, segments, desk, links, now, .. } = self;
        let Some(connection) = table.at_mut(slot) else { return };
        segments.advance(&mut connection.undelivered, bytes, |segment| desk.out.recycle(segment));
        connection.deadlines.output_moves(*now, bytes);
        links.outbox.count_off(slot, bytes);
        links.metrics.count_delivered(bytes);
        self.release_if_low(slot);
    }

    fn delivered_all(&mut self, slot: u32) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        connection.deadlines.output_ends(self.now);
        if connection.flags.write_interest {
            connection.flags.write_interest = false;
            if let Err(error) = self.selector.set_write(&mut connection.socket, slot, false) {
                return self.socket_failed(slot, error.kind());
            }
        }
        self.unpause(slot, PauseReason::OutboundHigh);
        self.read_on_if_broken(slot);
        self.advance_ending(slot);
        self.drain_if_finished(slot);
    }
}

/// One write of bytes that lie in several pieces.
#[inline(never)]
fn write_pieces(socket: &mut impl Write, out: &Outbound) -> Result<Wrote, io::ErrorKind> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = out.gather(&mut slices);
    write(socket, &slices[..count])
}
